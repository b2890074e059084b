// tests/snapshots/fault_files.h - files that fail when told: the n-th operation, all from the n-th
// on (the power was cut there), or writes beyond what the disk has room for. The catalogue's files
// go the same way, through an SQLite VFS.
#pragma once

#include "snapshots/file_system.h"

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::snapshots::testing_world {

/// Syncs are counted, but not done. One at a time; for one thread. Operations are those that change
/// something or make it last: reading never fails.
class FaultFiles final : public FileSystem {
 public:
  FaultFiles();
  ~FaultFiles() override;

  enum class Fault : std::uint8_t { kNone, kError, kCut };
  /// From now on operations count from 1; number `at` fails. kCut: it is done up to `torn` bytes,
  /// and everything after it fails too.
  void arm(Fault fault, std::uint64_t at, std::size_t torn = 0);
  void set_room(std::uint64_t bytes) { room_ = bytes; }  ///< that may still be written
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  /// The fault came.
  [[nodiscard]] bool struck() const { return struck_; }
  /// What was not synced is lost: to be called when nothing is open any more, after a cut.
  void lose_unsynced();

  base::Result<std::unique_ptr<File>> create(const Path& path) override;
  base::Result<std::unique_ptr<File>> open(const Path& path) override;
  base::Result<void> rename(const Path& from, const Path& to) override;
  base::Result<void> remove(const Path& path) override;
  base::Result<void> make_directory(const Path& path) override;
  base::Result<void> sync_directory(const Path& path) override;
  base::Result<std::vector<std::string>> list(const Path& path) override {
    return host_.list(path);
  }
  bool exists(const Path& path) override { return host_.exists(path); }
  const char* sqlite_vfs() override { return "snowglobe-fault"; }

  // For files, and for the VFS.

  enum class Outcome : std::uint8_t { kDone, kError, kFull, kTorn };
  /// Counts an operation that writes `bytes`; kTorn: only the first torn() of them are to be
  /// written, and then it fails.
  Outcome operation(std::uint64_t bytes = 0);
  [[nodiscard]] std::size_t torn() const { return torn_; }
  void note_sync(const std::string& path);
  void note_write(const std::string& path);
  void note_removal(const std::string& path) { written_.erase(path); }

 private:
  base::Result<void> check(const char* what, const Path& path);

  HostFileSystem host_;
  Fault fault_ = Fault::kNone;
  std::uint64_t at_ = 0;
  std::size_t torn_ = 0;
  std::uint64_t operations_ = 0;
  std::uint64_t room_ = std::numeric_limits<std::uint64_t>::max();
  bool struck_ = false;
  std::map<std::string, std::vector<std::uint8_t>> synced_;  // contents, of files written since
  std::map<std::string, bool> written_;                      // since the last sync
  std::vector<std::string> created_;                         // and the folder not synced since
};

}  // namespace snowglobe::snapshots::testing_world
