# tests/guest/shop_test.cmake - the shop example sells, is killed, and has all its orders.
#   cmake -DSHOP=... -DFOLDER=... -P shop_test.cmake
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
foreach(verb order crash order report)
  execute_process(COMMAND "${SHOP}" "${FOLDER}/shop.globe" ${verb} OUTPUT_VARIABLE out ERROR_VARIABLE err
                  RESULT_VARIABLE code TIMEOUT 100)
  message("${verb}: ${code}\n${out}${err}")
  if(NOT code EQUAL 0 AND NOT verb STREQUAL "crash")
    message(FATAL_ERROR "${verb} failed")
  endif()
endforeach()
file(REMOVE_RECURSE "${FOLDER}")
if(NOT out MATCHES "lamp +97 in stock, 3 sold")
  message(FATAL_ERROR "orders are missing")
endif()
