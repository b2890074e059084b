// vm/cpu/ops.h - what the handlers of the integer families share: register slots, flags of
// additions and subtractions, conditions.
//
// A register operand is a *slot*: the offset in bytes of its first byte in CpuState::gpr, so that
// AH is slot 1 and one template serves all widths.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/decoder.h"

#include <cstring>
#include <type_traits>

namespace snowglobe::vm {

/// The slot of register operand `i`, which has `size` bytes.
inline u8 register_slot(const Decoded& decoded, unsigned i) {
  const u8 number = decoded.register_number(i);
  if (decoded.size(i) == 1) return static_cast<u8>((number & 3) * 4 + (number >> 2));
  return static_cast<u8>(number * 4);
}

template <class T>
inline T read_slot(const Cpu& cpu, u8 slot) {
  return base::load_le<T>(reinterpret_cast<const u8*>(cpu.state.gpr.data()) + slot);
}

template <class T>
inline void write_slot(Cpu& cpu, u8 slot, T value) {
  base::store_le<T>(reinterpret_cast<u8*>(cpu.state.gpr.data()) + slot, value);
}

template <class T>
inline constexpr unsigned kBits = sizeof(T) * 8;

template <class T>
inline constexpr T kSignBit = static_cast<T>(T{1} << (kBits<T> - 1));

template <class T>
inline u32 sign_extend(T value) {
  return static_cast<u32>(static_cast<i32>(static_cast<std::make_signed_t<T>>(value)));
}

/// LazyFlags::aux from the carries out of each bit of a T.
template <class T>
inline u32 aux_of_carries(T carries) {
  constexpr u32 kTop = 3u << 30;
  if constexpr (sizeof(T) == 4) return carries & (kTop | 8);
  return ((u32{carries} << (32 - kBits<T>)) & kTop) | (carries & 8u);
}

/// Flags of a + b (+ carry), given the sum.
template <class T>
inline void set_flags_add(Cpu& cpu, T a, T b, T sum) {
  const T carries = static_cast<T>((a & b) | ((a | b) & ~sum));
  cpu.state.flags = {sign_extend(sum), aux_of_carries(carries)};
}

/// Flags of a - b (- borrow), given the difference.
template <class T>
inline void set_flags_sub(Cpu& cpu, T a, T b, T difference) {
  const T borrows = static_cast<T>((~a & b) | (~(a ^ b) & difference));
  cpu.state.flags = {sign_extend(difference), aux_of_carries(borrows)};
}

/// Flags of AND, OR, XOR, TEST: CF and OF are clear.
template <class T>
inline void set_flags_logic(Cpu& cpu, T result) {
  cpu.state.flags = {sign_extend(result), 0};
}

/// Replaces CF and OF, keeps the others.
inline void set_cf_of(Cpu& cpu, bool cf, bool of) {
  u32& aux = cpu.state.flags.aux;
  aux = (aux & ~(3u << 30)) | (cf ? 1u << 31 : 0u) | (cf != of ? 1u << 30 : 0u);
}

/// Condition codes as encoded in Jcc, SETcc, CMOVcc (Intel SDM Vol. 1, appendix B).
enum class Condition : u8 {
  kO,
  kNo,
  kB,
  kNb,
  kZ,
  kNz,
  kBe,
  kNbe,
  kS,
  kNs,
  kP,
  kNp,
  kL,
  kNl,
  kLe,
  kNle
};

template <Condition kCondition>
inline bool test_condition(const LazyFlags& flags) {
  if constexpr (kCondition == Condition::kO) return flags.of();
  if constexpr (kCondition == Condition::kNo) return !flags.of();
  if constexpr (kCondition == Condition::kB) return flags.cf();
  if constexpr (kCondition == Condition::kNb) return !flags.cf();
  if constexpr (kCondition == Condition::kZ) return flags.zf();
  if constexpr (kCondition == Condition::kNz) return !flags.zf();
  if constexpr (kCondition == Condition::kBe) return flags.cf() || flags.zf();
  if constexpr (kCondition == Condition::kNbe) return !flags.cf() && !flags.zf();
  if constexpr (kCondition == Condition::kS) return flags.sf();
  if constexpr (kCondition == Condition::kNs) return !flags.sf();
  if constexpr (kCondition == Condition::kP) return flags.pf();
  if constexpr (kCondition == Condition::kNp) return !flags.pf();
  if constexpr (kCondition == Condition::kL) return flags.sf() != flags.of();
  if constexpr (kCondition == Condition::kNl) return flags.sf() == flags.of();
  if constexpr (kCondition == Condition::kLe) return flags.zf() || flags.sf() != flags.of();
  if constexpr (kCondition == Condition::kNle) return !flags.zf() && flags.sf() == flags.of();
}

/// The handler of `sizes` {1, 2, 4} that fits an operand of `size` bytes; null if none does.
inline Handler pick_by_size(unsigned size, Handler byte, Handler word, Handler dword) {
  switch (size) {
    case 1:
      return byte;
    case 2:
      return word;
    case 4:
      return dword;
    default:
      return nullptr;
  }
}

}  // namespace snowglobe::vm
