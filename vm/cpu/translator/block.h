// vm/cpu/translator/block.h - what is known of a piece of translated code.
#pragma once

#include "vm/cpu/insn.h"
#include "vm/types.h"

#include <memory>
#include <vector>

namespace snowglobe::vm {

struct TranslatedBlock;

/// A place where translated code leaves for the translator. Its number is what the code passes.
struct Site {
  enum class Kind : u8 {
    kIndirect,  ///< R8D holds the linear address to go on at: a miss of the jump table, of an
                ///< entry's check, or the safepoint of an entry
    kLink,      ///< a direct jump whose target is not known yet
    kInsn,      ///< an instruction that the interpreter's handler runs
    kVectors,   ///< x87 and SSE state is wanted in the host's registers
    kPoll,      ///< a safepoint inside a block
    kEnabled,   ///< interrupts were enabled while one waits
  };
  Kind kind = Kind::kIndirect;
  u32 eip = 0;     ///< kLink: the target; kPoll: where to go on
  u32 index = 0;   ///< kInsn: in TranslatedBlock::insns
  u32 patch = 0;   ///< kLink: position in code memory behind the jump's distance
  u32 stub = 0;    ///< kLink: position of the code that leaves, to which the jump led at first
  u32 resume = 0;  ///< kInsn, kVectors: position of the code behind
  TranslatedBlock* block = nullptr;
  TranslatedBlock* linked = nullptr;  ///< kLink
  u16 mnemonic = 0;                   ///< kInsn: Zydis' number, for the profile
  bool vectors = false;               ///< kInsn: works on x87, MMX or SSE state
  bool keeps_flags = false;           ///< kInsn: has nothing to do with arithmetic flags
  bool casts_shadow = false;          ///< kEnabled: by STI, after which one instruction runs first
};

/// Where the code of a guest instruction begins.
struct InsnMark {
  u32 position = 0;      ///< in code memory
  u16 offset = 0;        ///< of the guest instruction from the start of its linear page
  i16 stack = 0;         ///< the guest's ESP is R12D plus this
  bool repeats = false;  ///< REP: after a fault it starts again from its first byte
  bool writes = false;   ///< a fault of its first access is one of a write: XCHG
};

/// What is known of a block's code from the start, and never changes: copies of a block, also those
/// of other machines, share it.
struct BlockListing {
  std::vector<InsnMark> marks;    ///< by position
  std::vector<Insn> insns;        ///< of kInsn sites: the instruction (one or two slots) and an end
  std::vector<u32> return_sites;  ///< positions of code behind calls
  std::vector<u32> sites;         ///< our own
};

struct TranslatedBlock {
  // What a lookup compares.
  PhysicalAddress physical = 0;
  LinearAddress linear = 0;
  bool user = false;
  bool valid = true;
  bool crossing = false;  ///< a lone instruction that reaches into the next page
  u32 second_page = 0;    ///< physical page of its end, if crossing

  u32 hot_begin = 0;  ///< positions from which on it was given room, in both parts
  u32 cold_begin = 0;
  u32 begin = 0;           ///< position in code memory of what runs, which goes to `end`
  u32 indirect_entry = 0;  ///< positions in code memory: checks address and page; checks page; none
  u32 page_entry = 0;
  u32 body = 0;
  u32 end = 0;
  u32 cold_end = 0;  ///< of the code by which it leaves, which lies elsewhere

  std::shared_ptr<const BlockListing> listing;
  std::vector<u32> incoming;  ///< link sites of other blocks that jump here
  TranslatedBlock* next_in_bucket = nullptr;
  u32 ordinal = 0;        ///< in the code image that was last made
  u32 image_index = ~0u;  ///< in the code image that it was taken from

  [[nodiscard]] PhysicalAddress physical_of(const InsnMark& mark) const {
    return (physical & ~kPageMask) + mark.offset;
  }
};

}  // namespace snowglobe::vm
