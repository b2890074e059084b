// vm/cpu/ops_system_control.cc - control, debug and model-specific registers, descriptor-table
// registers, and the TLB.
#include "vm/cpu/ops_system.h"

namespace snowglobe::vm {
namespace {

// --- control registers (Intel SDM Vol. 3A, 2.5; Vol. 2B, MOV to/from control registers)
// ----------------

// Changes of these change translations or rights that the TLBs remember.
constexpr u32 kCr0Translation = kCr0Pe | kCr0Wp | kCr0Pg;
constexpr u32 kCr4Translation = kCr4Pse | kCr4Pge;

// Leaving protected mode is not granted: real mode is not there.
bool is_valid_cr0(u32 old_value, u32 value) {
  if ((value & kCr0Pg) != 0 && (value & kCr0Pe) == 0) return false;
  if ((value & kCr0Nw) != 0 && (value & kCr0Cd) == 0) return false;
  return (old_value & kCr0Pe) == 0 || (value & kCr0Pe) != 0;
}

void write_cr0(Cpu& cpu, u32 value) {
  const u32 changed = cpu.state.cr0 ^ value;
  cpu.state.cr0 = value;
  if ((changed & kCr0Translation) != 0) cpu.flush_tlb();
  if ((changed & (kCr0Translation | kCr0Am)) != 0) cpu.mode_changed();
}

const Insn* mov_to_cr0(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  const u32 value = (cpu.state.gpr[insn->rm] & kCr0Known) | kCr0Et;
  if (!is_valid_cr0(cpu.state.cr0, value)) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  write_cr0(cpu, value);
  return cpu.end_block(insn);
}

const Insn* mov_to_cr2(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  cpu.state.cr2 = cpu.state.gpr[insn->rm];
  return cpu.end_block(insn);
}

const Insn* mov_to_cr3(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  cpu.state.cr3 = cpu.state.gpr[insn->rm];
  cpu.flush_tlb();
  return cpu.end_block(insn);
}

const Insn* mov_to_cr4(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  const u32 value = cpu.state.gpr[insn->rm];
  if ((value & ~kCr4Known) != 0) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  const u32 changed = cpu.state.cr4 ^ value;
  cpu.state.cr4 = value;
  if ((changed & kCr4Translation) != 0) cpu.flush_tlb();
  return cpu.end_block(insn);
}

template <u32 CpuState::*kRegister>
const Insn* mov_from_cr(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  cpu.state.gpr[insn->reg] = cpu.state.*kRegister;
  return next(cpu, insn);
}

// --- debug registers (Intel SDM Vol. 3B, 17.2)
// -----------------------------------------------------------

constexpr u32 kDr7GeneralDetect = 1u << 13;
constexpr u32 kDr6AccessDetected = 1u << 13;

// CR4.DE is not granted, so DR4 and DR5 are names of DR6 and DR7.
u8 debug_register(u8 number) {
  return number == 4 || number == 5 ? number + 2 : number;
}

bool may_touch_debug_registers(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return false;
  if ((cpu.state.dr[7] & kDr7GeneralDetect) == 0) return true;
  cpu.state.dr[6] |= kDr6AccessDetected;
  cpu.state.dr[7] &= ~kDr7GeneralDetect;
  cpu.raise(insn, Vector::kDebug);
  return false;
}

const Insn* mov_from_dr(Cpu& cpu, const Insn* insn) {
  if (!may_touch_debug_registers(cpu, insn)) return nullptr;
  cpu.state.gpr[insn->reg] = cpu.state.dr[insn->rm];
  return next(cpu, insn);
}

const Insn* mov_to_dr(Cpu& cpu, const Insn* insn) {
  if (!may_touch_debug_registers(cpu, insn)) return nullptr;
  u32 value = cpu.state.gpr[insn->rm];
  if (insn->reg == 6) value = (value & kDr6Writable) | kDr6Ones;
  if (insn->reg == 7) value = (value & kDr7Writable) | kDr7Ones;
  cpu.state.dr[insn->reg] = value;
  cpu.mode_changed();
  return cpu.end_block(insn);
}

// --- model-specific registers
// ---------------------------------------------------------------------------

// Intel SDM Vol. 4, table 2-2. All that are not here raise #GP. Besides the granted ones these are
// what Linux touches on any processor of this family without being ready for a fault.
enum ModelSpecificRegister : u32 {
  kMsrTsc = 0x10,
  kMsrPlatformId = 0x17,
  kMsrMicrocodeRevision = 0x8B,
  kMsrSysenterCs = 0x174,
  kMsrSysenterEsp = 0x175,
  kMsrSysenterEip = 0x176,
  kMsrMiscEnable = 0x1A0,
};
constexpr u64 kFastStrings = 1;

std::optional<u64> read_msr(Cpu& cpu, u32 index) {
  switch (index) {
    case kMsrTsc:
      return cpu.read_tsc();
    case kMsrPlatformId:
    case kMsrMicrocodeRevision:
      return 0;
    case kMsrSysenterCs:
      return cpu.state.sysenter_cs;
    case kMsrSysenterEsp:
      return cpu.state.sysenter_esp;
    case kMsrSysenterEip:
      return cpu.state.sysenter_eip;
    case kMsrMiscEnable:
      return kFastStrings;
    default:
      return std::nullopt;
  }
}

bool write_msr(Cpu& cpu, u32 index, u64 value) {
  switch (index) {
    case kMsrTsc:
      cpu.state.tsc_offset += value - cpu.read_tsc();
      return true;
    case kMsrMicrocodeRevision:  // written with 0 ahead of CPUID, to ask for the revision
    case kMsrMiscEnable:
      return true;
    case kMsrSysenterCs:
      cpu.state.sysenter_cs = static_cast<u32>(value);
      return true;
    case kMsrSysenterEsp:
      cpu.state.sysenter_esp = static_cast<u32>(value);
      return true;
    case kMsrSysenterEip:
      cpu.state.sysenter_eip = static_cast<u32>(value);
      return true;
    default:
      return false;
  }
}

// --- LGDT, LIDT, SGDT, SIDT
// -----------------------------------------------------------------------------

// With 16-bit operands the base has 24 bits (Intel SDM Vol. 2A, LGDT/LIDT).
const Insn* load_table(Cpu& cpu, const Insn* insn, DescriptorTable& table) {
  if (!require_ring0(cpu, insn)) return nullptr;
  const u32 address = cpu.effective_address(insn);
  u16 limit;
  u32 base;
  if (!cpu.load(insn, insn->segment, address, limit) ||
      !cpu.load(insn, insn->segment, address + 2, base)) {
    return nullptr;
  }
  table = {(insn->extra & kExtraWide) != 0 ? base : base & 0x00FFFFFF, limit};
  return next(cpu, insn);
}

// All 32 bits of the base are stored whatever the operand size, as processors since the 386 do.
const Insn* store_table(Cpu& cpu, const Insn* insn, const DescriptorTable& table) {
  u8 bytes[6];
  base::store_le(bytes, table.limit);
  base::store_le(bytes + 2, table.base);
  const u32 address = cpu.effective_address(insn);
  return cpu.store_bytes(insn, insn->segment, address, bytes) ? next(cpu, insn) : nullptr;
}

}  // namespace

const Insn* lgdt(Cpu& cpu, const Insn* insn) {
  return load_table(cpu, insn, cpu.state.gdtr);
}
const Insn* lidt(Cpu& cpu, const Insn* insn) {
  return load_table(cpu, insn, cpu.state.idtr);
}
const Insn* sgdt(Cpu& cpu, const Insn* insn) {
  return store_table(cpu, insn, cpu.state.gdtr);
}
const Insn* sidt(Cpu& cpu, const Insn* insn) {
  return store_table(cpu, insn, cpu.state.idtr);
}

// LMSW writes PE, MP, EM and TS, but can not clear PE (Intel SDM Vol. 2A, LMSW).
const Insn* lmsw(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  u16 value;
  if (!load_rm16(cpu, insn, value)) return nullptr;
  constexpr u32 kWritable = kCr0Mp | kCr0Em | kCr0Ts;
  write_cr0(cpu, (cpu.state.cr0 & ~kWritable) | (value & (kWritable | kCr0Pe)));
  return cpu.end_block(insn);
}

const Insn* smsw(Cpu& cpu, const Insn* insn) {
  const u32 cr0 = cpu.state.cr0;
  if ((insn->extra & kExtraMemory) != 0) {
    return cpu.store(insn, static_cast<u16>(cr0)) ? next(cpu, insn) : nullptr;
  }
  write_register(cpu, insn->rm, cr0, (insn->extra & kExtraWide) != 0);
  return next(cpu, insn);
}

const Insn* clts(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  cpu.state.cr0 &= ~u32{kCr0Ts};
  return cpu.end_block(insn);
}

const Insn* invlpg(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  cpu.flush_tlb_page(cpu.effective_address(insn) + cpu.state.segment[insn->segment].base);
  return cpu.end_block(insn);
}

// INVD and WBINVD: memory is always coherent here.
const Insn* invalidate_caches(Cpu& cpu, const Insn* insn) {
  return require_ring0(cpu, insn) ? next(cpu, insn) : nullptr;
}

const Insn* rdmsr(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  const auto value = read_msr(cpu, cpu.state.gpr[kEcx]);
  if (!value) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  cpu.state.gpr[kEax] = static_cast<u32>(*value);
  cpu.state.gpr[kEdx] = static_cast<u32>(*value >> 32);
  return next(cpu, insn);
}

const Insn* wrmsr(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  const u64 value = u64{cpu.state.gpr[kEdx]} << 32 | cpu.state.gpr[kEax];
  if (!write_msr(cpu, cpu.state.gpr[kEcx], value)) {
    return cpu.raise(insn, Vector::kGeneralProtection, 0);
  }
  return next(cpu, insn);
}

// --- binders
// ----------------------------------------------------------------------------------------------

namespace {

ZydisRegisterClass register_class(const Decoded& decoded, unsigned i) {
  if (!decoded.is_register(i)) return ZYDIS_REGCLASS_INVALID;
  return ZydisRegisterGetClass(decoded.operand(i).reg.value);
}

// `by_number` has a handler for CR0, CR2, CR3 and CR4 at their numbers.
bool bind_control(u8 number, const Handler (&by_number)[5], Insn& insn) {
  if (number >= 5 || by_number[number] == nullptr) return false;
  insn.handler = by_number[number];
  return true;
}

}  // namespace

bool bind_mov_from_control(const Decoded& decoded, Insn& insn) {
  static constexpr Handler kFromCr[5] = {mov_from_cr<&CpuState::cr0>, nullptr,
                                         mov_from_cr<&CpuState::cr2>, mov_from_cr<&CpuState::cr3>,
                                         mov_from_cr<&CpuState::cr4>};
  const ZydisRegisterClass source = register_class(decoded, 1);
  if (source != ZYDIS_REGCLASS_CONTROL && source != ZYDIS_REGCLASS_DEBUG) return false;
  insn.reg = decoded.register_number(0);
  const u8 number = decoded.register_number(1);
  if (source == ZYDIS_REGCLASS_CONTROL) return bind_control(number, kFromCr, insn);
  insn.rm = debug_register(number);
  insn.handler = mov_from_dr;
  return insn.rm < 8;
}

bool bind_mov_to_control(const Decoded& decoded, Insn& insn) {
  static constexpr Handler kToCr[5] = {mov_to_cr0, nullptr, mov_to_cr2, mov_to_cr3, mov_to_cr4};
  const ZydisRegisterClass destination = register_class(decoded, 0);
  if (destination != ZYDIS_REGCLASS_CONTROL && destination != ZYDIS_REGCLASS_DEBUG) return false;
  insn.rm = decoded.register_number(1);
  const u8 number = decoded.register_number(0);
  if (destination == ZYDIS_REGCLASS_CONTROL) return bind_control(number, kToCr, insn);
  insn.reg = debug_register(number);
  insn.handler = mov_to_dr;
  return insn.reg < 8;
}

}  // namespace snowglobe::vm
