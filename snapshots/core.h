// snapshots/core.h - what a Store, its readers and its writers share. Inside of snapshots/ only.
#pragma once

#include "base/file_system.h"
#include "snapshots/catalogue.h"
#include "snapshots/locks.h"
#include "snapshots/pack.h"
#include "snapshots/store.h"

#include <memory>
#include <string_view>

namespace snowglobe::snapshots {

inline constexpr std::string_view kFormatFile = "FORMAT";
inline constexpr std::string_view kCatalogueFile = "catalogue.sqlite";
inline constexpr std::string_view kPacksFolder = "packs";

/// Thread rule: any thread; what it holds locks by itself.
class Store::Core : public std::enable_shared_from_this<Store::Core> {
 public:
  Core(std::filesystem::path store_folder, const StoreOptions& store_options);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// kUnavailable in a child after fork(): its copy of the store is the parent's.
  [[nodiscard]] base::Result<void> check_process() const;
  /// The same, and kInvalidArgument if the store was opened read-only.
  [[nodiscard]] base::Result<void> check_writable() const;
  [[nodiscard]] SnapshotId new_id();
  void log(base::LogLevel level, std::string text) const;

  base::Result<ViewPtr> view();
  /// The snapshot in a view; kNotFound.
  static base::Result<const SnapshotRow*> row_of(const View& view, const SnapshotId& id);
  /// A lock on the snapshot, and its row as it is with the lock held.
  struct Held {
    LockFile::Lease lease;
    ViewPtr view;
    const SnapshotRow* row = nullptr;  ///< in `view`
  };
  base::Result<Held> hold(const SnapshotId& id);

  /// Reads and verifies a chunk that is not zeros; `out` is as long as it is. See Reader::read().
  base::Result<void> read_chunk(const ChunkRef& chunk, base::Bytes out);
  /// Its record as stored, verified.
  base::Result<PackReader::Record> read_record(const ChunkRef& chunk, base::Bytes out);
  /// Whether the pack can be opened: what leans on it is not lost.
  bool pack_opens(std::uint64_t number);
  /// Removes pack files that the catalogue does not know. kPacksLock must be held exclusively.
  base::Result<std::uint64_t> sweep_unknown_packs();

  const std::filesystem::path folder;
  const std::filesystem::path packs_folder;
  const StoreOptions options;
  base::FileSystem& files;
  const base::Clock& clock;
  base::RandomSource& random;
  std::shared_ptr<LockFile> locks;       // set by open_folder()
  LockFile::Lease reading;               // read-only: no pack goes away
  std::unique_ptr<Catalogue> catalogue;  // likewise
  PackCache packs;

 private:
  const int process_;
};

}  // namespace snowglobe::snapshots
