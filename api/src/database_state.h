// api/src/database_state.h - what a Database points at: the server, and the pool of its auto-commit
// sessions.
#pragma once

#include "api/src/connection.h"
#include "api/src/exposure.h"
#include "api/src/image.h"
#include "api/src/server.h"
#include "api/src/snapshot_data.h"
#include "base/file_system.h"

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <sys/types.h>
#include <vector>

namespace snowglobe::detail {

class Persistence;

/// Thread rule: any thread.
class DatabaseState : public std::enable_shared_from_this<DatabaseState> {
 public:
  /// `persistence`: of a database in a folder, whose machine `server` is; else null.
  DatabaseState(std::shared_ptr<Server> server, const Options& options);
  /// Of a database in a folder.
  DatabaseState(std::shared_ptr<Server> server, const Options& options,
                std::unique_ptr<Persistence> persistence);
  ~DatabaseState();
  DatabaseState(const DatabaseState&) = delete;
  DatabaseState& operator=(const DatabaseState&) = delete;
  /// Database::open_in_memory().
  static std::shared_ptr<DatabaseState> open(const Options& options);
  /// Database::open().
  static std::shared_ptr<DatabaseState> open(const std::filesystem::path& path,
                                             const Options& options,
                                             base::FileSystem& files = base::FileSystem::host());

  /// As it is; after a crash that was repaired it is another one.
  [[nodiscard]] std::shared_ptr<Server> server() const;
  /// The same for who is about to use it: starts the machine again if it has crashed and
  /// Options::restart says so. Throws DiskFailed, and as Database::open().
  std::shared_ptr<Server> working_server();
  [[nodiscard]] Info info() const;
  /// What the data disk takes, on the host's or in memory.
  std::uint64_t disk_bytes();
  /// Database::set_disk_limit().
  void set_disk_limit(unsigned megabytes);
  BackupResult backup_to(const std::filesystem::path& path, const BackupOptions& options);
  [[nodiscard]] bool in_folder() const noexcept { return persistence_ != nullptr; }
  /// A new connection of the caller's own.
  std::shared_ptr<Connection> connect(const SessionOptions& options, bool pooled = false);
  /// One of the pool; goes back when the last copy is gone. Waits at most the statement limit for
  /// one.
  std::shared_ptr<Connection> acquire();
  void close() noexcept;
  [[nodiscard]] bool in_owner_process() const noexcept;
  [[nodiscard]] Exposure& exposure() { return exposure_; }

  // --- snapshots (database_snapshots.cc)
  Snapshot save(std::string_view name, const SaveOptions& options);
  void restore(const Snapshot& snapshot);
  /// From a snapshot, or from now (null).
  std::shared_ptr<DatabaseState> fork(const Snapshot* from, const ForkOptions& options);
  [[nodiscard]] std::vector<Snapshot> snapshots() const;
  /// One of them. Throws SnapshotNotFound.
  [[nodiscard]] Snapshot find(std::string_view which) const;
  void forget(const Snapshot& snapshot);

 private:
  void require_owner() const;
  /// Of the folder: PostgreSQL's settings as Options::durability wants them.
  void set_durability();
  /// As PostgreSQL says it, if a session is free to ask; else empty.
  std::string wal_position() noexcept;
  Snapshot keep_in_folder(snapshots::SnapshotInfo info,
                          std::shared_ptr<const MachinePicture> picture);
  [[nodiscard]] std::vector<Snapshot> stored_snapshots() const;
  /// `stored`: the same, or the nearest ancestor that is in a store.
  void came_from(const std::optional<snapshots::SnapshotId>& snapshot,
                 const std::optional<snapshots::SnapshotId>& stored);

  /// Takes an idle one, or the right to open one (null).
  std::shared_ptr<Connection> take_idle();
  void give_back(std::shared_ptr<Connection> connection) noexcept;

  const Options options_;  // for forks
  std::atomic<unsigned> disk_limit_mb_;
  std::mutex machine_mutex_;  // of close and restart; taken before the others
  std::stop_source closing_;
  const std::unique_ptr<Persistence> persistence_;
  mutable std::mutex server_mutex_;  // of what follows
  std::shared_ptr<Server> server_;
  const std::chrono::milliseconds limit_;
  const unsigned pool_size_;
  const pid_t owner_;
  Exposure exposure_;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Connection>> idle_;  // the last one used is at the back
  unsigned lent_ = 0;
  bool closed_ = false;

  mutable std::mutex snapshots_mutex_;                  // of what follows
  std::vector<Snapshot> kept_;                          // with names; oldest first
  std::optional<snapshots::SnapshotId> origin_;         // what the machine came from last
  std::optional<snapshots::SnapshotId> stored_origin_;  // the same, or its nearest one in a store
};

/// What a database begins with: the snapshot of Options::from, or the image's ready state, which
/// has settings and a size of its own. Null, and `why` in words, if that does not fit: the way from
/// the beginning is left then. Throws InvalidArgument, Cancelled, SnapshotError.
std::shared_ptr<const MachinePicture> first_picture(const Options& options, const GuestImage& image,
                                                    std::string& why);

}  // namespace snowglobe::detail
