// snapshots/chunk_list.h - the list of a snapshot's chunks as bytes: runs of ids, and only what is
// other than in a base snapshot. Layout: docs/snapshots.md. Nothing here trusts its input.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "snapshots/snapshot.h"

#include <cstdint>
#include <vector>

namespace snowglobe::snapshots {

/// Object by object the ids of all chunks; 0 stands for zeros. Sorted by name.
struct ObjectIds {
  ObjectInfo info;
  std::vector<std::uint64_t> ids;  ///< info.chunk_count() of them
};
using SnapshotIds = std::vector<ObjectIds>;

/// Bytes from which decode_list() gets `ids` again. With a base, chunks that are as there cost
/// nothing.
std::vector<std::uint8_t> encode_list(const SnapshotIds& ids, const SnapshotIds* base);

/// kCorrupt for whatever encode_list() does not write, and for more than limits.h allows: then no
/// more memory was taken than a list of that size may. `base` must be what it was at encoding.
base::Result<SnapshotIds> decode_list(base::ConstBytes bytes, const SnapshotIds* base);

/// `count` ids from `first` on.
struct IdRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};
/// The ids that a list names itself, its base's not included; those are the base's to keep.
base::Result<std::vector<IdRun>> ids_in_list(base::ConstBytes bytes);
/// The objects that a list describes; needs no base.
base::Result<std::vector<ObjectInfo>> objects_in_list(base::ConstBytes bytes);

}  // namespace snowglobe::snapshots
