// vm/cpu/ops_system_segments.cc - instructions about segment registers and descriptors.
#include "vm/cpu/descriptor.h"
#include "vm/cpu/ops_system.h"

namespace snowglobe::vm {
namespace {

bool is_segment_register(const Decoded& decoded, unsigned i) {
  return decoded.is_register(i) &&
         ZydisRegisterGetClass(decoded.operand(i).reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

// --- MOV, PUSH, POP, LDS and its kin
// -------------------------------------------------------------------

// To a register with 32 bits the selector goes zero-extended, to memory always 16 bits wide.
const Insn* mov_from_segment(Cpu& cpu, const Insn* insn) {
  const u16 selector = cpu.state.segment[insn->reg].selector;
  if ((insn->extra & kExtraMemory) != 0)
    return cpu.store(insn, selector) ? next(cpu, insn) : nullptr;
  write_register(cpu, insn->rm, selector, (insn->extra & kExtraWide) != 0);
  return next(cpu, insn);
}

bool load_segment_from_rm(Cpu& cpu, const Insn* insn) {
  u16 selector;
  if (!load_rm16(cpu, insn, selector)) return false;
  if (cpu.load_segment(insn->reg, selector)) return true;
  fault_at(cpu, insn);
  return false;
}

const Insn* mov_to_segment(Cpu& cpu, const Insn* insn) {
  return load_segment_from_rm(cpu, insn) ? next(cpu, insn) : nullptr;
}

// The next instruction sets ESP: no interrupt in between (Intel SDM Vol. 3A, 6.8.3).
const Insn* mov_to_ss(Cpu& cpu, const Insn* insn) {
  if (!load_segment_from_rm(cpu, insn)) return nullptr;
  cpu.state.interrupt_shadow = true;
  return cpu.end_block(insn);
}

// The selector is pushed zero-extended. (Recent processors of Intel write only 16 bits of the
// 32-bit slot; Intel SDM Vol. 2B, PUSH, allows both.)
template <class T>
const Insn* push_segment(Cpu& cpu, const Insn* insn) {
  const T selector = cpu.state.segment[insn->reg].selector;
  return cpu.push(insn, selector) ? next(cpu, insn) : nullptr;
}

template <class T>
bool load_segment_from_stack(Cpu& cpu, const Insn* insn) {
  T value;
  if (!cpu.load(insn, kSs, cpu.state.gpr[kEsp], value)) return false;
  if (!cpu.load_segment(insn->reg, static_cast<u16>(value))) {
    fault_at(cpu, insn);
    return false;
  }
  cpu.state.gpr[kEsp] += static_cast<u32>(sizeof(T));
  return true;
}

template <class T>
const Insn* pop_segment(Cpu& cpu, const Insn* insn) {
  return load_segment_from_stack<T>(cpu, insn) ? next(cpu, insn) : nullptr;
}

template <class T>
const Insn* pop_ss(Cpu& cpu, const Insn* insn) {
  if (!load_segment_from_stack<T>(cpu, insn)) return nullptr;
  cpu.state.interrupt_shadow = true;
  return cpu.end_block(insn);
}

// LSS needs no interrupt shadow: it sets ESP, too.
template <class T>
const Insn* load_far_pointer(Cpu& cpu, const Insn* insn) {
  const u32 address = cpu.effective_address(insn);
  T offset;
  u16 selector;
  if (!cpu.load(insn, insn->segment, address, offset) ||
      !cpu.load(insn, insn->segment, address + static_cast<u32>(sizeof(T)), selector)) {
    return nullptr;
  }
  if (!cpu.load_segment(insn->rm, selector)) return fault_at(cpu, insn);
  write_register(cpu, insn->reg, offset, sizeof(T) == 4);
  return next(cpu, insn);
}

// --- looking at descriptors
// ----------------------------------------------------------------------------

void set_zf(Cpu& cpu, bool value) {
  cpu.state.flags.set_masked(value ? kFlagZf : 0u, kFlagZf);
}

enum class Look : u8 { kFound, kNothing, kFault };

// Reads the descriptor of a selector that may be anything.
Look look_up(Cpu& cpu, const Insn* insn, u16 selector, Descriptor& descriptor) {
  if (is_null(selector)) return Look::kNothing;
  const auto address = descriptor_address(cpu, selector);
  if (!address) return Look::kNothing;
  u64 raw;
  if (!cpu.load_system(*address, raw)) {
    fault_at(cpu, insn);
    return Look::kFault;
  }
  descriptor = {*address, static_cast<u32>(raw), static_cast<u32>(raw >> 32)};
  return Look::kFound;
}

// CPL and the selector's RPL may see the descriptor. Conforming code is open to all.
bool visible(const Cpu& cpu, u16 selector, const Descriptor& descriptor) {
  if (descriptor.is_conforming_code()) return true;
  return cpu.state.cpl <= descriptor.dpl() && (selector & kSelectorRpl) <= descriptor.dpl();
}

// Intel SDM Vol. 2A, LAR: system types with access rights to show.
bool has_access_rights(const Descriptor& descriptor) {
  constexpr u32 kTypes =
      1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 9 | 1u << 11 | 1u << 12;
  return descriptor.is_segment() || (kTypes >> (descriptor.high >> 8 & 0xF) & 1) != 0;
}

// Intel SDM Vol. 2A, LSL: system types with a limit.
bool has_limit(const Descriptor& descriptor) {
  constexpr u32 kTypes = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 9 | 1u << 11;
  return descriptor.is_segment() || (kTypes >> (descriptor.high >> 8 & 0xF) & 1) != 0;
}

template <bool (*kHas)(const Descriptor&), u32 (*kValue)(const Descriptor&)>
const Insn* describe(Cpu& cpu, const Insn* insn) {
  u16 selector;
  if (!load_rm16(cpu, insn, selector)) return nullptr;
  Descriptor descriptor;
  const Look look = look_up(cpu, insn, selector, descriptor);
  if (look == Look::kFault) return nullptr;
  const bool good = look == Look::kFound && kHas(descriptor) && visible(cpu, selector, descriptor);
  set_zf(cpu, good);
  if (good) {
    write_register(cpu, insn->reg, kValue(descriptor), (insn->extra & kExtraWide) != 0);
  }
  return next(cpu, insn);
}

u32 access_rights(const Descriptor& descriptor) {
  return descriptor.high & 0x00FFFF00;
}
u32 limit(const Descriptor& descriptor) {
  return descriptor.segment(0).limit;
}

template <bool kWrite>
const Insn* verify(Cpu& cpu, const Insn* insn) {
  u16 selector;
  if (!load_rm16(cpu, insn, selector)) return nullptr;
  Descriptor descriptor;
  const Look look = look_up(cpu, insn, selector, descriptor);
  if (look == Look::kFault) return nullptr;
  set_zf(cpu, look == Look::kFound && descriptor.is_segment() &&
                  (kWrite ? descriptor.is_writable_data() : descriptor.is_readable()) &&
                  visible(cpu, selector, descriptor));
  return next(cpu, insn);
}

const Insn* arpl(Cpu& cpu, const Insn* insn) {
  const u16 floor = cpu.state.gpr[insn->reg] & kSelectorRpl;
  const bool in_memory = (insn->extra & kExtraMemory) != 0;
  u16 selector;
  if (in_memory) {
    if (!cpu.load(insn, selector)) return nullptr;
  } else {
    selector = static_cast<u16>(cpu.state.gpr[insn->rm]);
  }
  const bool raised = (selector & kSelectorRpl) < floor;
  // Only a selector that changes is written: without that, read-only memory will do.
  if (raised && in_memory &&
      !cpu.probe(insn, insn->segment, cpu.effective_address(insn), sizeof selector, true)) {
    return nullptr;
  }
  set_zf(cpu, raised);
  if (!raised) return next(cpu, insn);
  selector = static_cast<u16>((selector & ~kSelectorRpl) | floor);
  if (in_memory) {
    cpu.store_back(insn, insn->segment, cpu.effective_address(insn), selector);
  } else {
    write_register(cpu, insn->rm, selector, false);
  }
  return next(cpu, insn);
}

// --- LDTR and TR
// ---------------------------------------------------------------------------------------

const Insn* store_selector(Cpu& cpu, const Insn* insn, u16 selector) {
  if ((insn->extra & kExtraMemory) != 0)
    return cpu.store(insn, selector) ? next(cpu, insn) : nullptr;
  write_register(cpu, insn->rm, selector, (insn->extra & kExtraWide) != 0);
  return next(cpu, insn);
}

}  // namespace

const Insn* lar(Cpu& cpu, const Insn* insn) {
  return describe<has_access_rights, access_rights>(cpu, insn);
}
const Insn* lsl(Cpu& cpu, const Insn* insn) {
  return describe<has_limit, limit>(cpu, insn);
}
const Insn* verr(Cpu& cpu, const Insn* insn) {
  return verify<false>(cpu, insn);
}
const Insn* verw(Cpu& cpu, const Insn* insn) {
  return verify<true>(cpu, insn);
}

const Insn* lldt(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  u16 selector;
  if (!load_rm16(cpu, insn, selector)) return nullptr;
  if (is_null(selector)) {
    cpu.state.ldtr = Segment{.selector = selector};
    return next(cpu, insn);
  }
  const u32 error = selector_error(selector);
  if ((selector & kSelectorLdt) != 0) return cpu.raise(insn, Vector::kGeneralProtection, error);
  const auto descriptor = fetch_descriptor(cpu, selector, Vector::kGeneralProtection);
  if (!descriptor) return fault_at(cpu, insn);
  if (!descriptor->is(SystemType::kLdt)) {
    return cpu.raise(insn, Vector::kGeneralProtection, error);
  }
  if (!descriptor->present()) return cpu.raise(insn, Vector::kSegmentNotPresent, error);
  cpu.state.ldtr = descriptor->segment(selector);
  return next(cpu, insn);
}

// Only 32-bit task-state segments are granted.
const Insn* ltr(Cpu& cpu, const Insn* insn) {
  if (!require_ring0(cpu, insn)) return nullptr;
  u16 selector;
  if (!load_rm16(cpu, insn, selector)) return nullptr;
  if (is_null(selector)) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  const u32 error = selector_error(selector);
  if ((selector & kSelectorLdt) != 0) return cpu.raise(insn, Vector::kGeneralProtection, error);
  auto descriptor = fetch_descriptor(cpu, selector, Vector::kGeneralProtection);
  if (!descriptor) return fault_at(cpu, insn);
  if (!descriptor->is(SystemType::kTss32Available)) {
    return cpu.raise(insn, Vector::kGeneralProtection, error);
  }
  if (!descriptor->present()) return cpu.raise(insn, Vector::kSegmentNotPresent, error);
  constexpr u32 kBusy = 1u << 9;
  descriptor->high |= kBusy;
  if (!cpu.store_system(descriptor->address + 4, descriptor->high)) return fault_at(cpu, insn);
  cpu.state.tr = descriptor->segment(selector);
  return next(cpu, insn);
}

const Insn* sldt(Cpu& cpu, const Insn* insn) {
  return store_selector(cpu, insn, cpu.state.ldtr.selector);
}

const Insn* str(Cpu& cpu, const Insn* insn) {
  return store_selector(cpu, insn, cpu.state.tr.selector);
}

// --- binders
// -------------------------------------------------------------------------------------------

namespace {

bool bind_mov_to(const Decoded& decoded, Insn& insn, Handler handler) {
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.extra = kExtraMemory;
  } else {
    insn.rm = decoded.register_number(1);
  }
  insn.handler = handler;
  return true;
}

}  // namespace

bool bind_mov_ss(const Decoded& decoded, Insn& insn) {
  if (!is_segment_register(decoded, 0) || decoded.register_number(0) != kSs) return false;
  return bind_mov_to(decoded, insn, mov_to_ss);
}

bool bind_mov_segment(const Decoded& decoded, Insn& insn) {
  if (is_segment_register(decoded, 0)) {
    const u8 segment = decoded.register_number(0);
    return segment != kCs && segment != kSs && bind_mov_to(decoded, insn, mov_to_segment);
  }
  if (!is_segment_register(decoded, 1)) return false;
  insn.reg = decoded.register_number(1);
  if (decoded.is_memory(0)) {
    insn.extra = kExtraMemory;
  } else {
    insn.rm = decoded.register_number(0);
    if (decoded.info.operand_width == 32) insn.extra = kExtraWide;
  }
  insn.handler = mov_from_segment;
  return true;
}

bool bind_push_segment(const Decoded& decoded, Insn& insn) {
  if (!is_segment_register(decoded, 0)) return false;
  insn.reg = decoded.register_number(0);
  insn.handler = decoded.info.operand_width == 32 ? push_segment<u32> : push_segment<u16>;
  return true;
}

bool bind_pop_segment(const Decoded& decoded, Insn& insn) {
  if (!is_segment_register(decoded, 0) || decoded.register_number(0) == kSs) return false;
  insn.reg = decoded.register_number(0);
  insn.handler = decoded.info.operand_width == 32 ? pop_segment<u32> : pop_segment<u16>;
  return true;
}

bool bind_pop_ss(const Decoded& decoded, Insn& insn) {
  if (!is_segment_register(decoded, 0) || decoded.register_number(0) != kSs) return false;
  insn.reg = kSs;
  insn.handler = decoded.info.operand_width == 32 ? pop_ss<u32> : pop_ss<u16>;
  return true;
}

bool bind_load_far_pointer(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  switch (decoded.info.mnemonic) {
    case ZYDIS_MNEMONIC_LDS:
      insn.rm = kDs;
      break;
    case ZYDIS_MNEMONIC_LES:
      insn.rm = kEs;
      break;
    case ZYDIS_MNEMONIC_LFS:
      insn.rm = kFs;
      break;
    case ZYDIS_MNEMONIC_LGS:
      insn.rm = kGs;
      break;
    default:
      insn.rm = kSs;
      break;
  }
  insn.handler = decoded.info.operand_width == 32 ? load_far_pointer<u32> : load_far_pointer<u16>;
  return true;
}

bool bind_arpl(const Decoded& decoded, Insn& insn) {
  if (decoded.is_memory(0)) {
    insn.extra = kExtraMemory;
  } else {
    insn.rm = decoded.register_number(0);
  }
  insn.reg = decoded.register_number(1);
  insn.handler = arpl;
  return true;
}

}  // namespace snowglobe::vm
