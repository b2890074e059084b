// api/src/picture_archive.cc - a machine's picture as objects of a snapshot store, and back.
#include "api/src/picture_archive.h"

#include "api/src/agent.h"
#include "api/src/disk_size.h"
#include "api/src/stored_disk.h"
#include "base/archive.h"
#include "guestnet/network.h"
#include "vm/memory/ram_image.h"

#include <algorithm>
#include <utility>

namespace snowglobe::detail {

namespace {

using base::Error;
using base::ErrorCode;

constexpr std::uint32_t kChunk = snapshots::kDefaultChunkBytes;
// vm/machine_core.h takes no more; a number beyond it is a damaged file.
constexpr std::uint64_t kMostMemory = std::uint64_t{4} << 30;

Error damaged(const std::string& what) {
  return {ErrorCode::kCorrupt, "the snapshot's state is damaged: " + what};
}

base::ConstBytes bytes_of(const std::string& text) {
  return {static_cast<const std::uint8_t*>(static_cast<const void*>(text.data())), text.size()};
}

struct Parameter {
  std::string name, value;
};

template <class Archive>
void describe(Archive& archive, Parameter& parameter) {
  archive(parameter.name, parameter.value);
}

template <class Archive>
void describe_notification(Archive& archive, Notification& notification) {
  archive(notification.channel, notification.payload, notification.backend_pid);
}

}  // namespace

// Found by argument-dependent look-up, as the archive wants it.
template <class Archive>
void describe(Archive& archive, SessionPicture& session) {
  archive(session.stream, session.adoption, session.backend_pid, session.startup, session.prepared);
  std::vector<Parameter> parameters;
  std::vector<std::string> notes;
  if constexpr (!Archive::kReads) {
    for (const auto& [name, value] : session.parameters)
      parameters.push_back({name, value});
  }
  archive(parameters);
  if constexpr (Archive::kReads) {
    session.parameters.clear();
    for (Parameter& parameter : parameters)
      session.parameters.emplace_back(std::move(parameter.name), std::move(parameter.value));
  }
  auto count = static_cast<std::uint32_t>(session.notifications.size());
  archive(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    if constexpr (Archive::kReads) {
      if (!archive.ok()) return;
      session.notifications.emplace_back();
    }
    describe_notification(archive, session.notifications[i]);
  }
}

template <class Archive>
void describe(Archive& archive, MachinePicture& picture) {
  archive.section("SNOW", static_cast<std::uint16_t>(kPictureFormat));
  archive(picture.image_id, picture.memory_bytes, picture.machine.state, picture.machine.hot_pages,
          picture.network, picture.agent, picture.sessions);
}

std::vector<std::uint8_t> archive_of(const MachinePicture& picture) {
  base::ArchiveWriter writer;
  MachinePicture copy = picture;  // the writer's descriptions take what could be read into
  describe(writer, copy);
  return writer.take();
}

base::Result<MachinePicture> from_archive(base::ConstBytes bytes) {
  MachinePicture picture;
  base::ArchiveReader reader(bytes);
  describe(reader, picture);
  if (!reader.finished()) return damaged("it is not whole, or of another version");
  if (picture.memory_bytes == 0 || picture.memory_bytes > kMostMemory ||
      picture.memory_bytes % (std::uint64_t{1} << 20) != 0) {
    return damaged("its size of memory cannot be");
  }
  const auto streams = net::Network::saved_streams(picture.network);
  if (!streams) return streams.error();
  for (const SessionPicture& session : picture.sessions) {
    const auto fits = [&session](const net::StreamInfo& stream) {
      return stream.id == session.stream && stream.quiet;
    };
    if (session.adoption > Adoption::anybody ||
        std::none_of(streams.value().begin(), streams.value().end(), fits)) {
      return damaged("it has a session without a connection");
    }
  }
  asio::io_context nowhere;
  AgentClient scratch(nowhere, {});
  if (auto fits = scratch.restore(bytes_of(picture.agent)); !fits) return fits.error();
  return picture;
}

namespace {

/// Marks the chunks of an object that a writer begins with and that are not zeros.
void mark_stored(const snapshots::Reader* stored, std::string_view name,
                 std::vector<bool>& chunks) {
  if (stored == nullptr) return;
  const auto object = stored->object(name);
  if (!object) return;
  const std::uint64_t count = stored->objects()[object.value()].chunk_count();
  for (std::uint64_t index = 0; index < std::min<std::uint64_t>(count, chunks.size()); ++index) {
    if (!stored->is_zero(object.value(), index)) chunks[index] = true;
  }
}

base::Result<void> write_memory(snapshots::Writer& writer, const vm::RamImage& memory,
                                const PictureParent& parent, std::uint32_t chunk_bytes) {
  auto object = writer.object("memory", memory.size(), chunk_bytes);
  if (!object) return object.error();
  const std::uint64_t pages = chunk_bytes / vm::kPageSize;  // memory is a multiple of any chunk
  std::vector<bool> chunks(memory.size() / chunk_bytes);
  const vm::RamImage* known = parent.picture ? parent.picture->machine.memory.get() : nullptr;
  if (known != nullptr && known->size() != memory.size()) known = nullptr;
  if (known == nullptr) mark_stored(parent.stored, "memory", chunks);
  memory.for_each_difference(known, [&](vm::u32 page) { chunks[page / pages] = true; });
  std::vector<std::uint8_t> chunk(chunk_bytes);
  for (std::size_t index = 0; index < chunks.size(); ++index) {
    if (!chunks[index]) continue;
    for (std::size_t i = 0; i < pages; ++i) {
      const bool read = memory.read(static_cast<vm::u32>(index * pages + i),
                                    base::Bytes(chunk).subspan(i * vm::kPageSize, vm::kPageSize));
      if (!read) return damaged("a page of its memory is not what was stored");
    }
    if (auto put = writer.put(object.value(), index, chunk); !put) return put;
  }
  return {};
}

/// Which disk it goes back to; see read_picture().
base::Result<void> write_disk_base(snapshots::Writer& writer, const DiskImage& disk,
                                   const PictureParent& parent) {
  constexpr std::array<std::uint8_t, 5> kZeros = {'z', 'e', 'r', 'o', 's'};
  if (disk.base()->standalone()) {
    auto put = writer.put_object("disk/base", kZeros);
    if (!put) return put.error();
  } else if (parent.stored != nullptr && parent.stored->object("disk/base")) {
    return writer.drop("disk/base");
  }
  return {};
}

base::Result<void> write_disk(snapshots::Writer& writer, const DiskImage& disk,
                              const PictureParent& parent) {
  auto object = writer.object("disk", disk.capacity(), kChunk);
  if (!object) return object.error();
  const std::size_t count = (disk.capacity() + kChunk - 1) / kChunk;
  std::vector<bool> own(count);  // what the stored disk has
  disk.for_each_difference(nullptr, kChunk,
                           [&own](vm::u64 offset, vm::u64) { own[offset / kChunk] = true; });
  std::vector<bool> changed(count);
  const DiskImage* known = parent.picture ? parent.picture->disk.get() : nullptr;
  if (known != nullptr && known->capacity() > disk.capacity()) known = nullptr;
  if (known == nullptr) mark_stored(parent.stored, "disk", changed);
  disk.for_each_difference(
      known, kChunk, [&changed](vm::u64 offset, vm::u64) { changed[offset / kChunk] = true; });
  std::vector<std::uint8_t> chunk(kChunk);
  for (std::size_t index = 0; index < count; ++index) {
    if (!changed[index]) continue;
    const vm::u64 offset = vm::u64{index} * kChunk;
    const base::Bytes bytes =
        base::Bytes(chunk).first(std::min<vm::u64>(kChunk, disk.capacity() - offset));
    if (own[index]) {
      disk.read(offset, bytes);
    } else {
      std::fill(bytes.begin(), bytes.end(), std::uint8_t{0});
    }
    if (auto put = writer.put(object.value(), index, bytes); !put) return put;
  }
  if (disk.base()->damaged()) return disk.base()->damage();
  std::vector<std::uint8_t> map((count + 7) / 8);
  for (std::size_t index = 0; index < count; ++index) {
    if (own[index]) map[index / 8] |= static_cast<std::uint8_t>(1u << (index % 8));
  }
  auto put = writer.put_object("disk/chunks", map);
  if (!put) return put.error();
  return write_disk_base(writer, disk, parent);
}

base::Result<std::shared_ptr<const vm::RamImage>> read_memory(const snapshots::Reader& reader,
                                                              std::uint64_t bytes) {
  auto object = reader.object("memory");
  if (!object) return object.error();
  const snapshots::ObjectInfo& info = reader.objects()[object.value()];
  if (info.size != bytes || info.chunk_bytes % vm::kPageSize != 0) {
    return damaged("its memory has another size than it says");
  }
  vm::RamImage::Builder builder(bytes, nullptr);
  std::vector<std::uint8_t> chunk(info.chunk_bytes);
  for (std::uint64_t index = 0; index < info.chunk_count(); ++index) {
    if (reader.is_zero(object.value(), index)) continue;
    const base::Bytes all = base::Bytes(chunk).first(info.chunk_length(index));
    if (auto read = reader.read(object.value(), index, all); !read) return read.error();
    const std::uint64_t first = index * (info.chunk_bytes / vm::kPageSize);
    for (std::size_t i = 0; i * vm::kPageSize < all.size(); ++i) {
      const base::ConstBytes page = all.subspan(i * vm::kPageSize, vm::kPageSize);
      if (base::all_zero(page)) continue;
      if (auto set = builder.set(static_cast<vm::u32>(first + i), page); !set) return set.error();
    }
  }
  return builder.finish();
}

base::Result<std::shared_ptr<const DiskImage>> read_disk(const snapshots::Reader& reader,
                                                         std::shared_ptr<const SparseDisk> base) {
  auto object = reader.object("disk");
  if (!object) return object.error();
  auto differs = reader.read_object("disk/chunks");
  if (!differs) return differs.error();
  const snapshots::ObjectInfo& info = reader.objects()[object.value()];
  if (info.size < base->capacity() || info.size > disk_capacity(vm::u64{kMostDiskMb} << 20) ||
      info.size % DiskImage::kPage != 0 || info.chunk_bytes % DiskImage::kPage != 0 ||
      differs.value().size() != (info.chunk_count() + 7) / 8) {
    return damaged("its disk is smaller than the image's, or larger than one can be");
  }
  const auto began_with = std::make_shared<const DiskImage>(std::move(base), info.size);
  DiskImage::Builder builder(began_with);
  std::vector<std::uint8_t> chunk(info.chunk_bytes);
  std::array<std::uint8_t, DiskImage::kPage> fresh;
  for (std::uint64_t index = 0; index < info.chunk_count(); ++index) {
    if ((differs.value()[index / 8] >> (index % 8) & 1) == 0) continue;
    const base::Bytes all = base::Bytes(chunk).first(info.chunk_length(index));
    if (auto read = reader.read(object.value(), index, all); !read) return read.error();
    for (std::size_t at = 0; at < all.size(); at += DiskImage::kPage) {
      const base::ConstBytes page = all.subspan(at, DiskImage::kPage);
      const std::uint64_t offset = index * info.chunk_bytes + at;
      began_with->read(offset, fresh);
      if (std::equal(page.begin(), page.end(), fresh.begin())) continue;
      if (auto set = builder.set(offset, page); !set) return set.error();
    }
  }
  return builder.finish();
}

}  // namespace

base::Result<void> write_picture(snapshots::Writer& writer, const MachinePicture& picture,
                                 const PictureParent& parent, std::uint32_t memory_chunk) {
  if (auto done = write_memory(writer, *picture.machine.memory, parent, memory_chunk); !done)
    return done;
  if (auto done = write_disk(writer, *picture.disk, parent); !done) return done;
  auto state = writer.put_object("state", archive_of(picture));
  if (!state) return state.error();
  return {};
}

base::Result<std::shared_ptr<const MachinePicture>> read_picture(
    std::shared_ptr<const snapshots::Reader> reader,
    const std::function<base::Result<std::shared_ptr<const SparseDisk>>()>& cluster) {
  auto state = reader->read_object("state");
  if (!state) return state.error();
  auto picture = from_archive(state.value());
  if (!picture) return picture.error();
  auto memory = read_memory(*reader, picture.value().memory_bytes);
  if (!memory) return memory.error();
  picture.value().machine.memory = std::move(memory).value();
  if (reader->object("disk/base")) {
    auto object = reader->object("disk");
    if (!object) return object.error();
    const snapshots::ObjectInfo& info = reader->objects()[object.value()];
    if (info.size == 0 || info.size % DiskImage::kPage != 0) {
      return damaged("its disk has a size that cannot be");
    }
    picture.value().disk = std::make_shared<const DiskImage>(
        std::make_shared<const StoredDisk>(std::move(reader), object.value()));
  } else {
    auto base = cluster();
    if (!base) return base.error();
    auto disk = read_disk(*reader, std::move(base).value());
    if (!disk) return disk.error();
    picture.value().disk = std::move(disk).value();
  }
  return std::make_shared<const MachinePicture>(std::move(picture).value());
}

}  // namespace snowglobe::detail
