// vm/memory/ram.h - guest RAM and its one owner.
//
// Every writer (the CPU's TLB fill, helpers, devices, windows) asks the owner for the right to
// write a page; copy-on-write, dirty marks and code invalidation hang there. A right, once given,
// stays until the owner takes it back and says so through Observer.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/memory/page_arena.h"
#include "vm/memory/ram_image.h"
#include "vm/types.h"

#include <memory>
#include <span>
#include <vector>

namespace snowglobe::vm {

/// A page is *own*, in a memory file of this RAM, or *borrowed* from the image that the RAM was
/// last captured to, restored to or made from. Writing makes it own.
///
/// Thread rule: confined to the machine's thread, but for read-only access to bytes handed to an
/// I/O thread by a device that acquired them on the machine's thread.
///
/// Invariants:
/// 1. A page is written only after acquire_write() returned for it and before the next
/// on_write_right_lost() or on_all_moved().
/// 2. A page that is watched for code is not writable; acquire_write() on it drops the code first.
/// 3. A page that is not dirty has the bytes that the image says (all zero without an image).
/// 4. A writable page is own and dirty.
class GuestRam {
 public:
  /// Learns what happens to rights and places that it holds.
  class Observer {
   public:
    virtual ~Observer() = default;
    /// The right to write `page` is gone: forget every cached writable mapping of it.
    virtual void on_write_right_lost(u32 page) = 0;
    /// `page` is about to be written and was watched for code: drop what was decoded from it.
    virtual void on_code_written(u32 page) = 0;
    /// `page` lies elsewhere in the host's memory now: forget every mapping of it.
    virtual void on_page_moved(u32 page) = 0;
    /// All pages do, and all rights to write are gone. What was decoded is still true.
    virtual void on_all_moved() = 0;
  };

  /// RAM of `size` bytes (a multiple of 4 MiB, at most 3 GiB): zeros, or what `image` (of that
  /// size) says. Errors: kInvalidArgument, kResourceExhausted.
  static base::Result<std::unique_ptr<GuestRam>> create(
      u64 size, std::shared_ptr<const RamImage> image = nullptr);
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  [[nodiscard]] u64 size() const { return u64{page_count()} << kPageShift; }
  [[nodiscard]] u32 page_count() const { return static_cast<u32>(flags_.size()); }
  [[nodiscard]] bool contains(PhysicalAddress address, u64 length = 1) const {
    return base::range_fits(address, length, size());
  }

  /// One observer (the CPU); null for none. Not owned.
  void set_observer(Observer* observer) { observer_ = observer; }

  /// The bytes [address, address + length), or an empty span if they are not all RAM. Borrowed
  /// pages that do not lie behind one another become own.
  [[nodiscard]] base::ConstBytes read(PhysicalAddress address, u32 length);
  /// The same, writable, with the right to write all touched pages acquired. Empty if not all RAM.
  [[nodiscard]] base::Bytes write(PhysicalAddress address, u32 length);

  /// True if `page` may be written without asking.
  [[nodiscard]] bool is_writable(u32 page) const { return (flags_[page] & kWritable) != 0; }
  /// True if acquire_write() would neither copy the page nor drop code.
  [[nodiscard]] bool is_cheap_to_write(u32 page) const {
    return (flags_[page] & (kOwn | kCode)) == kOwn;
  }
  /// True if `page` is watched because code was decoded from it.
  [[nodiscard]] bool has_code(u32 page) const { return (flags_[page] & kCode) != 0; }
  /// Acquires the right to write `page` (must be RAM): makes it own, marks it dirty, drops code
  /// decoded from it.
  void acquire_write(u32 page);
  /// The host address of `page` (must be RAM), to be read; to be written with the right to.
  [[nodiscard]] u8* host_page(u32 page) const {
    if ((flags_[page] & kOwn) != 0) [[likely]]
      return own_->page(page);
    return borrowed(page);
  }
  /// Where `page` lies, for windows that map it: until it moves.
  struct Place {
    int descriptor = -1;
    u32 page = 0;  ///< of the file
    bool operator==(const Place&) const = default;
  };
  [[nodiscard]] Place place_of(u32 page) const;
  /// Call it for pages that are mapped there and read without host_page(): see damaged().
  void verify(u32 first, u32 count) const;
  /// True once a borrowed page was found not to be what was stored: what runs on it is lost.
  [[nodiscard]] bool damaged() const { return damaged_; }

  /// Makes these pages own now, since they will be written: one by one, each would cost a fault and
  /// its mappings in windows. Those that are not RAM are left out, and all beyond kMostExpected.
  void expect_writes(std::span<const u32> pages);

  /// Takes the right to write `page` away until somebody asks again, because code was decoded from
  /// it.
  void watch_code(u32 page);

  /// The whole RAM as it is. From now on dirty means: perhaps not as in that image. Costs a copy of
  /// each dirty page, or, where many are, all rights to write. Errors: kResourceExhausted; nothing
  /// has changed then.
  base::Result<std::shared_ptr<const RamImage>> capture();
  /// Makes the RAM what the image says. Pages that were dirty stay writable and dirty, since they
  /// will be written again; those that for some time were not lose the right. Errors:
  /// kInvalidArgument (another size), kCorrupt (a page that is needed is not as it was stored),
  /// kResourceExhausted; nothing has changed then.
  base::Result<void> restore(std::shared_ptr<const RamImage> image);

  /// Pages with contents in the image that were written since, or that restores and captures took
  /// for such as will be. Empty without an image.
  [[nodiscard]] std::vector<u32> written_pages() const;
  /// What it was last captured to, restored to or made from; null: nothing.
  [[nodiscard]] const std::shared_ptr<const RamImage>& image() const { return image_; }
  /// Pages that may differ from the image, in ascending order.
  [[nodiscard]] std::vector<u32> dirty_pages() const;
  /// Bytes of memory that only this RAM uses.
  [[nodiscard]] u64 own_bytes() const { return own_->used_bytes(); }

 private:
  enum Flag : u8 { kWritable = 1, kDirty = 2, kCode = 4, kOwn = 8 };
  /// More dirty pages than that are not copied, but given away: then all that is written later
  /// takes a fault.
  static constexpr std::size_t kCopyAtMost = 4096;
  static constexpr std::size_t kMostExpected = 1024;
  /// A dirty page that was found unchanged by so many restores in a row is not dirty any more.
  static constexpr u8 kColdAfter = 16;
  /// So many in one restore at most: taking rights away is dear.
  static constexpr u32 kColdAtOnce = 32;

  explicit GuestRam(u32 pages) : flags_(pages, 0), unchanged_(pages, 0) {}

  [[nodiscard]] PageRef ref_of(u32 page) const {
    return image_ == nullptr ? PageRef{} : image_->ref(page);
  }
  [[nodiscard]] u8* borrowed(u32 page) const;
  void make_own(u32 page);
  void note_dirty(u32 page);
  void begin_anew(std::shared_ptr<const RamImage> image, std::unique_ptr<MemoryFile> own);
  base::Result<std::shared_ptr<const RamImage>> capture_by_copy();
  base::Result<std::shared_ptr<const RamImage>> capture_by_giving();
  std::shared_ptr<const RamImage> image_with(const std::vector<u32>& pages,
                                             const std::vector<PageRef>& refs) const;
  bool put_back(u32 page, PageRef ref);
  void drop_code(u32 page);
  void put_back_dirty(const RamImage& image);
  void put_back_others(const RamImage& image, const std::vector<u32>& pages);
  void drop_changed_code(const RamImage& image);

  std::unique_ptr<MemoryFile> own_;
  std::shared_ptr<const RamImage> image_;  ///< null: all zero
  std::vector<u8> flags_;
  std::vector<u8> unchanged_;  ///< by how many restores in a row
  std::vector<u32> dirty_;     ///< pages with kDirty
  mutable bool damaged_ = false;
  Observer* observer_ = nullptr;
};

}  // namespace snowglobe::vm
