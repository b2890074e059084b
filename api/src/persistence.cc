// api/src/persistence.cc - a database in a folder: opened, put down, opened again.
#include "api/src/persistence.h"

#include "api/src/clusters.h"
#include "api/src/connection.h"
#include "api/src/database_state.h"
#include "api/src/disk_size.h"
#include "api/src/errors.h"
#include "api/src/folder_lock.h"
#include "api/src/hibernation.h"
#include "api/src/persistent_disk.h"
#include "api/src/ready_state.h"
#include "api/src/store_state.h"
#include "base/random.h"
#include "snapshots/hash.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <system_error>

namespace snowglobe::detail {
namespace {

namespace fs = std::filesystem;
using base::ErrorCode;

// Of a clean shutdown: a checkpoint writes at most shared_buffers.
constexpr std::chrono::milliseconds kShutDownPatience = std::chrono::seconds(30);

DiskDurability durability_of(Durability durability) {
  switch (durability) {
    case Durability::full:
    case Durability::relaxed:  // it is PostgreSQL that does not wait: see relaxed_milliseconds()
      return DiskDurability::kFull;
    case Durability::none:
      return DiskDurability::kNone;
  }
  throw InvalidArgument("Options::durability is none of the three");
}

/// As the face's exceptions for what is wrong with a database's disk.
[[noreturn]] void throw_disk_error(const base::Error& error) {
  switch (error.code) {
    case ErrorCode::kCorrupt:
      throw DatabaseDamaged(error.message);
    case ErrorCode::kUnsupported:
      throw DatabaseIncompatible(error.message);
    case ErrorCode::kNotFound:
      throw DatabaseDamaged(error.message + "; put it back from a copy of the folder");
    case ErrorCode::kUnavailable:  // read-only, and a restore is to be completed
      throw DatabaseError(error.message + "; open it once without Options::read_only");
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kTimeout:
    case ErrorCode::kCancelled:
    case ErrorCode::kGuestCrashed:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      throw_error(error);
  }
  throw_error(error);
}

template <class T>
T value_of(base::Result<T> result) {
  if (!result) throw_disk_error(result.error());
  return std::move(result).value();
}

void require_options(const Options& options) {
  constexpr std::chrono::milliseconds kLeast{3}, kMost{30'000};
  if (options.relaxed_window < kLeast || options.relaxed_window > kMost) {
    throw InvalidArgument("Options::relaxed_window is " +
                          std::to_string(options.relaxed_window.count()) +
                          " ms; 3 ms to 30 s are possible");
  }
  if (auto limit = check_disk_limit(options.disk_limit_mb); !limit) throw_error(limit.error());
  if (options.read_only && options.from) {
    throw InvalidArgument("Options::from begins a new database, and Options::read_only makes none");
  }
  if (options.from && options.create == Create::never) {
    throw InvalidArgument("Options::from begins a new database, and Options::create makes none");
  }
}

}  // namespace

Persistence::Persistence(const fs::path& path, const Options& options, base::FileSystem& files)
    : options_(options), files_(files) {
  require_options(options);
  // Ahead of the folder: without an image nothing is made.
  image_ = value_or_throw(find_image(image_places(options.image)));
  folder_ = std::make_unique<DatabaseFolder>(path, options, files_);
  path_ = folder_->path();
  folder_->require_fitting(image_);
  if (folder_->description() && options.from) {
    throw DatabaseExists("there is a database in '" + folder_->path().string() +
                         "' already; Options::from begins a new one. Open it and restore() there");
  }
}

Persistence::~Persistence() = default;

void Persistence::say(LogLevel level, const std::string& text) const {
  if (options_.on_log) options_.on_log({LogSource::machine, level, text});
}

std::shared_ptr<Instance> Persistence::start() {
  try {
    instance_ = bring_up();
  } catch (const GuestCrashed& crash) {
    if (!health_->failed) throw;
    throw DiskFailed(health_->why +
                     "; PostgreSQL did not come up with it. See to the host's disk, "
                     "and open it again");
  }
  return instance_;
}

std::shared_ptr<Instance> Persistence::restart(const std::stop_token& stop) {
  options_.stop = stop;
  if (disk_ != nullptr) disk_->close();
  disk_ = nullptr;
  instance_.reset();
  return start();
}

std::shared_ptr<Instance> Persistence::bring_up() {
  if (!folder_->description()) return create();
  if (options_.read_only) return start_read_only();
  return resume();
}

std::unique_ptr<PersistentDisk> Persistence::open_disk() {
  health_->failed = false;  // of an earlier attempt
  PersistentDisk::Options how;
  how.durability = durability_of(options_.durability);
  how.read_only = options_.read_only;
  how.files = &files_;
  how.lease = folder_->lease();
  how.on_failed = [log = options_.on_log, health = health_](const base::Error& why) {
    health->why = why.message;
    health->failed = true;
    if (log) log({LogSource::store, LogLevel::error, why.message});
  };
  auto disk = value_of(PersistentDisk::open(folder_->disk(), std::move(how)));
  if (snapshots::to_hex(disk->record().id) != folder_->description()->id) {
    throw DatabaseDamaged("the disk in '" + folder_->path().string() +
                          "' is another database's than its database.json says; put both back "
                          "from one copy of the folder");
  }
  if (!options_.read_only) grow(*disk);
  disk_ = disk.get();
  return disk;
}

/// As large as Options::disk_limit_mb needs it, and than images' disks are now; never smaller than
/// it was.
void Persistence::grow(PersistentDisk& disk) {
  const unsigned limit_mb = options_.disk_limit_mb != 0 ? options_.disk_limit_mb : kUsualDiskMb;
  const vm::u64 wanted = disk_capacity(vm::u64{limit_mb} << 20);
  if (auto done = disk.grow(wanted); !done) throw_disk_error(done.error());
  note_capacity(disk.capacity());
}

void Persistence::note_capacity(std::uint64_t capacity) {
  const std::lock_guard lock(store_mutex_);
  Description about = *folder_->description();
  if (about.disk_bytes == capacity) return;
  about.disk_bytes = capacity;
  folder_->describe(about);
}

std::shared_ptr<Instance> Persistence::create() {
  folder_->start();
  // What it begins with: a snapshot, the image's ready state, or its cluster alone.
  std::string why_cold;
  Picture picture = first_picture(options_, image_, why_cold);
  std::shared_ptr<const DiskImage> contents =
      picture ? picture->disk
              : std::make_shared<const DiskImage>(value_or_throw(cluster_disk(image_)));
  const vm::u64 wanted = disk_capacity(vm::u64{options_.disk_limit_mb} << 20);
  if (auto made = PersistentDisk::create(folder_->new_disk(), *contents,
                                         std::max(contents->capacity(), wanted), files_);
      !made) {
    throw_disk_error(made.error());
  }
  Description about;
  {
    PersistentDisk::Options how;
    how.files = &files_;
    const auto disk = value_of(PersistentDisk::open(folder_->new_disk(), std::move(how)));
    about.id = snapshots::to_hex(disk->record().id);
    about.disk_bytes = disk->record().capacity;
  }
  about.image_id = image_.id;
  about.postgres_version = image_.versions.at("postgresql");
  about.created = now_utc();
  folder_->finish(about);
  if (picture) {
    auto disk = open_disk();
    value_of(disk->mark_running());
    try {
      auto instance = Instance::start_from(options_, *picture, options_.from ? "snapshot" : "warm",
                                           nullptr, std::move(disk));
      instance->keep(picture);
      return instance;
    } catch (const InvalidArgument&) {
      throw;
    } catch (const Cancelled&) {
      throw;
    } catch (const snowglobe::Error& misfit) {
      if (options_.from) throw;
      why_cold = std::string("the ready state does not fit: ") + misfit.what();
    }
  }
  return recover(why_cold);
}

base::Result<Persistence::Picture> Persistence::hibernated() const {
  const DiskRecord& record = disk_->record();
  if (record.state != DiskState::kHibernated) {
    return base::Error{ErrorCode::kNotFound, record.state == DiskState::kClean
                                                 ? "PostgreSQL was shut down"
                                                 : "the last process that had it did not close it"};
  }
  Hibernation wanted;
  wanted.database_id = folder_->description()->id;
  wanted.generation = record.generation;
  wanted.token = record.token;
  wanted.settings = options_.settings;
  auto picture = read_hibernated(files_, folder_->machine(), wanted);
  if (!picture) return picture;
  if (picture.value()->image_id != image_.id) {
    return base::Error{ErrorCode::kUnsupported, "the guest image is another one"};
  }
  if (!picture.value()->has_memory(options_.memory_mb)) {
    return base::Error{ErrorCode::kInvalidArgument,
                       "the hibernated machine has another size of memory"};
  }
  if (options_.start == Start::cold) {
    return base::Error{ErrorCode::kInvalidArgument, "Options::start says so"};
  }
  return picture;
}

std::shared_ptr<Instance> Persistence::resume() {
  auto disk = open_disk();
  const auto picture = hibernated();
  // Consumed: from here on the stored machine belongs to no disk, whatever happens.
  value_of(disk->mark_running());
  static_cast<void>(files_.remove_if_there(folder_->machine()));
  std::string why;
  if (picture) {
    try {
      return Instance::start_from(options_, *picture.value(), "resumed", nullptr, std::move(disk));
    } catch (const Cancelled&) {
      throw;
    } catch (const snowglobe::Error& misfit) {
      why = std::string("the hibernated machine does not fit: ") + misfit.what();
      say(LogLevel::warning, why);
    }
  } else {
    why = picture.error().message;
  }
  disk.reset();
  return recover(why);
}

std::shared_ptr<Instance> Persistence::recover(const std::string& why) {
  if (folder_->description()->image_id != image_.id) {
    Description about = *folder_->description();
    about.image_id = image_.id;
    about.postgres_version = image_.versions.at("postgresql");
    folder_->describe(about);
  }
  return recover_on(
      [this]() -> std::unique_ptr<DataDisk> {
        auto disk = open_disk();
        value_of(disk->mark_running());
        return disk;
      },
      why);
}

std::shared_ptr<Instance> Persistence::recover_on(
    const std::function<std::unique_ptr<DataDisk>()>& disk, const std::string& why) {
  std::string reason = why;
  if (const Picture bare = options_.start == Start::warm ? bare_picture() : nullptr) {
    try {
      auto instance = Instance::start_bare(options_, *bare, disk());
      instance->keep(bare);
      instance->set_why_cold(reason);
      return instance;
    } catch (const GuestCrashed& crash) {
      if (health_->failed) throw;
      // Of a damaged copy of the state, say; if it is the disk, the other way finds the same.
      reason += std::string("; the image's bare state does not do: ") + crash.what();
      say(LogLevel::warning, reason);
    }
  }
  auto instance = Instance::boot(options_, nullptr, disk());
  instance->set_why_cold(reason);
  return instance;
}

Persistence::Picture Persistence::bare_picture() const {
  const auto tell = [this](const std::string& text) { say(LogLevel::warning, text); };
  const auto file = find_ready_file(image_, StateKind::bare);
  if (!file || !file.value()) {
    if (!file) tell(file.error().message);
    return nullptr;
  }
  auto picture = ready_picture(image_, *file.value(), user_cache(), tell);
  if (!picture) {
    tell(picture.error().message);
    return nullptr;
  }
  if (!picture.value()->has_memory(options_.memory_mb)) return nullptr;
  return std::move(picture).value();
}

std::shared_ptr<Instance> Persistence::start_read_only() {
  const auto disk = open_disk();
  const auto picture = hibernated();
  auto overlay = [&]() -> std::unique_ptr<DataDisk> {
    return std::make_unique<OverlayDisk>(value_of(disk->capture()), 0);
  };
  disk_ = nullptr;
  std::string why;
  if (picture) {
    try {
      return Instance::start_from(options_, *picture.value(), "resumed", nullptr, overlay());
    } catch (const Cancelled&) {
      throw;
    } catch (const snowglobe::Error& misfit) {
      why = std::string("the hibernated machine does not fit: ") + misfit.what();
    }
  } else {
    why = picture.error().message;
  }
  return recover_on(overlay, why);
}

unsigned Persistence::relaxed_milliseconds() const {
  if (options_.durability != Durability::relaxed) return 0;
  return static_cast<unsigned>(options_.relaxed_window.count());
}

bool Persistence::needs_other_durability() const {
  return !options_.read_only && folder_->description()->relaxed_ms != relaxed_milliseconds();
}

void Persistence::set_durability() {
  const std::lock_guard lock(store_mutex_);
  Description about = *folder_->description();
  about.relaxed_ms = relaxed_milliseconds();
  folder_->describe(about);
}

void Persistence::set_disk_limit(unsigned megabytes) {
  options_.disk_limit_mb = megabytes;
  if (disk_ != nullptr) note_capacity(disk_->capacity());
}

std::uint64_t Persistence::disk_bytes() const {
  if (disk_ == nullptr) return 0;
  const auto bytes = disk_->allocated_bytes();
  return bytes ? bytes.value() : 0;
}

// --- snapshots

bool Persistence::has_snapshots() const {
  const std::lock_guard lock(store_mutex_);
  return folder_ && files_.exists(folder_->snapshots());
}

std::shared_ptr<StoreState> Persistence::store() {
  const std::lock_guard lock(store_mutex_);
  if (store_) return store_;
  if (!folder_) throw ConnectionLost("the database is closed");
  snapshots::StoreOptions how;
  how.files = &files_;
  how.read_only = options_.read_only;
  auto opened = snapshots::Store::open_folder(folder_->snapshots(), how);
  if (!opened && options_.read_only && opened.error().code == base::ErrorCode::kNotFound) {
    return nullptr;  // none was ever made there
  }
  if (!opened) throw_snapshot_error(opened.error());
  store_ = std::make_shared<StoreState>(std::move(opened).value(), snapshots::kDefaultChunkBytes);
  return store_;
}

std::optional<snapshots::SnapshotId> Persistence::origin() const {
  const std::lock_guard lock(store_mutex_);
  if (!folder_ || !folder_->description()) return std::nullopt;
  return snapshots::SnapshotId::parse(folder_->description()->origin);
}

void Persistence::set_origin(const snapshots::SnapshotId& id) {
  const std::lock_guard lock(store_mutex_);
  if (!folder_ || options_.read_only) return;
  Description about = *folder_->description();
  about.origin = id.hex();
  folder_->describe(about);
}

// --- the end

void Persistence::check() const {
  if (!health_->failed) return;
  throw DiskFailed(health_->why + "; close the database and open it again");
}

void Persistence::put_down(const std::vector<std::shared_ptr<Connection>>& idle) noexcept {
  constexpr std::size_t kKeptSessions = 2;
  constexpr std::chrono::seconds kDiscardLimit{2};
  try {
    if (!instance_ || disk_ == nullptr || health_->failed || !instance_->is_open()) return;
    std::size_t kept = 0;
    for (const std::shared_ptr<Connection>& connection : idle) {
      // As fresh as from the server: who opens the database must not find settings of the past.
      const bool keep = options_.hibernate && kept < kKeptSessions &&
                        connection->run_quietly("discard all", kDiscardLimit);
      if (!keep) connection->close();
      kept += keep ? 1 : 0;
    }
    if (options_.hibernate) {
      hibernate();
    } else {
      instance_->shut_down(kShutDownPatience);
      instance_->close();
      if (auto done = disk_->mark_clean(); !done) throw_error(done.error());
    }
  } catch (const std::exception& why) {
    say(LogLevel::warning,
        std::string("the machine could not be put down, and the next open recovers: ") +
            why.what());
  }
}

void Persistence::hibernate() {
  instance_->settle();
  const Picture picture = instance_->freeze();
  instance_->close();
  if (auto done = disk_->sync(); !done) throw_error(done.error());
  Hibernation about;
  about.database_id = folder_->description()->id;
  about.generation = disk_->record().generation;
  base::SystemRandom random;
  random.fill(about.token);
  about.settings = options_.settings;
  if (auto done = write_hibernated(files_, folder_->machine(), about, *picture); !done) {
    throw_error(done.error());
  }
  if (auto done = disk_->mark_hibernated(about.token); !done) throw_error(done.error());
}

void Persistence::release() noexcept {
  // Sessions of the past keep the instance, and with it the disk.
  if (disk_ != nullptr) disk_->close();
  disk_ = nullptr;
  instance_.reset();
  const std::lock_guard lock(store_mutex_);
  store_.reset();
  folder_.reset();
}

}  // namespace snowglobe::detail
