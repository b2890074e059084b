// api/src/persistence.h - what a database that is kept in a folder has besides: the folder, the
// disk, and how it is opened and closed. The protocol of order is docs/persistence.md's.
#pragma once

#include "api/src/database_folder.h"
#include "api/src/instance.h"
#include "api/src/snapshot_data.h"

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace snowglobe::detail {

class Connection;
class PersistentDisk;

/// From the folder's lock to its release. Thread rule: one thread at a time.
class Persistence {
 public:
  /// Takes the folder and says whether it can be opened at all. Throws as Database::open(); nothing
  /// has changed then. `files`: what the folder is kept by, for tests; not owned.
  Persistence(const std::filesystem::path& path, const Options& options,
              base::FileSystem& files = base::FileSystem::host());
  ~Persistence();
  Persistence(const Persistence&) = delete;
  Persistence& operator=(const Persistence&) = delete;

  /// Brings a machine up on the disk: a hibernated one, a fresh one for a new database, or one that
  /// recovers. Throws as Database::open().
  std::shared_ptr<Instance> start();
  /// Another one in place of one that crashed and was closed. Throws Cancelled as well, soon after
  /// `stop` was asked for.
  std::shared_ptr<Instance> restart(const std::stop_token& stop);

  /// Puts the machine down beside its disk, so that the next open goes on from there. `idle`:
  /// sessions that may go along. Whatever fails here, what was committed stays. The machine
  /// executes nothing after it and is to be closed.
  void put_down(const std::vector<std::shared_ptr<Connection>>& idle) noexcept;
  /// After the machine was closed: somebody else may have the folder.
  void release() noexcept;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] base::FileSystem& files() const { return files_; }
  /// How long PostgreSQL may take with what it acknowledged; 0: not at all.
  [[nodiscard]] unsigned relaxed_milliseconds() const;
  /// True if the database's own settings say something else; set_durability() after they were
  /// changed.
  [[nodiscard]] bool needs_other_durability() const;
  void set_durability();

  /// The machine has another limit now: so will the next one.
  void set_disk_limit(unsigned megabytes);
  /// What the disk takes on the host; 0 if that is not known.
  [[nodiscard]] std::uint64_t disk_bytes() const;

  // --- snapshots in the folder: any thread

  [[nodiscard]] bool has_snapshots() const;
  /// Made when it is first needed; null if a read-only database has none. Throws SnapshotError.
  std::shared_ptr<StoreState> store();
  /// The stored snapshot that the machine came from last, by save or restore.
  [[nodiscard]] std::optional<snapshots::SnapshotId> origin() const;
  /// Remembers it beyond the close. Throws Error.
  void set_origin(const snapshots::SnapshotId& id);

  /// Throws DiskFailed if the disk has failed. Any thread.
  void check() const;

 private:
  using Picture = std::shared_ptr<const MachinePicture>;

  std::shared_ptr<Instance> bring_up();
  std::shared_ptr<Instance> create();
  std::shared_ptr<Instance> start_read_only();
  std::shared_ptr<Instance> resume();
  std::shared_ptr<Instance> recover(const std::string& why);
  /// From the image's bare state, or from the beginning. `disk` is asked for each attempt.
  std::shared_ptr<Instance> recover_on(const std::function<std::unique_ptr<DataDisk>()>& disk,
                                       const std::string& why);
  /// Null if there is none that fits.
  [[nodiscard]] Picture bare_picture() const;
  /// What a hibernated machine is asked for; nothing if the disk has none.
  [[nodiscard]] base::Result<Picture> hibernated() const;
  std::unique_ptr<PersistentDisk> open_disk();
  void grow(PersistentDisk& disk);
  void note_capacity(std::uint64_t capacity);
  void hibernate();
  void say(LogLevel level, const std::string& text) const;

  /// Outlives this in the disk's callback.
  struct Health {
    std::atomic<bool> failed = false;
    std::string why;  ///< written before `failed` is true
  };

  Options options_;  // `stop` and disk_limit_mb change
  base::FileSystem& files_;
  std::filesystem::path path_;
  const std::shared_ptr<Health> health_ = std::make_shared<Health>();
  GuestImage image_;
  std::unique_ptr<DatabaseFolder> folder_;
  mutable std::mutex store_mutex_;  // of what follows, and of the folder's description
  std::shared_ptr<StoreState> store_;
  std::shared_ptr<Instance> instance_;  ///< until release()
  PersistentDisk* disk_ = nullptr;      ///< the instance's, as long as that is there
};

}  // namespace snowglobe::detail
