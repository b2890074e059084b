// snapshots/snapshot.h - what a snapshot is to its users: its id, what is known about it, its
// objects. Plain values; how they are stored is the store's business.
#pragma once

#include "base/clock.h"

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::snapshots {

/// 128 random bits, the same in every store that the snapshot is copied to. Written as 32
/// hexadecimal digits; any unique prefix of at least four finds it.
struct SnapshotId {
  std::array<std::uint8_t, 16> bytes{};

  [[nodiscard]] std::string hex() const;
  /// The first eight digits, for people.
  [[nodiscard]] std::string brief() const { return hex().substr(0, 8); }
  /// Nothing unless `text` is exactly 32 hexadecimal digits.
  [[nodiscard]] static std::optional<SnapshotId> parse(std::string_view text);

  // clang-tidy 14 takes the 0 that the compiler compares with for a pointer of ours.
  auto operator<=>(const SnapshotId&) const = default;  // NOLINT(modernize-use-nullptr)
};

/// A property that the store itself sets: the name that another snapshot took.
inline constexpr const char* kFormerName = "former_name";

/// What the caller says about a snapshot. All texts are UTF-8 without control characters (a note
/// and a property may have newlines and tabs) and bounded: see limits.h.
struct Metadata {
  std::string name{};               ///< unique in a store; empty: none
  std::vector<std::string> tags{};  ///< several snapshots may carry one tag; order does not matter
  std::string note{};
  /// Time since 1970-01-01 UTC; nothing: the time of the commit.
  std::optional<base::Nanoseconds> created{};
  std::uint64_t memory_bytes = 0;    ///< size of the machine's RAM
  std::string image_id{};            ///< the guest image that it needs
  std::uint32_t format_version = 0;  ///< of the objects' contents; the store does not look
  std::string postgres_version{};    ///< e.g. "17.5"
  std::string wal_position{};        ///< e.g. "0/1A2B3C4"
  std::map<std::string, std::string> properties{};  ///< whatever else; goes along in exports
};

/// One named array of chunks. All chunks have `chunk_bytes`, but the last may be shorter.
struct ObjectInfo {
  std::string name;  ///< e.g. "memory", "disk/data", "state"
  std::uint64_t size = 0;
  std::uint32_t chunk_bytes = 0;

  [[nodiscard]] std::uint64_t chunk_count() const {
    return size / chunk_bytes + (size % chunk_bytes != 0 ? 1 : 0);
  }
  /// Bytes of chunk `index`, which must be below chunk_count().
  [[nodiscard]] std::uint32_t chunk_length(std::uint64_t index) const {
    const std::uint64_t left = size - index * chunk_bytes;
    return left < chunk_bytes ? static_cast<std::uint32_t>(left) : chunk_bytes;
  }
  bool operator==(const ObjectInfo&) const = default;
};

/// A snapshot as list(), find() and commit() give it.
struct SnapshotInfo {
  SnapshotId id;
  std::optional<SnapshotId> parent;
  Metadata metadata;  ///< `created` is always there
  std::vector<ObjectInfo> objects;
  std::uint64_t raw_bytes = 0;     ///< sum of the objects' sizes
  std::uint64_t stored_bytes = 0;  ///< what its distinct chunks take, compressed, shared or not
  std::uint64_t new_bytes = 0;     ///< what the store grew by when it was written

  /// The name, or else the brief id: for messages.
  [[nodiscard]] std::string label() const;
  [[nodiscard]] bool has_tag(std::string_view tag) const;
};

}  // namespace snowglobe::snapshots
