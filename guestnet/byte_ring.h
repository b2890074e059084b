// guestnet/byte_ring.h - a queue of bytes that grows on demand up to a limit.
#pragma once

#include "base/bytes.h"

#include <array>
#include <vector>

namespace snowglobe::net {

/// Storage that wraps around, so what is in it comes as up to two pieces. Takes no memory while
/// empty and unused; gives large storage back when it runs empty. Invariant: size() <= limit().
class ByteRing {
 public:
  using Pieces = std::array<base::ConstBytes, 2>;
  using FreePieces = std::array<base::Bytes, 2>;

  explicit ByteRing(std::size_t limit) : limit_(limit) {}

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t limit() const { return limit_; }
  [[nodiscard]] std::size_t room() const { return limit_ - size_; }

  /// The bytes [offset, offset + length), which must be there.
  [[nodiscard]] Pieces peek(std::size_t offset, std::size_t length) const;
  /// Drops the first `count` bytes, which must be there.
  void consume(std::size_t count);
  /// Appends as much as there is room for and returns how much that was.
  std::size_t append(base::ConstBytes bytes);
  /// Free space of min(wanted, room()) bytes to be filled by the caller; followed by commit().
  [[nodiscard]] FreePieces prepare(std::size_t wanted);
  /// The first `count` bytes of what prepare() returned are filled.
  void commit(std::size_t count) { size_ += count; }
  void clear();

 private:
  void reserve(std::size_t capacity);

  std::size_t limit_;
  std::vector<std::uint8_t> storage_;  // its size is a power of two, or 0
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace snowglobe::net
