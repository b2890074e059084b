// guestnet/reassembly.h - bytes that arrived before their turn.
#pragma once

#include "base/bytes.h"
#include "guestnet/tcp_sequence.h"

#include <cstdint>
#include <vector>

namespace snowglobe::net {

/// Keeps pieces of a stream ahead of what is expected. The caller passes only what lies inside the
/// receive window, so the window bounds the bytes; the number of pieces has a limit of its own,
/// since single bytes far apart cost more than they weigh. Invariant: pieces do not overlap.
class Reassembly {
 public:
  static constexpr std::size_t kMaxPieces = 256;

  [[nodiscard]] bool empty() const { return pieces_.empty(); }
  /// Bytes held.
  [[nodiscard]] std::size_t size() const { return size_; }

  /// What is there already stays; beyond kMaxPieces the bytes are dropped, to be sent again.
  void insert(SeqNum start, base::ConstBytes bytes);

  /// Takes out the bytes that start at or before `expected`, cut to start there. Empty if there are
  /// none.
  [[nodiscard]] std::vector<std::uint8_t> take(SeqNum expected);

  void clear();

 private:
  struct Piece {
    SeqNum start;
    std::vector<std::uint8_t> bytes;
  };

  std::vector<Piece> pieces_;  // in order of the sequence
  std::size_t size_ = 0;
};

}  // namespace snowglobe::net
