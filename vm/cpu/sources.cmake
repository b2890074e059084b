# The processor, one line a file.
target_sources(snowglobe_vm PRIVATE
  cpu/decoder.cc
  cpu/interpreter.cc
  cpu/ops_alu.cc
  cpu/ops_data.cc
  cpu/ops_shift.cc
  cpu/ops_string.cc
  cpu/ops_control.cc)
# Written side by side with the above; each joins when it is there.
foreach(source cpu.cc paging.cc segments.cc interrupts.cc far_transfer.cc ops_system.cc cpuid.cc)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/cpu/${source})
    target_sources(snowglobe_vm PRIVATE cpu/${source})
  endif()
endforeach()
file(GLOB late_sources RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS
     cpu/ops_x87*.cc cpu/x87*.cc cpu/ops_mmx*.cc cpu/ops_sse*.cc cpu/ops_simd*.cc cpu/ops_system_*.cc)
target_sources(snowglobe_vm PRIVATE ${late_sources})
