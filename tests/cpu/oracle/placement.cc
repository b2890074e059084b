// tests/cpu/oracle/placement.cc - solving effective addresses, and windows on the arena.
#include "tests/cpu/oracle/placement.h"

#include <algorithm>
#include <iterator>

namespace snowglobe::oracle {
namespace {

constexpr u32 kPage = vm::kPageSize;
constexpr u32 page_start(u32 page) {
  return ORACLE_ARENA + page * kPage;
}

/// Writable stretches of the arena.
struct Stretch {
  u32 begin, end;
};
constexpr Stretch kWritable[] = {
    {page_start(1), page_start(3)}, {page_start(4), page_start(5)}, {page_start(6), page_start(7)}};

u8 first_bit(u32 mask) {
  return static_cast<u8>(std::countr_zero(mask));
}

}  // namespace

RegisterPart register_part(ZydisRegister reg) {
  const auto id = static_cast<u8>(std::max<int>(ZydisRegisterGetId(reg), 0));
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR32:
      return {id < 8, id, 0xFFFFFFFF};
    case ZYDIS_REGCLASS_GPR16:
      return {id < 8, id, 0xFFFF};
    case ZYDIS_REGCLASS_GPR8:
      if (id < 4) return {true, id, 0xFF};
      return {id < 8, static_cast<u8>(id & 3), 0xFF00};
    default:
      return {};
  }
}

u32 Placement::part(const RegisterPart& part) const {
  return (test_.input.gpr[part.number] & part.mask) >> first_bit(part.mask);
}

void Placement::set_part(const RegisterPart& part, u32 value) {
  u32& whole = test_.input.gpr[part.number];
  whole = (whole & ~part.mask) | ((value << first_bit(part.mask)) & part.mask);
  pin(part.number);
}

u32 Placement::pick_target(u32 size, bool wants_alignment) {
  const u32 kind = random_.below(64);
  const u32 into = size < 2 ? 0 : 1 + random_.below(size - 1);  // bytes before the border
  if (kind < 4) return page_start(2) - into;                    // across two writable pages
  if (kind < 6) return page_start(3) - into;                    // out of the arena
  if (kind < 7) return page_start(4) - into;                    // into it
  if (kind < 8) return page_start(5) - into;                    // writable to read-only
  if (kind < 9) return page_start(6) - into;                    // read-only to writable
  if (kind < 11) return page_start(5) + random_.below(kPage - 1024) / 16 * 16;
  if (kind < 12) return page_start(3) + random_.below(kPage);
  if (kind < 13) return page_start(3) - std::max(size, 1u);  // the last bytes that are there
  const u32 middle = page_start(1) + 768 + random_.below(2 * kPage - 2048);
  if (wants_alignment ? kind < 60 : kind < 28) return middle & ~15u;
  return middle;
}

u32 Placement::pick_stack() {
  const u32 address = pick_target(4, false);
  return random_.chance(7, 8) ? address & ~3u : address;
}

u32 Placement::segment_base(ZydisRegister segment) const {
  u32 selector = ORACLE_DS;
  switch (segment) {
    case ZYDIS_REGISTER_ES:
      selector = test_.input.selectors[0];
      break;
    case ZYDIS_REGISTER_DS:
      selector = test_.input.selectors[1];
      break;
    case ZYDIS_REGISTER_FS:
      selector = test_.input.selectors[2];
      break;
    case ZYDIS_REGISTER_GS:
      selector = test_.input.selectors[3];
      break;
    default:
      break;
  }
  return selector == ORACLE_GS ? static_cast<u32>(ORACLE_GS_BASE) : 0u;
}

u32 Placement::offset_of(const ZydisDecodedOperand& operand) const {
  const auto& mem = operand.mem;
  const RegisterPart base = register_part(mem.base);
  const RegisterPart index = register_part(mem.index);
  u32 offset = static_cast<u32>(mem.disp.value);
  if (mem.disp.has_displacement) offset += displacement_change_;
  if (base.valid) offset += part(base);
  if (decoded_.info.mnemonic == ZYDIS_MNEMONIC_XLAT) offset += test_.input.gpr[vm::kEax] & 0xFF;
  if (index.valid) offset += part(index) * std::max<u32>(mem.scale, 1);
  return decoded_.info.address_width == 16 ? offset & 0xFFFF : offset;
}

u32 Placement::address_of(const ZydisDecodedOperand& operand) const {
  return offset_of(operand) + segment_base(operand.mem.segment);
}

bool Placement::patch_displacement(const ZydisDecodedOperand& operand, u32 offset) {
  if (!operand.mem.disp.has_displacement) return false;  // an implied operand
  const auto& raw = decoded_.info.raw.disp;
  if (raw.size != 32 && raw.size != 16) return false;
  displacement_change_ += offset - offset_of(operand);
  const u32 value = static_cast<u32>(operand.mem.disp.value) + displacement_change_;
  for (auto* code : {&test_.code, &test_.host_code}) {
    if (raw.size == 32) base::store_le(&(*code)[raw.offset], value);
    if (raw.size == 16) base::store_le(&(*code)[raw.offset], static_cast<u16>(value));
  }
  return true;
}

u32 Placement::aim(const ZydisDecodedOperand& operand, u32 target) {
  const auto& mem = operand.mem;
  const RegisterPart base = register_part(mem.base);
  const RegisterPart index = register_part(mem.index);
  const bool base_free = base.valid && !pinned(base.number);
  const bool index_free = index.valid && !pinned(index.number);
  const u32 segment = segment_base(mem.segment);
  const u32 wanted = target - segment;
  const bool same = base.valid && index.valid && base.number == index.number;
  if (base_free && !same) {
    set_part(base, part(base) + wanted - offset_of(operand));
  } else if (index_free && !base.valid && mem.scale <= 1) {
    set_part(index, part(index) + wanted - offset_of(operand));
  } else if (patch_displacement(operand, wanted)) {
    if (base.valid) pin(base.number);
    if (index.valid) pin(index.number);
    return target;
  } else if (index_free && !same) {
    set_part(index, part(index) + (wanted - offset_of(operand)) / std::max<u32>(mem.scale, 1));
  } else if (base_free) {  // [r + r * scale + disp8]
    const u32 factor = mem.scale + 1u;
    set_part(base, (wanted - static_cast<u32>(mem.disp.value)) / factor);
  }
  if (base.valid) pin(base.number);
  if (index.valid) pin(index.number);
  return address_of(operand);
}

void Placement::add_window(u32 begin, u32 end) {
  OracleInput& input = test_.input;
  end = std::min(end, begin + (ORACLE_MEMORY - memory_used_));
  if (begin >= end || input.window_count == ORACLE_WINDOWS) return;
  OracleWindow& window = input.windows[input.window_count++];
  window = {begin, static_cast<u16>(end - begin), static_cast<u16>(memory_used_)};
  memory_used_ += end - begin;
  for (u32 at = window.offset; at < memory_used_; at += 8) {
    base::store_le(&input.memory[at], random_.next());
  }
}

void Placement::cover(u32 address, u32 size) {
  constexpr u32 kMargin = 16;
  const u32 begin = (address - kMargin) & ~7u;
  const u32 end = (address + size + kMargin + 7) & ~7u;
  if (begin > end) return;
  for (const Stretch& stretch : kWritable) {
    add_window(std::max(begin, stretch.begin), std::min(end, stretch.end));
  }
}

void Placement::poke(u32 address, base::ConstBytes bytes) {
  OracleInput& input = test_.input;
  for (u32 w = 0; w < input.window_count; ++w) {
    const OracleWindow& window = input.windows[w];
    for (u32 i = 0; i < bytes.size(); ++i) {
      const u32 into = address + i - window.address;
      if (into < window.size) input.memory[window.offset + into] = bytes[i];
    }
  }
}

void Placement::poke32(u32 address, u32 value) {
  u8 bytes[4];
  base::store_le(bytes, value);
  poke(address, bytes);
}

void Placement::poke16(u32 address, u16 value) {
  u8 bytes[2];
  base::store_le(bytes, value);
  poke(address, bytes);
}

bool Placement::is_safe(u32 address) {
  return address < ORACLE_IMAGE - 0x01000000;
}

}  // namespace snowglobe::oracle
