// tests/fuzz/fuzz_devices.cc - a hostile guest against all devices. Sanitizers and the time limit
// are the judges.
#include "tests/support/hostile_guest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  snowglobe::fuzz::Input input(data, size);
  snowglobe::vm::test::HostileGuest(input).run();
  return 0;
}
