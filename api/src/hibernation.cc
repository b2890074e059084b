// api/src/hibernation.cc - a machine put down beside its disk, and mapped again.
#include "api/src/hibernation.h"

#include "api/src/picture_archive.h"
#include "api/src/ready_files.h"
#include "base/archive.h"
#include "vm/memory/ram_image.h"

#include <fstream>
#include <utility>
#include <vector>

namespace snowglobe::detail {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

constexpr std::uint64_t kMagic = 0x454e49484341'4d53;  // "SMACHINE"
constexpr std::uint64_t kFormat = 1;
constexpr std::uint64_t kTrailerBytes = 32;
constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{64} << 20;

struct Index {
  std::uint32_t picture_format = kPictureFormat;
  std::string boot_id;
  std::string database_id;
  std::uint64_t generation = 0;
  std::array<std::uint8_t, 16> token{};
  std::vector<std::string> settings;  ///< name, value, name, ...
  std::vector<std::uint8_t> picture;  ///< archive_of()
  std::vector<std::uint64_t> used;    ///< pages of memory that are not zero: a bit for each
  std::vector<std::uint64_t> sums;    ///< of memory, by chunk
};

template <class Archive>
void describe(Archive& archive, Index& index) {
  archive.section("HIBR", 1);
  archive(index.picture_format, index.boot_id, index.database_id, index.generation, index.token,
          index.settings, index.picture, index.used, index.sums);
}

std::string boot_id() {
  std::ifstream stream("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(stream, id);
  return id;  // empty: never equal, see written_since_boot()
}

bool written_since_boot(const Index& index) {
  return !index.boot_id.empty() && index.boot_id == boot_id();
}

std::vector<std::string> flat(const std::map<std::string, std::string>& settings) {
  std::vector<std::string> list;
  for (const auto& [name, value] : settings) {
    list.push_back(name);
    list.push_back(value);
  }
  return list;
}

Error unusable(const fs::path& file, ErrorCode code, const std::string& what) {
  return {code, "the hibernated machine '" + file.string() + "' " + what};
}

base::Result<void> append_index(base::FileSystem& files, const fs::path& file, std::uint64_t at,
                                Index& index) {
  base::ArchiveWriter writer;
  writer(index);
  std::vector<std::uint8_t> bytes = writer.take();
  const std::uint64_t length = bytes.size();
  const std::array<std::uint64_t, 4> trailer = {kMagic, length, checksum(bytes), kFormat};
  bytes.resize(length + kTrailerBytes);
  for (std::size_t i = 0; i < trailer.size(); ++i)
    base::store_le(&bytes[length + 8 * i], trailer[i]);
  const auto opened = files.open(file, base::FileSystem::Access::kWrite);
  if (!opened) return opened.error();
  return opened.value()->write_at(at, bytes);
}

base::Result<Index> read_index(base::FileSystem& files, const fs::path& file,
                               std::uint64_t& memory_bytes) {
  const auto opened = files.open(file, base::FileSystem::Access::kRead);
  if (!opened) return opened.error();
  const auto size = opened.value()->size();
  if (!size) return size.error();
  if (size.value() < kTrailerBytes) return unusable(file, ErrorCode::kCorrupt, "is cut short");
  std::array<std::uint8_t, kTrailerBytes> trailer{};
  if (auto done = opened.value()->read_at(size.value() - kTrailerBytes, trailer); !done) {
    return done.error();
  }
  const auto word = [&trailer](std::size_t i) {
    return base::load_le<std::uint64_t>(&trailer[8 * i]);
  };
  if (word(0) != kMagic) return unusable(file, ErrorCode::kCorrupt, "has no end");
  if (word(3) != kFormat) return unusable(file, ErrorCode::kUnsupported, "is of another version");
  const std::uint64_t length = word(1);
  if (length > kMaxIndexBytes || length > size.value() - kTrailerBytes) {
    return unusable(file, ErrorCode::kCorrupt, "has an index that cannot be");
  }
  memory_bytes = size.value() - kTrailerBytes - length;
  std::vector<std::uint8_t> bytes(length);
  if (auto done = opened.value()->read_at(memory_bytes, bytes); !done) return done.error();
  if (checksum(bytes) != word(2)) {
    return unusable(file, ErrorCode::kCorrupt, "does not have its checksum");
  }
  Index index;
  base::ArchiveReader reader(bytes);
  reader(index);
  if (!reader.finished() || index.picture_format != kPictureFormat) {
    return unusable(file, ErrorCode::kUnsupported, "is of another version");
  }
  return index;
}

base::Result<void> require_wanted(const fs::path& file, const Index& index,
                                  const Hibernation& wanted) {
  if (index.database_id != wanted.database_id || index.generation != wanted.generation ||
      index.token != wanted.token) {
    return unusable(file, ErrorCode::kInvalidArgument, "belongs to another state of the disk");
  }
  if (index.settings != flat(wanted.settings)) {
    return unusable(file, ErrorCode::kInvalidArgument, "was started with other settings");
  }
  return {};
}

}  // namespace

base::Result<void> write_hibernated(base::FileSystem& files, const fs::path& file,
                                    const Hibernation& about, const MachinePicture& picture) {
  fs::path fresh = file;
  fresh += ".new";
  if (auto done = files.remove_if_there(fresh); !done) return done;
  const vm::RamImage& memory = *picture.machine.memory;
  auto sums = write_memory(files, fresh, memory);
  if (!sums) {
    static_cast<void>(files.remove_if_there(fresh));
    return sums.error();
  }
  Index index;
  index.boot_id = boot_id();
  index.database_id = about.database_id;
  index.generation = about.generation;
  index.token = about.token;
  index.settings = flat(about.settings);
  index.picture = archive_of(picture);
  index.used = used_pages(memory);
  index.sums = std::move(sums).value();
  auto done = append_index(files, fresh, memory.size(), index);
  if (done) done = files.rename(fresh, file);
  if (!done) static_cast<void>(files.remove_if_there(fresh));
  return done;
}

base::Result<std::shared_ptr<const MachinePicture>> read_hibernated(base::FileSystem& files,
                                                                    const fs::path& file,
                                                                    const Hibernation& wanted) {
  std::uint64_t memory_bytes = 0;
  auto index = read_index(files, file, memory_bytes);
  if (!index) return index.error();
  const Index& about = index.value();
  if (auto fits = require_wanted(file, about, wanted); !fits) return fits.error();
  auto picture = from_archive(about.picture);
  if (!picture) return picture.error();
  const std::uint64_t pages = memory_bytes / vm::kPageSize;
  if (picture.value().memory_bytes != memory_bytes || about.used.size() != (pages + 63) / 64) {
    return unusable(file, ErrorCode::kCorrupt, "has another size than it says");
  }
  auto mapped = map_chunks(
      files, file, about.sums, [] {}, memory_bytes);
  if (!mapped) return mapped.error();
  auto memory = vm::RamImage::of_file(std::move(mapped).value(), flags_of(about.used, pages));
  if (!memory) return memory.error();
  if (!written_since_boot(about)) {
    for (vm::u32 page = 0; page < pages; ++page) {
      if (memory.value()->check(page)) continue;
      return unusable(file, ErrorCode::kCorrupt, "has memory that is not what was stored");
    }
  }
  picture.value().machine.memory = std::move(memory).value();
  return std::make_shared<const MachinePicture>(std::move(picture).value());
}

}  // namespace snowglobe::detail
