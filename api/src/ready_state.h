// api/src/ready_state.h - the image's ready state: a machine in which PostgreSQL waits for its
// first statement, unpacked once into the user's cache and mapped from there.
//
//   <image folder>/ready.snap       an export of one snapshot (docs/snapshots.md), made by ./dev
//   guest <image folder>/ready.json       its size, SHA-256, and which image it belongs to
//   <cache>/ready-<key>/memory      the RAM as it is, with holes where it is zero
//                      /cluster     the image's cluster, unpacked
//                      /disk        what the data disk has more than that
//                      /index       all else, and checksums of the other three
//
// A folder of the cache appears by one rename, whole. Nothing in it is believed: each 64 KiB of
// memory and cluster are compared with their checksum when they are first needed.
#pragma once

#include "api/src/image.h"
#include "api/src/snapshot_data.h"
#include "base/error.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace snowglobe::detail {

/// Two states are made of an image, each with files of its own: ready.*, and bare.*, a machine that
/// has run PostgreSQL and stands without a data disk, for disks that it must recover from.
enum class StateKind : std::uint8_t { ready, bare };
const char* name_of(StateKind kind);

/// What ready.json, or bare.json, says.
struct ReadyFile {
  StateKind kind = StateKind::ready;
  ImageFile file = {};  ///< ready.snap
};

/// Null if the image has none, or one of another image or format. Errors: kCorrupt.
base::Result<std::optional<ReadyFile>> find_ready_file(const GuestImage& image,
                                                       StateKind kind = StateKind::ready);

/// The machine to start from; the same one for all databases of the process that are alive. `cache`
/// is the folder for the unpacked copy: made if need be; where it can not be, the copy is in memory
/// only, and `log` hears why. Says verify_image() the files that were verified when it was made.
/// Errors: kCorrupt, kIo, kResourceExhausted.
base::Result<std::shared_ptr<const MachinePicture>> ready_picture(
    const GuestImage& image, const ReadyFile& ready, const std::filesystem::path& cache,
    const std::function<void(const std::string&)>& log);

}  // namespace snowglobe::detail
