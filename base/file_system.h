// base/file_system.h - the host's files as an interface, so that tests can keep a journal of what
// was written and synced, let any call fail, or cut the world off there.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace snowglobe::base {

/// An open file, close-on-exec. Thread rule: any thread, as pread and pwrite. Errors: kIo,
/// kResourceExhausted (the host's disk is full); they name the file.
class File {
 public:
  enum class Wait : std::uint8_t { kNo, kYes };
  using Identity = std::pair<std::uint64_t, std::uint64_t>;  ///< device and inode

  virtual ~File() = default;
  /// Fills all of `parts` in turn from `offset` on; kCorrupt if the file ends before. False: with
  /// kNo, if that would have to wait for the disk; what the parts hold then is not known.
  virtual Result<bool> read(std::uint64_t offset, std::span<const Bytes> parts, Wait wait) = 0;
  /// Writes all, or fails: a write that comes out short is a failure, and is not gone on with.
  virtual Result<void> write(std::uint64_t offset, std::span<const ConstBytes> parts) = 0;
  /// A hint: the host may begin to write the range to its disk. Says nothing of how that goes, and
  /// takes nothing from what the next sync() says.
  virtual void begin_write_back(std::uint64_t offset, std::uint64_t length) = 0;
  /// Returns when the disk has what was written before (fdatasync).
  virtual Result<void> sync() = 0;
  /// Gives the range back; it reads as zeros. False: the file system can not do that.
  virtual Result<bool> punch(std::uint64_t offset, std::uint64_t length) = 0;
  virtual Result<void> set_size(std::uint64_t bytes) = 0;
  virtual Result<std::uint64_t> size() = 0;
  /// Bytes that it takes on the host's disk.
  virtual Result<std::uint64_t> allocated() = 0;
  /// The first range of [from, end) that may hold something other than zeros, or none.
  virtual std::optional<std::pair<std::uint64_t, std::uint64_t>> next_data(std::uint64_t from,
                                                                           std::uint64_t end) = 0;
  [[nodiscard]] virtual Identity identity() const = 0;
  /// For locks and mappings; stays the file's. -1: it has none.
  [[nodiscard]] virtual int descriptor() const = 0;

  // With one part, waiting.
  Result<void> read_at(std::uint64_t offset, Bytes out);
  Result<void> write_at(std::uint64_t offset, ConstBytes from);
};

/// Thread rule: any thread. Errors: kNotFound, kAlreadyExists, kResourceExhausted (disk full, too
/// many open files), kIo; they name the path.
class FileSystem {
 public:
  using Path = std::filesystem::path;
  enum class Access : std::uint8_t { kRead, kWrite };

  virtual ~FileSystem() = default;
  /// A new, empty file (0600) to read and write; kAlreadyExists if something is there.
  virtual Result<std::unique_ptr<File>> create(const Path& path) = 0;
  /// kInvalidArgument if it is something other than a regular file; a symbolic link is not followed
  /// (kIo).
  virtual Result<std::unique_ptr<File>> open(const Path& path, Access access) = 0;
  /// Takes the place of what is at `to`.
  virtual Result<void> rename(const Path& from, const Path& to) = 0;
  virtual Result<void> remove(const Path& path) = 0;
  virtual Result<void> make_directory(const Path& path) = 0;  ///< 0700
  /// Makes creations, renames and removals in a folder last.
  virtual Result<void> sync_directory(const Path& path) = 0;
  /// The names in a folder, in no order.
  virtual Result<std::vector<std::string>> list(const Path& path) = 0;
  virtual bool exists(const Path& path) = 0;

  // --- made of these

  Result<std::unique_ptr<File>> open_or_create(const Path& path);
  /// Whether or not it was there.
  Result<void> remove_if_there(const Path& path);
  /// Durable on return.
  Result<void> rename_and_sync(const Path& from, const Path& to);
  /// A file with these contents, in place of one that may be there; for the caller to sync.
  Result<std::unique_ptr<File>> write_file(const Path& path, ConstBytes contents);
  /// By way of another file beside it, PATH.new: a reader, and whoever comes after a power cut,
  /// finds the old or the new one. Durable on return.
  Result<void> replace_file(const Path& path, ConstBytes contents);
  /// All of a file; kCorrupt if that is more than `limit` bytes.
  Result<std::vector<std::uint8_t>> read_file(const Path& path, std::uint64_t limit);

  /// The host's own.
  static FileSystem& host();
};

/// An Error for errno: "WHAT 'PATH': text".
Error os_error(const char* what, const std::filesystem::path& path, int error_number);

/// Of a text, as long as that lives.
inline ConstBytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace snowglobe::base
