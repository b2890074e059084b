// api/src/deadline.h - a moment at which waiting ends, or none.
#pragma once

#include <snowglobe/export.hpp>

#include <algorithm>
#include <chrono>
#include <optional>

namespace snowglobe::detail {

/// `limit` from now. More than a year is a year: the clock counts nanoseconds, and callers may say
/// milliseconds::max().
inline std::chrono::steady_clock::time_point moment_after(std::chrono::milliseconds limit) {
  constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 366);
  return std::chrono::steady_clock::now() + std::clamp(limit, -kLongest, kLongest);
}

/// A value; never throws.
class Deadline {
 public:
  /// Never passes.
  Deadline() = default;
  /// `limit` from now; none if it is not positive.
  explicit Deadline(std::chrono::milliseconds limit) {
    if (limit.count() > 0) at_ = moment_after(limit);
  }

  [[nodiscard]] bool passed() const { return at_ && std::chrono::steady_clock::now() >= *at_; }
  /// For poll(2): milliseconds that are left, rounded up; -1 for ever.
  [[nodiscard]] int poll_timeout() const {
    if (!at_) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*at_ - std::chrono::steady_clock::now());
    if (left.count() <= 0) return 0;
    constexpr std::chrono::milliseconds kMost = std::chrono::hours(24);
    return static_cast<int>(std::min(left, kMost).count());
  }
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> at() const { return at_; }

 private:
  std::optional<std::chrono::steady_clock::time_point> at_;
};

}  // namespace snowglobe::detail
