// api/src/database_snapshots.cc - what a Database does with snapshots: their names and their
// descent; the machine's part is the Server's.
#include "api/src/database_state.h"
#include "api/src/errors.h"
#include "api/src/instance.h"
#include "api/src/option_checks.h"
#include "api/src/persistence.h"
#include "api/src/ready_state.h"
#include "api/src/store_state.h"
#include "base/clock.h"
#include "base/random.h"
#include "snapshots/limits.h"

#include <algorithm>

namespace snowglobe::detail {
namespace {

std::shared_ptr<const MachinePicture> picture_of(const Snapshot& snapshot,
                                                 const std::filesystem::path& image) {
  if (!snapshot.data()) throw InvalidArgument("this snapshot is moved from");
  auto picture = snapshot.data()->picture(image);
  if (!picture) throw_snapshot_error(picture.error());
  return std::move(picture).value();
}

snapshots::SnapshotId new_id() {
  snapshots::SnapshotId id;
  base::SystemRandom random;
  random.fill(id.bytes);
  return id;
}

/// It, or the nearest one that it descends from.
std::optional<snapshots::SnapshotId> stored_one(const SnapshotData& data) {
  return data.store != nullptr ? std::optional(data.info.id) : data.stored_ancestor;
}

void require_label(std::string_view text, const char* what) {
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
  if (text.size() > snapshots::kMaxNameBytes || std::any_of(text.begin(), text.end(), control)) {
    throw InvalidArgument(std::string(what) + " of a snapshot has at most " +
                          std::to_string(snapshots::kMaxNameBytes) +
                          " bytes and no control characters");
  }
}

std::shared_ptr<const MachinePicture> warm_picture(const Options& options, const GuestImage& image,
                                                   std::string& why) {
  if (!options.settings.empty()) {
    why = "Options::settings ask for a start of their own";
    return nullptr;
  }
  const auto tell = [&options](const std::string& text) {
    if (options.on_log) options.on_log({LogSource::machine, LogLevel::warning, text});
  };
  const auto cannot = [&](const std::string& reason) {
    why = reason;
    tell(reason + "; starting from the beginning");
    return nullptr;
  };
  const auto ready = find_ready_file(image);
  if (!ready) return cannot(ready.error().message);
  if (!ready.value()) {
    why = "the image has no ready state";
    return nullptr;
  }
  const auto require_wanted = [&options] {
    if (options.stop.stop_requested()) throw Cancelled("the open was cancelled by Options::stop");
  };
  require_wanted();
  auto picture = ready_picture(image, *ready.value(), user_cache(), tell);
  require_wanted();
  if (!picture) return cannot(picture.error().message);
  if (!picture.value()->has_memory(options.memory_mb)) {
    why = "the ready state has " + std::to_string(picture.value()->memory_bytes >> 20) +
          " MiB of memory";
    return nullptr;
  }
  return std::move(picture).value();
}

std::shared_ptr<const MachinePicture> given_picture(const Options& options) {
  auto picture = picture_of(*options.from, options.image);
  if (!picture->has_memory(options.memory_mb)) {
    throw InvalidArgument("Options::memory_mb is " + std::to_string(options.memory_mb) +
                          ", and the snapshot has " + std::to_string(picture->memory_bytes >> 20));
  }
  if (!options.settings.empty()) {
    throw InvalidArgument(
        "Options::settings are the snapshot's; use ALTER SYSTEM to change them afterwards");
  }
  return picture;
}

/// Null, and `why` in words, if the ready state does not fit.
std::shared_ptr<Instance> start_warm(const Options& options, std::string& why) {
  const auto image = find_image(image_places(options.image));
  if (!image) return nullptr;  // the way from the beginning says what is wrong with it
  const auto picture = warm_picture(options, image.value(), why);
  if (!picture) return nullptr;
  try {
    auto instance = Instance::start_from(options, *picture, "warm");
    instance->keep(picture);
    return instance;
  } catch (const InvalidArgument&) {
    throw;  // the options are wrong in any case
  } catch (const Error& misfit) {
    why = std::string("the ready state does not fit: ") + misfit.what();
    if (options.on_log) {
      options.on_log(
          {LogSource::machine, LogLevel::warning, why + "; starting from the beginning"});
    }
    return nullptr;
  }
}

}  // namespace

std::shared_ptr<const MachinePicture> first_picture(const Options& options, const GuestImage& image,
                                                    std::string& why) {
  if (options.from) return given_picture(options);
  return options.start == Start::warm ? warm_picture(options, image, why) : nullptr;
}

std::shared_ptr<DatabaseState> DatabaseState::open(const Options& options) {
  if (!options.from) {
    std::shared_ptr<Instance> instance;
    std::string why_cold;
    if (options.start == Start::warm) instance = start_warm(options, why_cold);
    if (!instance) instance = Instance::boot(options);
    instance->set_why_cold(why_cold);
    return std::make_shared<DatabaseState>(std::move(instance), options);
  }
  auto state = std::make_shared<DatabaseState>(
      Instance::start_from(options, *given_picture(options), "snapshot"), options);
  const SnapshotData& from = *options.from->data();
  state->came_from(from.info.id, stored_one(from));
  return state;
}

void DatabaseState::came_from(const std::optional<snapshots::SnapshotId>& snapshot,
                              const std::optional<snapshots::SnapshotId>& stored) {
  const std::lock_guard lock(snapshots_mutex_);
  origin_ = snapshot;
  stored_origin_ = stored;
}

std::string DatabaseState::wal_position() noexcept {
  std::shared_ptr<Connection> connection;
  {
    const std::lock_guard lock(mutex_);
    if (idle_.empty() || closed_) return {};
    connection = std::move(idle_.back());
    idle_.pop_back();
    ++lent_;
  }
  std::string position;
  try {
    position = connection->run_simple("select pg_current_wal_insert_lsn()")[0][0].as<std::string>();
  } catch (...) {
    // A server that takes no questions now has a state worth keeping all the same.
  }
  give_back(std::move(connection));
  return position;
}

Snapshot DatabaseState::save(std::string_view name, const SaveOptions& options) {
  require_owner();
  require_label(name, "the name");
  for (const std::string& tag : options.tags)
    require_label(tag, "a tag");
  snapshots::SnapshotInfo info;
  info.id = new_id();
  info.metadata.name = name;
  info.metadata.tags = options.tags;
  info.metadata.note = options.note;
  info.metadata.format_version = kPictureFormat;
  info.metadata.postgres_version = server()->info().postgres_version;
  info.metadata.wal_position = wal_position();
  if (options.quiesce) working_server()->quiesce();
  std::shared_ptr<const MachinePicture> picture = working_server()->capture();
  info.metadata.created = base::SystemClock().wall();
  info.metadata.memory_bytes = picture->memory_bytes;
  info.metadata.image_id = picture->image_id;
  info.raw_bytes = picture->memory_bytes + picture->disk->bytes() + picture->machine.state.size();
  if (in_folder() && !name.empty()) return keep_in_folder(std::move(info), std::move(picture));
  const std::lock_guard lock(snapshots_mutex_);
  info.parent = origin_;
  origin_ = info.id;
  Snapshot snapshot(
      std::make_shared<SnapshotData>(std::move(info), std::move(picture), nullptr, stored_origin_));
  if (!name.empty()) {
    std::erase_if(kept_, [name](const Snapshot& other) { return other.name() == name; });
    kept_.push_back(snapshot);
  }
  return snapshot;
}

Snapshot DatabaseState::keep_in_folder(snapshots::SnapshotInfo info,
                                       std::shared_ptr<const MachinePicture> picture) {
  const auto store = persistence_->store();
  if (!store) {
    throw InvalidArgument(
        "the database is open read-only: its folder takes no snapshots; save() one without a name");
  }
  const std::lock_guard lock(snapshots_mutex_);
  info.parent = stored_origin_;  // others are not there to be compared with
  const SnapshotData data(std::move(info), nullptr, nullptr);
  Snapshot snapshot = store->put_away(data, std::move(picture));
  origin_ = stored_origin_ = snapshot.data()->info.id;
  persistence_->set_origin(*origin_);
  return snapshot;
}

void DatabaseState::restore(const Snapshot& snapshot) {
  require_owner();
  const std::shared_ptr<const MachinePicture> picture = picture_of(snapshot, options_.image);
  working_server()->restore(picture);
  const std::optional<snapshots::SnapshotId> stored = stored_one(*snapshot.data());
  came_from(snapshot.data()->info.id, stored);
  if (in_folder() && stored) persistence_->set_origin(*stored);
  exposure_.put_back(*this);
}

std::shared_ptr<DatabaseState> DatabaseState::fork(const Snapshot* from,
                                                   const ForkOptions& options) {
  require_owner();
  const auto picture =
      from != nullptr ? picture_of(*from, options_.image) : working_server()->capture();
  Options own = options_;
  own.disk_limit_mb = disk_limit_mb_;
  own.from.reset();
  own.read_only = false;  // its disk is in memory
  own.on_progress = nullptr;
  own.on_log = options.on_log;
  own.stop = {};
  if (options.executor) own.executor = *options.executor;
  if (options.frozen_time) own.frozen_time = options.frozen_time;
  if (options.statement_limit) own.statement_limit = *options.statement_limit;
  if (options.pool_size) own.pool_size = *options.pool_size;
  require_possible(own);
  auto state = std::make_shared<DatabaseState>(working_server()->fork(picture, own), own);
  std::optional<snapshots::SnapshotId> origin, stored;
  if (from != nullptr) {
    origin = from->data()->info.id;
    stored = stored_one(*from->data());
  } else {
    const std::lock_guard lock(snapshots_mutex_);
    origin = origin_;
    stored = stored_origin_;
  }
  state->came_from(origin, stored);
  return state;
}

std::vector<Snapshot> DatabaseState::snapshots() const {
  if (in_folder()) return stored_snapshots();
  const std::lock_guard lock(snapshots_mutex_);
  return kept_;
}

std::vector<Snapshot> DatabaseState::stored_snapshots() const {
  std::vector<Snapshot> all;
  const auto store = persistence_->store();
  if (!store) return all;
  auto infos = store->store().list();
  if (!infos) throw_snapshot_error(infos.error());
  for (snapshots::SnapshotInfo& info : infos.value())
    all.push_back(store->snapshot(std::move(info)));
  return all;
}

Snapshot DatabaseState::find(std::string_view which) const {
  if (in_folder()) {
    const auto store = persistence_->store();
    if (!store) throw SnapshotNotFound("this database keeps no snapshots");
    auto found = store->store().find(which);
    if (!found) throw_snapshot_error(found.error());
    return store->snapshot(std::move(found).value());
  }
  const std::lock_guard lock(snapshots_mutex_);
  if (which == "latest" && !kept_.empty()) return kept_.back();
  const auto newest = [this](const auto& fits) -> const Snapshot* {
    const auto found = std::find_if(kept_.rbegin(), kept_.rend(), fits);
    return found == kept_.rend() ? nullptr : &*found;
  };
  const auto has_tag = [which](const Snapshot& s) {
    return std::find(s.tags().begin(), s.tags().end(), which) != s.tags().end();
  };
  if (const auto* s = newest([which](const Snapshot& o) { return o.id() == which; })) return *s;
  if (const auto* s = newest([which](const Snapshot& o) { return o.name() == which; })) return *s;
  if (const auto* s = newest(has_tag)) return *s;
  const auto starts = [which](const Snapshot& s) { return s.id().starts_with(which); };
  if (which.size() >= snapshots::kMinIdPrefix) {
    const auto count = std::count_if(kept_.begin(), kept_.end(), starts);
    if (count == 1) return *newest(starts);
    if (count > 1) {
      throw SnapshotNotFound("several snapshots begin with '" + std::string(which) + "'");
    }
  }
  throw SnapshotNotFound("this database keeps no snapshot '" + std::string(which) + "'");
}

void DatabaseState::forget(const Snapshot& snapshot) {
  if (in_folder()) {
    const auto store = persistence_->store();
    if (!store) throw InvalidArgument("the database is open read-only");
    auto removed = store->store().remove(snapshot.data()->info.id, snapshots::Cascade::kNo);
    if (!removed && removed.error().code != base::ErrorCode::kNotFound) {
      throw_snapshot_error(removed.error());
    }
    return;
  }
  const std::lock_guard lock(snapshots_mutex_);
  std::erase(kept_, snapshot);
}

}  // namespace snowglobe::detail
