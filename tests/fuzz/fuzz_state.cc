// tests/fuzz/fuzz_state.cc - arbitrary bytes as the state of a machine: alone, or over a good one.
// What is taken over must come out again as it went in, and the machine must live with it.
#include "tests/support/hostile_guest.h"

namespace {

using snowglobe::fuzz::Input;

/// Puts bytes of the input over the archive, here and there.
void damage(std::vector<std::uint8_t>& archive, Input& input) {
  for (int changes = 1 + input.take<std::uint8_t>() % 8; changes != 0; --changes) {
    const std::size_t at = input.below(static_cast<std::uint32_t>(archive.size()));
    const auto bytes = input.bytes(1 + input.take<std::uint8_t>() % 8);
    const std::size_t count = std::min(bytes.size(), archive.size() - at);
    std::copy_n(bytes.begin(), count, archive.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  snowglobe::vm::test::HostileGuest guest(input);
  const bool alone = input.take<std::uint8_t>() % 4 == 0;
  std::vector<std::uint8_t> archive = guest.save();
  if (alone) {
    const auto bytes = input.bytes(4096);
    archive.assign(bytes.begin(), bytes.end());
  } else {
    damage(archive, input);
  }
  guest.load(archive);
  guest.run();
  return 0;
}
