// vm/cpu/x87.h - the x87 state as its instructions see it: stack, tags, status bits, and the checks
// in front of every instruction. What is computed is computed by the host's unit (x87_host.h).
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/decoder.h"

namespace snowglobe::vm::x87 {

// The status word (Intel SDM Vol. 1, 8.1.3).
enum Status : u16 {
  kInvalid = 1u << 0,
  kDenormal = 1u << 1,
  kZeroDivide = 1u << 2,
  kOverflow = 1u << 3,
  kUnderflow = 1u << 4,
  kPrecision = 1u << 5,
  kStackFault = 1u << 6,
  kErrorSummary = 1u << 7,
  kC0 = 1u << 8,
  kC1 = 1u << 9,
  kC2 = 1u << 10,
  kC3 = 1u << 14,
  kBusy = 1u << 15,
};
inline constexpr u16 kExceptions =
    0x3F;  ///< in the status word, and their masks in the control word
inline constexpr u16 kConditionCodes = kC0 | kC1 | kC2 | kC3;
inline constexpr unsigned kTopShift = 11;
inline constexpr u16 kTopMask = 7u << kTopShift;

inline constexpr u16 kControlAfterInit = 0x037F;

/// The control word as the unit keeps it: bit 6 is one, bits 7 and 13-15 are zero.
constexpr u16 canonical_control(u16 value) {
  return static_cast<u16>((value & 0x1F3F) | 0x40);
}

inline unsigned top(const X87State& x87) {
  return (x87.status >> kTopShift) & 7u;
}
inline void set_top(X87State& x87, unsigned value) {
  x87.status = static_cast<u16>((x87.status & ~kTopMask) | ((value & 7u) << kTopShift));
}
/// Index in X87State::physical of ST(i).
inline unsigned physical_index(const X87State& x87, unsigned i) {
  return (top(x87) + i) & 7u;
}

// Tags (Intel SDM Vol. 1, 8.1.7). X87State::tag always holds what FNSAVE would store.
enum Tag : u16 { kTagValid = 0, kTagZero = 1, kTagSpecial = 2, kTagEmpty = 3 };

inline u16 classify(const Float80& value) {
  const unsigned exponent = value.sign_exponent & 0x7FFFu;
  if (exponent == 0) return value.significand == 0 ? kTagZero : kTagSpecial;
  return exponent != 0x7FFF && (value.significand >> 63) != 0 ? kTagValid : kTagSpecial;
}
inline void set_tag(X87State& x87, unsigned physical, u16 tag) {
  x87.tag =
      static_cast<u16>((x87.tag & ~(3u << (2 * physical))) | (unsigned{tag} << (2 * physical)));
}
inline bool is_empty(const X87State& x87, unsigned i) {
  return ((x87.tag >> (2 * physical_index(x87, i))) & 3u) == kTagEmpty;
}

inline const Float80& st(const X87State& x87, unsigned i) {
  return x87.physical[physical_index(x87, i)];
}
inline void set_st(X87State& x87, unsigned i, const Float80& value) {
  const unsigned physical = physical_index(x87, i);
  x87.physical[physical] = value;
  set_tag(x87, physical, classify(value));
}
inline void push(X87State& x87, const Float80& value) {
  set_top(x87, top(x87) - 1);
  set_st(x87, 0, value);
}
inline void pop(X87State& x87) {
  set_tag(x87, top(x87), kTagEmpty);
  set_top(x87, top(x87) + 1);
}

/// An exception that is not masked waits for the next instruction that looks.
inline bool is_error_pending(const X87State& x87) {
  return (x87.status & ~x87.control & kExceptions) != 0;
}
/// Recomputes ES and B, which show whether an exception is pending.
inline void update_summary(X87State& x87) {
  constexpr u16 kSummary = kErrorSummary | kBusy;
  x87.status =
      static_cast<u16>(is_error_pending(x87) ? x87.status | kSummary : x87.status & ~kSummary);
}
inline bool all_masked(const X87State& x87) {
  return (x87.control & kExceptions) == kExceptions;
}

/// FNINIT: everything but the contents of the registers.
inline void initialize(X87State& x87) {
  const std::array<Float80, 8> kept = x87.physical;
  x87 = X87State{};
  x87.physical = kept;
}

/// #NM when the unit is switched off or belongs to another task. False: the exception is raised.
inline bool check_available(Cpu& cpu, const Insn* insn) {
  if ((cpu.state.cr0 & (kCr0Em | kCr0Ts)) == 0) [[likely]]
    return true;
  cpu.raise(insn, Vector::kDeviceNotAvailable);
  return false;
}
/// The same for the instructions that wait, which also report a pending exception. CR0.NE clear
/// would send it through the interrupt controller; no guest of ours runs like that, so it is #MF as
/// well.
inline bool check_waiting(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return false;
  if (!is_error_pending(cpu.state.x87)) [[likely]]
    return true;
  cpu.raise(insn, Vector::kX87Error);
  return false;
}

/// Notes the last non-control instruction (Intel SDM Vol. 1, 8.1.8). The binder left its opcode in
/// imm.
inline void record(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  x87.opcode = static_cast<u16>(insn->imm);
  x87.ip = cpu.eip_of(insn);
  x87.cs = cpu.state.segment[kCs].selector;
}
inline void record_memory(Cpu& cpu, const Insn* insn) {
  record(cpu, insn);
  cpu.state.x87.dp = cpu.effective_address(insn);
  cpu.state.x87.ds = cpu.state.segment[insn->segment].selector;
}

/// Index of an operation in the tables of x87_host.h: three bits of the first byte, then of ModRM
/// its low six bits (register form) or its reg field (memory form).
inline unsigned register_form(const Insn* insn) {
  return ((insn->imm >> 8) & 7u) * 64 + (insn->imm & 63u);
}
inline unsigned memory_form(const Insn* insn) {
  return ((insn->imm >> 8) & 7u) * 8 + ((insn->imm >> 3) & 7u);
}

/// The handler of a frequent form, or null. It falls back on the general one below.
Handler fast_register_handler(unsigned form);  // vm/cpu/ops_x87_fast.cc
Handler fast_memory_handler(unsigned form);

/// Any form that computes: hands the whole state to the host's unit and takes it back.
const Insn* execute_register(Cpu& cpu, const Insn* insn);  // vm/cpu/ops_x87.cc
const Insn* execute_load(Cpu& cpu, const Insn* insn);
const Insn* execute_store(Cpu& cpu, const Insn* insn);

std::span<const Binding> control_bindings();  // vm/cpu/ops_x87_control.cc
std::span<const Binding> save_bindings();     // vm/cpu/ops_x87_save.cc

}  // namespace snowglobe::vm::x87
