// vm/cpu/translator/block_cache.cc - the tables of blocks, and the patching of jumps between them.
#include "vm/cpu/translator/block_cache.h"

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>
#include <xxhash.h>

namespace snowglobe::vm {
namespace {

constexpr std::size_t kJumpTableEntries = 65536;  // by the low 16 bits of the address
constexpr unsigned kBucketBits = 15;
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
  if (next == order_.begin()) return imported_at(position);
  TranslatedBlock* const block = *std::prev(next);
  return position < block->end ? block : nullptr;
}

TranslatedBlock* BlockCache::imported_at(u32 position) const {
  if (adopted_ == nullptr) return nullptr;
  const auto& blocks = adopted_->blocks;
  const auto next = std::ranges::upper_bound(blocks, position, {}, &TranslatedBlock::begin);
  if (next == blocks.begin()) return nullptr;
  TranslatedBlock* const block =
      imported_[static_cast<std::size_t>(std::prev(next) - blocks.begin())];
  return block != nullptr && position < block->end ? block : nullptr;
}

std::vector<TranslatedBlock*> BlockCache::in_order() const {
  std::vector<TranslatedBlock*> all;
  all.reserve(size());
  std::ranges::copy_if(imported_, std::back_inserter(all), [](auto* block) { return !!block; });
  all.insert(all.end(), order_.begin(), order_.end());
  return all;
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
  added.hot_begin = hot_used_;
  added.cold_begin = cold_used_;
  hot_used_ = static_cast<u32>(base::align_up(added.end, 16));
  cold_used_ = added.cold_end;
  order_.push_back(&added);
  enter(std::move(block));
  return added;
}

void BlockCache::enter(std::unique_ptr<TranslatedBlock> block) {
  TranslatedBlock& added = *block;
  TranslatedBlock*& bucket = buckets_[bucket_of(added.physical, added.linear, added.user)];
  added.next_in_bucket = std::exchange(bucket, &added);
  if (added.crossing) page_blocks(added.second_page).crossing_into.push_back(&added);
  page_blocks(added.physical >> kPageShift).blocks.push_back(std::move(block));
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
  for (const u32 number : block.listing->sites) {
    const Site& from = sites_[number];
    if (from.kind != Site::Kind::kLink) continue;
    if ((from.eip ^ block.linear) >> kPageShift != 0) continue;
    const PhysicalAddress physical = (block.physical & ~kPageMask) | (from.eip & kPageMask);
    if (TranslatedBlock* target = find(physical, from.eip, block.user)) link(number, *target);
  }
}

// --- taking over --------------------------------------------------------------------------------

u64 CodeImage::checksum_of(base::ConstBytes page) {
  return XXH3_64bits(page.data(), page.size());
}

std::shared_ptr<CodeImage> BlockCache::empty_image() const {
  auto image = std::make_shared<CodeImage>();
  image->stubs = border_.stubs;
  image->code_size = code_.size();
  image->hot_begin = hot_start_;
  image->cold_begin = cold_start_;
  image->sites.resize(sites_.size());
  image->linked.resize(sites_.size(), CodeImage::kNowhere);
  return image;
}

/// Appends a block. The ordinals of those that it leads to are those in the image.
void BlockCache::enter_block(CodeImage& image, const TranslatedBlock& block, const GuestRam& ram) {
  const u32 page = block.physical >> kPageShift;
  if (!image.pages.contains(page)) {
    image.pages.emplace(page, CodeImage::checksum_of({ram.host_page(page), kPageSize}));
  }
  // One that reaches into a second page is rare, and quickly made again.
  if (!block.crossing) {
    image.index.insert_or_assign(CodeImage::key_of(block.physical, block.linear, block.user),
                                 static_cast<u32>(image.blocks.size()));
  }
  for (const u32 number : block.listing->sites) {
    Site& site = image.sites[number] = sites_[number];
    if (site.linked != nullptr) image.linked[number] = site.linked->ordinal;
    site.block = site.linked = nullptr;
  }
  TranslatedBlock& copy = image.blocks.emplace_back(block);
  copy.incoming.clear();
  copy.next_in_bucket = nullptr;
}

std::shared_ptr<const CodeImage> BlockCache::image(const GuestRam& ram) {
  auto image = empty_image();
  image->hot.assign(code_.writable() + hot_start_, code_.writable() + hot_used_);
  image->cold.assign(code_.writable() + cold_start_, code_.writable() + cold_used_);
  const std::vector<TranslatedBlock*> all = in_order();
  u32 ordinal = 0;
  for (TranslatedBlock* block : all)
    block->ordinal = ordinal++;
  image->blocks.reserve(all.size());
  for (const TranslatedBlock* block : all)
    enter_block(*image, *block, ram);
  return image;
}

/// What an image knows of pages of `blocks` that have other bytes now is worth nothing.
void BlockCache::forget_changed_pages(CodeImage& image, const GuestRam& ram,
                                      std::span<TranslatedBlock* const> blocks) {
  std::unordered_set<u32> seen, changed;
  for (const TranslatedBlock* block : blocks) {
    const u32 page = block->physical >> kPageShift;
    const auto known = image.pages.find(page);
    if (known == image.pages.end() || !seen.insert(page).second) continue;
    if (known->second == CodeImage::checksum_of({ram.host_page(page), kPageSize})) continue;
    image.pages.erase(known);
    changed.insert(page);
  }
  if (changed.empty()) return;
  std::erase_if(image.index, [&](const auto& entry) {
    return changed.contains(image.blocks[entry.second].physical >> kPageShift);
  });
}

/// How many of our own blocks, from the first on, leave room for `most` bytes of code in all.
std::size_t BlockCache::blocks_within(std::size_t most) const {
  std::size_t count = 0;
  const auto fits = [&](const TranslatedBlock& block) {
    return std::size_t{block.end} - hot_start_ + block.cold_end - cold_start_ <= most;
  };
  while (count < order_.size() && fits(*order_[count]))
    ++count;
  return count;
}

std::shared_ptr<const CodeImage> BlockCache::extended_image(const GuestRam& ram, std::size_t most) {
  const std::size_t count = blocks_within(most);
  const std::size_t known = adopted_ != nullptr ? adopted_->blocks.size() : 0;
  constexpr std::size_t kWorth = 8;  // of what is known already, or there is little to gain
  if (count == 0 || count * kWorth < known) return nullptr;
  auto image = empty_image();
  if (adopted_ != nullptr) copy_adopted(*image);
  const auto added = std::span(order_).first(count);
  u32 ordinal = static_cast<u32>(known);
  for (TranslatedBlock* block : order_)
    block->ordinal = CodeImage::kNowhere;
  for (TranslatedBlock* block : added)
    block->ordinal = ordinal++;
  forget_changed_pages(*image, ram, added);
  for (const TranslatedBlock* block : added)
    enter_block(*image, *block, ram);
  const auto append = [this](std::vector<u8>& to, u32 begin, u64 end) {
    to.insert(to.end(), code_.writable() + begin + to.size(), code_.writable() + end);
  };
  append(image->hot, hot_start_, base::align_up(added.back()->end, 16));
  append(image->cold, cold_start_, added.back()->cold_end);
  return image;
}

/// Also what was not imported.
void BlockCache::copy_adopted(CodeImage& to) {
  const CodeImage& from = *adopted_;
  to.hot = from.hot;
  to.cold = from.cold;
  std::ranges::copy(from.sites, to.sites.begin());
  std::ranges::copy(from.linked, to.linked.begin());
  to.blocks = from.blocks;
  to.index = from.index;
  to.pages = from.pages;
  for (u32 i = 0; i < to.blocks.size(); ++i) {
    if (imported_[i] != nullptr) imported_[i]->ordinal = i;
  }
}

bool BlockCache::adopt(std::shared_ptr<const CodeImage> image) {
  const Stubs& stubs = border_.stubs;
  if (image->code_size != code_.size() || image->cold_begin != cold_start_ ||
      image->hot_begin != hot_start_ || image->stubs.exit != stubs.exit ||
      image->stubs.miss != stubs.miss || image->stubs.lookup != stubs.lookup) {
    return false;
  }
  hot_used_ = hot_start_ + static_cast<u32>(image->hot.size());
  cold_used_ = cold_start_ + static_cast<u32>(image->cold.size());
  sites_.set_aside(static_cast<u32>(image->sites.size()));
  imported_.assign(image->blocks.size(), nullptr);
  adopted_ = std::move(image);
  return true;
}

TranslatedBlock* BlockCache::import(PhysicalAddress physical, LinearAddress linear, bool user) {
  const CodeImage& image = *adopted_;
  const auto found = image.index.find(CodeImage::key_of(physical, linear, user));
  if (found == image.index.end() || imported_[found->second] != nullptr) return nullptr;
  auto block = std::make_unique<TranslatedBlock>(image.blocks[found->second]);
  TranslatedBlock& added = *block;
  added.image_index = found->second;
  imported_[added.image_index] = &added;
  ++imported_count_;
  const auto copy = [this](const std::vector<u8>& from, u32 part, u32 begin, u32 end) {
    std::copy_n(from.data() + (begin - part), end - begin, code_.writable() + begin);
  };
  copy(image.hot, image.hot_begin, added.hot_begin, added.end);
  copy(image.cold, image.cold_begin, added.cold_begin, added.cold_end);
  enter(std::move(block));
  import_sites(added);
  return &added;
}

// Links lead to what is here already; the others are made when they are first gone.
void BlockCache::import_sites(TranslatedBlock& block) {
  for (const u32 number : block.listing->sites) {
    Site& site = sites_.make(number);
    site = adopted_->sites[number];
    site.block = &block;
    if (site.kind != Site::Kind::kLink) continue;
    // In the image's code it may lead to a block that the image has no room for.
    set_jump(site, site.stub);
    const u32 target = adopted_->linked[number];
    if (target == CodeImage::kNowhere) continue;
    if (imported_[target] != nullptr) link(number, *imported_[target]);
  }
}

// --- dropping -----------------------------------------------------------------------------------

void BlockCache::drop(TranslatedBlock& block) {
  block.valid = false;
  const bool imported = block.image_index < imported_.size();
  if (imported) {
    imported_[block.image_index] = nullptr;
    --imported_count_;
  }
  for (const u32 number : block.incoming) {
    if (sites_[number].linked != &block) continue;
    sites_[number].linked = nullptr;
    set_jump(sites_[number], sites_[number].stub);
  }
  for (const u32 position : block.listing->return_sites) {
    // Callees may still come back: let them look for what is there now.
    u8* const site = code_.writable() + position;
    site[0] = 0xE9;  // jmp
    base::store_le(site + 1, border_.stubs.lookup - (position + 5));
  }
  for (const u32 number : block.listing->sites) {
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
  if (!imported) {
    order_.erase(std::ranges::lower_bound(order_, block.begin, {}, &TranslatedBlock::begin));
  }
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
  sites_.clear();
  sites_.push_back({.kind = Site::Kind::kIndirect});
  adopted_.reset();
  imported_.clear();
  imported_count_ = 0;
  std::ranges::fill(buckets_, nullptr);
  forget_jumps();
  hot_used_ = hot_start_;
  cold_used_ = cold_start_;
  dropped_.clear();
}

}  // namespace snowglobe::vm
