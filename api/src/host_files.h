// api/src/host_files.h - the files under a persistent disk as an interface, so that tests can keep
// a journal of what was written and flushed, and let any call fail.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/types.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace snowglobe::detail {

/// An open file, close-on-exec. Thread rule: any thread, as pread and pwrite. Errors: kIo,
/// kResourceExhausted (the host's disk is full); they name the file.
class HostFile {
 public:
  enum class Wait : std::uint8_t { kNo, kYes };
  using Identity = std::pair<vm::u64, vm::u64>;  ///< device and inode

  virtual ~HostFile() = default;
  /// Fills all of `parts` in turn from `offset` on; kCorrupt if the file ends before. False: with
  /// kNo, if that would have to wait for the disk; what the parts hold then is not known.
  virtual base::Result<bool> read(vm::u64 offset, std::span<const base::Bytes> parts,
                                  Wait wait) = 0;
  /// Writes all, or fails: a write that comes out short is a failure, and is not gone on with.
  virtual base::Result<void> write(vm::u64 offset, std::span<const base::ConstBytes> parts) = 0;
  /// Returns when the disk has what was written before (fdatasync).
  virtual base::Result<void> sync() = 0;
  /// Gives the range back; it reads as zeros. False: the file system can not do that.
  virtual base::Result<bool> punch(vm::u64 offset, vm::u64 length) = 0;
  virtual base::Result<void> set_size(vm::u64 bytes) = 0;
  virtual base::Result<vm::u64> size() = 0;
  /// Bytes that it takes on the host's disk.
  virtual base::Result<vm::u64> allocated() = 0;
  /// The first range of [from, end) that may hold something other than zeros, or none.
  virtual std::optional<std::pair<vm::u64, vm::u64>> next_data(vm::u64 from, vm::u64 end) = 0;
  [[nodiscard]] virtual Identity identity() const = 0;

  // With one part, waiting.
  base::Result<void> read_all(vm::u64 offset, base::Bytes out);
  base::Result<void> write_all(vm::u64 offset, base::ConstBytes from);
};

/// Thread rule: any thread. Errors: kNotFound, kAlreadyExists, kResourceExhausted, kIo; they name
/// the path.
class HostFiles {
 public:
  using Path = std::filesystem::path;
  enum class Access : std::uint8_t { kRead, kWrite };

  virtual ~HostFiles() = default;
  /// A new, empty file (0600); kAlreadyExists if something is there.
  virtual base::Result<std::unique_ptr<HostFile>> create(const Path& path) = 0;
  /// kInvalidArgument if it is something other than a regular file.
  virtual base::Result<std::unique_ptr<HostFile>> open(const Path& path, Access access) = 0;
  /// Takes the place of what is at `to`.
  virtual base::Result<void> rename(const Path& from, const Path& to) = 0;
  virtual base::Result<void> remove(const Path& path) = 0;
  /// Makes creations, renames and removals in a folder last.
  virtual base::Result<void> sync_folder(const Path& path) = 0;
  virtual bool exists(const Path& path) = 0;

  /// The host's own.
  static HostFiles& host();
};

}  // namespace snowglobe::detail
