// snapshots/reader.h - the contents of one snapshot, chunk by chunk, each verified when it is read.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "snapshots/snapshot.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace snowglobe::snapshots {

/// SHA-256 of a chunk's bytes: equal hashes, equal contents. All zero bytes for a chunk of zeros.
using ChunkHash = std::array<std::uint8_t, 32>;

///     auto reader = store->open(info.id);
///     const std::size_t memory = reader.value().object("memory").value();
///     for (std::uint64_t i = 0; i < reader.value().objects()[memory].chunk_count(); ++i)
///       if (!reader.value().is_zero(memory, i)) reader.value().read(memory, i, place_of(i));
///
/// Ownership: keeps what it needs of the store alive. Its snapshot can not be removed while it
/// lives (remove() and prune() of any process answer kUnavailable or leave it). Thread rule: all
/// functions are const and may be called from any thread, several at once. Cost: opening loads and
/// verifies the list of chunks (2,048 of them: about 2 ms); memory about 64 bytes a chunk. Reading
/// decompresses and hashes: see docs/snapshots.md for MB/s.
class Reader {
 public:
  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;
  ~Reader();

  [[nodiscard]] const SnapshotInfo& info() const;
  [[nodiscard]] const std::vector<ObjectInfo>& objects() const { return info().objects; }
  /// The number of an object, for the functions below; kNotFound if there is none.
  base::Result<std::size_t> object(std::string_view name) const;

  // `object` is below objects().size() and `index` below chunk_count() in all of these.

  [[nodiscard]] bool is_zero(std::size_t object, std::uint64_t index) const;
  [[nodiscard]] const ChunkHash& hash(std::size_t object, std::uint64_t index) const;
  /// Fills `out`, which is as long as the chunk. kCorrupt, with the names of chunk and pack, when
  /// what is on the disk is not what was written; `out` is then filled with zeros.
  base::Result<void> read(std::size_t object, std::uint64_t index, base::Bytes out) const;
  /// All of an object.
  base::Result<std::vector<std::uint8_t>> read_object(std::string_view name) const;

  /// The chunks of our `object` that are other in `base`'s object of the same name, ascending: what
  /// has to be copied to get from `base` to here. Chunks that `base` has not (it is shorter, has no
  /// such object, or one with other chunk sizes) count as changed.
  [[nodiscard]] std::vector<std::uint64_t> changed_since(const Reader& base,
                                                         std::size_t object) const;

  class Impl;
  explicit Reader(std::unique_ptr<Impl> impl);  ///< made by Store::open

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowglobe::snapshots
