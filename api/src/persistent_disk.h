// api/src/persistent_disk.h - a data disk whose contents are a file of the host's: what a flush of
// the guest was answered for is on the host's disk, whatever happens to the process.
//
// The order of things, which docs/persistence.md explains and tests hold:
//   * the generation of mark_running() is durable before the first write of the guest;
//   * all that was written is durable before mark_hibernated() says that a machine belongs to it;
//   * a flush is answered when all writes answered before it was asked for are durable;
//   * the first write, sync or hole that fails turns the disk failed: nothing is tried again, and
//     every request fails until the file is opened anew.
#pragma once

#include "api/src/disk_history.h"
#include "api/src/disk_io.h"
#include "api/src/disk_record.h"
#include "api/src/disks.h"
#include "base/file_system.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <unistd.h>

namespace snowglobe::detail {

class RedoJournal;

/// Thread rule: machine's thread, or any one thread before the machine starts and after it has
/// ended; what says "any thread" from any.
class PersistentDisk final : public DataDisk {
 public:
  using Path = std::filesystem::path;

  struct Options {
    DiskDurability durability = DiskDurability::kFull;
    bool read_only = false;  ///< the file is not changed; a redo journal left behind is refused
    base::FileSystem* files = nullptr;  ///< not owned; null: the host's
    /// What keeps other processes away from the file. Images of the disk keep it as well.
    std::shared_ptr<const void> lease{};
    /// Called once when the disk turns failed, on the thread that notices.
    std::function<void(const base::Error&)> on_failed{};
  };

  using Statistics = DiskIo::Statistics;

  /// Makes a file with the contents of `image` and zeros behind it, state kClean, generation 1.
  /// File and folder are synced on return; `capacity` is a multiple of 4096 bytes and no smaller
  /// than the image. Errors: kAlreadyExists, kResourceExhausted, kIo, kCorrupt (the image is
  /// damaged). After an error the file is not there.
  static base::Result<void> create(const Path& file, const DiskImage& image, vm::u64 capacity,
                                   base::FileSystem& files = base::FileSystem::host());
  /// Opens the file, and first completes a restore that was cut off (see redo_journal.h).
  /// Errors: kNotFound, kCorrupt (no disk of ours, cut short, damaged), kUnsupported (of a newer
  /// version), kUnavailable (read-only, and a restore must be completed), kIo.
  static base::Result<std::unique_ptr<PersistentDisk>> open(const Path& file, Options options);
  ~PersistentDisk() override;
  PersistentDisk(const PersistentDisk&) = delete;
  PersistentDisk& operator=(const PersistentDisk&) = delete;

  // --- what the file says; each durable when it returns. While no request is under way.

  [[nodiscard]] const DiskRecord& record() const { return head_.record(); }
  /// The contents belong to nobody but the machine that is about to run. Until this was called
  /// writes are refused. Returns the new generation.
  base::Result<vm::u64> mark_running();
  /// The contents belong to the machine stored under `token` and record().generation. All writes
  /// are made durable first; none is taken from then on. The stored machine itself must be durable
  /// before this is called.
  base::Result<void> mark_hibernated(const DiskToken& token);
  /// No machine belongs to the contents, which are made durable. None is written from then on.
  base::Result<void> mark_clean();

  // --- the guest's disk

  [[nodiscard]] vm::u64 capacity() const override { return record().capacity; }
  [[nodiscard]] bool read_only() const override { return false; }
  [[nodiscard]] vm::AsyncBlock* asynchronous() override { return io_.get(); }
  // At once, while no request is under way:
  base::Result<void> read(vm::u64 offset, base::Bytes out) override;
  base::Result<void> write(vm::u64 offset, base::ConstBytes from) override;
  base::Result<void> flush() override { return sync(); }
  base::Result<void> discard(vm::u64 offset, vm::u64 length) override;

  base::Result<std::shared_ptr<const DiskImage>> capture() override;
  /// Durable when it returns. While no request is under way, or on the machine's thread. Errors:
  /// kInvalidArgument, kUnavailable (closed, read-only), those of the file.
  base::Result<void> grow(vm::u64 capacity) override;
  /// Writes what differs to a journal beside the file. Takes images of any disk that is no larger.
  base::Result<void> prepare_restore(std::shared_ptr<const DiskImage> image) override;
  /// Once the journal has its name, the restore is done, even if the process or the host dies in
  /// the middle of it: the next open() completes it.
  base::Result<void> commit_restore() override;
  void cancel_restore() override;

  /// Waits for what is under way, a minute at most, and makes all that was written durable,
  /// whatever `durability` says. Errors: kTimeout, those of the file.
  base::Result<void> sync();
  /// Why the disk failed, or nothing. Any thread.
  [[nodiscard]] std::optional<base::Error> failed() const { return io_->failed(); }
  /// Every request fails from then on, and what is under way is waited for, ten seconds at most.
  /// Does not sync. Images of the disk go on. Any thread.
  void close();

  /// Any thread.
  [[nodiscard]] Statistics statistics() const { return io_->statistics(); }
  /// What the file takes on the host's disk. Any thread.
  base::Result<vm::u64> allocated_bytes() const { return io_->file().allocated(); }
  /// Earlier contents in memory, kept for images.
  [[nodiscard]] vm::u64 own_bytes() const override { return history_->kept_bytes(); }

 private:
  PersistentDisk(Path path, Options options, std::unique_ptr<DiskIo> io, DiskHead head,
                 std::shared_ptr<DiskHistory> history);
  base::Result<void> mark(const DiskRecord& record);
  base::Result<void> write_differences(const DiskImage& image, RedoJournal& journal);
  base::Result<void> complete_restore();

  const Path path_;
  const Options options_;
  const std::unique_ptr<DiskIo> io_;
  DiskHead head_;
  const std::shared_ptr<DiskHistory> history_;
  std::atomic<bool> closed_ = false;
  const pid_t owner_ = getpid();       ///< a forked child's copy does nothing
  std::unique_ptr<RedoJournal> redo_;  ///< prepared, not committed
};

}  // namespace snowglobe::detail
