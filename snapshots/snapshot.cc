// snapshots/snapshot.cc - ids as text, and what metadata may say.
#include "snapshots/snapshot.h"

#include "snapshots/hash.h"

#include <algorithm>

namespace snowglobe::snapshots {

namespace {

int digit_of(char character) {
  if (character >= '0' && character <= '9') return character - '0';
  if (character >= 'a' && character <= 'f') return character - 'a' + 10;
  if (character >= 'A' && character <= 'F') return character - 'A' + 10;
  return -1;
}

}  // namespace

std::string SnapshotId::hex() const {
  return to_hex(bytes);
}

std::optional<SnapshotId> SnapshotId::parse(std::string_view text) {
  SnapshotId id;
  if (text.size() != id.bytes.size() * 2) return std::nullopt;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    const int high = digit_of(text[2 * i]);
    const int low = digit_of(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    id.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return id;
}

std::string SnapshotInfo::label() const {
  return metadata.name.empty() ? id.brief() : metadata.name;
}

bool SnapshotInfo::has_tag(std::string_view tag) const {
  return std::find(metadata.tags.begin(), metadata.tags.end(), tag) != metadata.tags.end();
}

}  // namespace snowglobe::snapshots
