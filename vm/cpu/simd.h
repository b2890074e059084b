// vm/cpu/simd.h - what the MMX and SSE handlers share: the checks in front of each instruction, the
// registers, operands of 16 bytes in memory.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/decoder.h"
#include "vm/cpu/x87.h"

#include <emmintrin.h>

namespace snowglobe::vm {

// Operands of 16 bytes go through the same fast path as the others.
template <>
bool Cpu::load_slow<Xmm>(const Insn* insn, u8 segment, u32 offset, Xmm& value);
template <>
bool Cpu::store_slow<Xmm>(const Insn* insn, u8 segment, u32 offset, Xmm value);

namespace simd {

/// Bits of MXCSR that exist (with DAZ); FXSAVE reports it, and setting others is #GP.
inline constexpr u32 kMxcsrMask = 0xFFFF;

/// EM makes every instruction here undefined, TS sends it to the system (Intel SDM Vol. 3A, 2.5).
inline bool check_sse(Cpu& cpu, const Insn* insn) {
  const CpuState& state = cpu.state;
  if (((state.cr0 & (kCr0Em | kCr0Ts)) | (~state.cr4 & kCr4Osfxsr)) == 0) [[likely]]
    return true;
  const bool switched_off = (state.cr0 & kCr0Em) != 0 || (state.cr4 & kCr4Osfxsr) == 0;
  cpu.raise(insn, switched_off ? Vector::kInvalidOpcode : Vector::kDeviceNotAvailable);
  return false;
}

/// MMX instructions wait for the x87 unit, whose registers they use.
inline bool check_mmx(Cpu& cpu, const Insn* insn) {
  const CpuState& state = cpu.state;
  if ((state.cr0 & (kCr0Em | kCr0Ts)) == 0 && !x87::is_error_pending(state.x87)) [[likely]] {
    return true;
  }
  cpu.raise(insn, (state.cr0 & kCr0Em) != 0   ? Vector::kInvalidOpcode
                  : (state.cr0 & kCr0Ts) != 0 ? Vector::kDeviceNotAvailable
                                              : Vector::kX87Error);
  return false;
}

// --- registers ----------------------------------------------------------------------------------

inline __m128i read_xmm(const Cpu& cpu, u8 number) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(&cpu.state.xmm[number]));
}
inline void write_xmm(Cpu& cpu, u8 number, __m128i value) {
  _mm_store_si128(reinterpret_cast<__m128i*>(&cpu.state.xmm[number]), value);
}
inline __m128i from_xmm(const Xmm& value) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(&value));
}
inline Xmm to_xmm(__m128i value) {
  Xmm result;
  _mm_store_si128(reinterpret_cast<__m128i*>(&result), value);
  return result;
}
inline __m128i from_u64(u64 value) {
  return _mm_cvtsi64_si128(static_cast<i64>(value));
}
inline u64 low_u64(__m128i value) {
  return static_cast<u64>(_mm_cvtsi128_si64(value));
}

/// MMi is the significand of Ri, whatever TOP was.
inline u64 read_mmx(const Cpu& cpu, u8 number) {
  return cpu.state.x87.physical[number].significand;
}
/// What every MMX instruction but EMMS does to the x87 unit: TOP is 0 and all registers are in use.
inline void enter_mmx(Cpu& cpu) {
  X87State& x87 = cpu.state.x87;
  x87::set_top(x87, 0);
  const bool some_empty = (x87.tag & (x87.tag >> 1) & 0x5555) != 0;
  if (!some_empty) [[likely]]
    return;
  for (unsigned i = 0; i < 8; ++i)
    x87::set_tag(x87, i, x87::classify(x87.physical[i]));
}
/// Call after enter_mmx().
inline void write_mmx(Cpu& cpu, u8 number, u64 value) {
  X87State& x87 = cpu.state.x87;
  x87.physical[number] = {value, 0xFFFF};
  x87::set_tag(x87, number, x87::kTagSpecial);
}

inline bool is_mmx(const Decoded& decoded, unsigned i) {
  return decoded.is_register(i) &&
         ZydisRegisterGetClass(decoded.operand(i).reg.value) == ZYDIS_REGCLASS_MMX;
}
inline bool is_xmm(const Decoded& decoded, unsigned i) {
  return decoded.is_register(i) &&
         ZydisRegisterGetClass(decoded.operand(i).reg.value) == ZYDIS_REGCLASS_XMM;
}

// --- memory -------------------------------------------------------------------------------------

/// #GP(0) unless the operand lies on a 16-byte boundary.
inline bool check_aligned(Cpu& cpu, const Insn* insn) {
  const u32 linear = cpu.effective_address(insn) + cpu.state.segment[insn->segment].base;
  if ((linear & 15) == 0) [[likely]]
    return true;
  cpu.raise(insn, Vector::kGeneralProtection, 0);
  return false;
}
inline bool load_aligned(Cpu& cpu, const Insn* insn, Xmm& value) {
  return check_aligned(cpu, insn) && cpu.load(insn, value);
}
inline bool store_aligned(Cpu& cpu, const Insn* insn, const Xmm& value) {
  return check_aligned(cpu, insn) && cpu.store(insn, value);
}

std::span<const Binding> integer_bindings();  // vm/cpu/ops_mmx.cc
std::span<const Binding> move_bindings();     // vm/cpu/ops_sse_move.cc
std::span<const Binding> shuffle_bindings();  // vm/cpu/ops_sse_shuffle.cc
std::span<const Binding> float_bindings();    // vm/cpu/ops_sse_float.cc
std::span<const Binding> convert_bindings();  // vm/cpu/ops_sse_convert.cc
std::span<const Binding> control_bindings();  // vm/cpu/ops_sse_control.cc

}  // namespace simd
}  // namespace snowglobe::vm
