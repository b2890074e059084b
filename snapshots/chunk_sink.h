// snapshots/chunk_sink.h - takes chunks and keeps each once: those that the store has are only
// referred to, the others go to new packs. Used by writers and by import.
#pragma once

#include "snapshots/core.h"
#include "snapshots/hash.h"
#include "snapshots/record.h"

#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace snowglobe::snapshots {

/// Holds kPacksLock shared: nobody removes chunks that we refer to. Packs that are not published
/// are removed at destruction. Thread rule: add() from any thread, the rest when nobody is in
/// add().
class ChunkSink {
 public:
  static base::Result<std::unique_ptr<ChunkSink>> create(std::shared_ptr<Store::Core> core);
  ~ChunkSink();
  ChunkSink(const ChunkSink&) = delete;
  ChunkSink& operator=(const ChunkSink&) = delete;

  /// A chunk that is not all zeros. The reference has an id if the store has the chunk already.
  base::Result<ChunkRef> add(base::ConstBytes chunk, RecordMaker& maker);
  /// A record as it is, head and payload, that was verified.
  base::Result<ChunkRef> add_record(const RecordHead& head, base::ConstBytes record);

  /// Returns when the disk has all of it.
  base::Result<void> sync();
  [[nodiscard]] std::uint64_t new_bytes() const;

  struct NewChunk {
    std::size_t pack = 0;  ///< index in packs()
    std::uint64_t offset = 0;
    std::uint32_t stored_bytes = 0;
    std::uint32_t raw_bytes = 0;
  };
  using NewChunks = std::unordered_map<ChunkHash, NewChunk, HashOfHash>;
  [[nodiscard]] const NewChunks& chunks() const { return chunks_; }
  [[nodiscard]] const std::vector<PackWriter>& packs() const { return packs_; }
  /// From here on the catalogue may know the packs, whatever a commit says: they stay.
  void leave_packs() { leave_packs_ = true; }

 private:
  ChunkSink(std::shared_ptr<Store::Core> core, LockFile::Lease lease);
  base::Result<std::optional<ChunkRef>> find_or_reserve(const ChunkHash& hash,
                                                        std::uint32_t raw_bytes);
  base::Result<ChunkRef> append(const ChunkHash& hash, base::ConstBytes record);

  const std::shared_ptr<Store::Core> core_;
  LockFile::Lease lease_;
  std::mutex mutex_;
  NewChunks chunks_;
  std::vector<PackWriter> packs_;
  std::unordered_map<std::uint64_t, bool> pack_opens_;  // by number
  bool leave_packs_ = false;
};

}  // namespace snowglobe::snapshots
