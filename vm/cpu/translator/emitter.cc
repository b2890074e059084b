// vm/cpu/translator/emitter.cc - the encodings.
#include "vm/cpu/translator/emitter.h"

#include "vm/cpu/translator/guest_code.h"

#include <array>

namespace snowglobe::vm {

void Emitter::overflow() {
  overflowed_ = true;
  at_ = begin_;  // what is written now is thrown away
}

void Emitter::word64(u64 value) {
  word32(static_cast<u32>(value));
  word32(static_cast<u32>(value >> 32));
}

void Emitter::opcode_bytes(u32 opcode) {
  if (opcode > 0xFFFF) byte(static_cast<u8>(opcode >> 16));
  if (opcode > 0xFF) byte(static_cast<u8>(opcode >> 8));
  byte(static_cast<u8>(opcode));
}

void Emitter::emit_rex(bool wide, u8 reg, u8 index, u8 base, bool force) {
  const auto high = [](u8 number) { return number != kNoRegister && number >= 8; };
  const u8 rex = static_cast<u8>(0x40 | (wide ? 8 : 0) | (high(reg) ? 4 : 0) |
                                 (high(index) ? 2 : 0) | (high(base) ? 1 : 0));
  if (rex != 0x40 || force) byte(rex);
}

// ModRM, SIB and displacement (Intel SDM Vol. 2A, 2.1.5 and 2.2.1.6).
void Emitter::modrm(u8 reg, const Address& address) {
  const u8 reg_field = static_cast<u8>((reg & 7) << 3);
  if (address.base == kNoRegister) {
    // A SIB byte without base: ModRM alone would mean RIP-relative.
    const u8 index = address.index == kNoRegister ? u8{4} : static_cast<u8>(address.index & 7);
    byte(static_cast<u8>(reg_field | 4));
    byte(static_cast<u8>(address.scale << 6 | index << 3 | 5));
    word32(static_cast<u32>(address.disp));
    return;
  }
  const u8 base = address.base & 7;
  u8 mod = 0x80;
  if (address.disp == 0 && base != 5) {
    mod = 0;
  } else if (address.disp >= -128 && address.disp <= 127) {
    mod = 0x40;
  }
  if (address.index != kNoRegister || base == 4) {
    const u8 index = address.index == kNoRegister ? u8{4} : static_cast<u8>(address.index & 7);
    byte(static_cast<u8>(mod | reg_field | 4));
    byte(static_cast<u8>(address.scale << 6 | index << 3 | base));
  } else {
    byte(static_cast<u8>(mod | reg_field | base));
  }
  if (mod == 0x40) byte(static_cast<u8>(address.disp));
  if (mod == 0x80) word32(static_cast<u32>(address.disp));
}

void Emitter::memory(u8 prefix, u32 opcode, u8 reg, const Address& address, bool wide) {
  if (address.window) {
    byte(0x65);
    byte(0x67);
  }
  if (prefix != 0) byte(prefix);
  emit_rex(wide, reg, address.index, address.base);
  opcode_bytes(opcode);
  modrm(reg, address);
}

void Emitter::registers(u8 prefix, u32 opcode, u8 reg, u8 rm, bool wide) {
  if (prefix != 0) byte(prefix);
  emit_rex(wide, reg, 0, rm);
  opcode_bytes(opcode);
  byte(static_cast<u8>(0xC0 | (reg & 7) << 3 | (rm & 7)));
}

void Emitter::store_immediate32(const Address& to, u32 value) {
  memory(0, 0xC7, 0, to);
  word32(value);
}

void Emitter::load_immediate32(HostRegister to, u32 value) {
  emit_rex(false, 0, 0, to);
  byte(static_cast<u8>(0xB8 | (to & 7)));
  word32(value);
}

void Emitter::lea32(HostRegister to, const Address& address) {
  Address plain = address;
  plain.window = false;
  memory(0, 0x8D, to, plain);
}

void Emitter::compare_immediate32(const Address& address, u32 value) {
  memory(0, 0x81, 7, address);
  word32(value);
}

void Emitter::compare_register32(HostRegister reg, u32 value) {
  registers(0, 0x81, 7, reg);
  word32(value);
}

void Emitter::compare_byte(const Address& address, u8 value) {
  memory(0, 0x80, 7, address);
  byte(value);
}

void Emitter::jump(const u8* target) {
  byte(0xE9);
  word32(static_cast<u32>(target - (here() + 4)));
}

void Emitter::jump_if(HostCondition condition, const u8* target) {
  byte(0x0F);
  byte(static_cast<u8>(0x80 | static_cast<u8>(condition)));
  word32(static_cast<u32>(target - (here() + 4)));
}

u32 Emitter::jump_forward() {
  byte(0xE9);
  word32(0);
  return position();
}

u32 Emitter::call_forward() {
  byte(0xE8);
  word32(0);
  return position();
}

u32 Emitter::jump_forward_if(HostCondition condition) {
  byte(0x0F);
  byte(static_cast<u8>(0x80 | static_cast<u8>(condition)));
  word32(0);
  return position();
}

void Emitter::bind(u32 jump) {
  if (overflowed_) return;
  base::store_le(begin_ + jump - 4, position() - jump);
}

void Emitter::bind(u32 jump, const u8* target) {
  if (overflowed_) return;
  base::store_le(begin_ + jump - 4, static_cast<u32>(target - (executable_ + jump)));
}

// LAHF has all arithmetic flags but OF, which an addition to AL that overflows brings back.
void Emitter::save_flags() {
  move32(kR11, kRax);
  byte(0x9F);                     // lahf
  registers(0, 0x0F90, 0, kRax);  // seto al
}

void Emitter::restore_flags() {
  byte(0x04);  // add al, 127
  byte(0x7F);
  byte(0x9E);  // sahf
  move32(kRax, kR11);
}

bool Emitter::rewrite(const GuestInsn& insn, const Address& address) {
  const bool in_memory = insn.modrm_names_memory();
  const auto high = [](u8 number) { return number != kNoRegister && number >= 8; };
  const bool base_high = in_memory ? high(address.base) : insn.rm_high;
  const bool index_high = in_memory && high(address.index);
  if (insn.byte_high && (insn.reg_high || base_high || index_high)) return false;

  u8* const start = at_;
  if (in_memory && address.window) {
    byte(0x65);
    byte(0x67);
  }
  for (unsigned i = 0; i < insn.prefix_count; ++i)
    byte(insn.prefixes[i]);
  const u8 rex =
      static_cast<u8>(0x40 | (insn.reg_high ? 4 : 0) | (index_high ? 2 : 0) | (base_high ? 1 : 0));
  if (rex != 0x40) byte(rex);
  if (insn.wide_map) byte(0x0F);
  if (insn.second_map != 0) byte(insn.second_map);
  byte(insn.opcode);
  if (in_memory) {
    modrm(insn.modrm >> 3 & 7, address);
  } else if (insn.has_modrm) {
    byte(insn.modrm);
  }
  for (unsigned i = 0; i < insn.immediate_bytes; ++i)
    byte(insn.bytes[insn.immediate_offset + i]);
  if (!overflowed_ && at_ - start > 15) {  // an encoding that was long as it stood
    at_ = start;
    return false;
  }
  return true;
}

}  // namespace snowglobe::vm
