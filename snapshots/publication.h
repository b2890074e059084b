// snapshots/publication.h - enters snapshots and the packs that they need into the catalogue, all
// at once or not at all. Used by writers and by import.
#pragma once

#include "snapshots/chunk_sink.h"

#include <optional>

namespace snowglobe::snapshots {

struct NewSnapshot {
  SnapshotInfo info;  ///< id, parent, metadata, new_bytes; the rest comes from the contents
  Contents contents;
};

enum class NameTaken : std::uint8_t { kRefuse, kTakeOver, kChangeOurs };

/// The order of calls is begin(), add() for each, commit(). Without commit() nothing has happened.
class Publication {
 public:
  /// All that `sink` got must be on the disk.
  Publication(Store::Core& core, ChunkSink& sink) : sink_(sink), change_(*core.catalogue) {}

  base::Result<void> begin();
  [[nodiscard]] const View& view() const { return change_.view(); }
  /// A parent that is neither in the store nor added before is left out.
  base::Result<SnapshotInfo> add(NewSnapshot snapshot, NameTaken name_taken);
  base::Result<void> commit();

 private:
  struct Added {
    std::uint64_t number = 0;
    SnapshotId id;
    std::string name;
  };
  base::Result<void> settle_name(SnapshotInfo& info, NameTaken name_taken);
  [[nodiscard]] bool name_is_taken(const std::string& name) const;
  base::Result<SnapshotIds> final_ids(Contents& contents) const;
  base::Result<void> choose_list(SnapshotRow& row, const SnapshotIds& ids);

  ChunkSink& sink_;
  Catalogue::Change change_;
  std::unordered_map<ChunkHash, std::uint64_t, HashOfHash> new_ids_;
  std::vector<Added> added_;
  std::optional<SnapshotRow> last_;  // the one added last: the most likely base of the next
  SnapshotIds last_ids_;
};

}  // namespace snowglobe::snapshots
