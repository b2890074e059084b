// snapshots/metadata.h - what metadata may say, and metadata as bytes for checks and exports.
#pragma once

#include "base/archive.h"
#include "base/error.h"
#include "snapshots/snapshot.h"

#include <string_view>

namespace snowglobe::snapshots {

/// kInvalidArgument with what is wrong: too long, not UTF-8, control characters, a name that find()
/// would take for something else ("latest", 32 hexadecimal digits), a tag twice.
base::Result<void> check_name(std::string_view name);
base::Result<void> check_tag(std::string_view tag);
base::Result<void> check_note(std::string_view note);
base::Result<void> check_object_name(std::string_view name);
base::Result<void> check_metadata(const Metadata& metadata);

std::vector<std::uint8_t> properties_to_bytes(const Metadata& metadata);
/// False if `bytes` are not from properties_to_bytes().
bool properties_from_bytes(base::ConstBytes bytes, Metadata& metadata);

/// For base/archive.h. `created` must be there when it is written. A map has one order only, so
/// equal metadata give equal bytes.
template <class Archive>
void describe(Archive& archive, Metadata& metadata) {
  std::int64_t created = metadata.created.value_or(base::Nanoseconds{}).count();
  std::vector<std::uint8_t> properties;
  if constexpr (!Archive::kReads) properties = properties_to_bytes(metadata);
  archive(metadata.name, metadata.tags, metadata.note, created, metadata.memory_bytes,
          metadata.image_id, metadata.format_version, metadata.postgres_version,
          metadata.wal_position, properties);
  if constexpr (Archive::kReads) {
    metadata.created = base::Nanoseconds(created);
    if (!properties_from_bytes(properties, metadata)) archive.fail();
  }
}

}  // namespace snowglobe::snapshots
