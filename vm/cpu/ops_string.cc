// vm/cpu/ops_string.cc - MOVS, CMPS, SCAS, LODS, STOS, alone and repeated.
//
// Registers are brought up to date after each element or run of elements, so that a fault in the
// middle leaves ESI, EDI and ECX exact and the instruction restarts where it stopped. Runs inside
// one page go over host pointers; after kSlice bytes the instruction lets interrupts in.
#include "vm/cpu/ops.h"

#include <algorithm>

namespace snowglobe::vm {
namespace {

constexpr u32 kSlice = 64 * 1024;

enum Extra : u8 { kRepeat = 1, kRepeatNotEqual = 2, kAddress16 = 4 };

u32 address_mask(const Insn* insn) {
  return (insn->extra & kAddress16) != 0 ? 0xFFFFu : ~0u;
}

u32 index_register(const Cpu& cpu, const Insn* insn, Gpr reg) {
  return cpu.state.gpr[reg] & address_mask(insn);
}

// Adds to ESI, EDI or ECX; with 16-bit addressing only the low half changes.
void advance(Cpu& cpu, const Insn* insn, Gpr reg, u32 by) {
  const u32 mask = address_mask(insn);
  u32& value = cpu.state.gpr[reg];
  value = (value & ~mask) | ((value + by) & mask);
}

template <class T>
u32 step(const Cpu& cpu) {
  constexpr u32 kSize = sizeof(T);
  return (cpu.state.eflags & kFlagDf) != 0 ? 0u - kSize : kSize;
}

// Elements of T from `offset` of a segment to the end of the page.
template <class T>
u32 elements_in_page(const Cpu& cpu, u8 segment, u32 offset) {
  const u32 linear = offset + cpu.state.segment[segment].base;
  return (kPageSize - (linear & kPageMask)) / static_cast<u32>(sizeof(T));
}

bool runs_allowed(const Cpu& cpu, const Insn* insn) {
  return (cpu.state.eflags & kFlagDf) == 0 && (insn->extra & kAddress16) == 0;
}

template <class T>
bool movs_element(Cpu& cpu, const Insn* insn) {
  T value;
  if (!cpu.load(insn, insn->segment, index_register(cpu, insn, kEsi), value)) return false;
  if (!cpu.store(insn, kEs, index_register(cpu, insn, kEdi), value)) return false;
  advance(cpu, insn, kEsi, step<T>(cpu));
  advance(cpu, insn, kEdi, step<T>(cpu));
  return true;
}

// As many elements as lie in the pages at hand; 0 when a page is not at hand.
template <class T>
u32 movs_run(Cpu& cpu, const Insn* insn, u32 limit) {
  const u32 esi = cpu.state.gpr[kEsi];
  const u32 edi = cpu.state.gpr[kEdi];
  const u8* from = cpu.cached_for_read(insn->segment, esi);
  u8* to = cpu.cached_for_write(kEs, edi);
  if (from == nullptr || to == nullptr) return 0;
  const u32 count = std::min(
      {limit, elements_in_page<T>(cpu, insn->segment, esi), elements_in_page<T>(cpu, kEs, edi)});
  const u32 bytes = count * static_cast<u32>(sizeof(T));
  if (to > from && to < from + bytes) {
    // A destination just behind the source repeats a pattern: element by element, as the guest
    // expects.
    for (u32 i = 0; i < count; ++i)
      std::memcpy(to + i * sizeof(T), from + i * sizeof(T), sizeof(T));
  } else {
    std::memmove(to, from, bytes);
  }
  cpu.state.gpr[kEsi] += bytes;
  cpu.state.gpr[kEdi] += bytes;
  return count;
}

template <class T>
bool stos_element(Cpu& cpu, const Insn* insn) {
  if (!cpu.store(insn, kEs, index_register(cpu, insn, kEdi), read_slot<T>(cpu, 0))) return false;
  advance(cpu, insn, kEdi, step<T>(cpu));
  return true;
}

template <class T>
u32 stos_run(Cpu& cpu, const Insn*, u32 limit) {
  const u32 edi = cpu.state.gpr[kEdi];
  u8* to = cpu.cached_for_write(kEs, edi);
  if (to == nullptr) return 0;
  const u32 count = std::min(limit, elements_in_page<T>(cpu, kEs, edi));
  const T value = read_slot<T>(cpu, 0);
  if (value == 0 || sizeof(T) == 1) {
    std::memset(to, value & 0xFF, count * sizeof(T));
  } else {
    for (u32 i = 0; i < count; ++i)
      base::store_le(to + i * sizeof(T), value);
  }
  cpu.state.gpr[kEdi] += count * static_cast<u32>(sizeof(T));
  return count;
}

template <class T>
bool lods_element(Cpu& cpu, const Insn* insn) {
  T value;
  if (!cpu.load(insn, insn->segment, index_register(cpu, insn, kEsi), value)) return false;
  write_slot(cpu, 0, value);
  advance(cpu, insn, kEsi, step<T>(cpu));
  return true;
}

template <class T>
bool cmps_element(Cpu& cpu, const Insn* insn) {
  T first;
  T second;
  if (!cpu.load(insn, insn->segment, index_register(cpu, insn, kEsi), first)) return false;
  if (!cpu.load(insn, kEs, index_register(cpu, insn, kEdi), second)) return false;
  set_flags_sub(cpu, first, second, static_cast<T>(first - second));
  advance(cpu, insn, kEsi, step<T>(cpu));
  advance(cpu, insn, kEdi, step<T>(cpu));
  return true;
}

template <class T>
bool scas_element(Cpu& cpu, const Insn* insn) {
  const T accumulator = read_slot<T>(cpu, 0);
  T value;
  if (!cpu.load(insn, kEs, index_register(cpu, insn, kEdi), value)) return false;
  set_flags_sub(cpu, accumulator, value, static_cast<T>(accumulator - value));
  advance(cpu, insn, kEdi, step<T>(cpu));
  return true;
}

using Element = bool (*)(Cpu&, const Insn*);
using Run = u32 (*)(Cpu&, const Insn*, u32);

template <Element kElement>
const Insn* once(Cpu& cpu, const Insn* insn) {
  return kElement(cpu, insn) ? next(cpu, insn) : nullptr;
}

// With TF set processors trap behind each element: then the instruction is left after one, and run
// again. QEMU's test-i386 checks it.
u32 elements_at_once(const Cpu& cpu, u32 size) {
  return (cpu.state.eflags & kFlagTf) != 0 ? 1 : kSlice / size;
}

// REP MOVS, STOS, LODS. kRun may be null.
template <Element kElement, Run kRun, u32 kSize>
const Insn* repeat(Cpu& cpu, const Insn* insn) {
  u32 left_in_slice = elements_at_once(cpu, kSize);
  u32 count;
  while ((count = index_register(cpu, insn, kEcx)) != 0) {
    if (left_in_slice == 0) return cpu.restart(insn);
    u32 done = 0;
    if constexpr (kRun != nullptr) {
      if (runs_allowed(cpu, insn)) done = kRun(cpu, insn, std::min(count, left_in_slice));
    }
    if (done == 0) {
      if (!kElement(cpu, insn)) return nullptr;
      done = 1;
    }
    advance(cpu, insn, kEcx, 0u - done);
    left_in_slice -= done;
  }
  return next(cpu, insn);
}

// REPE/REPNE CMPS, SCAS: ends when ZF differs from what the prefix asks for.
template <Element kElement, u32 kSize>
const Insn* repeat_while(Cpu& cpu, const Insn* insn) {
  const bool wanted_zf = (insn->extra & kRepeat) != 0;
  u32 left_in_slice = elements_at_once(cpu, kSize);
  while (index_register(cpu, insn, kEcx) != 0) {
    if (left_in_slice-- == 0) return cpu.restart(insn);
    if (!kElement(cpu, insn)) return nullptr;
    advance(cpu, insn, kEcx, ~0u);
    if (cpu.state.flags.zf() != wanted_zf) break;
  }
  return next(cpu, insn);
}

// False for MOVSD and CMPSD of SSE2, which share their mnemonics with the string instructions.
bool bind_common(const Decoded& decoded, Insn& insn) {
  if (decoded.info.meta.category != ZYDIS_CATEGORY_STRINGOP) return false;
  const ZydisInstructionAttributes attributes = decoded.info.attributes;
  insn.segment = decoded.segment_override();
  insn.extra = 0;
  // F2 ahead of MOVS, STOS or LODS repeats as F3 does.
  if ((attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) != 0) insn.extra |= kRepeat;
  if ((attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0) insn.extra |= kRepeatNotEqual;
  if (decoded.info.address_width == 16) insn.extra |= kAddress16;
  return true;
}

template <Element kElement, Run kRun, u32 kSize>
bool bind_copy(const Decoded& decoded, Insn& insn) {
  if (!bind_common(decoded, insn)) return false;
  const bool repeated = (insn.extra & (kRepeat | kRepeatNotEqual)) != 0;
  insn.handler = repeated ? repeat<kElement, kRun, kSize> : once<kElement>;
  return true;
}

template <Element kElement, u32 kSize>
bool bind_compare(const Decoded& decoded, Insn& insn) {
  if (!bind_common(decoded, insn)) return false;
  const bool repeated = (insn.extra & (kRepeat | kRepeatNotEqual)) != 0;
  insn.handler = repeated ? repeat_while<kElement, kSize> : once<kElement>;
  return true;
}

constexpr Binding kBindings[] = {
    {ZYDIS_MNEMONIC_MOVSB, bind_copy<movs_element<u8>, movs_run<u8>, 1>},
    {ZYDIS_MNEMONIC_MOVSW, bind_copy<movs_element<u16>, movs_run<u16>, 2>},
    {ZYDIS_MNEMONIC_MOVSD, bind_copy<movs_element<u32>, movs_run<u32>, 4>},
    {ZYDIS_MNEMONIC_STOSB, bind_copy<stos_element<u8>, stos_run<u8>, 1>},
    {ZYDIS_MNEMONIC_STOSW, bind_copy<stos_element<u16>, stos_run<u16>, 2>},
    {ZYDIS_MNEMONIC_STOSD, bind_copy<stos_element<u32>, stos_run<u32>, 4>},
    {ZYDIS_MNEMONIC_LODSB, bind_copy<lods_element<u8>, nullptr, 1>},
    {ZYDIS_MNEMONIC_LODSW, bind_copy<lods_element<u16>, nullptr, 2>},
    {ZYDIS_MNEMONIC_LODSD, bind_copy<lods_element<u32>, nullptr, 4>},
    {ZYDIS_MNEMONIC_CMPSB, bind_compare<cmps_element<u8>, 1>},
    {ZYDIS_MNEMONIC_CMPSW, bind_compare<cmps_element<u16>, 2>},
    {ZYDIS_MNEMONIC_CMPSD, bind_compare<cmps_element<u32>, 4>},
    {ZYDIS_MNEMONIC_SCASB, bind_compare<scas_element<u8>, 1>},
    {ZYDIS_MNEMONIC_SCASW, bind_compare<scas_element<u16>, 2>},
    {ZYDIS_MNEMONIC_SCASD, bind_compare<scas_element<u32>, 4>},
};

}  // namespace

std::span<const Binding> string_bindings() {
  return kBindings;
}

}  // namespace snowglobe::vm
