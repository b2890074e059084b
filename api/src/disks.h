// api/src/disks.h - what is behind the machine's two disks: the guest image's root file, shared and
// read-only, and a copy of its fresh cluster whose changes live in memory and can be kept as
// DiskImages.
#pragma once

#include "api/src/disk_base.h"
#include "api/src/disk_pages.h"
#include "api/src/read_only_disk.h"
#include "vm/backends.h"
#include "vm/memory/page_arena.h"

#include <array>
#include <atomic>
#include <bitset>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

namespace snowglobe::detail {

/// A file, read with pread: unlike a mapping it cannot kill the process if somebody cuts the file
/// short.
class FileDisk final : public ReadOnlyDisk {
 public:
  static base::Result<std::unique_ptr<FileDisk>> open(const std::filesystem::path& file);
  ~FileDisk() override;
  FileDisk(const FileDisk&) = delete;
  FileDisk& operator=(const FileDisk&) = delete;

 private:
  FileDisk(int file, vm::u64 capacity) : ReadOnlyDisk(capacity), file_(file) {}

  base::Result<void> fetch(vm::u64 offset, base::Bytes out) override;

  int file_;
};

/// The written parts of a disk; all else is zero. Never changes: any number of machines share it.
class SparseDisk final : public DiskBase {
 public:
  /// Unpacks what guest/recipe/sparse.py packed. `data_limit` bounds the memory that it takes.
  /// Errors: kCorrupt.
  static base::Result<std::shared_ptr<const SparseDisk>> unpack(base::ConstBytes packed,
                                                                vm::u64 data_limit);
  /// The same unpacked before, in a file with file() in it. Errors: kCorrupt.
  static base::Result<std::shared_ptr<const SparseDisk>> of_file(
      std::unique_ptr<vm::MemoryFile> file);
  /// One on which nothing was written: the base of stored images of persistent disks.
  /// `capacity`: a multiple of the page size.
  static std::shared_ptr<const SparseDisk> zeros(vm::u64 capacity);

  [[nodiscard]] vm::u64 capacity() const override { return capacity_; }
  /// All of it, unpacked, as of_file() takes it: how long it is, and a part of it. False if that is
  /// not what was stored.
  [[nodiscard]] vm::u64 file_bytes() const { return file_.size(); }
  [[nodiscard]] bool read_file(vm::u64 at, base::Bytes out) const;
  /// True once read() came to bytes that are not what was stored.
  [[nodiscard]] bool damaged() const override { return damaged_.load(std::memory_order_relaxed); }
  [[nodiscard]] base::Error damage() const override;
  void read(vm::u64 offset, base::Bytes out) const override;
  /// True if a byte of the range lies in a written part.
  [[nodiscard]] bool covers(vm::u64 offset, vm::u64 length) const override;
  void for_each_data(const Visit& visit) const override;
  [[nodiscard]] bool standalone() const override { return extents_.empty(); }

 private:
  struct Extent {
    vm::u64 offset;  ///< on the disk
    vm::u64 length;
    vm::u64 at;  ///< in file_
  };

  base::Result<void> parse();
  void check(vm::u64 at, vm::u64 length) const;
  [[nodiscard]] std::vector<Extent>::const_iterator extent_at(vm::u64 offset) const;

  vm::u64 capacity_ = 0;
  std::vector<Extent> extents_;  // ascending
  base::ConstBytes file_;        // header, table, data; in one of these two:
  std::vector<std::uint8_t> unpacked_;
  std::unique_ptr<vm::MemoryFile> mapped_;
  mutable std::atomic<bool> damaged_ = false;
};

/// What a disk began from and the pages that differ from it, at one instant. Never changes; images
/// and disks share the pages in which they do not differ. Thread rule: any thread.
class DiskImage {
 public:
  static constexpr vm::u64 kPage = DiskPage::kBytes;

  /// Nothing differs from `base`, behind which are zeros if the disk's `capacity` is larger (0: it
  /// is as large). In whole pages.
  explicit DiskImage(std::shared_ptr<const DiskBase> base, vm::u64 capacity = 0);

  [[nodiscard]] vm::u64 capacity() const { return capacity_; }
  [[nodiscard]] const std::shared_ptr<const DiskBase>& base() const { return base_; }
  /// Any range; behind capacity() are zeros.
  void read(vm::u64 offset, base::Bytes out) const;
  /// What its pages take. Other images may share them.
  [[nodiscard]] vm::u64 bytes() const { return page_count_ * kPage; }

  /// Calls `visit` with each chunk, ascending, in which a page is another one than in `other`
  /// (null: than in the base; of a base that stands alone, all that may be other than zeros). Their
  /// bytes may be equal all the same. `chunk_bytes` is a multiple of kPage; the disk's last chunk
  /// may be shorter. A smaller disk is compared as if it had zeros up to the other's end.
  void for_each_difference(const DiskImage* other, vm::u64 chunk_bytes,
                           const std::function<void(vm::u64 offset, vm::u64 length)>& visit) const;

  /// The same for comparisons, without contents: what to hold when only the next difference is
  /// asked for, since a persistent disk keeps each page that its images need. Reading it damages
  /// it.
  [[nodiscard]] std::shared_ptr<const DiskImage> outline() const;

  class Builder;

 private:
  friend class OverlayDisk;
  static constexpr vm::u64 kGroupPages = 256;
  /// Null and not cleared: as in the base.
  struct Group {
    std::array<DiskPage, kGroupPages> pages;
    std::bitset<kGroupPages> cleared;  ///< reads as zeros although the base has something
    std::vector<std::shared_ptr<const void>> owners;  ///< of borrowed pages

    [[nodiscard]] bool empty() const;
  };
  /// Null, or none any more: nothing differs.
  using Groups = std::vector<std::shared_ptr<const Group>>;

  DiskImage(std::shared_ptr<const DiskBase> base, vm::u64 capacity, Groups groups,
            vm::u64 page_count)
      : base_(std::move(base)),
        capacity_(capacity),
        groups_(std::move(groups)),
        page_count_(page_count) {}
  [[nodiscard]] static vm::u64 groups_of(vm::u64 capacity) {
    return (capacity + kGroupPages * kPage - 1) / (kGroupPages * kPage);
  }
  [[nodiscard]] const Group* group(vm::u64 index) const {
    return index < groups_.size() ? groups_[index].get() : nullptr;
  }
  /// Of the base, with zeros behind it.
  void read_base(vm::u64 offset, base::Bytes out) const;
  [[nodiscard]] bool base_covers(vm::u64 page) const;
  /// The page of that number as it is in this image: null if it is the base's, or zeros.
  [[nodiscard]] const std::uint8_t* page(vm::u64 number) const;
  [[nodiscard]] bool cleared(vm::u64 number) const;
  [[nodiscard]] bool page_differs(const DiskImage& other, vm::u64 number) const;

  std::shared_ptr<const DiskBase> base_;
  vm::u64 capacity_;
  Groups groups_;
  vm::u64 page_count_ = 0;
};

/// Makes an image of pages read from elsewhere. Offsets and lengths are multiples of the page size.
/// Thread rule: one thread at a time.
class DiskImage::Builder {
 public:
  /// Starts from what `start` holds.
  explicit Builder(std::shared_ptr<const DiskImage> start);
  ~Builder();
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  /// Copies `bytes`; pages of zeros take no memory. Errors: kInvalidArgument (outside, or not whole
  /// pages).
  base::Result<void> set(vm::u64 offset, base::ConstBytes bytes);
  /// The same without a copy: `bytes` lie in what `owner` keeps and never changes, such as a mapped
  /// file.
  base::Result<void> share(vm::u64 offset, base::ConstBytes bytes,
                           const std::shared_ptr<const void>& owner);
  /// Leaves the builder empty.
  std::shared_ptr<const DiskImage> finish();

 private:
  Group& group_of(vm::u64 number);
  template <class Make>
  base::Result<void> put(vm::u64 offset, base::ConstBytes bytes, Make make);
  base::Result<void> check(vm::u64 offset, vm::u64 length) const;

  std::shared_ptr<const DiskImage> start_;
  std::vector<std::unique_ptr<Group>> changed_;  // by group; null: as in start_
};

/// A machine's data disk: can be kept, and put back. On the machine's thread, while it has no
/// request under way.
class DataDisk : public vm::BlockBackend {
 public:
  /// The disk as it is. Copies nothing. Errors: kUnavailable (requests are under way), those of a
  /// disk that failed.
  virtual base::Result<std::shared_ptr<const DiskImage>> capture() = 0;

  /// Has at least that capacity from now on, with zeros behind what there was. Costs no room until
  /// it is written. Errors: kInvalidArgument (no such capacity), those of the host's files.
  virtual base::Result<void> grow(vm::u64 capacity) = 0;

  /// Does all of a restore that can be refused or can fail for want of room; the disk is as it was
  /// until commit_restore(), and keeps its capacity: behind a smaller image are zeros. Errors:
  /// kInvalidArgument (an image of a larger disk), those of the host's files.
  virtual base::Result<void> prepare_restore(std::shared_ptr<const DiskImage> image) = 0;
  /// Puts the disk back, wholly or not at all.
  virtual base::Result<void> commit_restore() = 0;
  /// What was prepared is not done.
  virtual void cancel_restore() = 0;
  base::Result<void> restore(std::shared_ptr<const DiskImage> image);

  /// Memory that this disk takes. Any thread.
  [[nodiscard]] virtual vm::u64 own_bytes() const = 0;
};

/// A DiskImage and, page by page, what the guest wrote since. Confined to the machine's thread, but
/// for the counts of bytes.
class OverlayDisk final : public DataDisk {
 public:
  /// `limit`: bytes that may differ from the base, in whole pages; 0: no limit but the capacity.
  /// What images keep of earlier contents does not count: a guest does not notice that it is saved.
  OverlayDisk(std::shared_ptr<const DiskBase> base, vm::u64 limit);
  /// A fork: goes on from `image`.
  OverlayDisk(std::shared_ptr<const DiskImage> image, vm::u64 limit);

  [[nodiscard]] vm::u64 capacity() const override { return capacity_; }
  [[nodiscard]] bool read_only() const override { return false; }
  base::Result<void> read(vm::u64 offset, base::Bytes out) override;
  base::Result<void> write(vm::u64 offset, base::ConstBytes from) override;
  base::Result<void> flush() override { return {}; }
  base::Result<void> discard(vm::u64 offset, vm::u64 length) override;

  base::Result<void> grow(vm::u64 capacity) override;
  /// Another one than it was made with.
  void set_limit(vm::u64 limit) { limit_ = limit; }
  /// Copies no page: what is written from now on goes elsewhere.
  base::Result<std::shared_ptr<const DiskImage>> capture() override;
  base::Result<void> prepare_restore(std::shared_ptr<const DiskImage> image) override;
  base::Result<void> commit_restore() override;
  void cancel_restore() override { prepared_.reset(); }
  /// What capture() gave last, or was restored last.
  [[nodiscard]] const std::shared_ptr<const DiskImage>& image() const { return image_; }

  /// Pages written since image().
  [[nodiscard]] vm::u64 own_bytes() const override {
    return own_bytes_.load(std::memory_order_relaxed);
  }
  /// All that differs from the base, shared or not: what the limit is about. Any thread.
  [[nodiscard]] vm::u64 content_bytes() const {
    return content_bytes_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr vm::u64 kPage = DiskImage::kPage;
  static constexpr vm::u64 kGroupPages = DiskImage::kGroupPages;
  /// What was done to the pages of a group since image_. Null and not cleared: as there.
  struct Changes {
    std::array<DiskPage, kGroupPages> pages;
    std::bitset<kGroupPages> cleared;
  };

  [[nodiscard]] Changes* find(vm::u64 page) const { return changes_[page / kGroupPages].get(); }
  Changes& make(vm::u64 page);
  [[nodiscard]] bool has_content(vm::u64 page) const;
  void read_page(vm::u64 page, vm::u64 within, base::Bytes out) const;
  /// kCorrupt once the base has given out bytes that are not what was stored.
  [[nodiscard]] base::Result<void> check_base() const;
  base::Result<std::uint8_t*> writable_page(vm::u64 page, bool whole);
  void clear_page(vm::u64 page);
  void count(vm::u64 own, vm::u64 content);
  void forget_changes();
  [[nodiscard]] std::shared_ptr<const DiskImage::Group> merged(vm::u64 group,
                                                               Changes& changes) const;

  std::shared_ptr<const DiskImage> image_;
  std::shared_ptr<const DiskImage> prepared_;  ///< to be restored; null: none
  vm::u64 capacity_;
  vm::u64 limit_;
  std::vector<std::unique_ptr<Changes>> changes_;  // by group
  std::vector<vm::u64> touched_;                   // groups in changes_ that are not null
  std::atomic<vm::u64> own_bytes_ = 0;
  std::atomic<vm::u64> content_bytes_ = 0;
};

}  // namespace snowglobe::detail
