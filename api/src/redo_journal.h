// api/src/redo_journal.h - what a restore is about to write to a persistent disk, in a file beside
// it, so that a restore happens wholly or not at all.
//
//   restore.redo.new   being written: worth nothing
//   restore.redo       synced before it got its name: the restore is decided, and whoever opens the
//                      disk next completes it
//
// It belongs to the disk with its id, and to that restore alone: the disk's record counts restores,
// so that a journal whose removal was lost in a power cut is known to be an old one.
#pragma once

#include "api/src/disk_record.h"
#include "base/file_system.h"

#include <functional>
#include <memory>
#include <vector>

namespace snowglobe::detail {

/// Of which restore a journal is.
struct RedoHeader {
  std::array<std::uint8_t, 16> disk{};  ///< DiskRecord::id
  vm::u64 number = 0;                   ///< DiskRecord::restores once it is done
  vm::u64 capacity = 0;

  bool operator==(const RedoHeader&) const = default;
};

/// One being written. Thread rule: one thread at a time. Errors: of the files.
class RedoJournal {
 public:
  static constexpr vm::u64 kPage = 4096;
  static constexpr std::size_t kMaxData = 1 << 20;  ///< of one entry, in bytes

  static base::FileSystem::Path path_of(const base::FileSystem::Path& disk);

  /// Begins restore.redo.new beside `disk`, in place of one that is there.
  static base::Result<std::unique_ptr<RedoJournal>> create(base::FileSystem& files,
                                                           const base::FileSystem::Path& disk,
                                                           const RedoHeader& header);
  /// Removes what was not published.
  ~RedoJournal();
  RedoJournal(const RedoJournal&) = delete;
  RedoJournal& operator=(const RedoJournal&) = delete;

  /// Whole pages, at most kMaxData bytes.
  base::Result<void> add(vm::u64 offset, base::ConstBytes bytes);
  base::Result<void> add_zeros(vm::u64 offset, vm::u64 length);
  /// Completes the file and syncs it. Nothing can be added from then on.
  base::Result<void> finish();
  /// Gives it its name, durably. After an error nobody knows whether it has it.
  base::Result<void> publish();
  [[nodiscard]] vm::u64 entries() const { return entries_; }

 private:
  RedoJournal(base::FileSystem& files, const base::FileSystem::Path& disk);
  base::Result<void> entry(vm::u64 kind, vm::u64 offset, vm::u64 length, base::ConstBytes bytes);
  base::Result<void> drain();

  base::FileSystem& files_;
  const base::FileSystem::Path path_, work_path_;
  std::unique_ptr<base::File> file_;
  std::vector<std::uint8_t> buffer_;
  vm::u64 written_ = 0;
  vm::u64 entries_ = 0;
  bool published_ = false;
};

/// One found beside a disk.
class RedoReader {
 public:
  /// Reads its header. Errors: kCorrupt, kUnsupported (of a newer version), those of the file.
  static base::Result<RedoReader> open(std::unique_ptr<base::File> file);
  [[nodiscard]] const RedoHeader& header() const { return header_; }

  /// `bytes` is empty for zeros.
  using Apply =
      std::function<base::Result<void>(vm::u64 offset, vm::u64 length, base::ConstBytes bytes)>;
  /// Calls `apply` with each entry until it fails, when its error is returned. Errors: kCorrupt,
  /// which may come after entries that are good: verify() first.
  base::Result<void> for_each(const Apply& apply);
  /// Ok if the journal is whole.
  base::Result<void> verify();

 private:
  explicit RedoReader(std::unique_ptr<base::File> file) : file_(std::move(file)) {}

  std::unique_ptr<base::File> file_;
  RedoHeader header_;
};

}  // namespace snowglobe::detail
