// tests/cpu/privileged/cases.h - makes up cases of privileged instructions at random.
//
// Left out is what our processor does not grant and Bochs does: task switches, 16-bit gates and
// TSSs, 16-bit code and stacks, virtual-8086 and real mode, PAT, PSE-36, CR4 bits that CPUID does
// not show; and whatever ends in a triple fault.
#pragma once

#include "base/random.h"
#include "tests/cpu/privileged/image.h"

namespace snowglobe::vm::privileged {

/// `count` cases of all kinds in turn, the same for the same seed.
std::vector<Case> make_cases(std::uint64_t seed, std::size_t count);

/// Helps to write one case: random choices, descriptors, code.
class CaseBuilder {
 public:
  CaseBuilder(base::RandomSource& random, std::string kind, unsigned ring);

  [[nodiscard]] Case finish();

  // --- random choices
  u32 below(u32 limit) { return static_cast<u32>(random_.next() % limit); }
  bool chance(u32 one_in) { return below(one_in) == 0; }
  template <class T, std::size_t kCount>
  T pick(const T (&values)[kCount]) {
    return values[below(static_cast<u32>(kCount))];
  }
  u32 word() { return static_cast<u32>(random_.next()); }

  // --- the case
  CaseHeader& header() { return case_.header; }
  [[nodiscard]] unsigned ring() const { return case_.header.cs & 3; }
  void poke(u32 address, u32 value) { case_.pokes.push_back({address, value}); }
  void poke_bytes(u32 address, const std::vector<u8>& bytes);
  void poke_descriptor(u16 selector, u64 value);
  void emit(std::initializer_list<u8> bytes) {
    case_.code.insert(case_.code.end(), bytes.begin(), bytes.end());
  }
  void emit32(u32 value) {
    for (unsigned i = 0; i < 4; ++i)
      case_.code.push_back(static_cast<u8>(value >> (8 * i)));
  }
  void emit16(u16 value) { emit({static_cast<u8>(value), static_cast<u8>(value >> 8)}); }
  /// INT 0x40 + `number`: an end of the case.
  void emit_end(u8 number = 0) { emit({0xCD, static_cast<u8>(kEndVector + number)}); }
  /// Such an end at another place.
  void poke_end(u32 address, u8 number) {
    poke_bytes(address, {0x90, 0xCD, static_cast<u8>(kEndVector + number)});
  }

  // --- descriptors and selectors
  static u64 segment(u32 base, u32 raw_limit, u32 access, bool big, bool granular);
  static u64 gate(u16 selector, u32 offset, u32 access, u32 count = 0);
  /// Any type, privilege and presence; flat, so that what comes through it does no harm.
  u64 random_flat_descriptor();
  u64 random_code_descriptor();
  /// A selector of `slot` with a random RPL, at times null, beyond the table, or of other things.
  u16 random_selector(u16 slot);

 private:
  base::RandomSource& random_;
  Case case_;
};

}  // namespace snowglobe::vm::privileged
