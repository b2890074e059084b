// snapshots/contents.cc - root hash and sizes of a snapshot's contents.
#include "snapshots/contents.h"

#include "snapshots/hash.h"

#include <unordered_set>

namespace snowglobe::snapshots {

namespace {

void add_number(Hasher& hasher, std::uint64_t number) {
  std::uint8_t bytes[8];
  base::store_le(bytes, number);
  hasher.update(bytes);
}

}  // namespace

ChunkHash root_of(const Contents& contents) {
  Hasher hasher;
  add_number(hasher, contents.size());
  for (const ObjectContents& object : contents) {
    add_number(hasher, object.info.name.size());
    hasher.update(base::ConstBytes(reinterpret_cast<const std::uint8_t*>(object.info.name.data()),
                                   object.info.name.size()));
    add_number(hasher, object.info.size);
    add_number(hasher, object.info.chunk_bytes);
    for (const ChunkRef& chunk : object.chunks)
      hasher.update(chunk.hash);
  }
  return hasher.finish();
}

std::uint64_t raw_bytes_of(const Contents& contents) {
  std::uint64_t sum = 0;
  for (const ObjectContents& object : contents)
    sum += object.info.size;
  return sum;
}

std::uint64_t stored_bytes_of(const Contents& contents) {
  std::unordered_set<ChunkHash, HashOfHash> seen;
  std::uint64_t sum = 0;
  for (const ObjectContents& object : contents) {
    for (const ChunkRef& chunk : object.chunks) {
      if (chunk.stored_bytes != 0 && seen.insert(chunk.hash).second) sum += chunk.stored_bytes;
    }
  }
  return sum;
}

}  // namespace snowglobe::snapshots
