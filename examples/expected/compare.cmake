# Runs PROGRAM and compares its standard output with the file EXPECTED, to the letter.
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE said ERROR_VARIABLE errors RESULT_VARIABLE code)
file(READ ${EXPECTED} expected)
if(NOT code EQUAL 0 OR NOT said STREQUAL expected)
  message(FATAL_ERROR "exit code ${code}; it printed:\n${said}\nand not:\n${expected}\nstandard error:\n${errors}")
endif()
