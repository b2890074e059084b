// api/src/database_folder.h - the folder that a persistent database is kept in: its layout, its
// description, its lock, and what is said about folders that are none.
//
//   shop.globe/
//     README           one line for whoever finds it
//     database.json    Description; rewritten only by rename
//     lock             folder_lock.h; says who has it open
//     disk             the data disk (docs/persistence.md)
//     machine          a hibernated machine (hibernation.h), only while it is closed
//     snapshots/       a SnapshotStore
#pragma once

#include "api/src/folder_lock.h"
#include "api/src/image.h"
#include <snowglobe/options.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace snowglobe::detail {

/// What database.json says.
struct Description {
  static constexpr std::uint32_t kFormat = 1;

  std::uint32_t format = kFormat;
  std::string id;                ///< the disk's, as 32 hexadecimal digits
  std::string image_id;          ///< of the image that ran it last
  std::string postgres_version;  ///< likewise, such as "17.6"
  std::uint64_t disk_bytes = 0;  ///< capacity of the disk
  std::string created;           ///< ISO 8601, UTC
  unsigned relaxed_ms = 0;       ///< of Durability::relaxed, as its settings are; 0: full
  std::string origin;            ///< id of the stored snapshot it came from last; empty: none
};

/// Held while the database is open. Thread rule: one thread at a time.
class DatabaseFolder {
 public:
  /// Looks, locks, and looks again; nothing but the lock is written. Throws DatabaseError and its
  /// subclasses, Error.
  /// `files`: not owned.
  DatabaseFolder(const std::filesystem::path& path, const Options& options,
                 base::FileSystem& files = base::FileSystem::host());
  /// Leaves no trace of a new one that was not finished.
  ~DatabaseFolder();
  DatabaseFolder(const DatabaseFolder&) = delete;
  DatabaseFolder& operator=(const DatabaseFolder&) = delete;

  /// As it is called in this process: absolute, without links.
  static std::filesystem::path whole_path(const std::filesystem::path& path);
  /// What a folder says about itself, without a lock. Throws as the constructor.
  static Description look_at(const std::filesystem::path& whole);

  /// Absent: there is none yet, and start() and finish() make it.
  [[nodiscard]] const std::optional<Description>& description() const { return description_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path disk() const { return path_ / "disk"; }
  /// Where the disk of a new database is made before it gets its name.
  [[nodiscard]] std::filesystem::path new_disk() const { return path_ / "disk.new"; }
  [[nodiscard]] std::filesystem::path machine() const { return path_ / "machine"; }
  [[nodiscard]] std::filesystem::path snapshots() const { return path_ / "snapshots"; }
  /// Where those of a new database are made, if it has any.
  [[nodiscard]] std::filesystem::path new_snapshots() const { return path_ / "snapshots.new"; }

  /// For who reads its files for longer than this.
  [[nodiscard]] std::shared_ptr<const void> lease() const { return lock_->lease(); }
  /// Throws DatabaseIncompatible if the image's PostgreSQL cannot read this database's files.
  void require_fitting(const GuestImage& image) const;

  /// Of a new one: clears what an interrupted attempt left.
  void start();
  /// new_disk() and new_snapshots() are complete and durable: makes them a database.
  void finish(const Description& description);
  /// Rewrites the description.
  void describe(const Description& description);

 private:
  enum class Found : unsigned char { nothing, unfinished, database };

  /// Throws NotADatabase and the like.
  static Found look(base::FileSystem& files, const std::filesystem::path& folder);
  void require_created_as_wanted(Found found, const Options& options) const;
  void read_description(const Options& options);
  [[nodiscard]] bool undo_finish() const;
  /// What finish() does once the disk has its name.
  void complete();

  base::FileSystem& files_;
  std::filesystem::path path_;
  bool made_ = false;  ///< the folder, by us
  std::unique_ptr<FolderLock> lock_;
  std::optional<Description> description_;
};

}  // namespace snowglobe::detail
