// api/src/disk_pages.h - the pages of disks in memory, each with a count of its users. The counts
// of neighbours lie together: a picture of a disk copies hundreds of thousands of references, and
// with each count beside its page that would be a cache miss a page.
#pragma once

#include "vm/types.h"
#include <snowglobe/export.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

namespace snowglobe::detail {

/// 255 pages in a row with their counts ahead of them.
struct PageSlab;

/// A reference to a page: one of its users. Thread rule: as shared_ptr; who is the only user may
/// write, if he made it.
class DiskPage {
 public:
  static constexpr vm::u64 kBytes = 4096;

  DiskPage() = default;
  /// A page of its own, with any content.
  static DiskPage make();
  /// A page in memory that somebody else keeps for as long as this is there, and any copy of it.
  static DiskPage borrowed(const std::uint8_t* bytes) { return DiskPage(bytes, nullptr); }

  DiskPage(const DiskPage& other) : DiskPage(other.bytes_, other.users_) {
    if (users_ != nullptr) users_->fetch_add(1, std::memory_order_relaxed);
  }
  DiskPage(DiskPage&& other) noexcept
      : bytes_(std::exchange(other.bytes_, nullptr)),
        users_(std::exchange(other.users_, nullptr)) {}
  DiskPage& operator=(DiskPage other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(users_, other.users_);
    return *this;
  }
  ~DiskPage() { reset(); }

  [[nodiscard]] const std::uint8_t* get() const { return bytes_; }
  /// Only of a page that make() gave and that was not copied.
  [[nodiscard]] std::uint8_t* writable() const { return const_cast<std::uint8_t*>(bytes_); }
  explicit operator bool() const { return bytes_ != nullptr; }

  void reset() {
    if (users_ != nullptr && users_->fetch_sub(1, std::memory_order_acq_rel) == 1) give_back();
    bytes_ = nullptr;
    users_ = nullptr;
  }

 private:
  using Count = std::atomic<std::uint32_t>;

  DiskPage(const std::uint8_t* bytes, Count* users) : bytes_(bytes), users_(users) {}
  void give_back();

  const std::uint8_t* bytes_ = nullptr;
  Count* users_ = nullptr;  ///< null: none, or borrowed
};

}  // namespace snowglobe::detail
