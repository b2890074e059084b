// tests/fuzz/fuzz_elf.cc - arbitrary bytes as a kernel.
#include "base/random.h"
#include "vm/boot/linux.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace snowglobe;
  static const auto ram = vm::GuestRam::create(32u << 20);
  static base::SeededRandom random(1);
  static_cast<void>(
      vm::load_linux(*ram.value(), {.kernel = {data, size}, .command_line = "", .random = &random})
          .ok());
  return 0;
}
