// api/src/ready_files.h - files of the user's cache: written whole, believed only by checksum.
#pragma once

#include "base/archive.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/file_system.h"
#include "vm/memory/page_arena.h"
#include "vm/memory/ram_image.h"
#include <snowglobe/export.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

namespace snowglobe::detail {

inline constexpr std::uint64_t kReadyChunk = std::uint64_t{vm::MemoryFile::kChunkPages}
                                             << vm::kPageShift;

/// XXH3, against accidents: whoever can change these files can change the library as well.
std::uint64_t checksum(base::ConstBytes bytes);

/// Makes a folder that only its owner can enter; its parents as well. False: it can not be.
bool make_own_folder(const std::filesystem::path& folder);

/// A new file of `size` bytes, chunk by chunk from `fill(offset, out)`, which may fail; chunks of
/// zeros become holes. Returns their checksums. Errors: as FileSystem, kCorrupt (`fill` failed).
base::Result<std::vector<std::uint64_t>> write_chunks(
    base::FileSystem& files, const std::filesystem::path& file, std::uint64_t size,
    const std::function<bool(std::uint64_t offset, base::Bytes out)>& fill);

/// Such a file of a machine's memory.
base::Result<std::vector<std::uint64_t>> write_memory(base::FileSystem& files,
                                                      const std::filesystem::path& file,
                                                      const vm::RamImage& memory);
/// Its pages that are not zero: a bit for each. And back, for vm::RamImage::of_file().
std::vector<std::uint64_t> used_pages(const vm::RamImage& memory);
std::vector<bool> flags_of(const std::vector<std::uint64_t>& used, std::uint64_t pages);

/// The contents of a regular file of our own user that nobody else can write, of at most `limit`
/// bytes. Errors: kNotFound, kIo, kCorrupt.
base::Result<std::vector<std::uint8_t>> read_own_file(const std::filesystem::path& file,
                                                      std::uint64_t limit);

/// A new file with the archive of `contents` and its checksum. Errors: as FileSystem.
template <class Contents>
base::Result<void> write_checked(const std::filesystem::path& file, Contents& contents) {
  base::ArchiveWriter writer;
  writer(contents);
  std::vector<std::uint8_t> bytes = writer.take();
  const std::uint64_t sum = checksum(bytes);
  bytes.resize(bytes.size() + sizeof sum);
  base::store_le(&bytes[bytes.size() - sizeof sum], sum);
  auto written = base::FileSystem::host().write_file(file, bytes);
  if (!written) return written.error();
  return {};
}

/// What write_checked() wrote. Errors: as read_own_file(), kCorrupt (anything else).
template <class Contents>
base::Result<Contents> read_checked(const std::filesystem::path& file) {
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;
  const auto unusable = [&file](const char* what) {
    return base::Error{base::ErrorCode::kCorrupt, file.string().append(": the file ").append(what)};
  };
  auto bytes = read_own_file(file, kMost);
  if (!bytes) return bytes.error();
  const base::ConstBytes all = bytes.value();
  if (all.size() < sizeof(std::uint64_t)) return unusable("is cut short");
  const base::ConstBytes body = all.first(all.size() - sizeof(std::uint64_t));
  if (base::load_le<std::uint64_t>(&all[body.size()]) != checksum(body)) {
    return unusable("does not have its checksum");
  }
  Contents contents;
  base::ArchiveReader reader(body);
  reader(contents);
  if (!reader.finished()) return unusable("is of another version");
  return contents;
}

/// Maps such a file; its chunks are compared with `checksums` when they are first touched, and
/// `on_damage` is called for one that differs, on the thread that touched it. Its size must be a
/// multiple of the page size, or else `length` is, and only as much is mapped. Errors: as
/// read_own_file().
base::Result<std::unique_ptr<vm::MemoryFile>> map_chunks(base::FileSystem& files,
                                                         const std::filesystem::path& file,
                                                         std::vector<std::uint64_t> checksums,
                                                         std::function<void()> on_damage,
                                                         std::uint64_t length = 0);

/// A folder for work under way, gone with the object. Those of crashed processes are removed too.
class WorkFolder {
 public:
  /// Inside of `parent`, which is made if need be; nothing if that is empty or can not be.
  explicit WorkFolder(const std::filesystem::path& parent);
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  [[nodiscard]] bool usable() const { return !path_.empty(); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace snowglobe::detail
