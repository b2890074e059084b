// vm/cpu/translator/translator_code.cc - blocks for the loop: found, translated, taken over from
// another machine, verified, dropped.
#include "vm/cpu/translator/translator_impl.h"
#include "vm/cpu/translator/verifier.h"

#include <algorithm>

namespace snowglobe::vm {

// The physical page of code, known to the address space from now on. nullopt: it can not be
// fetched.
std::optional<u32> Translator::Impl::code_page(AddressSpace& space, LinearAddress linear,
                                               bool user) {
  const u32 known = space.code->entries()[linear >> kPageShift];
  if (known != 0) return known - 1;
  const auto physical = cpu.translate(linear, Cpu::Access::kExecute, user);
  if (!physical) {
    cpu.clear_exception();  // the interpreter will raise it again
    return std::nullopt;
  }
  const u32 page = *physical >> kPageShift;
  if (page >= cpu.ram().page_count()) return std::nullopt;
  spaces->note_code(space, linear >> kPageShift, page);
  return page;
}

TranslatedBlock* Translator::Impl::find(Mode mode, AddressSpace& space, LinearAddress linear,
                                        BlockTranslator::Entry entry) {
  const bool user = mode == Mode::kUser;
  const auto page = code_page(space, linear, user);
  if (!page) return nullptr;
  const PhysicalAddress physical = *page << kPageShift | (linear & kPageMask);
  if (TranslatedBlock* block = cache->find(physical, linear, user)) {
    if (!block->crossing || reaches_second_page(space, *block, user)) return block;
    return nullptr;
  }
  if (cache->adopted() != nullptr) {
    if (TranslatedBlock* block = import(physical, linear, user)) return block;
  }
  if (!heat.empty()) {
    u8& runs = heat[heat_of(physical)];
    if (runs < options.cold_runs) {
      ++runs;
      return nullptr;
    }
  }
  return translate(space, physical, linear, entry);
}

BlockTranslator::Entry Translator::Impl::entry_from(u32 link, bool indirect) const {
  if (indirect) return BlockTranslator::Entry::kIndirect;
  if (link == kMissSite || !cache->has_site(link)) return BlockTranslator::Entry::kBody;
  const bool same_page = (cache->site(link).block->linear ^ state.eip) >> kPageShift == 0;
  return same_page ? BlockTranslator::Entry::kBody : BlockTranslator::Entry::kPage;
}

// True if the page behind still is the one that the block was translated from.
bool Translator::Impl::reaches_second_page(AddressSpace& space, TranslatedBlock& block, bool user) {
  const auto second = code_page(space, (block.linear | kPageMask) + 1, user);
  if (!second) return false;
  if (*second == block.second_page) return true;
  cache->drop(block);
  return false;
}

TranslatedBlock* Translator::Impl::translate(AddressSpace& space, PhysicalAddress physical,
                                             LinearAddress linear, BlockTranslator::Entry entry) {
  const bool user = space.user;
  if (!cache->has_room()) forget_everything();
  auto block = std::make_unique<TranslatedBlock>();
  BlockTranslator::Source source;
  source.physical = physical;
  source.linear = linear;
  source.user = user;
  source.entry = entry;
  source.bytes = cpu.ram().read(physical, kPageSize - (physical & kPageMask));
  constexpr u32 kLongest = 15;
  if (source.bytes.size() < kLongest) {
    const auto second = code_page(space, (linear | kPageMask) + 1, user);
    if (second) {
      source.second_page = *second;
      source.beyond = cpu.ram().read(*second << kPageShift, kLongest);
    }
  }
  const BlockTranslator::Room cold = cache->cold_room();
  if (!translator->translate(source, cache->hot_room(), cold, *block)) return nullptr;
  if (block->crossing && source.beyond.empty()) return nullptr;
  if (options.verify) verify_block(*block, cold.position);
  cpu.ram().watch_code(physical >> kPageShift);
  if (block->crossing) cpu.ram().watch_code(block->second_page);
  TranslatedBlock& added = cache->add(std::move(block));
  if (!options.unchained) cache->link_known_targets(added);
  return &added;
}

void Translator::Impl::verify_block(const TranslatedBlock& block, u32 cold_begin) const {
  const VerifierPiece pieces[] = {
      {{executable(block.begin), block.end - block.begin}, address_of(block.begin)},
      {{executable(cold_begin), block.cold_end - cold_begin}, address_of(cold_begin)}};
  std::vector<u64> entries = {address_of(block.indirect_entry), address_of(block.page_entry),
                              address_of(block.body)};
  for (const u32 position : block.listing->return_sites)
    entries.push_back(address_of(position));
  for (const u32 number : block.listing->sites) {
    if (cache->site(number).resume != 0) entries.push_back(address_of(cache->site(number).resume));
  }
  const Stubs& stubs = border.stubs;
  const auto complaint = verify(
      pieces, {address_of(stubs.exit), address_of(stubs.miss), address_of(stubs.lookup), entries});
  SG_ASSERT(!complaint, complaint->reason.c_str());
}

// The code memory is full, or to be laid out anew: no old code goes on from here.
void Translator::Impl::forget_everything() {
  if (options.on_code) {
    if (auto made = new_code()) options.on_code(std::move(made));
  }
  ++statistics.code_flushes;
  cache->drop_everything();
  same_pages.clear();
  returns = nullptr;
  spaces->reset_returns(address_of(border.underflow));
}

std::shared_ptr<const CodeImage> Translator::Impl::code_image() {
  const u64 blocks = cache->size();
  const bool fits = last_image != nullptr && last_image_flushes == statistics.code_flushes &&
                    blocks - std::min<u64>(blocks, last_image->blocks.size()) <= blocks / 8;
  if (!fits) {
    last_image = cache->image(cpu.ram());
    last_image_flushes = statistics.code_flushes;
  }
  return last_image;
}

std::shared_ptr<const CodeImage> Translator::Impl::new_code() {
  if (statistics.code_flushes != 0) return nullptr;
  return cache->extended_image(cpu.ram(), options.keep_bytes);
}

// The linear page of kernel code is known to its space by now, which tells when it is another one:
// blocks of ring 0 never look.
TranslatedBlock* Translator::Impl::import(PhysicalAddress physical, LinearAddress linear,
                                          bool user) {
  const u32 page = physical >> kPageShift;
  const auto [known, fresh] = same_pages.try_emplace(page, false);
  if (fresh) {
    cpu.ram().watch_code(page);  // from here on a write is heard of
    const auto wanted = cache->adopted()->pages.find(page);
    known->second =
        wanted != cache->adopted()->pages.end() &&
        wanted->second == CodeImage::checksum_of(cpu.ram().read(page << kPageShift, kPageSize));
  }
  return known->second ? cache->import(physical, linear, user) : nullptr;
}

void Translator::Impl::invalidate_page(u32 page) {
  if (cache->drop_page(page)) ++statistics.pages_invalidated;
  if (cache->adopted() != nullptr) same_pages[page] = false;
}

// Return sites do not compare pages, and blocks of ring 0 never do.
void Translator::Impl::on_code_dropped(AddressSpace& space, u32 page) {
  if (!space.user) return invalidate_page(page);
  reset_returns(*space.returns);
}

void Translator::Impl::reset_returns(ReturnStack& stack) {
  stack.reset(address_of(border.underflow));
  if (returns == &stack) context.return_stack = stack.pointer;
}

}  // namespace snowglobe::vm
