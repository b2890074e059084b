// snapshots/file_system.h - the files under a store as an interface, so that tests can let any
// write, sync or rename fail, or cut the world off there.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::snapshots {

/// An open file. Thread rule: read_at() from any thread; append() and sync() one thread at a time.
class File {
 public:
  virtual ~File() = default;
  /// Writes all of `bytes` at the end, or fails; what a failure leaves there is not known.
  virtual base::Result<void> append(base::ConstBytes bytes) = 0;
  /// Fills `out` from `offset`; kCorrupt if the file ends before.
  virtual base::Result<void> read_at(std::uint64_t offset, base::Bytes out) = 0;
  /// Returns when the disk has what was appended.
  virtual base::Result<void> sync() = 0;
  virtual base::Result<std::uint64_t> size() = 0;
};

/// Thread rule: any thread. Errors: kNotFound, kAlreadyExists, kResourceExhausted (disk full,
/// too many open files), kIo; the message names the path.
class FileSystem {
 public:
  using Path = std::filesystem::path;

  virtual ~FileSystem() = default;
  /// A new, empty file (0600); kAlreadyExists if something is there.
  virtual base::Result<std::unique_ptr<File>> create(const Path& path) = 0;
  /// For reading.
  virtual base::Result<std::unique_ptr<File>> open(const Path& path) = 0;
  /// Takes the place of what is at `to`.
  virtual base::Result<void> rename(const Path& from, const Path& to) = 0;
  virtual base::Result<void> remove(const Path& path) = 0;
  virtual base::Result<void> make_directory(const Path& path) = 0;  ///< 0700
  /// Makes creations, renames and removals in a folder last.
  virtual base::Result<void> sync_directory(const Path& path) = 0;
  /// The names in a folder, in no order.
  virtual base::Result<std::vector<std::string>> list(const Path& path) = 0;
  virtual bool exists(const Path& path) = 0;
  /// The name of the SQLite VFS through which the catalogue is written; null: SQLite's own.
  virtual const char* sqlite_vfs() { return nullptr; }
};

/// The host's.
class HostFileSystem final : public FileSystem {
 public:
  base::Result<std::unique_ptr<File>> create(const Path& path) override;
  base::Result<std::unique_ptr<File>> open(const Path& path) override;
  base::Result<void> rename(const Path& from, const Path& to) override;
  base::Result<void> remove(const Path& path) override;
  base::Result<void> make_directory(const Path& path) override;
  base::Result<void> sync_directory(const Path& path) override;
  base::Result<std::vector<std::string>> list(const Path& path) override;
  bool exists(const Path& path) override;
};

/// An Error for errno: "WHAT 'PATH': text".
base::Error os_error(const char* what, const std::filesystem::path& path, int error_number);

}  // namespace snowglobe::snapshots
