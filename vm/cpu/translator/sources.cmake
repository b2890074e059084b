# The translator. Everything here compiles on every architecture; it runs on x86-64 only.
target_sources(snowglobe_vm PRIVATE
  cpu/translator/code_memory.cc
  cpu/translator/host_faults.cc
  cpu/translator/host_support.cc)
