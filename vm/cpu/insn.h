// vm/cpu/insn.h - a decoded instruction, and the blocks in which the interpreter keeps them.
#pragma once

#include "vm/cpu/state.h"
#include "vm/types.h"

#include <memory>
#include <vector>

namespace snowglobe::vm {

class Cpu;
struct Insn;

/// Executes `insn` and what follows it (through next(), vm/cpu/cpu.h), or returns the next one to
/// run, or null when the block ends here: because eip was set (branch, system instruction) or
/// because an exception is pending in the Cpu. A handler changes no state before its last access
/// that can fault.
using Handler = const Insn* (*)(Cpu& cpu, const Insn* insn);

/// One instruction, decoded for one physical page. 32 bytes, so that two share a cache line.
struct Insn {
  Handler handler = nullptr;
  u32 imm =
      0;  ///< immediate, or the target of a relative branch as a distance from `offset`'s page
  u32 disp = 0;  ///< displacement of the memory operand
  u8 reg = 0;    ///< first register operand
  u8 rm = 0;     ///< second register operand
  u8 base = kRegZero;
  u8 index = kRegZero;
  u8 scale = 0;  ///< the index is shifted left by this
  u8 segment = kDs;
  u8 length = 0;   ///< in bytes, 1-15
  u8 extra = 0;    ///< what the handler wants: condition code, second immediate, ...
  u16 offset = 0;  ///< of the first byte in its page
  u16 unused[3] = {};
};
static_assert(sizeof(Insn) == 32);

/// A run of instructions of one physical page that ends at the first one which may change the flow.
/// What running it takes comes first, in one cache line.
struct alignas(64) Block {
  /// Where a block went: the tag says from which linear address, mode and generation that holds.
  struct Link {
    u64 tag = 0;
    Block* block = nullptr;
  };

  const Insn* first = nullptr;  ///< insns.data()
  u32 count = 0;                ///< instructions (insns may hold helpers ahead of one)
  u16 start = 0;                ///< offset of the first byte in its page
  bool valid = true;            ///< false: not in the cache (any more), only run to its end
  u8 oldest_link = 0;           ///< the one to replace
  Link links[2];                ///< the blocks that ran after it: both ways of a conditional branch

  std::vector<Insn> insns;
  u32 physical_page = 0;
  u32 second_page =
      0;  ///< of a lone instruction that crosses into another page, else = physical_page
  std::unique_ptr<Block> next;  ///< in the bucket of the page's table
};

}  // namespace snowglobe::vm
