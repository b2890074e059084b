// api/src/picture_archive.h - a machine's picture as objects of a snapshot store, and back.
//
//   "memory"       the guest's RAM
//   "disk"         the data disk's chunks in which something differs from the image's cluster
//   "disk/chunks"  which chunks these are: a bit for each, lowest first
//   "disk/base"    there if the disk goes back to none: "disk" then has all that is not zeros
//   "state"        everything else, as an archive (base/archive.h)
#pragma once

#include "api/src/snapshot_data.h"
#include "snapshots/store.h"

#include <functional>
#include <memory>

namespace snowglobe::detail {

/// What a writer begins with.
struct PictureParent {
  const snapshots::Reader* stored = nullptr;  ///< null: nothing
  const MachinePicture* picture = nullptr;    ///< the same, as far as it is in memory; may be null
};

/// Writes what differs from the parent. `memory_chunk`: bytes of a chunk of memory, those of the
/// parent if there is one.
base::Result<void> write_picture(snapshots::Writer& writer, const MachinePicture& picture,
                                 const PictureParent& parent, std::uint32_t memory_chunk);

/// `cluster` gives the disk of the image that the snapshot needs, and is asked only if the disk
/// goes back to it; the reader stays in use otherwise.
base::Result<std::shared_ptr<const MachinePicture>> read_picture(
    std::shared_ptr<const snapshots::Reader> reader,
    const std::function<base::Result<std::shared_ptr<const SparseDisk>>()>& cluster);

/// All but memory and disk.
std::vector<std::uint8_t> archive_of(const MachinePicture& picture);
/// Checks everything that can be checked without a machine. Errors: kCorrupt, kUnsupported.
base::Result<MachinePicture> from_archive(base::ConstBytes bytes);

}  // namespace snowglobe::detail
