// snapshots/reclaim.h - freeing the space of chunks that no snapshot needs.
#pragma once

#include "snapshots/core.h"

#include <vector>

namespace snowglobe::snapshots {

/// All chunks of the catalogue, and which of them a list of some snapshot names. What a list
/// inherits from its base is named by the base's, so all lists together name all that is needed.
struct Inventory {
  std::vector<ChunkRow> chunks;  ///< by id
  std::vector<bool> needed;      ///< one for each

  /// kCorrupt if a row fails its seal or is missing: then nobody may conclude what is not needed.
  static base::Result<Inventory> take(Catalogue& catalogue, const View& view);
};

/// Removes packs of crashed writers and packs that hold nothing needed; writes packs anew of which
/// less than `keep_ratio` is needed. kUnavailable while somebody writes.
base::Result<CompactReport> reclaim(Store::Core& core, double keep_ratio, LockFile::Wait wait);

}  // namespace snowglobe::snapshots
