// api/src/snapshot.cc - Snapshot and SnapshotStore: values over what the store of bytes knows.
#include "api/src/errors.h"
#include "api/src/store_state.h"
#include "snapshots/limits.h"
#include <snowglobe/error.hpp>
#include <snowglobe/snapshot.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <unistd.h>

namespace snowglobe {
inline namespace v1 {
namespace detail {

SnapshotData::SnapshotData(snapshots::SnapshotInfo about,
                           std::shared_ptr<const MachinePicture> picture,
                           std::shared_ptr<StoreState> in,
                           std::optional<snapshots::SnapshotId> stored)
    : info(std::move(about)),
      id(info.id.hex()),
      parent(info.parent ? info.parent->hex() : std::string()),
      store(std::move(in)),
      stored_ancestor(stored),
      picture_(std::move(picture)) {}

base::Result<std::shared_ptr<const MachinePicture>> SnapshotData::picture(
    const std::filesystem::path& image) const {
  const std::lock_guard lock(mutex_);
  if (!picture_) {
    auto read = store->read(info, image);
    if (!read) return read;
    picture_ = std::move(read).value();
  }
  return picture_;
}

}  // namespace detail

namespace {

const detail::SnapshotData& required(const Snapshot& snapshot) {
  if (!snapshot.data()) throw InvalidArgument("this snapshot is moved from");
  return *snapshot.data();
}

template <class T>
T value_of(base::Result<T> result) {
  if (!result) detail::throw_snapshot_error(result.error());
  return std::move(result).value();
}

void done_or_throw(const base::Result<void>& done) {
  if (!done) detail::throw_snapshot_error(done.error());
}

std::vector<Snapshot> all_of(detail::StoreState& state,
                             std::vector<snapshots::SnapshotInfo> infos) {
  std::vector<Snapshot> out;
  out.reserve(infos.size());
  for (snapshots::SnapshotInfo& info : infos)
    out.push_back(state.snapshot(std::move(info)));
  return out;
}

/// On a read-only mount, or another user's. What is not there is another matter.
bool cannot_be_written(const std::filesystem::path& folder) {
  return ::access(folder.c_str(), W_OK) != 0 && (errno == EROFS || errno == EACCES);
}

}  // namespace

Snapshot::Snapshot(std::shared_ptr<const detail::SnapshotData> data) noexcept
    : data_(std::move(data)) {}

const std::string& Snapshot::id() const noexcept {
  return data_->id;
}
const std::string& Snapshot::name() const noexcept {
  return data_->info.metadata.name;
}
const std::string& Snapshot::former_name() const noexcept {
  static const std::string none;
  const auto& properties = data_->info.metadata.properties;
  const auto found = properties.find(snapshots::kFormerName);
  return found == properties.end() ? none : found->second;
}
const std::vector<std::string>& Snapshot::tags() const noexcept {
  return data_->info.metadata.tags;
}
const std::string& Snapshot::note() const noexcept {
  return data_->info.metadata.note;
}
const std::string& Snapshot::parent() const noexcept {
  return data_->parent;
}
std::chrono::system_clock::time_point Snapshot::time() const noexcept {
  const auto since_1970 = data_->info.metadata.created.value_or(base::Nanoseconds(0));
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(since_1970));
}
SnapshotSizes Snapshot::sizes() const noexcept {
  const snapshots::SnapshotInfo& info = data_->info;
  return {info.metadata.memory_bytes, info.raw_bytes, info.stored_bytes, info.new_bytes};
}
const std::string& Snapshot::image_id() const noexcept {
  return data_->info.metadata.image_id;
}
const std::string& Snapshot::postgres_version() const noexcept {
  return data_->info.metadata.postgres_version;
}
const std::string& Snapshot::wal_position() const noexcept {
  return data_->info.metadata.wal_position;
}
bool Snapshot::stored() const noexcept {
  return data_->store != nullptr;
}

// --- SnapshotStore

SnapshotStore::SnapshotStore(std::shared_ptr<detail::StoreState> state) noexcept
    : state_(std::move(state)) {}

SnapshotStore SnapshotStore::open(const std::filesystem::path& folder,
                                  const StoreOptions& options) {
  const std::uint32_t chunk = options.chunk_kib * 1024;
  if (!std::has_single_bit(options.chunk_kib) || chunk < snapshots::kMinChunkBytes ||
      options.chunk_kib > snapshots::kMaxChunkBytes / 1024) {
    throw InvalidArgument("StoreOptions::chunk_kib is " + std::to_string(options.chunk_kib) +
                          ", not a power of two from 4 to 1024");
  }
  snapshots::StoreOptions how;
  how.read_only = cannot_be_written(folder);
  return SnapshotStore(std::make_shared<detail::StoreState>(
      value_of(snapshots::Store::open_folder(folder, how)), chunk, options.image));
}

Snapshot SnapshotStore::put(const Snapshot& snapshot) {
  return state_->put(required(snapshot));
}

std::vector<Snapshot> SnapshotStore::list() const {
  return all_of(*state_, value_of(state_->store().list()));
}

Snapshot SnapshotStore::find(std::string_view which) const {
  return state_->snapshot(value_of(state_->store().find(which)));
}

std::vector<SnapshotBranch> SnapshotStore::branches() const {
  std::vector<SnapshotBranch> out;
  for (snapshots::TreeEntry& entry : value_of(state_->store().tree()))
    out.push_back({state_->snapshot(std::move(entry.snapshot)), entry.depth});
  return out;
}

void SnapshotStore::tag(const Snapshot& snapshot, std::string_view tag) {
  done_or_throw(state_->store().tag(required(snapshot).info.id, tag));
}

void SnapshotStore::untag(const Snapshot& snapshot, std::string_view tag) {
  done_or_throw(state_->store().untag(required(snapshot).info.id, tag));
}

void SnapshotStore::rename(const Snapshot& snapshot, std::string_view name) {
  done_or_throw(state_->store().rename(required(snapshot).info.id, name));
}

void SnapshotStore::note(const Snapshot& snapshot, std::string_view note) {
  done_or_throw(state_->store().set_note(required(snapshot).info.id, note));
}

std::vector<Snapshot> SnapshotStore::remove(const Snapshot& snapshot, Children children) {
  const auto cascade =
      children == Children::remove_too ? snapshots::Cascade::kYes : snapshots::Cascade::kNo;
  return all_of(*state_,
                value_of(state_->store().remove(required(snapshot).info.id, cascade)).removed);
}

SnapshotDiff SnapshotStore::diff(const Snapshot& from, const Snapshot& to) const {
  const snapshots::Diff found =
      value_of(state_->store().diff(required(from).info.id, required(to).info.id));
  SnapshotDiff out;
  for (const snapshots::ObjectDiff& object : found.objects)
    out.parts.push_back({object.name, object.changed_bytes, object.changed_chunks});
  out.changed_bytes = found.changed_bytes;
  out.changed_chunks = found.changed_chunks;
  return out;
}

PruneReport SnapshotStore::prune(const PruneOptions& keep) {
  snapshots::KeepPolicy policy;
  policy.last = keep.last;
  policy.within = keep.within;
  policy.tagged = keep.tagged;
  policy.tags = keep.tags;
  policy.named = keep.named;
  auto report = value_of(state_->store().prune(
      policy, keep.dry_run ? snapshots::DryRun::kYes : snapshots::DryRun::kNo));
  return {all_of(*state_, std::move(report.removed)), all_of(*state_, std::move(report.in_use)),
          report.freed_bytes};
}

VerifyReport SnapshotStore::verify() const {
  const snapshots::VerifyReport found = value_of(state_->store().verify());
  VerifyReport out;
  for (const snapshots::Damage& damage : found.damage) {
    StoreDamage& one = out.damage.emplace_back();
    one.what = damage.what;
    for (const snapshots::SnapshotId& id : damage.snapshots)
      one.snapshots.push_back(id.hex());
  }
  out.snapshots = found.snapshots;
  out.chunks = found.chunks;
  out.bytes = found.bytes;
  return out;
}

void SnapshotStore::export_to(const Snapshot& snapshot, const std::filesystem::path& file,
                              const ExportOptions& options) const {
  constexpr int kHighestLevel = 19;
  if (options.compression_level < 0 || options.compression_level > kHighestLevel) {
    throw InvalidArgument("ExportOptions::compression_level is " +
                          std::to_string(options.compression_level) + ", not 0 to 19");
  }
  std::error_code ignored;
  const auto kind = std::filesystem::status(file, ignored).type();
  if (kind != std::filesystem::file_type::not_found &&
      kind != std::filesystem::file_type::regular) {
    throw InvalidArgument("'" + file.string() +
                          "' is no plain file, and an export replaces what is there");
  }
  snapshots::ExportOptions how;
  how.compression_level = options.compression_level;
  how.overwrite = options.overwrite;
  auto report = state_->store().export_to(file, {required(snapshot).info.id}, how);
  if (!report) detail::throw_snapshot_error(report.error());
}

Snapshot SnapshotStore::import_from(const std::filesystem::path& file) {
  auto report = value_of(state_->store().import_from(file));
  std::vector<snapshots::SnapshotInfo> all = std::move(report.imported);
  all.insert(all.end(), report.present.begin(), report.present.end());
  const auto newest = std::max_element(
      all.begin(), all.end(),
      [](const snapshots::SnapshotInfo& one, const snapshots::SnapshotInfo& other) {
        return one.metadata.created < other.metadata.created;
      });
  if (newest == all.end()) throw SnapshotDamaged("the file has no snapshot in it");
  return state_->snapshot(std::move(*newest));
}

}  // namespace v1
}  // namespace snowglobe
