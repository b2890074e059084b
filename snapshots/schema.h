// snapshots/schema.h - the tables of the catalogue, version by version.
#pragma once

#include "snapshots/sqlite.h"

#include <cstdint>

namespace snowglobe::snapshots {

/// PRAGMA application_id of a catalogue: "SGsn".
inline constexpr std::uint64_t kApplicationId = 0x5347736E;

enum class CatalogueState : std::uint8_t { kNew, kReady };

/// What is in the file: nothing yet, or a catalogue, brought to this library's version if it is
/// older. kUnsupported: a newer one; kCorrupt: something else.
base::Result<CatalogueState> look_at_catalogue(Database& database);

/// Makes the tables in an empty file.
base::Result<void> make_catalogue(Database& database);

}  // namespace snowglobe::snapshots
