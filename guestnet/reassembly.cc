// guestnet/reassembly.cc - a sorted list of pieces, none overlapping another.
#include "guestnet/reassembly.h"

#include <algorithm>

namespace snowglobe::net {

void Reassembly::insert(SeqNum start, base::ConstBytes bytes) {
  auto next = pieces_.begin();
  while (!bytes.empty()) {
    // `next` becomes the first piece that ends after our first byte.
    while (next != pieces_.end() &&
           next->start + static_cast<std::uint32_t>(next->bytes.size()) <= start) {
      ++next;
    }
    std::size_t fresh = bytes.size();
    std::size_t known = 0;
    if (next != pieces_.end()) {
      const std::int32_t gap = next->start - start;
      if (gap <= 0) {
        fresh = 0;
        known = next->bytes.size() - static_cast<std::size_t>(-gap);
      } else {
        fresh = std::min(bytes.size(), static_cast<std::size_t>(gap));
      }
    }
    if (fresh > 0) {
      if (pieces_.size() >= kMaxPieces) return;
      const base::ConstBytes part = bytes.first(fresh);
      next = pieces_.insert(next, Piece{start, {part.begin(), part.end()}});
      size_ += fresh;
    }
    const std::size_t step = std::min(bytes.size(), fresh > 0 ? fresh : known);
    bytes = bytes.subspan(step);
    start += static_cast<std::uint32_t>(step);
  }
}

std::vector<std::uint8_t> Reassembly::take(SeqNum expected) {
  while (!pieces_.empty() && pieces_.front().start <= expected) {
    Piece piece = std::move(pieces_.front());
    pieces_.erase(pieces_.begin());
    size_ -= piece.bytes.size();
    const auto passed = static_cast<std::size_t>(expected - piece.start);
    if (passed >= piece.bytes.size()) continue;  // arrived in the meantime by another way
    piece.bytes.erase(piece.bytes.begin(), piece.bytes.begin() + static_cast<long>(passed));
    return std::move(piece.bytes);
  }
  return {};
}

void Reassembly::clear() {
  pieces_.clear();
  size_ = 0;
}

}  // namespace snowglobe::net
