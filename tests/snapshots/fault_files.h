// tests/snapshots/fault_files.h - files that fail when told: the n-th operation, all from the n-th
// on (the power was cut there), or writes beyond what the disk has room for. The catalogue's files
// go the same way, through an SQLite VFS.
#pragma once

#include "tests/snapshots/fault_vfs.h"
#include "tests/support/forwarding_files.h"

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::snapshots::testing_world {

/// Syncs are counted, but not done. One at a time; for one thread. Operations are those that change
/// something or make it last: reading never fails.
class FaultFiles final : public test::ForwardingFileSystem, public VfsGuard {
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

  base::Result<std::unique_ptr<base::File>> create(const Path& path) override;
  base::Result<void> rename(const Path& from, const Path& to) override;
  base::Result<void> remove(const Path& path) override;
  base::Result<void> make_directory(const Path& path) override;
  base::Result<void> sync_directory(const Path& path) override;

  // For files, and for the VFS.

  /// Counts.
  Outcome operation(std::uint64_t bytes) override;
  [[nodiscard]] std::size_t torn() const override { return torn_; }
  void note_sync(const std::string& path) override;
  void note_write(const std::string& path) override;
  void note_removal(const std::string& path) override { written_.erase(path); }

 private:
  base::Result<void> check(const char* what, const Path& path);

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
