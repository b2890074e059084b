// api/src/folder_lock.h - who has a database's folder: a record lock against other processes, and a
// table against other opens of this one.
#pragma once

#include "base/file_system.h"
#include <snowglobe/export.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace snowglobe::detail {

/// Now, as ISO 8601 says it: what database.json and locks are marked with.
std::string now_utc();

/// Held until it is destroyed and nobody has its lease() any more, or until the process ends,
/// however it ends. A forked child does not hold it: a record lock (fcntl(2)) belongs to the
/// process that took it. It also ends when the process closes *any* descriptor of the file, so
/// within a process the table is asked before the file is opened. Thread rule: any thread.
class FolderLock {
 public:
  enum class Kind : unsigned char {
    exclusive,
    shared,  ///< with others that are shared; works without the right to write
  };

  /// Throws DatabaseLocked, and Error where the file system has no locks. A shared one of a folder
  /// without a lock file, where none can be made, holds nothing.
  FolderLock(base::FileSystem& files, const std::filesystem::path& folder, Kind kind);

  struct Holder {
    int pid = 0;  ///< 0: not known
    std::string program, since;
  };
  /// Who has it, read-only ones included; nothing if nobody.
  static std::optional<Holder> holder(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Keeps other processes out for longer than this, for those who still read the folder's files;
  /// this process may open it again meanwhile. Null if nothing is held.
  [[nodiscard]] std::shared_ptr<const void> lease() const { return held_; }

 private:
  struct Held;
  struct Table;

  static Table& table();
  /// Opens and locks the file.
  static void take(base::FileSystem& files, const std::filesystem::path& folder, Held& held);

  std::shared_ptr<Held> held_;
};

}  // namespace snowglobe::detail
