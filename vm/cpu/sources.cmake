# The processor: core (mine), system, x87 and simd families.
set(cpu_sources
  cpu/cpu.cc
  cpu/paging.cc
  cpu/decoder.cc
  cpu/interpreter.cc
  cpu/ops_integer.cc
  cpu/ops_string.cc
  cpu/ops_control.cc
  cpu/segments.cc
  cpu/interrupts.cc
  cpu/ops_system.cc
  cpu/ops_x87.cc
  cpu/ops_mmx.cc
  cpu/ops_sse.cc)
foreach(source ${cpu_sources})
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    target_sources(snowglobe_vm PRIVATE ${source})
  endif()
endforeach()
