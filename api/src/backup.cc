// api/src/backup.cc - a copy of a running database as a database in a folder of its own, and what
// can be told of a folder without opening it.
#include "api/src/database_state.h"
#include "api/src/disk_record.h"
#include "api/src/errors.h"
#include "api/src/folder_lock.h"
#include "api/src/hibernation.h"
#include "api/src/persistence.h"
#include "api/src/persistent_disk.h"
#include "api/src/store_state.h"
#include "base/random.h"
#include "snapshots/hash.h"

#include <algorithm>
#include <system_error>

namespace snowglobe {
inline namespace v1 {
namespace detail {

namespace fs = std::filesystem;

namespace {

bool lies_inside(const fs::path& path, const fs::path& folder) {
  const auto [in_folder, in_path] = std::ranges::mismatch(folder, path);
  return in_folder == folder.end() && in_path != path.end();
}

}  // namespace

BackupResult DatabaseState::backup_to(const fs::path& path, const BackupOptions& options) {
  require_owner();
  if (persistence_ && lies_inside(DatabaseFolder::whole_path(path),
                                  DatabaseFolder::whole_path(persistence_->path()))) {
    throw InvalidArgument("a backup does not go into the database's own folder: '" + path.string() +
                          "'; name a place beside it");
  }
  const Info about = info();
  Options make;
  make.create = Create::always;
  base::FileSystem& files = persistence_ ? persistence_->files() : base::FileSystem::host();
  DatabaseFolder folder(path, make, files);
  folder.start();
  // The machine stands still for a moment; its disk at that moment is read while it goes on.
  const auto captured = working_server()->capture();
  auto picture = std::make_shared<MachinePicture>(*captured);
  // The sessions are others' in another machine; one of the pool may have anything in it.
  for (SessionPicture& session : picture->sessions)
    session.adoption = Adoption::nobody;
  const vm::u64 capacity = picture->disk->capacity();
  if (auto made = PersistentDisk::create(folder.new_disk(), *picture->disk, capacity, files);
      !made) {
    throw_error(made.error());
  }
  Description description;
  const bool has_store = options.snapshots && persistence_ && persistence_->has_snapshots();
  if (const auto store = has_store ? persistence_->store() : nullptr) {
    const std::lock_guard lock(snapshots_mutex_);  // of the origin, and no save is under way
    if (auto done = store->store().copy_to(folder.new_snapshots()); !done) {
      throw_snapshot_error(done.error());
    }
    if (stored_origin_) description.origin = stored_origin_->hex();
  }
  Hibernation machine;
  BackupResult result;
  {
    PersistentDisk::Options how;
    how.files = &files;
    auto disk = value_or_throw(PersistentDisk::open(folder.new_disk(), std::move(how)));
    description.id = machine.database_id = snapshots::to_hex(disk->record().id);
    machine.generation = value_or_throw(disk->mark_running());
    base::SystemRandom random;
    random.fill(machine.token);
    machine.settings = options_.settings;
    if (auto done = write_hibernated(files, folder.machine(), machine, *picture); !done) {
      throw_error(done.error());
    }
    if (auto done = disk->mark_hibernated(machine.token); !done) throw_error(done.error());
    result.bytes = value_or_throw(disk->allocated_bytes());
  }
  description.image_id = picture->image_id;
  description.postgres_version = about.postgres_version;
  description.disk_bytes = capacity;
  description.created = now_utc();
  folder.finish(description);
  result.path = folder.path();
  result.id = description.id;
  return result;
}

namespace {

const char* name_of(DiskState state) {
  switch (state) {
    case DiskState::kClean:
      return "clean";
    case DiskState::kRunning:
      return "running";
    case DiskState::kHibernated:
      return "hibernated";
  }
  return "unknown";
}

}  // namespace
}  // namespace detail

DatabaseInfo Database::inspect(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  const fs::path folder = detail::DatabaseFolder::whole_path(path);
  const detail::Description about = detail::DatabaseFolder::look_at(folder);
  DatabaseInfo info;
  info.path = folder;
  info.id = about.id;
  info.format = about.format;
  info.image_id = about.image_id;
  info.postgres_version = about.postgres_version;
  info.created = about.created;
  info.origin = about.origin;
  auto disk = base::FileSystem::host().open(folder / "disk", base::FileSystem::Access::kRead);
  if (!disk) throw DatabaseDamaged(disk.error().message);
  const auto head = detail::DiskHead::read(*disk.value());
  if (!head) throw DatabaseDamaged(head.error().message);
  info.capacity = head.value().record().capacity;
  info.disk_bytes = detail::value_or_throw(disk.value()->allocated());
  info.state = detail::name_of(head.value().record().state);
  std::error_code none;
  const auto machine = fs::file_size(folder / "machine", none);
  info.machine_bytes = none ? 0 : machine;
  if (const auto holder = detail::FolderLock::holder(folder)) {
    info.open = true;
    info.pid = holder->pid;
    info.program = holder->program;
    info.since = holder->since;
  }
  return info;
}

}  // namespace v1
}  // namespace snowglobe
