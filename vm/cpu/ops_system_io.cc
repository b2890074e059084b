// vm/cpu/ops_system_io.cc - IN, OUT, INS and OUTS, and the rights to ports.
#include "vm/cpu/descriptor.h"
#include "vm/cpu/ops_system.h"

namespace snowglobe::vm {
namespace {

// Intel SDM Vol. 1, 18.5.2: the I/O permission bitmap of a 32-bit TSS. Two bytes are always read,
// so that the bits of a doubleword's ports can straddle a byte; the TSS ends with a byte of ones
// for that.
bool bitmap_allows(Cpu& cpu, const Insn* insn, u16 port, u32 size) {
  constexpr u32 kBitmapOffsetAt = 0x66;
  const Segment& tss = cpu.state.tr;
  bool allowed = false;
  u16 bitmap_offset;
  if (tss.limit > kBitmapOffsetAt) {
    if (!cpu.load_system(tss.base + kBitmapOffsetAt, bitmap_offset)) {
      fault_at(cpu, insn);
      return false;
    }
    const u32 at = bitmap_offset + port / 8u;
    u16 bits = 0xFFFF;
    if (at + 1 <= tss.limit && !cpu.load_system(tss.base + at, bits)) {
      fault_at(cpu, insn);
      return false;
    }
    allowed = (bits >> (port & 7) & ((1u << size) - 1)) == 0;
  }
  if (!allowed) cpu.raise(insn, Vector::kGeneralProtection, 0);
  return allowed;
}

bool require_port(Cpu& cpu, const Insn* insn, u16 port, u32 size) {
  return cpu.state.cpl <= iopl(cpu) || bitmap_allows(cpu, insn, port, size);
}

template <bool kImmediatePort>
u16 port_of(const Cpu& cpu, const Insn* insn) {
  return static_cast<u16>(kImmediatePort ? insn->imm : cpu.state.gpr[kEdx]);
}

// A port access ends the block: the device may have raised an interrupt or asked for attention.
template <bool kImmediatePort>
const Insn* in(Cpu& cpu, const Insn* insn) {
  const u16 port = port_of<kImmediatePort>(cpu, insn);
  const u32 size = insn->extra & kExtraSizeMask;
  if (!require_port(cpu, insn, port, size)) return nullptr;
  const u32 value = cpu.ports().in(port, size);
  u32& eax = cpu.state.gpr[kEax];
  const u32 mask = size == 4 ? ~0u : (1u << (8 * size)) - 1;
  eax = (eax & ~mask) | (value & mask);
  return cpu.end_block(insn);
}

template <bool kImmediatePort>
const Insn* out(Cpu& cpu, const Insn* insn) {
  const u16 port = port_of<kImmediatePort>(cpu, insn);
  const u32 size = insn->extra & kExtraSizeMask;
  if (!require_port(cpu, insn, port, size)) return nullptr;
  const u32 mask = size == 4 ? ~0u : (1u << (8 * size)) - 1;
  cpu.ports().out(port, size, cpu.state.gpr[kEax] & mask);
  return cpu.end_block(insn);
}

// --- INS and OUTS
// ---------------------------------------------------------------------------------------

u32 index_value(const Cpu& cpu, const Insn* insn, Gpr reg) {
  const u32 value = cpu.state.gpr[reg];
  return (insn->extra & kExtraAddress16) != 0 ? value & 0xFFFF : value;
}

void advance(Cpu& cpu, const Insn* insn, Gpr reg, u32 by) {
  u32& value = cpu.state.gpr[reg];
  value = (insn->extra & kExtraAddress16) != 0 ? (value & 0xFFFF0000) | ((value + by) & 0xFFFF)
                                               : value + by;
}

bool ins_once(Cpu& cpu, const Insn* insn, u32 size) {
  const u32 offset = index_value(cpu, insn, kEdi);
  // The port is read only when the value can be stored: a read may have effects.
  if (!cpu.probe(insn, kEs, offset, size, true)) return false;
  const u32 value = cpu.ports().in(static_cast<u16>(cpu.state.gpr[kEdx]), size);
  switch (size) {
    case 1:
      cpu.store_back(insn, kEs, offset, static_cast<u8>(value));
      break;
    case 2:
      cpu.store_back(insn, kEs, offset, static_cast<u16>(value));
      break;
    default:
      cpu.store_back(insn, kEs, offset, value);
      break;
  }
  return true;
}

template <class T>
bool outs_element(Cpu& cpu, const Insn* insn) {
  T value;
  if (!cpu.load(insn, insn->segment, index_value(cpu, insn, kEsi), value)) return false;
  cpu.ports().out(static_cast<u16>(cpu.state.gpr[kEdx]), sizeof(T), value);
  return true;
}

bool outs_once(Cpu& cpu, const Insn* insn, u32 size) {
  if (size == 1) return outs_element<u8>(cpu, insn);
  return size == 2 ? outs_element<u16>(cpu, insn) : outs_element<u32>(cpu, insn);
}

// Restartable: after a fault the registers tell how far it came. Between two items of a repetition
// interrupts and requests for attention get their turn.
template <bool (*kOnce)(Cpu&, const Insn*, u32), Gpr kIndex>
const Insn* string_io(Cpu& cpu, const Insn* insn) {
  const u32 size = insn->extra & kExtraSizeMask;
  const bool repeat = (insn->extra & kExtraRepeat) != 0;
  if (!require_port(cpu, insn, static_cast<u16>(cpu.state.gpr[kEdx]), size)) return nullptr;
  if (repeat && index_value(cpu, insn, kEcx) == 0) return cpu.end_block(insn);
  const u32 step = (cpu.state.eflags & kFlagDf) != 0 ? 0 - size : size;
  while (true) {
    if (!kOnce(cpu, insn, size)) return nullptr;
    advance(cpu, insn, kIndex, step);
    if (!repeat) return cpu.end_block(insn);
    advance(cpu, insn, kEcx, ~0u);
    if (index_value(cpu, insn, kEcx) == 0) return cpu.end_block(insn);
    const bool interrupted =
        cpu.interrupt_line() && (cpu.state.eflags & kFlagIf) != 0 && !cpu.state.interrupt_shadow;
    if (interrupted || cpu.attention_requested() || cpu.slow_mode()) return cpu.restart(insn);
  }
}

template <Handler kHandler>
bool bind_string_io(const Decoded& decoded, Insn& insn) {
  insn.handler = kHandler;
  insn.extra = static_cast<u8>(decoded.info.operand_width / 8);
  if (decoded.info.address_width == 16) insn.extra |= kExtraAddress16;
  for (unsigned i = 0; i < decoded.info.raw.prefix_count; ++i) {
    const u8 prefix = decoded.info.raw.prefixes[i].value;
    if (prefix == 0xF2 || prefix == 0xF3) insn.extra |= kExtraRepeat;  // REPNE acts as REP here
  }
  return true;
}

}  // namespace

bool bind_in(const Decoded& decoded, Insn& insn) {
  insn.extra = static_cast<u8>(decoded.size(0));
  insn.handler = decoded.is_immediate(1) ? in<true> : in<false>;
  if (decoded.is_immediate(1)) insn.imm = decoded.immediate(1);
  return true;
}

bool bind_out(const Decoded& decoded, Insn& insn) {
  insn.extra = static_cast<u8>(decoded.size(1));
  insn.handler = decoded.is_immediate(0) ? out<true> : out<false>;
  if (decoded.is_immediate(0)) insn.imm = decoded.immediate(0);
  return true;
}

bool bind_ins(const Decoded& decoded, Insn& insn) {
  return bind_string_io<string_io<ins_once, kEdi>>(decoded, insn);
}

bool bind_outs(const Decoded& decoded, Insn& insn) {
  insn.segment = decoded.segment_override();
  return bind_string_io<string_io<outs_once, kEsi>>(decoded, insn);
}

}  // namespace snowglobe::vm
