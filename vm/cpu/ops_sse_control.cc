// vm/cpu/ops_sse_control.cc - MXCSR, fences, prefetches, MOVNTI; and the table of all SIMD
// bindings.
#include "vm/cpu/simd.h"

#include <vector>

namespace snowglobe::vm {
namespace simd {
namespace {

const Insn* ldmxcsr(Cpu& cpu, const Insn* insn) {
  u32 value = 0;
  if (!check_sse(cpu, insn) || !cpu.load(insn, value)) return nullptr;
  if ((value & ~kMxcsrMask) != 0) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  cpu.state.mxcsr = value;
  return next(cpu, insn);
}

const Insn* stmxcsr(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) return nullptr;
  return cpu.store(insn, cpu.state.mxcsr) ? next(cpu, insn) : nullptr;
}

const Insn* movnti(Cpu& cpu, const Insn* insn) {
  return cpu.store(insn, cpu.state.gpr[insn->reg]) ? next(cpu, insn) : nullptr;
}

/// Fences order nothing on one processor; a prefetch is a hint and never faults.
const Insn* no_operation(Cpu& cpu, const Insn* insn) {
  return next(cpu, insn);
}

template <Handler kHandler>
bool bind(const Decoded&, Insn& insn) {
  insn.handler = kHandler;
  return true;
}

bool bind_movnti(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(1);
  insn.handler = movnti;
  return true;
}

constexpr Binding kControl[] = {
    {ZYDIS_MNEMONIC_LDMXCSR, bind<ldmxcsr>},
    {ZYDIS_MNEMONIC_STMXCSR, bind<stmxcsr>},
    {ZYDIS_MNEMONIC_MOVNTI, bind_movnti},
    {ZYDIS_MNEMONIC_LFENCE, bind<no_operation>},
    {ZYDIS_MNEMONIC_MFENCE, bind<no_operation>},
    {ZYDIS_MNEMONIC_SFENCE, bind<no_operation>},
    {ZYDIS_MNEMONIC_PAUSE, bind<no_operation>},
    {ZYDIS_MNEMONIC_PREFETCHNTA, bind<no_operation>},
    {ZYDIS_MNEMONIC_PREFETCHT0, bind<no_operation>},
    {ZYDIS_MNEMONIC_PREFETCHT1, bind<no_operation>},
    {ZYDIS_MNEMONIC_PREFETCHT2, bind<no_operation>},
};

}  // namespace

std::span<const Binding> control_bindings() {
  return kControl;
}

}  // namespace simd

template <>
bool Cpu::load_slow<Xmm>(const Insn* insn, u8 segment, u32 offset, Xmm& value) {
  return load_bytes(insn, segment, offset, value.bytes);
}

template <>
bool Cpu::store_slow<Xmm>(const Insn* insn, u8 segment, u32 offset, Xmm value) {
  return store_bytes(insn, segment, offset, value.bytes);
}

std::span<const Binding> simd_bindings() {
  static const auto* const all = [] {  // machines may outlive static destructors
    std::vector<Binding> bindings;
    for (const auto part :
         {simd::integer_bindings(), simd::move_bindings(), simd::shuffle_bindings(),
          simd::float_bindings(), simd::convert_bindings(), simd::control_bindings()}) {
      bindings.insert(bindings.end(), part.begin(), part.end());
    }
    return new std::vector<Binding>(std::move(bindings));
  }();
  return *all;
}

}  // namespace snowglobe::vm
