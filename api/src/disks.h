// api/src/disks.h - what is behind the machine's two disks: the image's root file, shared and
// read-only, and a copy of the image's fresh cluster whose changes live in memory.
#pragma once

#include "vm/backends.h"

#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <vector>

namespace snowglobe::detail {

/// A file, read with pread: unlike a mapping it cannot kill the process if somebody cuts the file
/// short.
class FileDisk final : public vm::BlockBackend {
 public:
  static base::Result<std::unique_ptr<FileDisk>> open(const std::filesystem::path& file);
  ~FileDisk() override;
  FileDisk(const FileDisk&) = delete;
  FileDisk& operator=(const FileDisk&) = delete;

  [[nodiscard]] vm::u64 capacity() const override { return capacity_; }
  [[nodiscard]] bool read_only() const override { return true; }
  base::Result<void> read(vm::u64 offset, base::Bytes out) override;
  base::Result<void> write(vm::u64 offset, base::ConstBytes from) override;
  base::Result<void> flush() override { return {}; }
  base::Result<void> discard(vm::u64 offset, vm::u64 length) override;

 private:
  FileDisk(int file, vm::u64 capacity) : file_(file), capacity_(capacity) {}

  int file_;
  vm::u64 capacity_;
};

/// The written parts of a disk; all else is zero. Never changes: any number of machines share it.
class SparseDisk {
 public:
  /// Unpacks what guest/recipe/sparse.py packed. `data_limit` bounds the memory that it takes.
  /// Errors: kCorrupt.
  static base::Result<std::shared_ptr<const SparseDisk>> unpack(base::ConstBytes packed,
                                                                vm::u64 data_limit);

  [[nodiscard]] vm::u64 capacity() const { return capacity_; }
  void read(vm::u64 offset, base::Bytes out) const;

 private:
  struct Extent {
    vm::u64 offset;  ///< on the disk
    vm::u64 length;
    vm::u64 at;  ///< in data_
  };

  base::Result<void> parse(base::ConstBytes unpacked);

  vm::u64 capacity_ = 0;
  std::vector<Extent> extents_;  // ascending
  std::vector<std::uint8_t> data_;
};

/// A SparseDisk and, page by page, what the guest wrote since. Confined to the machine's thread,
/// but for own_bytes().
class OverlayDisk final : public vm::BlockBackend {
 public:
  /// `limit`: bytes that the overlay may take; 0: no limit but the capacity.
  OverlayDisk(std::shared_ptr<const SparseDisk> base, vm::u64 limit);

  [[nodiscard]] vm::u64 capacity() const override { return base_->capacity(); }
  [[nodiscard]] bool read_only() const override { return false; }
  base::Result<void> read(vm::u64 offset, base::Bytes out) override;
  base::Result<void> write(vm::u64 offset, base::ConstBytes from) override;
  base::Result<void> flush() override { return {}; }
  base::Result<void> discard(vm::u64 offset, vm::u64 length) override;

  /// Memory that the changes take. Any thread.
  [[nodiscard]] vm::u64 own_bytes() const { return own_bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr vm::u64 kPage = 4096;
  static constexpr vm::u64 kPagesPerChunk = 256;
  using Page = std::array<std::uint8_t, kPage>;
  struct Slot {
    std::unique_ptr<Page> page;
    bool zero = false;  ///< discarded: reads as zeros although the base has something
  };
  using Chunk = std::array<Slot, kPagesPerChunk>;

  Slot* find(vm::u64 page) const;
  Slot& make(vm::u64 page);
  void drop(Slot& slot);

  std::shared_ptr<const SparseDisk> base_;
  vm::u64 limit_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::atomic<vm::u64> own_bytes_ = 0;
};

}  // namespace snowglobe::detail
