// snapshots/store.h - a folder of machine states: many snapshots, each chunk of bytes kept once.
// Sees bytes and metadata, nothing of machines. Formats and promises: docs/snapshots.md.
//
//     auto store = Store::open_folder("/home/ada/.local/share/snowglobe/shop.store", {});
//     if (!store.ok()) return store.error();
//     auto writer = store.value()->begin();                       // writer.h
//     ...
//     auto found = store.value()->find("before the test");        // id, prefix, name, tag, latest
//     auto reader = store.value()->open(found.value().id);        // reader.h
//
// Promises
//  1. A snapshot is there whole or not at all. What commit() said is there survives kill -9 and a
//     power cut; a crash at any byte of any function leaves all other snapshots as they were.
//  2. What is read is what was written, or kCorrupt: chunks, lists and metadata are hashed.
//  3. Any number of processes and Store objects may use one folder. No wait is longer than
//     StoreOptions::wait_limit; then the answer is kUnavailable, and nothing was changed.
//  4. Files are 0600, folders 0700: a machine's memory has passwords in it.
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/log.h"
#include "base/random.h"
#include "snapshots/limits.h"
#include "snapshots/reader.h"
#include "snapshots/reports.h"
#include "snapshots/snapshot.h"
#include "snapshots/writer.h"

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace snowglobe::snapshots {

struct StoreOptions {
  /// Makes the folder (not its parents) when it is not there, and a store in an empty one.
  bool create = true;
  /// Nothing in the folder is changed or made, which then needs no right to write: snapshots are
  /// there as they are now, and what would change them answers kInvalidArgument. Others can not
  /// compact the store meanwhile.
  bool read_only = false;
  std::uint32_t chunk_bytes = kDefaultChunkBytes;  ///< of new objects without a parent
  int compression_level = 1;                       ///< zstd's
  unsigned threads = 1;                            ///< a writer's, beside its caller
  std::chrono::milliseconds wait_limit{5000};      ///< for locks of other threads and processes
  // The world; not owned, must outlive the store and its readers and writers. Null: the host's.
  base::FileSystem* files = nullptr;
  /// The name of the SQLite VFS through which the catalogue is written; null: SQLite's own.
  const char* sqlite_vfs = nullptr;
  const base::Clock* clock = nullptr;
  base::RandomSource* random = nullptr;
  base::LogSink log{};
};

/// Thread rule: all functions may be called from any thread. Errors beside the ones named at a
/// function: kIo, kResourceExhausted (disk full), kUnavailable (locked for longer than wait_limit),
/// kCorrupt (says what is damaged; verify() says all of it). After fork() the child must not use
/// it.
class Store {
 public:
  /// kNotFound: nothing there and !create. kInvalidArgument: a folder of something else (nothing in
  /// it is touched). kUnsupported: made by a newer version.
  static base::Result<std::unique_ptr<Store>> open_folder(const std::filesystem::path& folder,
                                                          const StoreOptions& options);
  ~Store();  ///< readers and writers may live on

  [[nodiscard]] const std::filesystem::path& folder() const;

  // --- snapshots as values -----------------------------------------------------------------------

  /// Oldest first.
  base::Result<std::vector<SnapshotInfo>> list() const;
  /// `text` is, in this order: "latest" (the newest), a whole id, a name, a tag (the newest that
  /// carries it), or a unique prefix of an id. kNotFound; kInvalidArgument when a prefix fits
  /// several.
  base::Result<SnapshotInfo> find(std::string_view text) const;
  base::Result<SnapshotInfo> get(const SnapshotId& id) const;
  /// The snapshot's parent, its parent, ... up to the root.
  base::Result<std::vector<SnapshotInfo>> ancestors(const SnapshotId& id) const;
  base::Result<std::vector<SnapshotInfo>> children(const SnapshotId& id) const;
  /// All branches: each snapshot after its parent, with its depth, siblings oldest first.
  base::Result<std::vector<TreeEntry>> tree() const;

  base::Result<void> tag(const SnapshotId& id, std::string_view tag);
  base::Result<void> untag(const SnapshotId& id, std::string_view tag);  ///< kNotFound: has it not
  /// An empty name takes the name away. kAlreadyExists: another one has it.
  base::Result<void> rename(const SnapshotId& id, std::string_view name);
  base::Result<void> set_note(const SnapshotId& id, std::string_view note);

  // --- contents ----------------------------------------------------------------------------------

  base::Result<Writer> begin(std::optional<SnapshotId> parent = {},
                             const WriterOptions& options = {});
  base::Result<Reader> open(const SnapshotId& id) const;
  /// What has to change to get from `from` to `to`, object by object.
  base::Result<Diff> diff(const SnapshotId& from, const SnapshotId& to) const;

  // --- taking away -------------------------------------------------------------------------------

  /// kInvalidArgument when it has children (they are named) and `cascade` is kNo; with kYes they go
  /// too. kUnavailable while a reader or a writer of any process has one of them open.
  base::Result<RemoveReport> remove(const SnapshotId& id, Cascade cascade = Cascade::kNo);
  /// Removes what no rule of `policy` keeps. A kept snapshot whose parent goes is hung to the
  /// nearest kept ancestor. What a reader or writer has open stays. kInvalidArgument: a policy
  /// without rules.
  base::Result<PruneReport> prune(const KeepPolicy& policy, DryRun dry_run);
  /// Frees what nothing needs: rests of crashed writers, chunks of removed snapshots. Packs of
  /// which less than `keep_ratio` (0 to 1) is needed are written anew. kUnavailable while writers
  /// are alive.
  base::Result<CompactReport> compact(double keep_ratio = 0.7);

  // --- looking after -----------------------------------------------------------------------------

  /// Reads everything and checks every checksum. Damage is in the report, not an error; an error
  /// means that verify could not be done.
  base::Result<VerifyReport> verify(const Progress& progress = {}) const;
  base::Result<Statistics> statistics() const;

  /// A store with the same snapshots, as of now, in a new folder, whose parent is there. Nothing is
  /// decompressed or verified. What a failure leaves there is for remove_copy(). kAlreadyExists.
  base::Result<void> copy_to(const std::filesystem::path& target) const;
  /// Removes such a copy, whole or begun, or nothing. What no store has stays, and with it the
  /// folder.
  static void remove_copy(const std::filesystem::path& copy, base::FileSystem& files);

  // --- one portable file -------------------------------------------------------------------------

  /// Writes the snapshots (each with its ancestors, if asked) to one new file, which is there whole
  /// or not at all. kAlreadyExists: `file` is there and !options.overwrite. kCancelled: by
  /// `progress`.
  base::Result<ExportReport> export_to(const std::filesystem::path& file,
                                       const std::vector<SnapshotId>& ids,
                                       const ExportOptions& options = {}) const;
  /// Takes over what is not here yet, after everything in the file has been verified, at once or
  /// not at all. A name that another snapshot has becomes "name (imported)".
  base::Result<ImportReport> import_from(const std::filesystem::path& file,
                                         const Progress& progress = {});
  /// What an exported file says it has; its chunks are not verified. Touches no store.
  static base::Result<std::vector<SnapshotInfo>> inspect(const std::filesystem::path& file,
                                                         const StoreOptions& options = {});

  class Core;

 private:
  explicit Store(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

}  // namespace snowglobe::snapshots
