// tests/cpu/privileged/case_builder.cc - the parts that cases are made of.
#include "tests/cpu/privileged/cases.h"
#include "vm/cpu/state.h"

namespace snowglobe::vm::privileged {

CaseBuilder::CaseBuilder(base::RandomSource& random, std::string kind, unsigned ring)
    : random_(random) {
  case_.kind = std::move(kind);
  CaseHeader& h = case_.header;
  h.cr0 = kCr0Pe | kCr0Et | kCr0Ne | kCr0Pg | kCr0Wp;
  h.cr4 = kCr4Pse;
  h.cs = code_selector(ring);
  h.eip = kCode;
  h.ss = data_selector(ring);
  h.esp = ring == 0 ? kCaseStack0 : kUserStack;
  h.ds = h.es = h.fs = h.gs = data_selector(ring);
  for (u32* reg : {&h.edi, &h.esi, &h.ebp, &h.ebx, &h.edx, &h.ecx, &h.eax})
    *reg = word();
}

Case CaseBuilder::finish() {
  poke_bytes(kCode, case_.code);
  return std::move(case_);
}

void CaseBuilder::poke_bytes(u32 address, const std::vector<u8>& bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += 4) {
    u32 value = 0x90909090;
    for (std::size_t i = 0; i < 4 && at + i < bytes.size(); ++i) {
      value &= ~(0xFFu << (8 * i));
      value |= u32{bytes[at + i]} << (8 * i);
    }
    poke(address + static_cast<u32>(at), value);
  }
}

void CaseBuilder::poke_descriptor(u16 selector, u64 value) {
  const u32 table = (selector & 4) != 0 ? kLdt : kGdt;
  poke(table + (selector & 0xFFF8u), static_cast<u32>(value));
  poke(table + (selector & 0xFFF8u) + 4, static_cast<u32>(value >> 32));
}

u64 CaseBuilder::segment(u32 base, u32 raw_limit, u32 access, bool big, bool granular) {
  const u32 low = (raw_limit & 0xFFFF) | base << 16;
  const u32 high = (base >> 16 & 0xFF) | access << 8 | (raw_limit & 0xF0000) |
                   (big ? 1u << 22 : 0u) | (granular ? 1u << 23 : 0u) | (base & 0xFF000000);
  return u64{high} << 32 | low;
}

u64 CaseBuilder::gate(u16 selector, u32 offset, u32 access, u32 count) {
  const u32 high = (offset & 0xFFFF0000) | access << 8 | count;
  return u64{high} << 32 | u32{selector} << 16 | (offset & 0xFFFF);
}

u64 CaseBuilder::random_flat_descriptor() {
  const bool system = chance(5);
  const u32 type = below(16);
  const u32 access = type | (system ? 0u : 0x10u) | below(4) << 5 | (chance(6) ? 0u : 0x80u);
  // An expand-down segment is valid above its limit: flat means a limit of 0 bytes then.
  const bool expand_down = !system && (type & 0xC) == 4;
  return segment(0, expand_down ? 0 : 0xFFFFF, access, true, !expand_down);
}

u64 CaseBuilder::random_code_descriptor() {
  const u32 type = chance(12) ? below(8) : 8 + below(8);
  const u32 access = type | 0x10 | below(4) << 5 | (chance(10) ? 0u : 0x80u);
  if (chance(8)) return segment(0, (kCode + 0x900) >> kPageShift, access, true, true);
  return segment(0, (type & 0xC) == 4 ? 0 : 0xFFFFF, access, true, true);
}

u16 CaseBuilder::random_selector(u16 slot) {
  const u16 rpl = static_cast<u16>(below(4));
  switch (below(16)) {
    case 0:
      return rpl;  // null
    case 1:
      return static_cast<u16>((kGdtLimit + 1 + below(4) * 8) | rpl);
    case 2:
      return static_cast<u16>((kLdtLimit + 1) | 4 | rpl);
    case 3:
      return static_cast<u16>((chance(2) ? kTssSelector : kLdtSelector) | rpl);
    case 4:
      return static_cast<u16>((data_selector(below(4)) & ~3u) | rpl);
    default:
      return static_cast<u16>(slot | (chance(3) ? rpl : ring()));
  }
}

}  // namespace snowglobe::vm::privileged
