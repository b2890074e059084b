// snapshots/metadata.cc - checks of texts, and the key/value pairs as bytes.
#include "snapshots/metadata.h"

#include "snapshots/limits.h"

#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::snapshots {

namespace {

enum class Text : std::uint8_t { kLine, kText };  // kText: newlines and tabs as well

base::Error invalid(std::string message) {
  return {base::ErrorCode::kInvalidArgument, std::move(message)};
}

// Bytes of the UTF-8 sequence at the beginning of `text`, 0 if it is none (RFC 3629, 4).
std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (at(1) < low || at(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (at(i) < 0x80 || at(i) > 0xBF) return 0;
  }
  return length;
}

base::Result<void> check_text(std::string_view text, std::string_view what, std::size_t limit,
                              Text kind) {
  if (text.size() > limit) {
    return invalid(fmt::format("{} is longer than {} bytes: shorten it", what, limit));
  }
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text[0]);
    const bool control = first < 0x20 || first == 0x7F;
    const bool allowed = kind == Text::kText && (first == '\n' || first == '\t' || first == '\r');
    const std::size_t length = utf8_length(text);
    if (length == 0) return invalid(fmt::format("{} is not UTF-8", what));
    if (control && !allowed) return invalid(fmt::format("{} has control characters", what));
    text.remove_prefix(length);
  }
  return {};
}

}  // namespace

base::Result<void> check_name(std::string_view name) {
  if (name == "latest" || SnapshotId::parse(name).has_value()) {
    return invalid(fmt::format("'{}' can not be a snapshot's name: it means something else", name));
  }
  return check_text(name, "the snapshot's name", kMaxNameBytes, Text::kLine);
}

base::Result<void> check_tag(std::string_view tag) {
  if (tag.empty()) return invalid("a tag can not be empty");
  if (tag == "latest" || SnapshotId::parse(tag).has_value()) {
    return invalid(fmt::format("'{}' can not be a tag: it means something else", tag));
  }
  return check_text(tag, "the tag", kMaxNameBytes, Text::kLine);
}

base::Result<void> check_note(std::string_view note) {
  return check_text(note, "the snapshot's note", kMaxNoteBytes, Text::kText);
}

base::Result<void> check_object_name(std::string_view name) {
  if (name.empty()) return invalid("an object of a snapshot needs a name");
  return check_text(name, "the object's name", kMaxNameBytes, Text::kLine);
}

base::Result<void> check_metadata(const Metadata& metadata) {
  if (auto name = check_name(metadata.name); !name.ok()) return name;
  if (auto note = check_note(metadata.note); !note.ok()) return note;
  if (metadata.tags.size() > kMaxTags) {
    return invalid(fmt::format("a snapshot can have {} tags at most", kMaxTags));
  }
  for (auto tag = metadata.tags.begin(); tag != metadata.tags.end(); ++tag) {
    if (auto checked = check_tag(*tag); !checked.ok()) return checked;
    if (std::find(metadata.tags.begin(), tag, *tag) != tag) {
      return invalid(fmt::format("the tag '{}' is there twice", *tag));
    }
  }
  for (const std::string* text :
       {&metadata.image_id, &metadata.postgres_version, &metadata.wal_position}) {
    if (auto line =
            check_text(*text, "image id, version or WAL position", kMaxNameBytes, Text::kLine);
        !line.ok()) {
      return line;
    }
  }
  if (metadata.properties.size() > kMaxProperties) return invalid("too many properties");
  std::size_t bytes = 0;
  for (const auto& [key, value] : metadata.properties) {
    if (key.empty()) return invalid("a property's key can not be empty");
    if (auto line = check_text(key, "a property's key", kMaxNameBytes, Text::kLine); !line.ok()) {
      return line;
    }
    bytes += key.size() + value.size();
    if (bytes > kMaxPropertiesBytes) return invalid("the properties are too long together");
    if (auto text = check_text(value, "a property", kMaxPropertiesBytes, Text::kText); !text.ok()) {
      return text;
    }
  }
  return {};
}

std::vector<std::uint8_t> properties_to_bytes(const Metadata& metadata) {
  base::ArchiveWriter out;
  for (const auto& [key, value] : metadata.properties) {
    std::string texts[2] = {key, value};
    out(texts[0], texts[1]);
  }
  return out.take();
}

bool properties_from_bytes(base::ConstBytes bytes, Metadata& metadata) {
  metadata.properties.clear();
  base::ArchiveReader in(bytes);
  while (in.ok() && in.left() != 0) {
    std::string key;
    std::string value;
    in(key, value);
    if (!in.ok() || !metadata.properties.emplace(std::move(key), std::move(value)).second) {
      return false;
    }
  }
  return in.ok();
}

}  // namespace snowglobe::snapshots
