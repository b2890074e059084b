// vm/cpu/translator/block_cache.cc - the tables of blocks, and the patching of jumps between them.
#include "vm/cpu/translator/block_cache.h"

#include <algorithm>
#include <utility>

namespace snowglobe::vm {
namespace {

constexpr std::size_t kJumpTableEntries = 65536;  // by the low 16 bits of the address
constexpr unsigned kBucketBits = 17;
constexpr std::size_t kMaxBlockBytes = std::size_t{32} * 1024;

}  // namespace

BlockCache::BlockCache(CodeMemory& code, const BorderCode& border, u32 page_count)
    : code_(code),
      border_(border),
      hot_start_(kPageSize),
      cold_start_(static_cast<u32>(code.size() / 8 * 5)),
      hot_used_(hot_start_),
      cold_used_(cold_start_),
      buckets_(std::size_t{1} << kBucketBits, nullptr),
      pages_(page_count) {
  sites_.push_back({.kind = Site::Kind::kIndirect});
  for (auto& table : jump_tables_)
    table.resize(kJumpTableEntries);
  forget_jumps();
}

void BlockCache::forget_jumps() {
  for (auto& table : jump_tables_)
    std::ranges::fill(table, address(border_.stubs.miss));
}

void BlockCache::enter_jump(const TranslatedBlock& block) {
  jump_tables_[block.user ? 1 : 0][block.linear % kJumpTableEntries] =
      address(block.indirect_entry);
}

// --- finding ------------------------------------------------------------------------------------

std::size_t BlockCache::bucket_of(PhysicalAddress physical, LinearAddress linear, bool user) {
  const u64 key = (u64{physical} * 2 + (user ? 1 : 0)) ^ (u64{linear >> kPageShift} << 20);
  return (key * 0x9E3779B97F4A7C15u) >> (64 - kBucketBits);
}

TranslatedBlock* BlockCache::find(PhysicalAddress physical, LinearAddress linear, bool user) const {
  for (TranslatedBlock* block = buckets_[bucket_of(physical, linear, user)]; block != nullptr;
       block = block->next_in_bucket) {
    if (block->physical == physical && block->linear == linear && block->user == user) return block;
  }
  return nullptr;
}

TranslatedBlock* BlockCache::at(u32 position) const {
  for (const auto& block : dropped_) {
    if (position >= block->begin && position < block->end) return block.get();
  }
  const auto next = std::ranges::upper_bound(order_, position, {}, &TranslatedBlock::begin);
  if (next == order_.begin()) return nullptr;
  TranslatedBlock* const block = *std::prev(next);
  return position < block->end ? block : nullptr;
}

// --- adding -------------------------------------------------------------------------------------

bool BlockCache::has_room() const {
  return hot_used_ + kMaxBlockBytes <= cold_start_ && cold_used_ + kMaxBlockBytes <= code_.size();
}

BlockTranslator::Room BlockCache::room(u32 position) const {
  u8* const begin = code_.writable() + position;
  return {begin, begin + kMaxBlockBytes, position};
}

BlockCache::PageBlocks& BlockCache::page_blocks(u32 page) {
  if (pages_[page] == nullptr) pages_[page] = std::make_unique<PageBlocks>();
  return *pages_[page];
}

TranslatedBlock& BlockCache::add(std::unique_ptr<TranslatedBlock> block) {
  TranslatedBlock& added = *block;
  hot_used_ = static_cast<u32>(base::align_up(added.end, 16));
  cold_used_ = added.cold_end;
  TranslatedBlock*& bucket = buckets_[bucket_of(added.physical, added.linear, added.user)];
  added.next_in_bucket = std::exchange(bucket, &added);
  order_.push_back(&added);
  if (added.crossing) page_blocks(added.second_page).crossing_into.push_back(&added);
  page_blocks(added.physical >> kPageShift).blocks.push_back(std::move(block));
  return added;
}

void BlockCache::set_jump(const Site& site, u32 position) {
  base::store_le(code_.writable() + site.patch - 4, position - site.patch);
}

void BlockCache::link(u32 number, TranslatedBlock& target) {
  Site& from = sites_[number];
  if (from.kind != Site::Kind::kLink || !from.block->valid || from.linked != nullptr) return;
  if (from.block->user != target.user || from.eip != target.linear) return;
  const bool same_page = (from.block->linear ^ target.linear) >> kPageShift == 0 &&
                         (from.block->physical ^ target.physical) >> kPageShift == 0;
  from.linked = &target;
  target.incoming.push_back(number);
  set_jump(from, same_page ? target.body : target.page_entry);
}

void BlockCache::link_known_targets(const TranslatedBlock& block) {
  for (const u32 number : block.sites) {
    const Site& from = sites_[number];
    if (from.kind != Site::Kind::kLink) continue;
    if ((from.eip ^ block.linear) >> kPageShift != 0) continue;
    const PhysicalAddress physical = (block.physical & ~kPageMask) | (from.eip & kPageMask);
    if (TranslatedBlock* target = find(physical, from.eip, block.user)) link(number, *target);
  }
}

// --- copying ------------------------------------------------------------------------------------

// Code refers to code by distance and to the machine by registers: it means the same elsewhere.
void BlockCache::copy_code(const BlockCache& other) {
  const auto copy = [&](u32 begin, u32 end) {
    std::copy(other.code_.writable() + begin, other.code_.writable() + end,
              code_.writable() + begin);
  };
  copy(hot_start_, other.hot_used_);
  copy(cold_start_, other.cold_used_);
  hot_used_ = other.hot_used_;
  cold_used_ = other.cold_used_;
  for (std::size_t mode = 0; mode < jump_tables_.size(); ++mode) {
    std::ranges::transform(other.jump_tables_[mode], jump_tables_[mode].begin(),
                           [&](u64 entry) { return entry - other.address(0) + address(0); });
  }
}

// Only sites of blocks that are alive: others are not run any more.
void BlockCache::copy_sites(const BlockCache& other) {
  sites_.resize(other.sites_.size());
  for (const TranslatedBlock* block : other.order_) {
    for (const u32 number : block->sites) {
      Site& site = sites_[number] = other.sites_[number];
      site.block = order_[block->ordinal];
      if (site.linked != nullptr) site.linked = order_[site.linked->ordinal];
    }
  }
}

bool BlockCache::copy_from(BlockCache& other) {
  const Stubs& theirs = other.border_.stubs;
  const Stubs& ours = border_.stubs;
  if (code_.size() != other.code_.size() || pages_.size() != other.pages_.size() ||
      ours.exit != theirs.exit || ours.miss != theirs.miss || ours.lookup != theirs.lookup) {
    return false;
  }
  u32 ordinal = 0;
  for (TranslatedBlock* block : other.order_) {
    block->ordinal = ordinal++;
    auto copy = std::make_unique<TranslatedBlock>(*block);
    add(std::move(copy));
  }
  copy_sites(other);
  copy_code(other);
  return true;
}

// --- dropping -----------------------------------------------------------------------------------

void BlockCache::drop(TranslatedBlock& block) {
  block.valid = false;
  for (const u32 number : block.incoming) {
    if (sites_[number].linked != &block) continue;
    sites_[number].linked = nullptr;
    set_jump(sites_[number], sites_[number].stub);
  }
  for (const u32 position : block.return_sites) {
    // Callees may still come back: let them look for what is there now.
    u8* const site = code_.writable() + position;
    site[0] = 0xE9;  // jmp
    base::store_le(site + 1, border_.stubs.lookup - (position + 5));
  }
  for (const u32 number : block.sites) {
    if (TranslatedBlock* target = std::exchange(sites_[number].linked, nullptr)) {
      std::erase(target->incoming, number);
    }
  }
  TranslatedBlock** link = &buckets_[bucket_of(block.physical, block.linear, block.user)];
  while (*link != &block)
    link = &(*link)->next_in_bucket;
  *link = block.next_in_bucket;
  u64& entry = jump_tables_[block.user ? 1 : 0][block.linear % kJumpTableEntries];
  if (entry == address(block.indirect_entry)) entry = address(border_.stubs.miss);
  if (block.crossing) std::erase(page_blocks(block.second_page).crossing_into, &block);
  order_.erase(std::ranges::lower_bound(order_, block.begin, {}, &TranslatedBlock::begin));
  auto& blocks = page_blocks(block.physical >> kPageShift).blocks;
  const auto place = std::ranges::find(blocks, &block, &std::unique_ptr<TranslatedBlock>::get);
  dropped_.push_back(std::move(*place));
  blocks.erase(place);
}

bool BlockCache::drop_page(u32 page) {
  if (pages_[page] == nullptr) return false;
  while (!pages_[page]->crossing_into.empty())
    drop(*pages_[page]->crossing_into.back());
  while (!pages_[page]->blocks.empty())
    drop(*pages_[page]->blocks.back());
  return true;
}

void BlockCache::drop_everything() {
  for (auto& page : pages_)
    page.reset();
  order_.clear();
  sites_.resize(1);
  std::ranges::fill(buckets_, nullptr);
  forget_jumps();
  hot_used_ = hot_start_;
  cold_used_ = cold_start_;
  dropped_.clear();
}

}  // namespace snowglobe::vm
