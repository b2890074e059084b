// api/src/hibernation.h - a machine put down beside its disk: the file "machine" of a database's
// folder, while the database is closed.
//
//   0            the RAM as it is, with holes where 64 KiB of it are zero: mapped by the next open
//   memory size  the index: all else of the machine, and a checksum for each 64 KiB of RAM
//   at the end   32 bytes: magic, length and checksum of the index, format
//
// It belongs to one state of the disk, by the disk's generation and a token that both have. It is
// not synced: after a power cut it may be anything. So it names the boot of the host that wrote it,
// and after another one every checksum is compared before anything of it is used, else each when
// its bytes are first needed.
#pragma once

#include "api/src/snapshot_data.h"
#include "base/error.h"
#include "base/file_system.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace snowglobe::detail {

/// To which disk a machine belongs, and how it was run.
struct Hibernation {
  std::string database_id;
  std::uint64_t generation = 0;
  std::array<std::uint8_t, 16> token{};
  std::map<std::string, std::string> settings;  ///< Options::settings that it was started with
};

/// Writes `file`, by way of another one beside it. Errors: kIo, kResourceExhausted, kCorrupt (RAM
/// that came from a damaged file).
base::Result<void> write_hibernated(base::FileSystem& files, const std::filesystem::path& file,
                                    const Hibernation& about, const MachinePicture& picture);

/// The machine, if the file is whole and is that one; its picture has no disk. Errors: kNotFound,
/// kCorrupt, kUnsupported (of another version), kInvalidArgument (of another disk or with other
/// settings), kIo.
base::Result<std::shared_ptr<const MachinePicture>> read_hibernated(
    base::FileSystem& files, const std::filesystem::path& file, const Hibernation& wanted);

}  // namespace snowglobe::detail
