// guestnet/byte_ring.cc - the growing ring.
#include "guestnet/byte_ring.h"

#include "base/check.h"

#include <algorithm>

namespace snowglobe::net {
namespace {

constexpr std::size_t kSmallest = 4096;
constexpr std::size_t kKeep = std::size_t{64} << 10;  // larger storage is given back when empty

}  // namespace

ByteRing::Pieces ByteRing::peek(std::size_t offset, std::size_t length) const {
  SG_DCHECK(base::range_fits(offset, length, size_), "peek beyond the end");
  if (length == 0) return {};
  const std::size_t start = (head_ + offset) & (storage_.size() - 1);
  const std::size_t first = std::min(length, storage_.size() - start);
  return {base::ConstBytes(&storage_[start], first),
          base::ConstBytes(storage_.data(), length - first)};
}

void ByteRing::consume(std::size_t count) {
  SG_DCHECK(count <= size_, "consume beyond the end");
  size_ -= count;
  if (size_ > 0) {
    head_ = (head_ + count) & (storage_.size() - 1);
    return;
  }
  clear();
}

void ByteRing::clear() {
  head_ = 0;  // starting at the front again keeps most of what is queued in one piece
  size_ = 0;
  if (storage_.size() > kKeep) storage_ = {};
}

std::size_t ByteRing::append(base::ConstBytes bytes) {
  std::size_t done = 0;
  for (const base::Bytes piece : prepare(bytes.size())) {
    if (piece.empty()) continue;
    std::memcpy(piece.data(), bytes.data() + done, piece.size());
    done += piece.size();
  }
  commit(done);
  return done;
}

ByteRing::FreePieces ByteRing::prepare(std::size_t wanted) {
  const std::size_t count = std::min(wanted, room());
  if (count == 0) return {};
  if (size_ + count > storage_.size()) reserve(size_ + count);
  const std::size_t start = (head_ + size_) & (storage_.size() - 1);
  const std::size_t first = std::min(count, storage_.size() - start);
  return {base::Bytes(&storage_[start], first), base::Bytes(storage_.data(), count - first)};
}

void ByteRing::reserve(std::size_t capacity) {
  std::size_t size = std::max(storage_.size(), kSmallest);
  while (size < capacity)
    size *= 2;
  std::vector<std::uint8_t> larger(size);
  std::size_t at = 0;
  for (const base::ConstBytes piece : peek(0, size_)) {
    if (piece.empty()) continue;
    std::memcpy(larger.data() + at, piece.data(), piece.size());
    at += piece.size();
  }
  storage_ = std::move(larger);
  head_ = 0;
}

}  // namespace snowglobe::net
