// api/src/picture_archive.h - a machine's picture as objects of a snapshot store, and back.
//
//   "memory"       the guest's RAM
//   "disk"         the data disk's chunks in which something differs from the image's cluster
//   "disk/chunks"  which chunks these are: a bit for each, lowest first
//   "state"        everything else, as an archive (base/archive.h)
#pragma once

#include "api/src/snapshot_data.h"
#include "snapshots/store.h"

#include <memory>

namespace snowglobe::detail {

/// Writes what differs from `parent`, whose contents `writer` begins with; null: everything.
/// `memory_chunk`: bytes of a chunk of memory, those of the parent if there is one.
base::Result<void> write_picture(snapshots::Writer& writer, const MachinePicture& picture,
                                 const MachinePicture* parent, std::uint32_t memory_chunk);

/// `base` is the cluster of the image that the snapshot needs.
base::Result<std::shared_ptr<const MachinePicture>> read_picture(
    const snapshots::Reader& reader, std::shared_ptr<const SparseDisk> base);

/// All but memory and disk.
std::vector<std::uint8_t> archive_of(const MachinePicture& picture);
/// Checks everything that can be checked without a machine. Errors: kCorrupt, kUnsupported.
base::Result<MachinePicture> from_archive(base::ConstBytes bytes);

}  // namespace snowglobe::detail
