// api/src/ready_state.cc - finding the ready state, unpacking it, and mapping the unpacked copy.
#include "api/src/ready_state.h"

#include "api/src/clusters.h"
#include "api/src/picture_archive.h"
#include "api/src/ready_files.h"
#include "base/archive.h"
#include "base/file_system.h"
#include "snapshots/store.h"
#include "vm/memory/ram_image.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <utility>

namespace snowglobe::detail {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;
using Picture = std::shared_ptr<const MachinePicture>;

/// Of the files in the cache. Libraries of several versions may use one cache.
constexpr std::uint16_t kCopyFormat = 4;

Error unusable(const fs::path& path, const std::string& what) {
  return {ErrorCode::kCorrupt, "ready state: '" + path.string() + "' " + what};
}

/// Everything that is not in the other files.
struct Index {
  std::string key;
  std::vector<std::uint8_t> picture;  ///< archive_of()
  std::vector<std::uint64_t> used;    ///< pages of memory that are not zero: a bit for each
  std::vector<std::uint64_t> memory;  ///< checksums by chunk
  std::vector<std::uint64_t> cluster;
  std::vector<std::uint64_t> offsets;  ///< on the disk, of the chunks in "disk"
  std::vector<std::uint64_t> disk;     ///< checksums of "disk"
};

template <class Archive>
void describe(Archive& archive, Index& index) {
  archive.section("REDY", kCopyFormat);
  archive(index.key, index.picture, index.used, index.memory, index.cluster, index.offsets,
          index.disk);
}

/// The folder of the unpacked copy is called like it.
std::string key_of(const GuestImage& image, const ReadyFile& ready) {
  return std::string(name_of(ready.kind)) + "-" + image.id.substr(0, 16) + "-" +
         ready.file.sha256.substr(0, 16) + "-" + std::to_string(kPictureFormat) + "." +
         std::to_string(kCopyFormat);
}

// --- making the unpacked copy

/// What the archive of the picture leaves out.
base::Result<Index> write_parts(const fs::path& folder, const MachinePicture& picture) {
  Index index;
  const vm::RamImage& memory = *picture.machine.memory;
  index.used = used_pages(memory);
  auto written = write_memory(base::FileSystem::host(), folder / "memory", memory);
  if (!written) return written.error();
  index.memory = std::move(written).value();
  index.picture = archive_of(picture);
  if (!picture.disk) return index;

  const SparseDisk& cluster = dynamic_cast<const SparseDisk&>(*picture.disk->base());
  written = write_chunks(base::FileSystem::host(), folder / "cluster", cluster.file_bytes(),
                         [&](auto offset, auto out) { return cluster.read_file(offset, out); });
  if (!written) return written.error();
  index.cluster = std::move(written).value();

  const vm::u64 capacity = picture.disk->capacity();
  picture.disk->for_each_difference(
      nullptr, kReadyChunk, [&](vm::u64 offset, vm::u64) { index.offsets.push_back(offset); });
  written =
      write_chunks(base::FileSystem::host(), folder / "disk", index.offsets.size() * kReadyChunk,
                   [&](std::uint64_t at, base::Bytes out) {
                     const vm::u64 offset = index.offsets[at / kReadyChunk];
                     const vm::u64 length = std::min<vm::u64>(kReadyChunk, capacity - offset);
                     picture.disk->read(offset, out.first(length));
                     return true;
                   });
  if (!written) return written.error();
  index.disk = std::move(written).value();
  return index;
}

/// Unpacks the portable file by way of a store of its own.
base::Result<Picture> unpack(const GuestImage& image, const ReadyFile& ready,
                             const fs::path& work) {
  if (auto good = verify_file(ready.file); !good) return good.error();
  fs::path portable = ready.file.path;
  if (ready.file.embedded.data() != nullptr) {
    portable = work / "portable";
    auto written = base::FileSystem::host().write_file(portable, ready.file.embedded);
    if (!written) return written.error();
  }
  auto store = snapshots::Store::open_folder(work / "store", {});
  if (!store) return store.error();
  auto imported = store.value()->import_from(portable);
  if (!imported) return imported.error();
  if (imported.value().imported.size() != 1)
    return unusable(ready.file.path, "is not one snapshot");
  auto reader = store.value()->open(imported.value().imported.front().id);
  if (!reader) return reader.error();
  auto cluster = cluster_disk(image);
  if (!cluster) return cluster.error();
  auto picture = read_picture(std::make_shared<const snapshots::Reader>(std::move(reader).value()),
                              [&] { return cluster; });
  if (!picture) return picture;
  auto ready_picture = std::make_shared<MachinePicture>(*picture.value());
  if (ready.kind == StateKind::bare) ready_picture->disk.reset();  // it knows of none
  // Nobody but its maker has used the sessions that wait in it.
  for (SessionPicture& session : ready_picture->sessions) {
    if (session.adoption == Adoption::pool) session.adoption = Adoption::anybody;
  }
  return Picture(std::move(ready_picture));
}

// --- mapping it

/// Without its index a copy is none: the next open makes another one.
std::function<void()> giving_up(const fs::path& folder) {
  return [index = folder / "index"] {
    std::error_code ignored;
    fs::remove(index, ignored);
  };
}

base::Result<Index> read_index(const fs::path& file, const std::string& key) {
  auto index = read_checked<Index>(file);
  if (index && index.value().key != key) return unusable(file, "is of another version");
  return index;
}

/// The chunks that differ from the cluster. They are few, and a guest reads most of them at once:
/// so all are verified now.
base::Result<void> share_disk(const fs::path& file, const Index& index, vm::u64 capacity,
                              DiskImage::Builder& builder) {
  if (index.offsets.empty()) return {};
  auto mapped = map_chunks(base::FileSystem::host(), file, index.disk, [] {});
  if (!mapped) return mapped.error();
  const std::shared_ptr<const vm::MemoryFile> owner = std::move(mapped).value();
  if (owner->size() != index.offsets.size() * kReadyChunk) return unusable(file, "was cut short");
  for (std::size_t i = 0; i < index.offsets.size(); ++i) {
    const vm::u64 offset = index.offsets[i];
    const auto first = static_cast<vm::u32>(i * vm::MemoryFile::kChunkPages);
    if (!owner->check(first)) return unusable(file, "does not have its checksum");
    if (offset >= capacity) return unusable(file, "reaches over the disk's end");
    const auto length = std::min<vm::u64>(kReadyChunk, capacity - offset);
    if (auto set = builder.share(offset, {owner->page(first), length}, owner); !set) {
      return set.error();
    }
  }
  return {};
}

base::Result<std::shared_ptr<const DiskImage>> map_disk(const fs::path& folder, const Index& index,
                                                        const std::string& image_id) {
  auto cluster =
      map_chunks(base::FileSystem::host(), folder / "cluster", index.cluster, giving_up(folder));
  if (!cluster) return cluster.error();
  auto mapped = SparseDisk::of_file(std::move(cluster).value());
  if (!mapped) return mapped.error();
  const auto base = share_cluster(image_id, std::move(mapped).value());
  DiskImage::Builder builder(std::make_shared<const DiskImage>(base));
  if (auto shared = share_disk(folder / "disk", index, base->capacity(), builder); !shared) {
    return shared.error();
  }
  return builder.finish();
}

base::Result<Picture> map_copy(const fs::path& folder, const GuestImage& image,
                               const std::string& key) {
  auto index = read_index(folder / "index", key);
  if (!index) return index.error();
  auto picture = from_archive(index.value().picture);
  if (!picture) return picture.error();
  MachinePicture& made = picture.value();
  auto memory = map_chunks(base::FileSystem::host(), folder / "memory", index.value().memory,
                           giving_up(folder));
  if (!memory) return memory.error();
  const std::uint64_t pages = memory.value()->size() / vm::kPageSize;
  if (memory.value()->size() != made.memory_bytes ||
      index.value().used.size() != (pages + 63) / 64) {
    return unusable(folder / "memory", "has another size");
  }
  auto ram = vm::RamImage::of_file(std::move(memory).value(), flags_of(index.value().used, pages));
  if (!ram) return ram.error();
  made.machine.memory = std::move(ram).value();
  if (!index.value().cluster.empty()) {
    auto disk = map_disk(folder, index.value(), image.id);
    if (!disk) return disk.error();
    made.disk = std::move(disk).value();
  }
  return std::make_shared<const MachinePicture>(std::move(made));
}

/// Unpacks, leaves a copy for the next process, and gives what is to be run.
base::Result<Picture> make_copy(const GuestImage& image, const ReadyFile& ready,
                                const fs::path& cache, const std::string& key,
                                const std::function<void(const std::string&)>& log) {
  if (auto good = verify_image(image); !good) return good.error();
  const WorkFolder work(cache);
  if (!work.usable()) {
    log("the ready state is unpacked into memory, since '" + cache.string() +
        "' can not be written");
  }
  const WorkFolder elsewhere(work.usable() ? fs::path() : fs::temp_directory_path());
  const fs::path& at = work.usable() ? work.path() : elsewhere.path();
  if (at.empty()) return Error{ErrorCode::kIo, "there is no folder to unpack the ready state in"};
  auto picture = unpack(image, ready, at);
  if (!picture || !work.usable()) return picture;
  std::error_code ignored;
  const fs::path copy = work.path() / "copy";
  if (!make_own_folder(copy)) return picture;
  auto index = write_parts(copy, *picture.value());
  if (!index) {
    log(index.error().message);  // a full disk: go on without a copy
    return picture;
  }
  index.value().key = key;
  if (auto done = write_checked(copy / "index", index.value()); !done) {
    log(done.error().message);
    return picture;
  }
  const fs::path final = cache / key;
  fs::rename(final, work.path() / "old", ignored);  // one that was damaged
  fs::rename(copy, final, ignored);                 // fails if another process was faster
  if (auto mapped = map_copy(final, image, key)) return mapped;
  return picture;
}

}  // namespace

const char* name_of(StateKind kind) {
  return kind == StateKind::ready ? "ready" : "bare";
}

base::Result<std::optional<ReadyFile>> find_ready_file(const GuestImage& image, StateKind kind) {
  constexpr std::uint64_t kMost = 1 << 20;
  const std::string name = name_of(kind);
  const auto described = image.files.find(name + ".json");
  if (!described) return std::optional<ReadyFile>();
  const fs::path& path = described.value().path;
  if (described.value().bytes > kMost) return unusable(path, "is too long");
  const auto text = read_image_file(described.value());
  if (!text) return text.error();
  const auto json = nlohmann::json::parse(text.value(), nullptr, false);
  ReadyFile ready;
  std::uint64_t bytes = 0;
  std::string sha256;
  try {
    if (json.at("image_id") != image.id || json.at("format") != kPictureFormat) {
      return std::optional<ReadyFile>();
    }
    bytes = json.at("bytes");
    sha256 = json.at("sha256");
  } catch (const nlohmann::json::exception& wrong) {
    return unusable(path, std::string("is not what it should be: ") + wrong.what());
  }
  const bool plain =
      sha256.size() == 64 && sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!plain) return unusable(path, "has no SHA-256");
  ready.kind = kind;
  auto state = image.files.find(name + ".snap");
  // Its absence is met when it is unpacked: a copy that was unpacked before is as good.
  if (state)
    ready.file = std::move(state).value();
  else
    ready.file.path = image.files.folder / (name + ".snap");
  ready.file.bytes = bytes;
  ready.file.sha256 = sha256;
  return std::optional<ReadyFile>(ready);
}

base::Result<Picture> ready_picture(const GuestImage& image, const ReadyFile& ready,
                                    const fs::path& cache,
                                    const std::function<void(const std::string&)>& log) {
  // Databases of one process share its pages, also while one of them is still being unpacked.
  // They may outlive static destructors.
  static std::mutex mutex;
  using Known = std::map<std::string, std::weak_ptr<const MachinePicture>>;
  static Known& known = *new Known;
  const std::string key = key_of(image, ready);
  const std::lock_guard lock(mutex);
  const fs::path folder = cache / key;
  std::error_code ignored;
  // Without its index the copy was found damaged, and what maps it is as well.
  const bool mapped = !cache.empty() && fs::exists(folder, ignored);
  if (auto picture = known[key].lock();
      picture && (!mapped || fs::exists(folder / "index", ignored)))
    return picture;
  auto picture = cache.empty() ? base::Result<Picture>(Error{}) : map_copy(folder, image, key);
  if (!picture) {
    if (mapped) log(picture.error().message + "; unpacking it again");
    picture = make_copy(image, ready, cache, key, log);
  }
  if (picture) known[key] = picture.value();
  return picture;
}

}  // namespace snowglobe::detail
