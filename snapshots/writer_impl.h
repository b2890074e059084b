// snapshots/writer_impl.h - the inside of a Writer. Included by writer.cc only.
#pragma once

#include "snapshots/core.h"
#include "snapshots/pipeline.h"
#include "snapshots/publication.h"
#include "snapshots/writer.h"

namespace snowglobe::snapshots {

class Writer::Impl {
 public:
  Impl(std::shared_ptr<Store::Core> core, std::unique_ptr<ChunkSink> sink,
       const WriterOptions& options);

  base::Result<void> inherit(const SnapshotId& parent);
  [[nodiscard]] const SnapshotId& id() const { return id_; }
  base::Result<std::size_t> object(std::string_view name, std::uint64_t size,
                                   std::uint32_t chunk_bytes);
  base::Result<void> drop(std::string_view name);
  base::Result<void> put(std::size_t object, std::uint64_t index, base::ConstBytes bytes);
  base::Result<std::size_t> put_object(std::string_view name, base::ConstBytes bytes);
  base::Result<SnapshotInfo> commit(const Metadata& metadata, const CommitOptions& options);

 private:
  struct Entry {
    ObjectContents contents;
    std::vector<std::uint64_t> turns;  ///< of the last put() of each chunk
    bool written = false;
    bool dropped = false;
  };

  Entry* find(std::string_view name);
  base::Result<void> check_room(const Entry* grows, std::uint64_t chunks) const;
  base::Result<void> resize(Entry& entry, std::uint64_t size);
  void on_done(const Pipeline::Task& task, base::Result<ChunkRef> chunk);
  base::Result<void> check_usable();
  base::Error fail(base::Error error);
  base::Result<SnapshotInfo> publish(NewSnapshot snapshot, const CommitOptions& options);

  const std::shared_ptr<Store::Core> core_;
  const std::unique_ptr<ChunkSink> sink_;
  const SnapshotId id_;
  std::optional<SnapshotId> parent_;
  LockFile::Lease lease_;  // of the parent
  std::mutex mutex_;       // guards entries' chunks and turns, and error_, against the pipeline
  std::vector<Entry> entries_;
  std::optional<base::Error> error_;
  std::uint64_t last_turn_ = 0;
  bool committed_ = false;
  Pipeline pipeline_;  // last: its threads use all of the above
};

}  // namespace snowglobe::snapshots
