// vm/cpu/ops_system.cc - the table of the system family, and its shorter instructions: EFLAGS,
// software interrupts, HLT, CPUID, the time-stamp counter.
#include "vm/cpu/ops_system.h"

#include "vm/cpu/cpuid.h"

namespace snowglobe::vm {
namespace {

// Intel SDM Vol. 2B, CLI and STI: neither virtual-8086 mode nor CR4.PVI is granted.
bool require_iopl(Cpu& cpu, const Insn* insn) {
  if (cpu.state.cpl <= iopl(cpu)) [[likely]]
    return true;
  cpu.raise(insn, Vector::kGeneralProtection, 0);
  return false;
}

const Insn* cli(Cpu& cpu, const Insn* insn) {
  if (!require_iopl(cpu, insn)) return nullptr;
  cpu.state.eflags &= ~u32{kFlagIf};
  return next(cpu, insn);
}

const Insn* sti(Cpu& cpu, const Insn* insn) {
  if (!require_iopl(cpu, insn)) return nullptr;
  if ((cpu.state.eflags & kFlagIf) != 0) return next(cpu, insn);
  cpu.state.eflags |= kFlagIf;
  cpu.state.interrupt_shadow = true;
  return cpu.end_block(insn);
}

template <class T>
const Insn* pushf(Cpu& cpu, const Insn* insn) {
  const u32 image = cpu.state.full_eflags() & ~(kFlagRf | kFlagVm);
  return cpu.push(insn, static_cast<T>(image)) ? next(cpu, insn) : nullptr;
}

// Intel SDM Vol. 2B, POPF. RF is always cleared; VM, VIF and VIP are never set here.
template <class T>
const Insn* popf(Cpu& cpu, const Insn* insn) {
  T image;
  if (!cpu.load(insn, kSs, cpu.state.gpr[kEsp], image)) return nullptr;
  cpu.state.gpr[kEsp] += static_cast<u32>(sizeof(T));
  constexpr u32 kAlways = kArithmeticFlags | kFlagTf | kFlagIf | kFlagDf | kFlagIopl | kFlagNt;
  cpu.write_eflags(image, sizeof(T) == 4 ? kAlways | kFlagAc | kFlagId : kAlways);
  cpu.state.eflags &= ~u32{kFlagRf};
  return cpu.end_block(insn);
}

const Insn* software_interrupt(Cpu& cpu, const Insn* insn, u8 vector, Cpu::EventKind kind) {
  cpu.state.eip = cpu.next_eip(insn);
  if (!cpu.enter_handler(vector, kind, std::nullopt)) cpu.state.eip = cpu.eip_of(insn);
  return nullptr;
}

const Insn* int_n(Cpu& cpu, const Insn* insn) {
  return software_interrupt(cpu, insn, static_cast<u8>(insn->imm), Cpu::EventKind::kSoftware);
}

const Insn* int3(Cpu& cpu, const Insn* insn) {
  return software_interrupt(cpu, insn, static_cast<u8>(Vector::kBreakpoint),
                            Cpu::EventKind::kSoftware);
}

// INT1 is no software interrupt: the gate's DPL is not checked (Intel SDM Vol. 2A, INT n).
const Insn* int1(Cpu& cpu, const Insn* insn) {
  return software_interrupt(cpu, insn, static_cast<u8>(Vector::kDebug), Cpu::EventKind::kException);
}

const Insn* into(Cpu& cpu, const Insn* insn) {
  if (!cpu.state.flags.of()) return next(cpu, insn);
  return software_interrupt(cpu, insn, static_cast<u8>(Vector::kOverflow),
                            Cpu::EventKind::kSoftware);
}

template <unsigned kOperandSize>
const Insn* iret(Cpu& cpu, const Insn* insn) {
  return cpu.interrupt_return(insn, kOperandSize);
}

const Insn* sysenter(Cpu& cpu, const Insn* insn) {
  return cpu.sysenter(insn);
}
const Insn* sysexit(Cpu& cpu, const Insn* insn) {
  return cpu.sysexit(insn);
}

const Insn* hlt(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  cpu.state.halted = true;
  return cpu.end_block(insn);
}

const Insn* cpuid_handler(Cpu& cpu, const Insn* insn) {
  auto& gpr = cpu.state.gpr;
  const CpuidResult result = cpuid(gpr[kEax], gpr[kEcx]);
  gpr[kEax] = result.eax;
  gpr[kEbx] = result.ebx;
  gpr[kEcx] = result.ecx;
  gpr[kEdx] = result.edx;
  return next(cpu, insn);
}

const Insn* rdtsc(Cpu& cpu, const Insn* insn) {
  if ((cpu.state.cr4 & kCr4Tsd) != 0 && !require_ring0(cpu, insn)) return nullptr;
  const u64 ticks = cpu.read_tsc();
  cpu.state.gpr[kEax] = static_cast<u32>(ticks);
  cpu.state.gpr[kEdx] = static_cast<u32>(ticks >> 32);
  return next(cpu, insn);
}

// There are no performance counters: every index is out of range (Intel SDM Vol. 2B, RDPMC).
const Insn* rdpmc(Cpu& cpu, const Insn* insn) {
  return cpu.raise(insn, Vector::kGeneralProtection, 0);
}

template <class T>
const Insn* bound(Cpu& cpu, const Insn* insn) {
  using Signed = std::make_signed_t<T>;
  const u32 address = cpu.effective_address(insn);
  T lower;
  T upper;
  if (!cpu.load(insn, insn->segment, address, lower) ||
      !cpu.load(insn, insn->segment, address + static_cast<u32>(sizeof(T)), upper)) {
    return nullptr;
  }
  const Signed index = static_cast<Signed>(cpu.state.gpr[insn->reg]);
  if (index < static_cast<Signed>(lower) || index > static_cast<Signed>(upper)) {
    return cpu.raise(insn, Vector::kBoundRange);
  }
  return next(cpu, insn);
}

bool bind_bound(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.handler = decoded.info.operand_width == 32 ? bound<u32> : bound<u16>;
  return true;
}

bool bind_int(const Decoded& decoded, Insn& insn) {
  insn.imm = decoded.immediate(0);
  insn.handler = int_n;
  return true;
}

// MOV has few rows: one for the forms that go straight on, one for those that end a block.
bool bind_mov_straight(const Decoded& decoded, Insn& insn) {
  return bind_mov_segment(decoded, insn) || bind_mov_from_control(decoded, insn);
}

bool bind_mov_ending(const Decoded& decoded, Insn& insn) {
  return bind_mov_ss(decoded, insn) || bind_mov_to_control(decoded, insn);
}

// Not here, and so #UD: RSM, MONITOR, MWAIT, SYSCALL, SYSRET, UD0, UD1, UD2.
constexpr Binding kBindings[] = {
    {ZYDIS_MNEMONIC_CLI, bind_fixed<cli>},
    {ZYDIS_MNEMONIC_STI, bind_fixed<sti>, true},
    {ZYDIS_MNEMONIC_PUSHF, bind_fixed<pushf<u16>>},
    {ZYDIS_MNEMONIC_PUSHFD, bind_fixed<pushf<u32>>},
    {ZYDIS_MNEMONIC_POPF, bind_fixed<popf<u16>>, true},
    {ZYDIS_MNEMONIC_POPFD, bind_fixed<popf<u32>>, true},
    {ZYDIS_MNEMONIC_INT, bind_int, true},
    {ZYDIS_MNEMONIC_INT1, bind_fixed<int1>, true},
    {ZYDIS_MNEMONIC_INT3, bind_fixed<int3>, true},
    {ZYDIS_MNEMONIC_INTO, bind_fixed<into>, true},
    {ZYDIS_MNEMONIC_IRET, bind_fixed<iret<2>>, true},
    {ZYDIS_MNEMONIC_IRETD, bind_fixed<iret<4>>, true},
    {ZYDIS_MNEMONIC_SYSENTER, bind_fixed<sysenter>, true},
    {ZYDIS_MNEMONIC_SYSEXIT, bind_fixed<sysexit>, true},
    {ZYDIS_MNEMONIC_HLT, bind_fixed<hlt>, true},
    {ZYDIS_MNEMONIC_CPUID, bind_fixed<cpuid_handler>},
    {ZYDIS_MNEMONIC_RDTSC, bind_fixed<rdtsc>},
    {ZYDIS_MNEMONIC_RDPMC, bind_fixed<rdpmc>, true},
    {ZYDIS_MNEMONIC_BOUND, bind_bound},

    {ZYDIS_MNEMONIC_MOV, bind_mov_straight},
    {ZYDIS_MNEMONIC_MOV, bind_mov_ending, true},
    {ZYDIS_MNEMONIC_PUSH, bind_push_segment},
    {ZYDIS_MNEMONIC_POP, bind_pop_segment},
    {ZYDIS_MNEMONIC_POP, bind_pop_ss, true},
    {ZYDIS_MNEMONIC_LDS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LES, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LFS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LGS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LSS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_ARPL, bind_arpl},
    {ZYDIS_MNEMONIC_LAR, bind_reg_rm<lar>},
    {ZYDIS_MNEMONIC_LSL, bind_reg_rm<lsl>},
    {ZYDIS_MNEMONIC_VERR, bind_rm<verr>},
    {ZYDIS_MNEMONIC_VERW, bind_rm<verw>},
    {ZYDIS_MNEMONIC_LLDT, bind_rm<lldt>},
    {ZYDIS_MNEMONIC_LTR, bind_rm<ltr>},
    {ZYDIS_MNEMONIC_SLDT, bind_rm<sldt>},
    {ZYDIS_MNEMONIC_STR, bind_rm<str>},

    {ZYDIS_MNEMONIC_LGDT, bind_rm<lgdt>},
    {ZYDIS_MNEMONIC_LIDT, bind_rm<lidt>},
    {ZYDIS_MNEMONIC_SGDT, bind_rm<sgdt>},
    {ZYDIS_MNEMONIC_SIDT, bind_rm<sidt>},
    {ZYDIS_MNEMONIC_LMSW, bind_rm<lmsw>, true},
    {ZYDIS_MNEMONIC_SMSW, bind_rm<smsw>},
    {ZYDIS_MNEMONIC_CLTS, bind_fixed<clts>, true},
    {ZYDIS_MNEMONIC_INVLPG, bind_rm<invlpg>, true},
    {ZYDIS_MNEMONIC_INVD, bind_fixed<invalidate_caches>},
    {ZYDIS_MNEMONIC_WBINVD, bind_fixed<invalidate_caches>},
    {ZYDIS_MNEMONIC_RDMSR, bind_fixed<rdmsr>},
    {ZYDIS_MNEMONIC_WRMSR, bind_fixed<wrmsr>},

    {ZYDIS_MNEMONIC_IN, bind_in, true},
    {ZYDIS_MNEMONIC_OUT, bind_out, true},
    {ZYDIS_MNEMONIC_INSB, bind_ins, true},
    {ZYDIS_MNEMONIC_INSW, bind_ins, true},
    {ZYDIS_MNEMONIC_INSD, bind_ins, true},
    {ZYDIS_MNEMONIC_OUTSB, bind_outs, true},
    {ZYDIS_MNEMONIC_OUTSW, bind_outs, true},
    {ZYDIS_MNEMONIC_OUTSD, bind_outs, true},
};

}  // namespace

std::span<const Binding> system_bindings() {
  return kBindings;
}

}  // namespace snowglobe::vm
