// vm/memory/ram.h - guest RAM and its one owner.
//
// Every writer (the CPU's TLB fill, helpers, devices, later the windows) asks the owner for the
// right to write a page; dirty marks, code invalidation and (later) copy-on-write hang there. A
// right, once given, stays until the owner takes it back and says so through Observer.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/types.h"

#include <atomic>
#include <memory>
#include <vector>

namespace snowglobe::vm {

/// Thread rule: confined to the machine's thread, but for read-only access to bytes handed to an
/// I/O thread by a device that acquired them on the machine's thread.
///
/// Invariants:
/// 1. A page is written only after acquire_write() returned for it and before the next
/// on_rights_lost().
/// 2. A page that is watched for code is not writable; acquire_write() on it drops the code first.
class GuestRam {
 public:
  /// Learns what happens to rights that it holds.
  class Observer {
   public:
    virtual ~Observer() = default;
    /// The right to write `page` is gone: forget every cached writable mapping of it.
    virtual void on_write_right_lost(u32 page) = 0;
    /// `page` is about to be written and was watched for code: drop what was decoded from it.
    virtual void on_code_written(u32 page) = 0;
  };

  /// Reserves `size` bytes (a multiple of 4 MiB, at most 3 GiB) backed by a memory file.
  /// Errors: kInvalidArgument, kResourceExhausted.
  static base::Result<std::unique_ptr<GuestRam>> create(u64 size);
  ~GuestRam();
  GuestRam(const GuestRam&) = delete;
  GuestRam& operator=(const GuestRam&) = delete;

  [[nodiscard]] u64 size() const { return size_; }
  [[nodiscard]] u32 page_count() const { return static_cast<u32>(size_ >> kPageShift); }
  [[nodiscard]] bool contains(PhysicalAddress address, u64 length = 1) const {
    return base::range_fits(address, length, size_);
  }

  /// One observer (the CPU); null for none. Not owned.
  void set_observer(Observer* observer) { observer_ = observer; }

  /// The bytes [address, address + length), or an empty span if they are not all RAM.
  [[nodiscard]] base::ConstBytes read(PhysicalAddress address, u32 length) const;
  /// The same, writable, with the right to write all touched pages acquired. Empty if not all RAM.
  [[nodiscard]] base::Bytes write(PhysicalAddress address, u32 length);

  /// True if `page` may be written without asking.
  [[nodiscard]] bool is_writable(u32 page) const { return (flags_[page] & kWritable) != 0; }
  /// True if `page` is watched because code was decoded from it.
  [[nodiscard]] bool has_code(u32 page) const { return (flags_[page] & kCode) != 0; }
  /// The memory file, for windows that map it. Owned by this object.
  [[nodiscard]] int descriptor() const { return descriptor_; }
  /// Acquires the right to write `page` (must be RAM): marks it dirty, drops code decoded from it.
  void acquire_write(u32 page);
  /// The host address of `page` (must be RAM). Reading is always allowed.
  [[nodiscard]] u8* host_page(u32 page) const { return base_ + (std::size_t{page} << kPageShift); }

  /// Takes the right to write `page` away until somebody asks again, because code was decoded from
  /// it.
  void watch_code(u32 page);

  /// Pages written since the last clear_dirty(), in ascending order.
  [[nodiscard]] std::vector<u32> dirty_pages() const;
  /// Forgets all dirty marks and takes all rights to write away.
  void clear_dirty();

 private:
  enum Flag : u8 { kWritable = 1, kDirty = 2, kCode = 4 };

  GuestRam(int descriptor, u8* base, u64 size);

  int descriptor_;
  u8* base_;
  u64 size_;
  std::vector<u8> flags_;
  Observer* observer_ = nullptr;
};

}  // namespace snowglobe::vm
