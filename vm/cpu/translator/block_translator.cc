// vm/cpu/translator/block_translator.cc - decoding, planning and emitting of one block.
//
// Every sequence does its last access that can fault before it changes a guest register, so that
// the guest instruction can be run again from its start. Guest flags are the host's; glue changes
// them only where the analysis says that they are dead, or saves them.
#include "vm/cpu/translator/block_translator.h"

#include "base/check.h"

#include <algorithm>
#include <utility>

namespace snowglobe::vm {
namespace {

bool is_direct(Way way) {
  return way == Way::kJump || way == Way::kJumpIf || way == Way::kJumpIfZeroCount ||
         way == Way::kLoop || way == Way::kCall;
}

bool loses_vectors(Way way) {
  return way == Way::kHandler || way == Way::kCall || way == Way::kCallIndirect ||
         way == Way::kRepeatMove || way == Way::kRepeatStore;
}

bool ends_block(Way way) {
  switch (way) {
    case Way::kHandlerEnd:
    case Way::kJump:
    case Way::kJumpIndirect:
    case Way::kReturn:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool BlockTranslator::translate(const Source& source, const Room& hot, const Room& cold,
                                TranslatedBlock& block) {
  source_ = &source;
  block_ = &block;
  block.physical = source.physical;
  block.linear = source.linear;
  block.user = source.user;
  page_ = source.linear & ~kPageMask;
  position_ = hot.position;
  stack_ = 0;
  ended_ = false;
  vectors_sure_ = false;
  stubs_to_emit_.clear();
  listing_.marks.clear();
  listing_.insns.clear();
  listing_.return_sites.clear();
  listing_.sites.clear();
  if (!decode(source, block)) return true;
  analyse_flags(insns_);
  plan();

  Emitter out(hot.begin, hot.end, executable_ + hot.position);
  out_ = &out;
  Emitter stubs(cold.begin, cold.end, executable_ + cold.position);
  emit_entries(stubs, cold.position);
  for (std::size_t i = 0; i < insns_.size() && !ended_; ++i)
    emit_insn(i);
  if (!ended_) {
    flush_stack();
    emit_link(next_eip(insns_.back()), HostCondition::kAlways);
  }
  emit_stubs(stubs, cold.position);
  block.end = position_ + out.position();
  block.cold_end = cold.position + stubs.position();
  block.listing = std::make_shared<const BlockListing>(listing_);  // as large as it must be
  ++statistics_.blocks;
  statistics_.insns += insns_.size();
  statistics_.bytes += out.position() + stubs.position();
  return !out.overflowed() && !stubs.overflowed();
}

// A lone instruction that reaches into the next page. False if that page is not at hand.
bool BlockTranslator::decode_crossing(const Source& source, TranslatedBlock& block,
                                      GuestInsn& insn) {
  block.crossing = true;
  if (source.beyond.empty()) return false;
  block.second_page = source.second_page;
  const auto rest = std::ranges::copy(source.bytes, crossing_bytes_.begin()).out;
  std::ranges::copy(source.beyond, rest);
  joined_ = base::ConstBytes(crossing_bytes_).first(source.bytes.size() + source.beyond.size());
  const bool whole = decoder_.decode(joined_, source.user, insn);
  SG_ASSERT(whole, "no instruction is longer than what lies in two pages");
  insns_.push_back(insn);
  return true;
}

// False if the only instruction crosses into a page that is not at hand.
bool BlockTranslator::decode(const Source& source, TranslatedBlock& block) {
  insns_.clear();
  base::ConstBytes bytes = source.bytes;
  GuestInsn insn;
  insn.offset = static_cast<u16>(source.linear & kPageMask);
  while (insns_.size() < options.max_insns && !bytes.empty()) {
    if (!decoder_.decode(bytes, source.user, insn)) {
      return !insns_.empty() || decode_crossing(source, block, insn);
    }
    insns_.push_back(insn);
    if (ends_block(insn.way)) break;
    bytes = bytes.subspan(insn.length);
    insn.offset = static_cast<u16>(insn.offset + insn.length);
  }
  return true;
}

// Chooses where the safepoint and the checks for vector state go: where flags are dead, if there is
// such a place.
void BlockTranslator::plan() {
  plan_.assign(insns_.size(), {});
  std::size_t segment = 0;
  for (std::size_t i = 0; i < insns_.size(); ++i) {
    if (loses_vectors(insns_[i].way) || i + 1 == insns_.size()) {
      plan_vectors(segment, i + 1);
      segment = i + 1;
    }
  }
  for (std::size_t i = 0; i < insns_.size(); ++i) {
    if (!is_direct(insns_[i].way)) continue;
    const u32 target = next_eip(insns_[i]) + insns_[i].immediate;
    if (target > eip_of(insns_[i])) continue;
    std::size_t at = i;
    while (at > 0 && (!insns_[at].flags_dead_before ||
                      insns_[at - 1].way == Way::kSetInterrupts))  // nothing comes between
      --at;
    plan_[at].poll = true;
    return;
  }
}

void BlockTranslator::plan_vectors(std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i) {
    if (!insns_[i].vectors) continue;
    std::size_t at = i;
    while (at > from && !insns_[at].flags_dead_before)
      --at;
    plan_[insns_[at].flags_dead_before ? at : i].vectors = true;
    return;
  }
}

u32 BlockTranslator::add_site(Site site) {
  site.block = block_;
  const u32 number = static_cast<u32>(sites_.size());
  sites_.push_back(site);
  listing_.sites.push_back(number);
  return number;
}

void BlockTranslator::add_stub(u32 jump, u32 site, bool restore_flags, bool to_miss,
                               bool to_lookup) {
  stubs_to_emit_.push_back({out_, jump, site, restore_flags, to_miss, to_lookup});
}

void BlockTranslator::leave_if_not_equal(u32 site, bool restore_flags, bool to_miss) {
  add_stub(out_->jump_forward_if(HostCondition::kNz), site, restore_flags, to_miss);
}

void BlockTranslator::emit_page_check(u32 linear_page, u32 physical_page, bool preserve) {
  out_->compare_immediate32({.base = kCodeTable, .disp = static_cast<i32>(linear_page * 4)},
                            physical_page + 1);
  leave_if_not_equal(0, preserve, true);
}

// For indirect jumps (checks that R8D is our address; a safepoint) and direct ones from other
// pages: both check that our linear page still is our physical page in this address space.
void BlockTranslator::emit_entry(Entry entry) {
  const bool preserve = !insns_[0].flags_dead_before;
  if (preserve) out_->save_flags();
  if (entry == Entry::kIndirect) {
    out_->compare_register32(kR8, block_->linear);
    add_stub(out_->jump_forward_if(HostCondition::kNz), kMissSite, preserve, false);
    out_->compare_byte(layout::in_context(offsetof(TranslatorContext, attention)), 0);
    leave_if_not_equal(0, preserve, true);
  }
  // The kernel's code is where it is: when that changes, the translator drops the blocks.
  if (source_->user) {
    emit_page_check(block_->linear >> kPageShift, block_->physical >> kPageShift, preserve);
  }
  if (preserve) out_->restore_flags();
}

void BlockTranslator::emit_entries(Emitter& cold, u32 cold_position) {
  const bool page_entry_checks = source_->user;
  block_->begin = here();
  if (source_->entry == Entry::kIndirect) block_->indirect_entry = here();
  if (source_->entry == Entry::kPage) block_->page_entry = here();
  if (source_->entry == Entry::kIndirect || (source_->entry == Entry::kPage && page_entry_checks)) {
    emit_entry(source_->entry);
  }
  block_->body = here();
  if (!page_entry_checks) block_->page_entry = block_->body;
  if (block_->crossing && source_->user) {
    const bool preserve = !insns_[0].flags_dead_before;
    if (preserve) out_->save_flags();
    emit_page_check((block_->linear >> kPageShift) + 1, block_->second_page, preserve);
    if (preserve) out_->restore_flags();
  }
  Emitter* const hot = std::exchange(out_, &cold);
  const u32 hot_position = std::exchange(position_, cold_position);
  if (source_->entry != Entry::kIndirect) {
    block_->indirect_entry = here();
    emit_entry(Entry::kIndirect);
    out_->jump(executable_ + block_->body);
  }
  if (source_->entry != Entry::kPage && page_entry_checks) {
    block_->page_entry = here();
    emit_entry(Entry::kPage);
    out_->jump(executable_ + block_->body);
  }
  out_ = hot;
  position_ = hot_position;
}

void BlockTranslator::emit_poll(const GuestInsn& insn) {
  flush_stack();
  const u32 site = add_site({.kind = Site::Kind::kPoll, .eip = eip_of(insn)});
  const bool preserve = !insn.flags_dead_before;
  if (preserve) out_->save_flags();
  out_->compare_byte(layout::in_context(offsetof(TranslatorContext, attention)), 0);
  leave_if_not_equal(site, preserve, false);
  if (preserve) out_->restore_flags();
}

void BlockTranslator::emit_vector_check(const GuestInsn& insn) {
  vectors_sure_ = true;
  flush_stack();
  const u32 site = add_site({.kind = Site::Kind::kVectors, .eip = eip_of(insn)});
  const bool preserve = !insn.flags_dead_before;
  if (preserve) out_->save_flags();
  out_->compare_byte(layout::in_context(offsetof(TranslatorContext, vectors_live)), 1);
  leave_if_not_equal(site, preserve, false);
  if (preserve) out_->restore_flags();
  sites_[site].resume = here();
}

void BlockTranslator::flush_stack() {
  if (stack_ == 0) return;
  out_->lea32(kGuestStack, {.base = kGuestStack, .disp = stack_});
  stack_ = 0;
  if (listing_.marks.empty()) return;
  // In the middle of an instruction: from here on R12D is the guest's ESP.
  InsnMark mark = listing_.marks.back();
  mark.position = here();
  mark.stack = 0;
  listing_.marks.push_back(mark);
}

void BlockTranslator::emit_count() {
  const Address counter = layout::in_context(offsetof(TranslatorContext, instructions_ahead));
  out_->load64(kR8, counter);
  out_->lea64(kR8, {.base = kR8, .disp = 1});
  out_->store64(counter, kR8);
}

void BlockTranslator::emit_stubs(Emitter& cold, u32 position) {
  for (const Stub& stub : stubs_to_emit_) {
    stub.from->bind(stub.jump, cold.here());
    const bool link =
        !stub.to_miss && stub.site != kMissSite && sites_[stub.site].kind == Site::Kind::kLink;
    if (link) sites_[stub.site].stub = position + cold.position();
    if (stub.restore_flags) cold.restore_flags();
    if (stub.to_miss) cold.load_immediate32(kR8, block_->linear);
    if (stub.to_miss || stub.site == kMissSite) {
      cold.jump(executable_ + (stub.to_lookup ? stubs_.lookup : stubs_.miss));
    } else {
      cold.load_immediate32(kR10, stub.site);
      cold.jump(executable_ + stubs_.exit);
    }
  }
}

}  // namespace snowglobe::vm
