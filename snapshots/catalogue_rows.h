// snapshots/catalogue_rows.h - rows of the catalogue's tables as structs, and their seals. Used by
// catalogue.cc (reading) and change.cc (writing) only.
#pragma once

#include "snapshots/catalogue.h"

namespace snowglobe::snapshots {

inline constexpr const char* kSelectSnapshots =
    "SELECT number, id, parent, name, tags, note, created_ns, memory_bytes, image_id, "
    "format_version, postgres_version, wal_position, properties, raw_bytes, stored_bytes, "
    "new_bytes, root, base, list, seal FROM snapshots ORDER BY number";
inline constexpr const char* kSelectPacks =
    "SELECT number, id, bytes, seal FROM packs ORDER BY number";
inline constexpr const char* kSelectChunks =
    "SELECT id, hash, pack, place, stored_bytes, raw_bytes, seal FROM chunks ORDER BY id";
inline constexpr const char* kChunksBetween =
    "SELECT id, hash, pack, place, stored_bytes, raw_bytes, seal FROM chunks "
    "WHERE id BETWEEN ? AND ?";
inline constexpr const char* kFindChunk =
    "SELECT id, hash, pack, place, stored_bytes, raw_bytes, seal FROM chunks "
    "WHERE substr(hash, 1, 8) = ?";

inline constexpr const char* kLocateChunk =
    "SELECT chunks.id, hash, pack, place, stored_bytes, raw_bytes, chunks.seal, packs.id "
    "FROM chunks JOIN packs ON packs.number = pack WHERE chunks.id = ?";

/// Tables with a digest over all of their seals.
struct DigestedTable {
  const char* name;
  const char* select_seals;
};
inline constexpr DigestedTable kDigestedTables[] = {
    {"snapshots", "SELECT seal FROM snapshots ORDER BY number"},
    {"packs", "SELECT seal FROM packs ORDER BY number"},
};

/// A statement of the catalogue's cache while it is in use.
class Catalogue::Query {
 public:
  explicit Query(Statement* statement) : statement_(statement) {}
  Query(Query&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Query& operator=(Query&&) = delete;
  ~Query();
  Statement* operator->() const { return statement_; }
  Statement& operator*() const { return *statement_; }

 private:
  Statement* statement_;
};

/// From the columns of the selects above; kCorrupt if the seal does not fit. Parent's id and depth
/// are not filled in.
base::Result<SnapshotRow> snapshot_from(const Statement& columns);
base::Result<PackRow> pack_from(const Statement& columns);
/// `sealed` says whether the seal fits.
ChunkRow chunk_from(const Statement& columns);
/// All zero unless there are 32 bytes.
ChunkHash hash_from(base::ConstBytes bytes);

ChunkHash seal_of(const SnapshotRow& row);
ChunkHash seal_of(const PackRow& row);
std::uint64_t seal_of(const ChunkRow& row);

/// Tags as the catalogue has them: one a line.
std::string join_tags(const std::vector<std::string>& tags);

}  // namespace snowglobe::snapshots
