// snapshots/contents.h - the contents of a snapshot as references to chunks: in memory.
#pragma once

#include "snapshots/reader.h"
#include "snapshots/snapshot.h"

#include <cstdint>
#include <vector>

namespace snowglobe::snapshots {

/// A chunk of an object. Zeros: id 0 and a hash of zeros. Not yet in the catalogue: id 0 and its
/// hash.
struct ChunkRef {
  ChunkHash hash{};
  std::uint64_t id = 0;  ///< row of the catalogue's table of chunks
  std::uint32_t stored_bytes = 0;
};

struct ObjectContents {
  ObjectInfo info;
  std::vector<ChunkRef> chunks;  ///< info.chunk_count() of them
};

/// Sorted by name, names are unique.
using Contents = std::vector<ObjectContents>;

/// One hash of objects, sizes and all chunks' hashes: what a snapshot says when it is read is what
/// was said when it was written.
[[nodiscard]] ChunkHash root_of(const Contents& contents);

[[nodiscard]] std::uint64_t raw_bytes_of(const Contents& contents);
/// Of its distinct chunks.
[[nodiscard]] std::uint64_t stored_bytes_of(const Contents& contents);

}  // namespace snowglobe::snapshots
