// vm/memory/ram_image.cc - groups of page names, and making images of bytes.
#include "vm/memory/ram_image.h"

#include "base/check.h"

#include <algorithm>

namespace snowglobe::vm {

RamImage::Group::Group(const Refs& refs) : refs_(refs) {
  PageArena::process().retain(refs_);
}

RamImage::Group::~Group() {
  PageArena::process().release(refs_);
}

bool RamImage::read(u32 page, base::Bytes out) const {
  if (!check(page)) return false;
  const PageRef found = ref(page);
  if (found.is_zero()) {
    std::ranges::fill(out.first(kPageSize), u8{0});
  } else {
    std::copy_n(PageArena::process().bytes(found), kPageSize, out.data());
  }
  return true;
}

void RamImage::for_each_difference(const RamImage* other,
                                   const std::function<void(u32)>& visit) const {
  for (u32 group = 0; group < groups_.size(); ++group) {
    if (other != nullptr && groups_[group] == other->groups_[group]) continue;
    if (other == nullptr && groups_[group] == nullptr) continue;
    const u32 end = std::min(pages_, (group + 1) * kGroupPages);
    for (u32 page = group * kGroupPages; page < end; ++page) {
      if (ref(page) != (other == nullptr ? PageRef{} : other->ref(page))) visit(page);
    }
  }
}

u32 RamImage::pages_used() const {
  u32 used = 0;
  for_each_difference(nullptr, [&used](u32) { ++used; });
  return used;
}

// --- building -----------------------------------------------------------------------------------

RamImage::Builder::Builder(u64 size, const RamImage* base)
    : pages_(static_cast<u32>(size >> kPageShift)),
      groups_((pages_ + kGroupPages - 1) / kGroupPages),
      changed_(groups_.size()) {
  if (base == nullptr) return;
  SG_ASSERT(base->page_count() == pages_, "an image is built on one of its own size");
  groups_ = base->groups_;
}

RamImage::Builder::~Builder() {
  PageArena::process().release(owned_);
  PageArena::process().release(room_);
}

base::Result<void> RamImage::Builder::set(u32 page, base::ConstBytes bytes) {
  auto& refs = changed_[page / kGroupPages];
  if (refs == nullptr) {
    const auto& group = groups_[page / kGroupPages];
    refs = std::make_unique<Group::Refs>(group != nullptr ? group->refs() : Group::Refs{});
  }
  PageRef& ref = (*refs)[page % kGroupPages];
  if (base::all_zero(bytes)) {
    ref = {};
    return {};
  }
  if (room_.empty()) {
    auto allocated = PageArena::process().allocate(kGroupPages);
    if (!allocated) return allocated.error();
    room_ = std::move(allocated).value();
    std::ranges::reverse(room_);  // to be taken from the back, in ascending order
  }
  ref = room_.back();
  room_.pop_back();
  owned_.push_back(ref);
  std::copy_n(bytes.data(), kPageSize, PageArena::process().writable(ref));
  return {};
}

std::shared_ptr<const RamImage> RamImage::Builder::finish() {
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (changed_[i] != nullptr) groups_[i] = std::make_shared<const Group>(*changed_[i]);
  }
  return std::make_shared<const RamImage>(pages_, std::move(groups_));
}

base::Result<std::shared_ptr<const RamImage>> RamImage::of_file(std::unique_ptr<MemoryFile> file,
                                                                const std::vector<bool>& used) {
  const u32 pages = static_cast<u32>(file->size() >> kPageShift);
  SG_ASSERT(used.size() == pages, "one mark for each page of the file");
  auto number = PageArena::process().add_file(file);
  if (!number) return number.error();
  Groups groups((pages + kGroupPages - 1) / kGroupPages);
  for (u32 begin = 0; begin < pages; begin += kGroupPages) {
    Group::Refs refs;
    bool any = false;
    for (u32 i = 0; i < kGroupPages && begin + i < pages; ++i) {
      if (!used[begin + i]) continue;
      refs[i] = PageArena::ref_in(number.value(), begin + i);
      any = true;
    }
    if (any) groups[begin / kGroupPages] = std::make_shared<const Group>(refs);
  }
  PageArena::process().drop_unused_file(number.value());
  return std::shared_ptr<const RamImage>(std::make_shared<RamImage>(pages, std::move(groups)));
}

}  // namespace snowglobe::vm
