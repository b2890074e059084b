// vm/cpu/translator/block_translator.h - from the bytes of guest code to host code: one block.
#pragma once

#include "vm/cpu/translator/block.h"
#include "vm/cpu/translator/context.h"
#include "vm/cpu/translator/emitter.h"
#include "vm/cpu/translator/guest_decoder.h"
#include "vm/cpu/translator/site_table.h"

#include <functional>

namespace snowglobe::vm {

/// Positions in code memory of what every block jumps to.
struct Stubs {
  u32 exit = 0;    ///< R10D: number of the site
  u32 miss = 0;    ///< R8D: linear address to go on at
  u32 lookup = 0;  ///< the same, through the jump table first
};

/// What translated code finds at fixed distances from CpuState.
namespace layout {
inline constexpr i32 kContext = -static_cast<i32>(sizeof(TranslatorContext));
constexpr i32 context(std::size_t field) {
  return kContext + static_cast<i32>(field);
}
inline Address state(std::size_t field) {
  return {.base = kState, .disp = static_cast<i32>(field)};
}
inline Address in_context(std::size_t field) {
  return {.base = kState, .disp = context(field)};
}
inline Address guest_register(u8 guest) {
  return state(offsetof(CpuState, gpr) + sizeof(u32) * guest);
}
}  // namespace layout

struct TranslationOptions {
  unsigned max_insns = 64;
  bool count_instructions = false;
};

/// Site numbers are places in a deque: they stay valid until everything is forgotten.
inline constexpr u32 kMissSite = 0;

class BlockTranslator {
 public:
  /// How a block is reached first. That entry lies ahead of its body; the others lie apart.
  enum class Entry : u8 { kIndirect, kPage, kBody };
  struct Source {
    PhysicalAddress physical = 0;
    LinearAddress linear = 0;
    bool user = false;
    base::ConstBytes bytes;   ///< from `linear` to the end of its page
    base::ConstBytes beyond;  ///< of the next page, up to 15; empty if it is not at hand
    u32 second_page = 0;      ///< physical page of `beyond`
    Entry entry = Entry::kBody;
  };
  /// Says if the instruction at a physical address of ring 0 should reach for the user window.
  using IsUserSite = std::function<bool(PhysicalAddress)>;

  BlockTranslator(const u8* executable, const Stubs& stubs, SiteTable& sites,
                  IsUserSite is_user_site)
      : executable_(executable),
        stubs_(stubs),
        sites_(sites),
        is_user_site_(std::move(is_user_site)) {}

  TranslationOptions options;

  /// A stretch of code memory to write to.
  struct Room {
    u8* begin = nullptr;  ///< in the writable view
    u8* end = nullptr;
    u32 position = 0;  ///< of `begin` in code memory
  };
  /// Writes the code of the block that starts at the source: what runs into `hot`, what leaves it
  /// into `cold`, so that code that runs lies close together. False if there is no room.
  /// `block.crossing` is set, and nothing written, if the first instruction reaches into the next
  /// page and `beyond` is empty.
  bool translate(const Source& source, const Room& hot, const Room& cold, TranslatedBlock& block);

  struct Statistics {
    u64 blocks = 0, insns = 0, bytes = 0;
  };
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }

 private:
  struct Plan {  ///< what goes ahead of an instruction
    bool poll = false;
    bool vectors = false;
  };
  struct Stub {
    Emitter* from;
    u32 jump;  ///< position behind the distance of the jump that leads to it
    u32 site;
    bool restore_flags;
    bool to_miss;
    bool to_lookup = false;
  };

  bool decode(const Source& source, TranslatedBlock& block);
  bool decode_crossing(const Source& source, TranslatedBlock& block, GuestInsn& insn);
  void plan();
  void plan_vectors(std::size_t from, std::size_t to);
  void emit_entries(Emitter& cold, u32 cold_position);
  void emit_entry(Entry entry);
  void add_stub(u32 jump, u32 site, bool restore_flags, bool to_miss, bool to_lookup = false);
  void emit_page_check(u32 linear_page, u32 physical_page, bool preserve);
  void emit_poll(const GuestInsn& insn);
  void emit_vector_check(const GuestInsn& insn);
  void emit_insn(std::size_t i);
  u32 add_handler_site(const GuestInsn& insn);
  u32 add_slots(const GuestInsn& insn);
  void emit_exit(u32 site);
  void emit_handler(const GuestInsn& insn, bool ends);
  void emit_copy(std::size_t i);
  void emit_absolute(const GuestInsn& insn);
  void emit_push(const GuestInsn& insn);
  void emit_pop(const GuestInsn& insn);
  void emit_string(const GuestInsn& insn);
  void emit_repeat(const GuestInsn& insn);
  void emit_push_flags();
  void emit_pop_flags(const GuestInsn& insn);
  void emit_set_interrupts(const GuestInsn& insn);
  void emit_clear_interrupts(const GuestInsn& insn);
  [[nodiscard]] bool is_user_site(const GuestInsn& insn) const;
  void emit_branch(const GuestInsn& insn);
  void emit_indirect(HostRegister target);
  void emit_call(const GuestInsn& insn);
  void emit_return_site(const GuestInsn& insn);
  void emit_link(u32 target, HostCondition condition);
  void emit_count();
  void emit_stubs(Emitter& cold, u32 position);
  bool fold_stack_change(std::size_t i);

  Address operand_address(const GuestInsn& insn);
  void flush_stack();
  [[nodiscard]] u32 here() const { return position_ + out_->position(); }  ///< in code memory
  u32 add_site(Site site);
  void leave_if_not_equal(u32 site, bool restore_flags, bool to_miss);
  [[nodiscard]] u32 eip_of(const GuestInsn& insn) const { return page_ + insn.offset; }
  [[nodiscard]] u32 next_eip(const GuestInsn& insn) const {
    return page_ + insn.offset + insn.length;
  }

  const u8* executable_;
  Stubs stubs_;
  SiteTable& sites_;
  IsUserSite is_user_site_;
  GuestDecoder decoder_;
  Statistics statistics_;

  // Of the block at work.
  const Source* source_ = nullptr;
  TranslatedBlock* block_ = nullptr;
  BlockListing listing_;
  Emitter* out_ = nullptr;
  u32 position_ = 0;  ///< at which `out_` begins
  LinearAddress page_ = 0;
  i32 stack_ = 0;  ///< the guest's ESP is R12D plus this
  bool ended_ = false;
  bool vectors_sure_ = false;  ///< x87 and SSE state is in the registers for certain
  std::vector<GuestInsn> insns_;
  std::vector<Plan> plan_;
  std::vector<Stub> stubs_to_emit_;
  std::array<u8, 32> crossing_bytes_{};  ///< of a lone instruction in two pages:
  base::ConstBytes joined_;
};

}  // namespace snowglobe::vm
