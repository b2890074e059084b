// vm/cpu/flags.h - EFLAGS bits, and the six arithmetic flags kept lazily.
//
// An ALU operation stores its result and the vector of carries out of each bit position; a flag is
// worked out only when somebody reads it. Most are never read.
#pragma once

#include "vm/types.h"

#include <bit>

namespace snowglobe::vm {

// Intel SDM Vol. 1, 3.4.3.
enum Eflags : u32 {
  kFlagCf = 1u << 0,
  kFlagReserved1 = 1u << 1,  // always one
  kFlagPf = 1u << 2,
  kFlagAf = 1u << 4,
  kFlagZf = 1u << 6,
  kFlagSf = 1u << 7,
  kFlagTf = 1u << 8,
  kFlagIf = 1u << 9,
  kFlagDf = 1u << 10,
  kFlagOf = 1u << 11,
  kFlagIopl = 3u << 12,
  kFlagNt = 1u << 14,
  kFlagRf = 1u << 16,
  kFlagVm = 1u << 17,
  kFlagAc = 1u << 18,
  kFlagVif = 1u << 19,
  kFlagVip = 1u << 20,
  kFlagId = 1u << 21,
};
inline constexpr u32 kArithmeticFlags = kFlagCf | kFlagPf | kFlagAf | kFlagZf | kFlagSf | kFlagOf;

/// CF, PF, AF, ZF, SF and OF in the form in which operations leave them.
///
///   result  the result, sign-extended to 32 bits: ZF is (result == 0)
///   aux     bit 31: CF            bit 30: CF ^ OF        bit 3: AF
///           bits 8-15: flipped in the result's low byte before PF is taken
///           bit 0: flips SF (which is otherwise bit 31 of result)
struct LazyFlags {
  u32 result = 1;
  u32 aux = 0;

  [[nodiscard]] bool cf() const { return (aux >> 31) != 0; }
  [[nodiscard]] bool of() const { return ((aux ^ (aux << 1)) >> 31) != 0; }
  [[nodiscard]] bool af() const { return (aux & 8) != 0; }
  [[nodiscard]] bool zf() const { return result == 0; }
  [[nodiscard]] bool sf() const { return (((result >> 31) ^ aux) & 1) != 0; }
  [[nodiscard]] bool pf() const { return (std::popcount((result ^ (aux >> 8)) & 0xFFu) & 1) == 0; }

  /// The six flags at their places in EFLAGS.
  [[nodiscard]] u32 get() const {
    return (cf() ? kFlagCf : 0u) | (pf() ? kFlagPf : 0u) | (af() ? kFlagAf : 0u) |
           (zf() ? kFlagZf : 0u) | (sf() ? kFlagSf : 0u) | (of() ? kFlagOf : 0u);
  }
  /// Sets all six from an EFLAGS image.
  void set(u32 eflags) {
    const bool zero = (eflags & kFlagZf) != 0;
    const bool carry = (eflags & kFlagCf) != 0;
    const bool overflow = (eflags & kFlagOf) != 0;
    const bool parity = (eflags & kFlagPf) != 0;
    result = zero ? 0 : 1;
    // The low byte 0 has even parity, 1 has odd: flip one bit where that is not what is wanted.
    const u32 flip = (parity == zero) ? 0u : 1u;
    aux = (carry ? 1u << 31 : 0u) | (carry != overflow ? 1u << 30 : 0u) |
          ((eflags & kFlagAf) != 0 ? 8u : 0u) | (flip << 8) | ((eflags & kFlagSf) != 0 ? 1u : 0u);
  }
  /// Changes the flags in `mask` to those of `eflags`, keeps the others.
  void set_masked(u32 eflags, u32 mask) { set((get() & ~mask) | (eflags & mask)); }
  void set_cf(bool value) {  // OF keeps its value: bit 30 is CF ^ OF
    if (cf() != value) aux ^= 3u << 30;
  }
};

}  // namespace snowglobe::vm
