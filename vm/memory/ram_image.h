// vm/memory/ram_image.h - all of a guest's RAM at one instant: never changes, costs a few bytes a
// page, shares pages with other images and with the machines that run on it.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/memory/page_arena.h"
#include "vm/types.h"

#include <array>
#include <functional>
#include <memory>
#include <vector>

namespace snowglobe::vm {

/// Thread rule: any thread.
class RamImage {
 public:
  /// Pages are kept in groups, which images share as long as nothing in them differs.
  static constexpr u32 kGroupPages = 256;
  class Group {
   public:
    using Refs = std::array<PageRef, kGroupPages>;
    /// Uses each page once more.
    explicit Group(const Refs& refs);
    ~Group();
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

    [[nodiscard]] PageRef ref(u32 index) const { return refs_[index]; }
    [[nodiscard]] const Refs& refs() const { return refs_; }

   private:
    Refs refs_;
  };
  using Groups = std::vector<std::shared_ptr<const Group>>;  ///< null: all zero

  /// `groups` cover `pages` pages.
  RamImage(u32 pages, Groups groups) : pages_(pages), groups_(std::move(groups)) {}

  [[nodiscard]] u32 page_count() const { return pages_; }
  [[nodiscard]] u64 size() const { return u64{pages_} << kPageShift; }
  [[nodiscard]] PageRef ref(u32 page) const {
    const Group* const group = groups_[page / kGroupPages].get();
    return group == nullptr ? PageRef{} : group->ref(page % kGroupPages);
  }
  [[nodiscard]] const Groups& groups() const { return groups_; }

  /// True if the bytes of a page have been verified, or need not be (MemoryFile::check).
  [[nodiscard]] bool check(u32 page) const {
    const PageRef found = ref(page);
    return found.is_zero() || PageArena::process().file(found).check(found.slot());
  }
  /// Copies page `page` out; zeros for a zero page. `out` has kPageSize bytes. False, and `out` is
  /// as it was, if they are not what was stored.
  [[nodiscard]] bool read(u32 page, base::Bytes out) const;
  /// Calls `visit` with each page, ascending, that is another one in `other` (of equal size; null:
  /// all zero). Pages that differ in name may still have equal bytes.
  void for_each_difference(const RamImage* other, const std::function<void(u32 page)>& visit) const;
  /// Pages that are not zero pages.
  [[nodiscard]] u32 pages_used() const;

  /// Makes an image of pages read from elsewhere.
  class Builder {
   public:
    /// Starts from `base` (null: all zero), whose size must be `size` (a multiple of 4 MiB).
    Builder(u64 size, const RamImage* base);
    /// The content of a page, kPageSize bytes. Errors: kResourceExhausted.
    base::Result<void> set(u32 page, base::ConstBytes bytes);
    std::shared_ptr<const RamImage> finish();
    ~Builder();
    Builder(const Builder&) = delete;
    Builder& operator=(const Builder&) = delete;

   private:
    u32 pages_;
    Groups groups_;
    std::vector<std::unique_ptr<Group::Refs>> changed_;
    std::vector<PageRef> owned_;  ///< allocated here: one use each is ours until finish()
    std::vector<PageRef> room_;   ///< allocated ahead
  };

  /// An image of the pages of a file: page n of the image is page n of the file, or zero where
  /// `used` says so.
  static base::Result<std::shared_ptr<const RamImage>> of_file(std::unique_ptr<MemoryFile> file,
                                                               const std::vector<bool>& used);

 private:
  u32 pages_;
  Groups groups_;
};

}  // namespace snowglobe::vm
