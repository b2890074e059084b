// api/src/read_only_disk.h - what disks have in common that no guest can write to.
#pragma once

#include "vm/backends.h"
#include <snowglobe/export.hpp>

#include <algorithm>
#include <atomic>
#include <vector>

namespace snowglobe::detail {

/// Thread rule: any thread; machines may share one.
class ReadOnlyDisk : public vm::BlockBackend {
 public:
  explicit ReadOnlyDisk(vm::u64 capacity)
      : capacity_(capacity), touched_((capacity + kChunk - 1) / kChunk) {}

  [[nodiscard]] vm::u64 capacity() const final { return capacity_; }
  [[nodiscard]] bool read_only() const final { return true; }
  base::Result<void> read(vm::u64 offset, base::Bytes out) final {
    const vm::u64 end = std::min(offset + std::min(vm::u64{out.size()}, capacity_), capacity_);
    for (vm::u64 at = offset; at < end; at = (at / kChunk + 1) * kChunk)
      touched_[at / kChunk].store(true, std::memory_order_relaxed);
    return fetch(offset, out);
  }
  base::Result<void> write(vm::u64, base::ConstBytes) final { return refusal(); }
  base::Result<void> flush() final { return {}; }
  base::Result<void> discard(vm::u64, vm::u64) final { return refusal(); }

  /// Of the pieces of 64 KiB in which something was read.
  [[nodiscard]] vm::u64 touched_bytes() const {
    const auto count = std::count_if(touched_.begin(), touched_.end(),
                                     [](const std::atomic<bool>& piece) { return piece.load(); });
    return std::min(static_cast<vm::u64>(count) * kChunk, capacity_);
  }

 private:
  static constexpr vm::u64 kChunk = 64 << 10;

  virtual base::Result<void> fetch(vm::u64 offset, base::Bytes out) = 0;

  static base::Error refusal() {
    return {base::ErrorCode::kUnsupported, "change a disk that can only be read"};
  }

  vm::u64 capacity_;
  std::vector<std::atomic<bool>> touched_;
};

}  // namespace snowglobe::detail
