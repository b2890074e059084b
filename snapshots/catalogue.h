// snapshots/catalogue.h - the SQLite file that knows snapshots, packs and chunks. Every row carries
// a seal, and the seals of snapshots and packs a common digest: what was changed or lost behind our
// back is noticed before it is believed.
#pragma once

#include "snapshots/chunk_list.h"
#include "snapshots/contents.h"
#include "snapshots/pack.h"
#include "snapshots/sqlite.h"

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::snapshots {

struct SnapshotRow {
  std::uint64_t number = 0;
  std::optional<std::uint64_t> parent;  ///< its number; info.parent is its id
  std::optional<std::uint64_t> base;    ///< of `list`
  unsigned depth = 0;                   ///< how many bases follow
  SnapshotInfo info;
  ChunkHash root{};
  std::vector<std::uint8_t> list;
};

struct PackRow {
  std::uint64_t number = 0;
  PackId id;
  std::uint64_t bytes = 0;
};

struct ChunkRow {
  std::uint64_t id = 0;
  ChunkHash hash{};
  std::uint64_t pack = 0;
  std::uint64_t offset = 0;
  std::uint32_t stored_bytes = 0;
  std::uint32_t raw_bytes = 0;
  bool sealed = false;  ///< the seal fits
};

/// Snapshots and packs at one moment. Immutable: hold it as long as you like.
struct View {
  std::vector<SnapshotRow> snapshots;  ///< by number
  std::vector<PackRow> packs;          ///< by number

  [[nodiscard]] const SnapshotRow* find(const SnapshotId& id) const;
  [[nodiscard]] const SnapshotRow* find_number(std::uint64_t number) const;
  [[nodiscard]] const SnapshotRow* find_name(std::string_view name) const;
  [[nodiscard]] const PackRow* find_pack(std::uint64_t number) const;
};
using ViewPtr = std::shared_ptr<const View>;

/// The ids of a snapshot's chunks, through its bases.
base::Result<SnapshotIds> ids_of(const View& view, const SnapshotRow& row);

/// A list may lean on this many others: reading one decodes all of them.
inline constexpr unsigned kMaxListDepth = 15;

/// Thread rule: any thread; calls take turns.
class Catalogue {
 public:
  /// `has_packs`: pack files are there, so that a catalogue without anything must be a lost one.
  static base::Result<std::unique_ptr<Catalogue>> open(const std::filesystem::path& file,
                                                       const char* vfs,
                                                       std::chrono::milliseconds wait_limit,
                                                       bool has_packs);
  /// What it is now, and stays: for a folder in which nothing may change.
  static base::Result<std::unique_ptr<Catalogue>> open_image(base::FileSystem& files,
                                                             const std::filesystem::path& file);
  ~Catalogue();

  base::Result<ViewPtr> view();
  /// A chunk with this hash, if its row can be trusted.
  base::Result<std::optional<ChunkRow>> find_chunk(const ChunkHash& hash);
  struct Place {
    PackId pack;
    std::uint64_t offset = 0;
    std::uint32_t stored_bytes = 0;
  };
  base::Result<Place> locate(std::uint64_t chunk);
  /// Turns ids into references; kCorrupt unless chunks and sizes are there and `root` comes out.
  base::Result<Contents> resolve(const SnapshotIds& ids, const ChunkHash& root);
  /// Calls `visit` with all rows, by id, as long as it returns true.
  base::Result<void> each_chunk(const std::function<bool(const ChunkRow&)>& visit);
  /// Writes all of it to another file: an empty one. For that one's user to sync.
  base::Result<void> copy_to(const std::filesystem::path& file);
  /// What SQLite finds wrong in its own structures.
  base::Result<std::vector<std::string>> integrity_errors();
  base::Result<std::uint64_t> bytes();

  /// A transaction that writes. Others wait; destruction without commit() takes all back.
  class Change {
   public:
    explicit Change(Catalogue& catalogue) : catalogue_(catalogue), lock_(catalogue.mutex_) {}
    ~Change();
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

    base::Result<void> begin();
    [[nodiscard]] const View& view() const { return *view_; }  ///< as it was at begin()

    base::Result<std::uint64_t> add_pack(const PackId& id, std::uint64_t bytes);
    base::Result<void> remove_pack(std::uint64_t number);
    /// Without id and seal; gives the id.
    base::Result<std::uint64_t> add_chunk(const ChunkRow& row);
    base::Result<void> replace_chunk(const ChunkRow& row);
    base::Result<void> remove_chunk(std::uint64_t id);
    /// row.number and row.depth are not looked at; gives the number. kAlreadyExists: name, id.
    base::Result<std::uint64_t> add_snapshot(const SnapshotRow& row);
    base::Result<void> replace_snapshot(const SnapshotRow& row);
    base::Result<void> remove_snapshot(std::uint64_t number);
    /// So that a commit of before, whose end the disk did not confirm, can never come to life
    /// again.
    base::Result<void> count_sweep();
    base::Result<void> commit();

   private:
    Catalogue& catalogue_;
    std::unique_lock<std::mutex> lock_;
    ViewPtr view_;
    bool begun_ = false;
    std::uint64_t next_chunk_ = 0;  // 0: not asked yet
  };

 private:
  Catalogue(Database database, const char* vfs);
  /// A cached statement, reset when the query is destroyed.
  class Query;
  base::Result<Query> query(const char* sql);
  base::Result<void> execute(Query& query);
  base::Result<ViewPtr> load_view();
  base::Result<void> load_rows(View& view);
  base::Result<void> check_digests();
  base::Result<ChunkHash> digest(const char* sql);
  base::Result<void> fill(Contents& contents, const std::vector<std::uint64_t>& ids);
  base::Result<void> write_snapshot(const char* sql, const SnapshotRow& row);
  base::Result<void> write_chunk(const char* sql, const ChunkRow& row);
  base::Result<void> remove_row(const char* sql, std::uint64_t number);
  base::Result<std::uint64_t> next_number(const char* sql);

  std::mutex mutex_;
  const int process_;
  const char* const vfs_;
  Database database_;
  std::map<const char*, Statement> statements_;  // by address: each text is one constant
  ViewPtr view_;
  std::uint64_t view_version_ = 0;
};

}  // namespace snowglobe::snapshots
