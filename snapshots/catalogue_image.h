// snapshots/catalogue_image.h - the catalogue's contents as one piece of memory, for those who may
// change nothing in its folder: SQLite reads a file in WAL mode only where it can put files beside
// it.
#pragma once

#include "base/error.h"
#include "base/file_system.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace snowglobe::snapshots {

/// What Database::open_image() takes. A write-ahead log that a dead process left is worked in, on a
/// copy in the host's folder for temporary files. Whoever writes the catalogue meanwhile makes it
/// kCorrupt, here or when it is looked at.
base::Result<std::vector<std::uint8_t>> read_catalogue_image(base::FileSystem& files,
                                                             const std::filesystem::path& file);

}  // namespace snowglobe::snapshots
