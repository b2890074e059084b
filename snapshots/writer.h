// snapshots/writer.h - makes one snapshot: what changed since its parent, then commit().
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "snapshots/snapshot.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace snowglobe::snapshots {

struct WriterOptions {
  /// zstd's: 1 is fast, 19 is small, below 0 is faster still. Nothing: the store's.
  std::optional<int> compression_level{};
  /// Threads that hash and compress beside the caller; 0: the caller does. Nothing: the store's.
  std::optional<unsigned> threads{};
  /// The id of the same snapshot elsewhere, so that it has one in all stores. Nothing: a new one.
  std::optional<SnapshotId> id{};
};

/// An edit of the parent: it begins as an exact copy (without a parent: as nothing), put() replaces
/// chunks, and commit() makes it visible, at once or not at all. A writer that is destroyed before
/// leaves nothing that anybody sees; the space that it took is freed by the next writer or
/// compact().
///
///     auto writer = store->begin(parent.id);                     // or store->begin()
///     auto memory = writer.value().object("memory", 128 << 20);  // size in bytes
///     for (auto index : dirty) writer.value().put(memory.value(), index, chunk_at(index));
///     auto state = writer.value().put_object("state", bytes);
///     auto info = writer.value().commit({.name = "before the test"});
///
/// Ownership: keeps what it needs of the store alive. The parent can not be removed while the
/// writer lives. Memory: some hundred bytes a chunk of the snapshot, and a few chunks under way.
/// Thread rule: one thread at a time.
/// Errors: after a failed put() or commit() nothing can be committed any more; begin anew. Codes:
/// kInvalidArgument, kIo, kResourceExhausted (disk full, limits.h), kUnavailable (the store is
/// locked for longer than StoreOptions::wait_limit), kCorrupt (the catalogue is damaged),
/// kAlreadyExists (commit: the name is taken, or a snapshot with WriterOptions::id is there).
class Writer {
 public:
  Writer(Writer&&) noexcept;
  Writer& operator=(Writer&&) noexcept;
  ~Writer();

  /// The id that the snapshot will have.
  [[nodiscard]] const SnapshotId& id() const;

  /// Opens an object for changes and gives its number for put(). It has the parent's contents if
  /// the parent has such an object, and zeros beyond them; chunk_bytes == 0 means the parent's
  /// chunk size or else the store's. A size other than the parent's cuts or extends it.
  base::Result<std::size_t> object(std::string_view name, std::uint64_t size,
                                   std::uint32_t chunk_bytes = 0);
  /// Leaves out an object that the parent has. kNotFound if there is none.
  base::Result<void> drop(std::string_view name);

  /// Sets the contents of chunk `index` of an object. `bytes` must be as long as the chunk is
  /// (ObjectInfo::chunk_length) and is not needed after the call. The last put of a chunk counts.
  /// What the store has already, and zeros, cost no space. Blocks while the queue is full.
  base::Result<void> put(std::size_t object, std::uint64_t index, base::ConstBytes bytes);
  /// Sets a whole object, of whatever size, to `bytes`.
  base::Result<std::size_t> put_object(std::string_view name, base::ConstBytes bytes);

  struct CommitOptions {
    /// Takes the name away from the snapshot that has it, instead of failing.
    bool take_name = false;
  };
  /// Writes what is left, waits until the disk has it, and enters the snapshot into the catalogue.
  /// When this returns ok the snapshot survives a power cut. May be called once.
  base::Result<SnapshotInfo> commit(const Metadata& metadata, const CommitOptions& options);
  base::Result<SnapshotInfo> commit(const Metadata& metadata) { return commit(metadata, {}); }

  class Impl;
  explicit Writer(std::unique_ptr<Impl> impl);  ///< made by Store::begin

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowglobe::snapshots
