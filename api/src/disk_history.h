// api/src/disk_history.h - the earlier contents of a disk's file. The file is written in place;
// what an image of it still needs is kept in memory first.
//
// A capture begins an *epoch*. The first write to a page in an epoch notes the page there, with
// what was in it. An image of epoch e finds a page in the first of the epochs e, e+1, ... that
// keeps it, and in the file if none does. What differs between two images are the pages noted
// between them.
#pragma once

#include "api/src/disk_base.h"
#include "api/src/disk_pages.h"
#include "base/file_system.h"

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <sys/types.h>
#include <unordered_map>
#include <vector>

namespace snowglobe::detail {

/// Shared by a persistent disk and all images of its file; outlives the disk as long as there are
/// images. One a file in the process, by device and inode: whoever opens the file again goes on
/// with the history that images of it need.
///
/// Thread rule: any thread; but two threads must not note() the same page at the same time, nor
/// anybody take an instant between a note() and the write that it is for. After the application's
/// fork() images in the child are let go without a word: the locks are the parent's.
class DiskHistory : public std::enable_shared_from_this<DiskHistory> {
 public:
  static constexpr vm::u64 kPage = DiskPage::kBytes;

  /// The one of that file, or a new one; `make` opens the file again, for reading. The disk begins
  /// at byte `start` of the file. `lease` is kept until disk_closed() was called as often as this,
  /// and the last image is gone: what keeps other processes from writing the file.
  static base::Result<std::shared_ptr<DiskHistory>> of(
      base::File::Identity identity,
      const std::function<base::Result<std::unique_ptr<base::File>>()>& make, vm::u64 start,
      vm::u64 capacity, std::shared_ptr<const void> lease);
  void disk_closed();
  ~DiskHistory();
  DiskHistory(const DiskHistory&) = delete;
  DiskHistory& operator=(const DiskHistory&) = delete;

  /// The contents from now on, until they change. The caller has no write under way.
  std::shared_ptr<const DiskBase> instant();
  /// Notes that the range will be written, and keeps what images need. Before the write. False:
  /// with Wait::kNo, if that would have to wait for the disk; nothing is noted then. Errors: of the
  /// file.
  base::Result<bool> note(vm::u64 offset, vm::u64 length, base::File::Wait wait);
  /// What `base` is for comparisons, without its contents: it costs no memory but the numbers of
  /// the pages that change. Reading it is an error. Null if `base` is not one of a file.
  static std::shared_ptr<const DiskBase> outline_of(const DiskBase& base);
  /// True if pages written must be noted: there are images.
  [[nodiscard]] bool needed() const { return epochs_alive_.load(std::memory_order_acquire) != 0; }
  /// Bytes of earlier contents in memory.
  [[nodiscard]] vm::u64 kept_bytes() const;
  /// The disk has at least that capacity: instants from now on are as large.
  void grow(vm::u64 capacity);

 private:
  class Instant;
  /// A page that was written in an epoch, and what it was before.
  struct Before {
    bool known = false;  ///< else nobody needed it
    DiskPage page;       ///< null and known: zeros
  };
  struct Epoch {
    unsigned readers = 0;  ///< instants that are read
    unsigned users = 0;    ///< those, and outlines
    std::unordered_map<vm::u64, Before> pages;
  };
  using Epochs = std::list<Epoch>;

  DiskHistory(std::unique_ptr<base::File> file, vm::u64 start, vm::u64 capacity,
              std::shared_ptr<const void> lease);
  std::shared_ptr<const DiskBase> make_instant(vm::u64 capacity, Epochs::iterator epoch,
                                               bool reads);
  void release(Epochs::iterator epoch, bool reads);
  void drop_epoch(Epochs::iterator epoch);
  void drop_unread();
  bool disk_opened(std::shared_ptr<const void>& lease);
  [[nodiscard]] std::shared_ptr<const void> lease_to_drop();
  [[nodiscard]] bool read(Epochs::const_iterator epoch, vm::u64 offset, base::Bytes out);
  [[nodiscard]] std::vector<vm::u64> changed_between(const Instant& a, const Instant& b) const;
  std::vector<vm::u64> not_noted(vm::u64 first, vm::u64 end, bool& wanted);
  base::Result<bool> read_befores(std::span<const vm::u64> numbers, std::vector<Before>& befores,
                                  base::File::Wait wait);

  const std::unique_ptr<base::File> file_;
  const vm::u64 start_;
  const pid_t owner_;
  mutable std::mutex mutex_;
  std::shared_ptr<const void> lease_;  ///< guarded by mutex_
  unsigned disks_ = 1;                 ///< guarded by mutex_; that are open
  bool abandoned_ = false;             ///< guarded by mutex_; the lease was dropped
  vm::u64 capacity_;                   ///< guarded by mutex_
  Epochs epochs_;                      ///< guarded by mutex_; ascending
  std::atomic<std::size_t> epochs_alive_ = 0;
};

}  // namespace snowglobe::detail
