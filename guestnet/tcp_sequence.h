// guestnet/tcp_sequence.h - TCP sequence numbers: arithmetic and order modulo 2^32 (RFC 9293, 3.4).
#pragma once

#include <cstdint>

namespace snowglobe::net {

/// Compares only in the modular sense, so that a plain `<` on wrapped numbers can not be written.
class SeqNum {
 public:
  constexpr SeqNum() = default;
  constexpr explicit SeqNum(std::uint32_t value) : value_(value) {}

  [[nodiscard]] constexpr std::uint32_t value() const { return value_; }

  constexpr SeqNum& operator+=(std::uint32_t count) {
    value_ += count;
    return *this;
  }
  friend constexpr SeqNum operator+(SeqNum from, std::uint32_t count) {
    return SeqNum(from.value_ + count);
  }
  friend constexpr SeqNum operator-(SeqNum from, std::uint32_t count) {
    return SeqNum(from.value_ - count);
  }
  /// How far `to` lies after `from`; negative if before. Meaningful within half the space.
  friend constexpr std::int32_t operator-(SeqNum to, SeqNum from) {
    return static_cast<std::int32_t>(to.value_ - from.value_);
  }
  friend constexpr bool operator==(SeqNum, SeqNum) = default;
  friend constexpr bool operator<(SeqNum a, SeqNum b) { return a - b < 0; }
  friend constexpr bool operator>(SeqNum a, SeqNum b) { return b < a; }
  friend constexpr bool operator<=(SeqNum a, SeqNum b) { return !(b < a); }
  friend constexpr bool operator>=(SeqNum a, SeqNum b) { return !(a < b); }

 private:
  std::uint32_t value_ = 0;
};

constexpr SeqNum later(SeqNum a, SeqNum b) {
  return a < b ? b : a;
}

}  // namespace snowglobe::net
