# The translator. Everything here compiles on every architecture; it runs on x86-64 only.
target_sources(snowglobe_vm PRIVATE
  cpu/translator/address_spaces.cc
  cpu/translator/block_cache.cc
  cpu/translator/block_code.cc
  cpu/translator/block_translator.cc
  cpu/translator/code_memory.cc
  cpu/translator/emitter.cc
  cpu/translator/guest_code.cc
  cpu/translator/guest_decoder.cc
  cpu/translator/host_faults.cc
  cpu/translator/host_support.cc
  cpu/translator/stubs.cc
  cpu/translator/translator.cc
  cpu/translator/translator_code.cc
  cpu/translator/vector_state.cc
  cpu/translator/verifier.cc)
