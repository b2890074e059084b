// vm/memory/ram.cc - own and borrowed pages, rights to write, and going back to an image.
#include "vm/memory/ram.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace snowglobe::vm {

using base::Error;
using base::ErrorCode;

namespace {

alignas(kPageSize) const std::array<u8, kPageSize> kZeros{};

const u8* bytes_of(PageRef ref) {
  return ref.is_zero() ? kZeros.data() : PageArena::process().bytes(ref);
}

Error damaged_page(u32 page) {
  return {ErrorCode::kCorrupt,
          "page " + std::to_string(page) + " of the stored memory is not what was stored"};
}

bool equal(const u8* left, const u8* right) {
  return std::memcmp(left, right, kPageSize) == 0;
}

}  // namespace

base::Result<std::unique_ptr<GuestRam>> GuestRam::create(u64 size,
                                                         std::shared_ptr<const RamImage> image) {
  constexpr u64 kUnit = 4u << 20;
  if (size == 0 || size % kUnit != 0 || size > (u64{3} << 30)) {
    return Error{ErrorCode::kInvalidArgument,
                 "guest memory must be a multiple of 4 MiB and at most 3 GiB"};
  }
  if (image != nullptr && image->size() != size) {
    return Error{ErrorCode::kInvalidArgument,
                 "the image has " + std::to_string(image->size() >> 20) + " MiB of memory, not " +
                     std::to_string(size >> 20)};
  }
  auto own = MemoryFile::create(size);
  if (!own) return own.error();
  std::unique_ptr<GuestRam> ram(new GuestRam(static_cast<u32>(size >> kPageShift)));
  ram->begin_anew(std::move(image), std::move(own).value());
  return ram;
}

// Everything is as in the image, nothing is dirty. A zero page is own from the start: the memory
// file has zeros there already.
void GuestRam::begin_anew(std::shared_ptr<const RamImage> image, std::unique_ptr<MemoryFile> own) {
  image_ = std::move(image);
  for (u32 page = 0; page < page_count(); ++page) {
    flags_[page] = static_cast<u8>((flags_[page] & kCode) | (ref_of(page).is_zero() ? kOwn : 0));
  }
  dirty_.clear();
  if (observer_ != nullptr) observer_->on_all_moved();
  own_ = std::move(own);
}

u8* GuestRam::borrowed(u32 page) const {
  const PageRef ref = image_->ref(page);
  const MemoryFile& file = PageArena::process().file(ref);
  if (!file.check(ref.slot())) damaged_ = true;
  return file.page(ref.slot());
}

void GuestRam::verify(u32 first, u32 count) const {
  for (u32 page = first; page < first + count; ++page) {
    if ((flags_[page] & kOwn) == 0 && !image_->check(page)) damaged_ = true;
  }
}

GuestRam::Place GuestRam::place_of(u32 page) const {
  if ((flags_[page] & kOwn) != 0) return {own_->descriptor(), page};
  const PageRef ref = image_->ref(page);
  return {PageArena::process().file(ref).descriptor(), ref.slot()};
}

base::ConstBytes GuestRam::read(PhysicalAddress address, u32 length) {
  if (!contains(address, length) || length == 0) return {};
  const u32 first = address >> kPageShift;
  const u32 last = (address + length - 1) >> kPageShift;
  const auto contiguous = [this](u32 page) {
    return host_page(page + 1) == host_page(page) + kPageSize;
  };
  for (u32 page = first; page < last; ++page) {
    if (contiguous(page)) continue;
    for (u32 each = first; each <= last; ++each) {
      if ((flags_[each] & kOwn) == 0) make_own(each);
    }
    break;
  }
  return {host_page(first) + (address & kPageMask), length};
}

base::Bytes GuestRam::write(PhysicalAddress address, u32 length) {
  if (!contains(address, length) || length == 0) return {};
  const u32 last = (address + length - 1) >> kPageShift;
  for (u32 page = address >> kPageShift; page <= last; ++page)
    acquire_write(page);
  return {own_->base() + address, length};
}

void GuestRam::make_own(u32 page) {
  std::memcpy(own_->page(page), borrowed(page), kPageSize);
  flags_[page] |= kOwn;
  if (observer_ != nullptr) observer_->on_page_moved(page);
}

void GuestRam::note_dirty(u32 page) {
  dirty_.push_back(page);
  unchanged_[page] = 0;
}

void GuestRam::acquire_write(u32 page) {
  const u8 before = flags_[page];
  if ((before & kWritable) != 0) return;
  if ((before & kDirty) == 0) {
    note_dirty(page);
  }
  if ((before & kOwn) == 0) make_own(page);
  flags_[page] = kOwn | kWritable | kDirty;
  if ((before & kCode) != 0 && observer_ != nullptr) observer_->on_code_written(page);
}

void GuestRam::expect_writes(std::span<const u32> pages) {
  for (const u32 page : pages.first(std::min(pages.size(), kMostExpected))) {
    if (page < page_count() && (flags_[page] & kOwn) == 0) make_own(page);
  }
}

std::vector<u32> GuestRam::written_pages() const {
  std::vector<u32> pages;
  std::ranges::copy_if(dirty_, std::back_inserter(pages),
                       [this](u32 page) { return !ref_of(page).is_zero(); });
  std::ranges::sort(pages);
  return pages;
}

void GuestRam::watch_code(u32 page) {
  u8& flags = flags_[page];
  const bool was_writable = (flags & kWritable) != 0;
  flags = static_cast<u8>((flags & ~kWritable) | kCode);
  if (was_writable && observer_ != nullptr) observer_->on_write_right_lost(page);
}

std::vector<u32> GuestRam::dirty_pages() const {
  std::vector<u32> pages = dirty_;
  std::ranges::sort(pages);
  return pages;
}

// --- capture ------------------------------------------------------------------------------------

base::Result<std::shared_ptr<const RamImage>> GuestRam::capture() {
  std::ranges::sort(dirty_);
  return dirty_.size() > kCopyAtMost ? capture_by_giving() : capture_by_copy();
}

// The image with other content for some pages, which are in ascending order.
std::shared_ptr<const RamImage> GuestRam::image_with(const std::vector<u32>& pages,
                                                     const std::vector<PageRef>& refs) const {
  constexpr u32 kGroup = RamImage::kGroupPages;
  RamImage::Groups groups(page_count() / kGroup);  // 4 MiB are a multiple of a group
  if (image_ != nullptr) groups = image_->groups();
  for (std::size_t i = 0; i < pages.size();) {
    const u32 number = pages[i] / kGroup;
    RamImage::Group::Refs changed{};
    if (groups[number] != nullptr) changed = groups[number]->refs();
    for (; i < pages.size() && pages[i] / kGroup == number; ++i)
      changed[pages[i] % kGroup] = refs[i];
    groups[number] = std::make_shared<const RamImage::Group>(changed);
  }
  return std::make_shared<const RamImage>(page_count(), std::move(groups));
}

base::Result<std::shared_ptr<const RamImage>> GuestRam::capture_by_copy() {
  std::vector<u32> changed;
  std::size_t full = 0;
  for (const u32 page : dirty_) {
    if (equal(own_->page(page), bytes_of(ref_of(page)))) continue;
    changed.push_back(page);
    full += equal(own_->page(page), kZeros.data()) ? 0 : 1;
  }
  if (changed.empty() && image_ != nullptr) return image_;
  auto room = PageArena::process().allocate(full);
  if (!room) return room.error();
  std::vector<PageRef> refs;
  refs.reserve(changed.size());
  std::size_t next = 0;
  for (const u32 page : changed) {
    PageRef ref;
    if (!equal(own_->page(page), kZeros.data())) {
      ref = room.value()[next++];
      std::memcpy(PageArena::process().writable(ref), own_->page(page), kPageSize);
    }
    refs.push_back(ref);
  }
  image_ = image_with(changed, refs);
  PageArena::process().release(room.value());  // the image's groups use them now
  return image_;
}

// The memory file becomes part of the image, and all pages are borrowed from it.
base::Result<std::shared_ptr<const RamImage>> GuestRam::capture_by_giving() {
  auto fresh = MemoryFile::create(size());
  if (!fresh) return fresh.error();
  auto number = PageArena::process().add_file(own_);
  if (!number) return number.error();
  std::vector<PageRef> refs;
  refs.reserve(dirty_.size());
  for (const u32 page : dirty_)
    refs.push_back(PageArena::ref_in(number.value(), page));
  begin_anew(image_with(dirty_, refs), std::move(fresh).value());
  return image_;
}

// --- restore ------------------------------------------------------------------------------------

base::Result<void> GuestRam::restore(std::shared_ptr<const RamImage> image) {
  if (image == nullptr || image->page_count() != page_count()) {
    return Error{ErrorCode::kInvalidArgument, "the image has another size of memory"};
  }
  std::vector<u32> others;
  image->for_each_difference(image_.get(), [&](u32 page) {
    if ((flags_[page] & kDirty) == 0) others.push_back(page);
  });
  for (const std::vector<u32>* pages : {&dirty_, &others}) {
    for (const u32 page : *pages) {
      if (!image->check(page)) return damaged_page(page);
    }
  }
  if (dirty_.size() + others.size() > kCopyAtMost) {
    auto fresh = MemoryFile::create(size());
    if (!fresh) return fresh.error();
    drop_changed_code(*image);
    begin_anew(std::move(image), std::move(fresh).value());
    return {};
  }
  put_back_dirty(*image);
  put_back_others(*image, others);
  image_ = std::move(image);
  return {};
}

// Makes an own page what `ref` says. False if it was.
bool GuestRam::put_back(u32 page, PageRef ref) {
  u8* const own = own_->page(page);
  const u8* const wanted = bytes_of(ref);
  if (equal(own, wanted)) return false;
  if ((flags_[page] & kCode) != 0) drop_code(page);
  std::memcpy(own, wanted, kPageSize);
  return true;
}

void GuestRam::put_back_dirty(const RamImage& image) {
  u32 cold = 0;
  std::erase_if(dirty_, [&](u32 page) {
    if (put_back(page, image.ref(page))) {
      unchanged_[page] = 0;
      return false;
    }
    unchanged_[page] = std::min(static_cast<u8>(unchanged_[page] + 1), kColdAfter);
    if (unchanged_[page] < kColdAfter || cold == kColdAtOnce) return false;
    ++cold;
    const bool was_writable = (flags_[page] & kWritable) != 0;
    flags_[page] &= static_cast<u8>(~(kWritable | kDirty));
    if (was_writable && observer_ != nullptr) observer_->on_write_right_lost(page);
    return true;
  });
}

// Pages that are not dirty, but other ones in `image`. The memory file has zeros where a page is
// borrowed: one that becomes zero is own at once.
void GuestRam::put_back_others(const RamImage& image, const std::vector<u32>& pages) {
  for (const u32 page : pages) {
    const PageRef ref = image.ref(page);
    if ((flags_[page] & kOwn) != 0) {
      put_back(page, ref);
      continue;
    }
    const u8* const before = PageArena::process().bytes(image_->ref(page));
    if ((flags_[page] & kCode) != 0 && !equal(before, bytes_of(ref))) drop_code(page);
    if (ref.is_zero()) flags_[page] |= kOwn;
    if (observer_ != nullptr) observer_->on_page_moved(page);
  }
}

void GuestRam::drop_code(u32 page) {
  flags_[page] &= static_cast<u8>(~kCode);
  if (observer_ != nullptr) observer_->on_code_written(page);
}

// Ahead of begin_anew() with another image: code of pages that it does not have.
void GuestRam::drop_changed_code(const RamImage& image) {
  for (u32 page = 0; page < page_count(); ++page) {
    if ((flags_[page] & kCode) == 0) continue;
    if (equal(host_page(page), bytes_of(image.ref(page)))) continue;
    drop_code(page);
  }
}

}  // namespace snowglobe::vm
