// vm/cpu/translator/guest_code.h - what the translator has to know of a guest instruction: how it
// is rewritten, and which flags it reads and sets.
#pragma once

#include "vm/cpu/decoder.h"
#include "vm/types.h"

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

struct GuestInsn {
  Decoded decoded;
  const u8* bytes = nullptr;
  u16 offset = 0;  ///< in its linear page
  Way way = Way::kHandler;
  bool vectors = false;             ///< uses x87, MMX or SSE state
  bool vectors_in_handler = false;  ///< the interpreter's handler does
  bool has_memory = false;          ///< `memory` is the operand that ModRM (or the way) names
  u8 memory_operand = 0;
  u32 handler_index = 0;           ///< of its slots for the interpreter in TranslatedBlock::insns
  u32 flags_read = 0;              ///< arithmetic flags, as bits of EFLAGS
  u32 flags_written = 0;           ///< perhaps
  u32 flags_killed = 0;            ///< surely overwritten
  bool flags_dead_before = false;  ///< by analysis of the block
};

/// Fills in way, vectors, memory and flags from `decoded`.
/// In ring 0 GS may be null, so that its users are the handlers'.
void classify(GuestInsn& insn, bool user);

/// Works out flags_dead_before of all, which are run in order. Whoever may come next at a side exit
/// or at the end is taken to read all flags.
void analyse_flags(std::vector<GuestInsn>& insns);

}  // namespace snowglobe::vm
