// tests/fuzz/input.h - takes a fuzzer's bytes apart; behind their end everything is zero.
#pragma once

#include "base/bytes.h"

#include <algorithm>
#include <cstring>

namespace snowglobe::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  template <class T>
  T take() {
    T value{};
    const std::size_t length = std::min(sizeof value, rest_.size());
    std::memcpy(&value, rest_.data(), length);
    rest_ = rest_.subspan(length);
    return value;
  }
  /// A number below `limit`.
  std::uint32_t below(std::uint32_t limit) { return take<std::uint16_t>() % limit; }
  base::ConstBytes bytes(std::size_t length) {
    const base::ConstBytes taken = rest_.first(std::min(length, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  base::ConstBytes rest_;
};

}  // namespace snowglobe::fuzz
