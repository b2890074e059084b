// vm/cpu/translator/guest_code.h - what the translator has to know of a guest instruction: how it
// is rewritten, and which flags it reads and sets.
#pragma once

#include "vm/cpu/decoder.h"
#include "vm/types.h"

#include <array>
#include <vector>

namespace snowglobe::vm {

/// Ways to translate an instruction. What has no way of its own is kHandler: the interpreter runs
/// it.
enum class Way : u8 {
  kHandler,     ///< the interpreter's handler, then what follows if EIP went straight on
  kHandlerEnd,  ///< the same, and the block ends: it goes elsewhere nearly always
  kNothing,
  kCopy,
  kLea,
  kAbsolute,   ///< MOV between the accumulator and an address in the instruction
  kIncrement,  ///< one-byte INC, DEC
  kTableLookup,
  kPushRegister,
  kPushImmediate,
  kPushMemory,
  kPopRegister,
  kPopMemory,
  kLeave,
  kExchange,  ///< XCHG of a 32-bit register with memory
  kMoveString,
  kStoreString,
  kLoadString,
  kRepeatMove,
  kRepeatStore,
  kPushSegment,
  kPushFlags,
  kPopFlags,  ///< these three in ring 0 only, else the handler's
  kClearInterrupts,
  kSetInterrupts,
  kJump,
  kJumpIf,
  kJumpIfZeroCount,
  kLoop,
  kCall,
  kJumpIndirect,
  kCallIndirect,
  kReturn,
};

/// As much of a guest instruction as the translator uses: small, since it is copied for each one.
struct GuestInsn {
  static constexpr u8 kNone = 0xFF;

  const u8* bytes = nullptr;
  u32 immediate = 0;  ///< the operand, with its sign extended where the instruction does so
  i32 disp = 0;       ///< of the operand in memory
  u16 offset = 0;     ///< in its linear page
  u16 mnemonic = 0;   ///< Zydis' number
  Way way = Way::kHandlerEnd;
  u8 length = 1;
  u8 width = 0;  ///< of its operands, in bits

  // How it is encoded.
  bool wide_map = false;  ///< the opcode follows 0F, and perhaps `second_map`
  u8 second_map = 0;      ///< 38, 3A or 0
  u8 opcode = 0;
  bool has_modrm = false;
  u8 modrm = 0;
  u8 prefix_count = 0;  ///< that choose a size of operands or an instruction, in their order
  std::array<u8, 2> prefixes{};
  u8 immediate_offset = 0;  ///< of its bytes
  u8 immediate_bytes = 0;
  // Registers that need a REX bit (ESP's host register does), or go together with none.
  bool reg_high = false;
  bool rm_high = false;
  bool byte_high = false;

  // Operands.
  bool has_immediate = false;
  bool has_memory = false;  ///< there is one that ModRM (or the way) names:
  bool in_gs = false;       ///< not in a flat segment
  u8 base = kNone;          ///< guest registers
  u8 index = kNone;
  u8 scale = 0;                ///< log2
  u8 reg = kNone;              ///< the first operand that is a register: its number in its class
  bool uses_esp = false;       ///< an operand is ESP or SP
  bool esp_first = false;      ///< operand 0 is
  bool is_bit_string = false;  ///< BT and its kin with the bit in a register: the operand may lie
                               ///< far from its address

  bool vectors = false;             ///< uses x87, MMX or SSE state
  bool vectors_in_handler = false;  ///< the interpreter's handler does
  bool flags_dead_before = false;   ///< by analysis of the block
  u16 flags_read = 0;               ///< arithmetic flags, as bits of EFLAGS
  u16 flags_written = 0;            ///< perhaps
  u16 flags_killed = 0;             ///< surely overwritten

  bool operator==(const GuestInsn& other) const = default;
  /// The operand in memory is named by the ModRM byte.
  [[nodiscard]] bool modrm_names_memory() const { return has_modrm && modrm < 0xC0; }
};
static_assert(sizeof(GuestInsn) <= 72);

/// All but bytes and offset.
/// In ring 0 GS may be null, so that its users are the handlers'.
GuestInsn classify(const Decoded& decoded, bool user);
/// True if another instruction with the same prefixes, opcode, ModRM and SIB byte differs from this
/// one in the values of displacement and immediate only.
bool is_alike(const Decoded& decoded, const GuestInsn& insn);

/// Works out flags_dead_before of all, which are run in order. Whoever may come next at a side exit
/// or at the end is taken to read all flags.
void analyse_flags(std::vector<GuestInsn>& insns);

}  // namespace snowglobe::vm
