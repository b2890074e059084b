// vm/cpu/ops_system.h - what the files of the system family share, and the binders that the table
// in ops_system.cc takes from its neighbours.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/decoder.h"

namespace snowglobe::vm {

// Bits of Insn::extra in this family.
inline constexpr u8 kExtraMemory = 1 << 7;     ///< the r/m operand is in memory
inline constexpr u8 kExtraWide = 1 << 6;       ///< 32-bit operands, else 16-bit
inline constexpr u8 kExtraRepeat = 1 << 5;     ///< INS, OUTS with REP
inline constexpr u8 kExtraAddress16 = 1 << 4;  ///< INS, OUTS with 16-bit addresses
inline constexpr u8 kExtraSizeMask = 7;        ///< IN, OUT, INS, OUTS: bytes

/// Privilege level that is needed for I/O and the interrupt flag.
inline unsigned iopl(const Cpu& cpu) {
  return (cpu.state.eflags & kFlagIopl) >> 12;
}

/// False, and #GP(0) pending, unless CPL is 0.
[[nodiscard]] inline bool require_ring0(Cpu& cpu, const Insn* insn) {
  if (cpu.state.cpl == 0) [[likely]]
    return true;
  cpu.raise(insn, Vector::kGeneralProtection, 0);
  return false;
}

/// Ends a handler after a system operation raised without knowing the instruction.
inline const Insn* fault_at(Cpu& cpu, const Insn* insn) {
  cpu.state.eip = cpu.eip_of(insn);
  return nullptr;
}

/// The 16-bit r/m operand.
[[nodiscard]] inline bool load_rm16(Cpu& cpu, const Insn* insn, u16& value) {
  if ((insn->extra & kExtraMemory) != 0) return cpu.load(insn, value);
  value = static_cast<u16>(cpu.state.gpr[insn->rm]);
  return true;
}

/// Writes the low half, or all, of a general register.
inline void write_register(Cpu& cpu, u8 number, u32 value, bool wide) {
  u32& reg = cpu.state.gpr[number];
  reg = wide ? value : (reg & 0xFFFF0000) | (value & 0xFFFF);
}

/// Binds an instruction without operands.
template <Handler kHandler>
bool bind_fixed(const Decoded& /*decoded*/, Insn& insn) {
  insn.handler = kHandler;
  return true;
}

/// Binds an instruction whose only operand is r/m.
template <Handler kHandler>
bool bind_rm(const Decoded& decoded, Insn& insn) {
  insn.handler = kHandler;
  if (decoded.is_memory(0)) {
    insn.extra = kExtraMemory;
  } else {
    insn.rm = decoded.register_number(0);
  }
  if (decoded.info.operand_width == 32) insn.extra |= kExtraWide;
  return true;
}

/// Binds an instruction with a register and an r/m operand, in that order.
template <Handler kHandler>
bool bind_reg_rm(const Decoded& decoded, Insn& insn) {
  insn.handler = kHandler;
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.extra = kExtraMemory;
  } else {
    insn.rm = decoded.register_number(1);
  }
  if (decoded.info.operand_width == 32) insn.extra |= kExtraWide;
  return true;
}

// vm/cpu/ops_system_segments.cc
bool bind_mov_segment(const Decoded& decoded, Insn& insn);  ///< but for SS as destination
bool bind_mov_ss(const Decoded& decoded, Insn& insn);
bool bind_push_segment(const Decoded& decoded, Insn& insn);
bool bind_pop_segment(const Decoded& decoded, Insn& insn);  ///< but for SS
bool bind_pop_ss(const Decoded& decoded, Insn& insn);
bool bind_load_far_pointer(const Decoded& decoded, Insn& insn);
bool bind_arpl(const Decoded& decoded, Insn& insn);
const Insn* lar(Cpu& cpu, const Insn* insn);
const Insn* lsl(Cpu& cpu, const Insn* insn);
const Insn* verr(Cpu& cpu, const Insn* insn);
const Insn* verw(Cpu& cpu, const Insn* insn);
const Insn* lldt(Cpu& cpu, const Insn* insn);
const Insn* ltr(Cpu& cpu, const Insn* insn);
const Insn* sldt(Cpu& cpu, const Insn* insn);
const Insn* str(Cpu& cpu, const Insn* insn);

// vm/cpu/ops_system_control.cc
bool bind_mov_from_control(const Decoded& decoded, Insn& insn);
bool bind_mov_to_control(const Decoded& decoded, Insn& insn);
const Insn* lgdt(Cpu& cpu, const Insn* insn);
const Insn* lidt(Cpu& cpu, const Insn* insn);
const Insn* sgdt(Cpu& cpu, const Insn* insn);
const Insn* sidt(Cpu& cpu, const Insn* insn);
const Insn* lmsw(Cpu& cpu, const Insn* insn);
const Insn* smsw(Cpu& cpu, const Insn* insn);
const Insn* clts(Cpu& cpu, const Insn* insn);
const Insn* invlpg(Cpu& cpu, const Insn* insn);
const Insn* invalidate_caches(Cpu& cpu, const Insn* insn);
const Insn* rdmsr(Cpu& cpu, const Insn* insn);
const Insn* wrmsr(Cpu& cpu, const Insn* insn);

// vm/cpu/ops_system_io.cc
bool bind_in(const Decoded& decoded, Insn& insn);
bool bind_out(const Decoded& decoded, Insn& insn);
bool bind_ins(const Decoded& decoded, Insn& insn);
bool bind_outs(const Decoded& decoded, Insn& insn);

}  // namespace snowglobe::vm
