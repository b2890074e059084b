// tests/cpu/fpu_cases.h - random and special floating-point states, and the comparison of one
// instruction in the interpreter with the same instruction on the host.
#pragma once

#include "tests/cpu/fpu_host.h"
#include "tests/support/bare_machine.h"

#include <random>
#include <string>
#include <vector>

namespace snowglobe::vm::test {

class FpuComparison {
 public:
  explicit FpuComparison(u64 seed);

  /// Which exceptions the random states leave unmasked.
  enum class Masks { kAllMasked, kRandom };

  /// Runs `instruction` `count` times from random states. Empty, or what differed first.
  std::string compare(const std::vector<u8>& instruction, unsigned count, Masks masks);

 private:
  void randomize(Masks masks);
  void randomize_x87(Masks masks);
  u64 significand_of(unsigned kind);
  u64 random_lane();
  void to_machine();
  std::string difference(int host_vector);
  u64 bits() { return random_(); }
  u64 below(u64 limit) { return random_() % limit; }

  std::mt19937_64 random_;
  HostProcessor host_;
  HostState input_, output_;
  BareMachine machine_;
};

/// All encodings with registers or (%esi) that the two families know, by prefix and opcode.
std::vector<std::vector<u8>> x87_instructions();
std::vector<std::vector<u8>> simd_instructions();

std::string disassemble(const std::vector<u8>& instruction);

}  // namespace snowglobe::vm::test
