// vm/cpu/translator/emitter.h - writes host machine code: the few instructions that glue needs, and
// guest instructions rewritten for the host (Intel SDM Vol. 2A, chapter 2).
//
// Guest registers live in the host registers of the same name, but for ESP, which lives in R12D:
// RSP belongs to the host. The low three bits of R12 are those of ESP, so that rewriting an operand
// only sets a REX bit. R13: jump table, R14: code table, R15: CpuState, R8-R11: scratch.
#pragma once

#include "base/bytes.h"
#include "vm/cpu/state.h"
#include "vm/types.h"

namespace snowglobe::vm {

struct GuestInsn;

enum HostRegister : u8 {
  kRax,
  kRcx,
  kRdx,
  kRbx,
  kRsp,
  kRbp,
  kRsi,
  kRdi,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
  kNoRegister = 0xFF,
};
inline constexpr HostRegister kGuestStack = kR12;
inline constexpr HostRegister kJumpTable = kR13;
inline constexpr HostRegister kCodeTable = kR14;
inline constexpr HostRegister kState = kR15;

/// The host register of a guest register.
constexpr HostRegister host_register(u8 guest) {
  return guest == kEsp ? kGuestStack : static_cast<HostRegister>(guest);
}

/// base + index * 2^scale + disp. `window`: a guest address, to which GS and the 32-bit address
/// size apply; else a plain host address.
struct Address {
  HostRegister base = kNoRegister;
  HostRegister index = kNoRegister;
  u8 scale = 0;
  i32 disp = 0;
  bool window = false;
};

/// Jcc, SETcc and CMOVcc condition codes.
enum class HostCondition : u8 { kZ = 4, kNz = 5, kAbove = 7, kAlways = 0xFF };

class Emitter {
 public:
  /// Writes to [begin, end) in the writable view; addresses that are told are of the executable
  /// one.
  Emitter(u8* begin, u8* end, const u8* executable)
      : begin_(begin), at_(begin), end_(end), executable_(executable) {}

  [[nodiscard]] u32 position() const { return static_cast<u32>(at_ - begin_); }
  [[nodiscard]] const u8* here() const { return executable_ + position(); }
  [[nodiscard]] bool overflowed() const { return overflowed_; }

  void byte(u8 value) {
    if (at_ == end_) [[unlikely]]
      return overflow();
    *at_++ = value;
  }
  void word32(u32 value) {
    if (end_ - at_ < 4) [[unlikely]]
      return overflow();
    base::store_le(at_, value);
    at_ += sizeof value;
  }
  void word64(u64 value);

  /// One instruction with a ModRM memory operand. `opcode` up to 0xFF, 0x0Fxx, 0x0F38xx or
  /// 0x0F3Axx; `prefix` 0, 0x66, 0xF2 or 0xF3. `byte_operand`: reg 4-7 are AH..BH, or SPL.. if that
  /// is what the caller wants (only with reg >= 8).
  void memory(u8 prefix, u32 opcode, u8 reg, const Address& address, bool wide = false);
  /// The same between registers.
  void registers(u8 prefix, u32 opcode, u8 reg, u8 rm, bool wide = false);

  // Glue. Names say the operand size; none but those with "compare" or "test" changes flags.
  void load32(HostRegister to, const Address& from) { memory(0, 0x8B, to, from); }
  void load64(HostRegister to, const Address& from) { memory(0, 0x8B, to, from, true); }
  void store32(const Address& to, HostRegister from) { memory(0, 0x89, from, to); }
  void store64(const Address& to, HostRegister from) { memory(0, 0x89, from, to, true); }
  void store_immediate32(const Address& to, u32 value);
  void move32(HostRegister to, HostRegister from) { registers(0, 0x8B, to, from); }
  void load_immediate32(HostRegister to, u32 value);
  void lea32(HostRegister to, const Address& address);
  void lea64(HostRegister to, const Address& address) { memory(0, 0x8D, to, address, true); }
  void compare_immediate32(const Address& address, u32 value);
  void compare_register32(HostRegister reg, u32 value);
  void compare_byte(const Address& address, u8 value);

  /// Jumps to an address in code memory.
  void jump(const u8* target);
  void jump_if(HostCondition condition, const u8* target);
  void jump_to(const Address& address) { memory(0, 0xFF, 4, address); }
  void jump_register(HostRegister target) { registers(0, 0xFF, 4, target); }
  /// Jumps whose target comes later: position behind the 32-bit distance, for bind().
  u32 jump_forward();
  u32 call_forward();
  u32 jump_forward_if(HostCondition condition);
  /// Lets a forward jump end here.
  void bind(u32 jump);
  /// Lets it end at an address in code memory.
  void bind(u32 jump, const u8* target);

  /// Saves flags in AX, with EAX kept in R11; takes them back.
  void save_flags();
  void restore_flags();

  /// A guest instruction whose memory operand (if any) is replaced by `address`. False, and nothing
  /// emitted, if it can not be encoded (AH..BH together with a REX prefix).
  bool rewrite(const GuestInsn& insn, const Address& address);

 private:
  void overflow();
  void modrm(u8 reg, const Address& address);
  void opcode_bytes(u32 opcode);
  void emit_rex(bool wide, u8 reg, u8 index, u8 base, bool force = false);

  u8* begin_;
  u8* at_;
  u8* end_;
  const u8* executable_;
  bool overflowed_ = false;
};

}  // namespace snowglobe::vm
