// api/src/stored_disk.cc - the disk of a stored snapshot, read chunk by chunk.
#include "api/src/stored_disk.h"

#include <algorithm>

namespace snowglobe::detail {

using vm::u64;

StoredDisk::StoredDisk(std::shared_ptr<const snapshots::Reader> reader, std::size_t object)
    : reader_(std::move(reader)),
      object_(object),
      size_(reader_->objects()[object].size),
      chunk_bytes_(reader_->objects()[object].chunk_bytes) {}

const StoredDisk::Chunk& StoredDisk::chunk(std::uint64_t index) const {
  const auto found =
      std::ranges::find_if(kept_, [index](const Chunk& kept) { return kept.index == index; });
  if (found != kept_.end()) {
    kept_.splice(kept_.begin(), kept_, found);
    return kept_.front();
  }
  if (kept_.size() < kKept) {
    kept_.emplace_front();
  } else {
    kept_.splice(kept_.begin(), kept_, std::prev(kept_.end()));
  }
  Chunk& fresh = kept_.front();
  fresh.index = index;
  fresh.bytes.resize(reader_->objects()[object_].chunk_length(index));
  if (auto done = reader_->read(object_, index, fresh.bytes); !done && !damaged_) {
    damage_ = done.error();
    damaged_ = true;
  }
  return fresh;
}

void StoredDisk::read(u64 offset, base::Bytes out) const {
  while (!out.empty()) {
    const u64 index = offset / chunk_bytes_;
    const u64 within = offset % chunk_bytes_;
    const base::Bytes piece =
        out.first(static_cast<std::size_t>(std::min<u64>(out.size(), chunk_bytes_ - within)));
    if (reader_->is_zero(object_, index)) {
      std::ranges::fill(piece, std::uint8_t{0});
    } else {
      const std::lock_guard lock(mutex_);
      const base::ConstBytes bytes = chunk(index).bytes;
      std::ranges::copy(bytes.subspan(within, piece.size()), piece.begin());
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
}

base::Error StoredDisk::damage() const {
  const std::lock_guard lock(mutex_);
  return damage_;
}

bool StoredDisk::covers(u64 offset, u64 length) const {
  if (length == 0) return false;
  for (u64 index = offset / chunk_bytes_; index <= (offset + length - 1) / chunk_bytes_; ++index) {
    if (!reader_->is_zero(object_, index)) return true;
  }
  return false;
}

void StoredDisk::for_each_data(const Visit& visit) const {
  const std::uint64_t count = reader_->objects()[object_].chunk_count();
  for (std::uint64_t index = 0; index < count; ++index) {
    if (reader_->is_zero(object_, index)) continue;
    visit(index * chunk_bytes_, std::min(chunk_bytes_, size_ - index * chunk_bytes_));
  }
}

}  // namespace snowglobe::detail
