// vm/cpu/ops_x87_control.cc - control and status words, FNINIT, FNCLEX, FWAIT.
#include "vm/cpu/x87.h"

namespace snowglobe::vm::x87 {
namespace {

const Insn* fninit(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return nullptr;
  initialize(cpu.state.x87);
  return next(cpu, insn);
}

const Insn* fnclex(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return nullptr;
  X87State& x87 = cpu.state.x87;
  x87.status &= static_cast<u16>(~(kExceptions | kStackFault | kErrorSummary | kBusy));
  return next(cpu, insn);
}

// FWAIT looks at CR0.MP with TS, not at EM (Intel SDM Vol. 3A, 2.5).
const Insn* fwait(Cpu& cpu, const Insn* insn) {
  constexpr u32 kBoth = kCr0Mp | kCr0Ts;
  if ((cpu.state.cr0 & kBoth) == kBoth) return cpu.raise(insn, Vector::kDeviceNotAvailable);
  if (is_error_pending(cpu.state.x87)) return cpu.raise(insn, Vector::kX87Error);
  return next(cpu, insn);
}

const Insn* fldcw(Cpu& cpu, const Insn* insn) {
  if (!check_waiting(cpu, insn)) return nullptr;
  u16 value = 0;
  if (!cpu.load(insn, value)) return nullptr;
  cpu.state.x87.control = canonical_control(value);
  update_summary(cpu.state.x87);
  return next(cpu, insn);
}

const Insn* fnstcw(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return nullptr;
  return cpu.store(insn, cpu.state.x87.control) ? next(cpu, insn) : nullptr;
}

const Insn* fnstsw_memory(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return nullptr;
  return cpu.store(insn, cpu.state.x87.status) ? next(cpu, insn) : nullptr;
}

const Insn* fnstsw_ax(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return nullptr;
  u32& eax = cpu.state.gpr[kEax];
  eax = (eax & 0xFFFF'0000u) | cpu.state.x87.status;
  return next(cpu, insn);
}

// FNENI, FNDISI and FNSETPM meant something to the 8087 and 80287.
const Insn* no_operation(Cpu& cpu, const Insn* insn) {
  return check_available(cpu, insn) ? next(cpu, insn) : nullptr;
}

template <Handler kHandler>
bool bind(const Decoded&, Insn& insn) {
  insn.handler = kHandler;
  return true;
}

bool bind_fnstsw(const Decoded& decoded, Insn& insn) {
  insn.handler = decoded.is_memory(0) ? fnstsw_memory : fnstsw_ax;
  return true;
}

}  // namespace

std::span<const Binding> control_bindings() {
  static constexpr Binding kBindings[] = {
      {ZYDIS_MNEMONIC_FNINIT, bind<fninit>},
      {ZYDIS_MNEMONIC_FNCLEX, bind<fnclex>},
      {ZYDIS_MNEMONIC_FWAIT, bind<fwait>},
      {ZYDIS_MNEMONIC_FLDCW, bind<fldcw>},
      {ZYDIS_MNEMONIC_FNSTCW, bind<fnstcw>},
      {ZYDIS_MNEMONIC_FNSTSW, bind_fnstsw},
      {ZYDIS_MNEMONIC_FENI8087_NOP, bind<no_operation>},
      {ZYDIS_MNEMONIC_FDISI8087_NOP, bind<no_operation>},
      {ZYDIS_MNEMONIC_FSETPM287_NOP, bind<no_operation>},
  };
  return kBindings;
}

}  // namespace snowglobe::vm::x87
