// api/src/store_state.cc - pictures of machines into a store of bytes, and back.
#include "api/src/store_state.h"

#include "api/src/clusters.h"
#include "api/src/errors.h"
#include "api/src/image.h"
#include "api/src/picture_archive.h"

namespace snowglobe::detail {

namespace {

template <class T>
T value_or_throw_snapshot(base::Result<T> result) {
  if (!result) throw_snapshot_error(result.error());
  return std::move(result).value();
}

/// The disk that all snapshots of an image go back to.
base::Result<std::shared_ptr<const SparseDisk>> base_of(const snapshots::SnapshotInfo& info,
                                                        const std::filesystem::path& folder) {
  if (auto disk = known_cluster(info.metadata.image_id)) return disk;
  const auto image = find_image(image_places(folder));
  if (!image) return image.error();
  if (image.value().id != info.metadata.image_id) {
    return base::Error{base::ErrorCode::kUnsupported, "the snapshot needs guest image " +
                                                          info.metadata.image_id + "; the one in " +
                                                          image.value().files.place() + " is " +
                                                          image.value().id};
  }
  return cluster_disk(image.value());
}

}  // namespace

std::shared_ptr<const MachinePicture> StoreState::known(const snapshots::SnapshotId& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = pictures_.find(id);
  return found == pictures_.end() ? nullptr : found->second.lock();
}

void StoreState::remember(const snapshots::SnapshotId& id,
                          const std::shared_ptr<const MachinePicture>& picture) {
  const std::lock_guard lock(mutex_);
  std::erase_if(pictures_, [](const auto& entry) { return entry.second.expired(); });
  pictures_[id] = picture;
}

Snapshot StoreState::snapshot(snapshots::SnapshotInfo info) {
  std::shared_ptr<const MachinePicture> picture = known(info.id);
  return Snapshot(
      std::make_shared<SnapshotData>(std::move(info), std::move(picture), shared_from_this()));
}

base::Result<std::shared_ptr<const MachinePicture>> StoreState::read(
    const snapshots::SnapshotInfo& info, const std::filesystem::path& image) {
  if (auto there = known(info.id)) return there;
  if (info.metadata.format_version != kPictureFormat) {
    return base::Error{base::ErrorCode::kUnsupported,
                       "snapshot " + info.label() + " has format " +
                           std::to_string(info.metadata.format_version) +
                           ", and this library reads " + std::to_string(kPictureFormat)};
  }
  auto reader = store_->open(info.id);
  if (!reader) return reader.error();
  auto picture = read_picture(std::make_shared<const snapshots::Reader>(std::move(reader).value()),
                              [&] { return base_of(info, image.empty() ? image_ : image); });
  if (picture) remember(info.id, picture.value());
  return picture;
}

StoreState::Parent StoreState::parent_of(const SnapshotData& data) {
  if (!data.info.parent) return {{}, {}, nullptr, memory_chunk_};
  const auto parent = store_->get(*data.info.parent);
  if (!parent) return {{}, {}, nullptr, memory_chunk_};  // it was not put here
  auto reader = store_->open(parent.value().id);
  const auto object = reader ? reader.value().object("memory") : base::Result<std::size_t>(0);
  if (!reader || !object) return {{}, {}, nullptr, memory_chunk_};
  const std::uint32_t chunk = reader.value().objects()[object.value()].chunk_bytes;
  std::shared_ptr<const MachinePicture> picture = known(parent.value().id);
  if (!picture) {
    const std::lock_guard lock(mutex_);
    if (outline_.first == parent.value().id) picture = outline_.second;
  }
  return {parent.value().id, std::move(reader).value(), std::move(picture), chunk};
}

snapshots::SnapshotInfo StoreState::write(const SnapshotData& data, const MachinePicture& picture) {
  const Parent parent = parent_of(data);
  auto writer = value_or_throw_snapshot(store_->begin(parent.id, {.id = data.info.id}));
  const PictureParent begun{parent.reader ? &*parent.reader : nullptr, parent.picture.get()};
  if (auto done = write_picture(writer, picture, begun, parent.memory_chunk); !done) {
    throw_snapshot_error(done.error());
  }
  auto info = writer.commit(data.info.metadata, {.take_name = true});
  if (!info && info.error().code == base::ErrorCode::kAlreadyExists) {
    info = store_->get(data.info.id);  // another process was faster
  }
  return value_or_throw_snapshot(std::move(info));
}

Snapshot StoreState::put(const SnapshotData& data) {
  if (auto there = store_->get(data.info.id)) return snapshot(std::move(there).value());
  const std::shared_ptr<const MachinePicture> picture = value_or_throw_snapshot(data.picture({}));
  auto info = write(data, *picture);
  remember(info.id, picture);
  return snapshot(std::move(info));
}

Snapshot StoreState::put_away(const SnapshotData& data,
                              std::shared_ptr<const MachinePicture> picture) {
  auto info = write(data, *picture);
  auto outline = std::make_shared<MachinePicture>(*picture);
  outline->disk = picture->disk->outline();
  {
    const std::lock_guard lock(mutex_);
    outline_ = {info.id, std::move(outline)};
  }
  return snapshot(std::move(info));
}

}  // namespace snowglobe::detail
