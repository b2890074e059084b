// api/src/stored_disk.h - the disk of a stored snapshot, read chunk by chunk when it is needed: a
// database's disk may be larger than the memory of the process.
#pragma once

#include "api/src/disk_base.h"
#include "snapshots/reader.h"

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

namespace snowglobe::detail {

/// Keeps its snapshot in the store from being removed. Thread rule: any thread.
class StoredDisk final : public DiskBase {
 public:
  /// `object`: of the reader, with all that is not zeros on the disk.
  StoredDisk(std::shared_ptr<const snapshots::Reader> reader, std::size_t object);

  [[nodiscard]] vm::u64 capacity() const override { return size_; }
  void read(vm::u64 offset, base::Bytes out) const override;
  [[nodiscard]] bool damaged() const override { return damaged_; }
  [[nodiscard]] base::Error damage() const override;
  [[nodiscard]] bool covers(vm::u64 offset, vm::u64 length) const override;
  void for_each_data(const Visit& visit) const override;
  [[nodiscard]] bool standalone() const override { return true; }

 private:
  struct Chunk {
    std::uint64_t index = 0;
    std::vector<std::uint8_t> bytes;
  };
  // What is read in pieces is decompressed once: a guest reads 4 KiB of a chunk at a time.
  static constexpr std::size_t kKept = 64;

  /// With the mutex held: the chunk, among the kept ones.
  const Chunk& chunk(std::uint64_t index) const;

  const std::shared_ptr<const snapshots::Reader> reader_;
  const std::size_t object_;
  const vm::u64 size_, chunk_bytes_;
  mutable std::mutex mutex_;       // of what follows
  mutable std::list<Chunk> kept_;  // the last one used is in front
  mutable base::Error damage_;
  mutable std::atomic<bool> damaged_ = false;
};

}  // namespace snowglobe::detail
