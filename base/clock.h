// base/clock.h - time as an interface, so that a machine can be run deterministically in tests.
// SystemClock is the host's; ManualClock moves only when told.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

namespace snowglobe::base {

using Nanoseconds = std::chrono::nanoseconds;

/// Thread rule: all implementations may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Host time that never goes back; the zero point means nothing.
  [[nodiscard]] virtual Nanoseconds monotonic() const = 0;
  /// Time since 1970-01-01 UTC.
  [[nodiscard]] virtual Nanoseconds wall() const = 0;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] Nanoseconds monotonic() const override;
  [[nodiscard]] Nanoseconds wall() const override;
};

class ManualClock final : public Clock {
 public:
  [[nodiscard]] Nanoseconds monotonic() const override;
  [[nodiscard]] Nanoseconds wall() const override;
  /// Moves both clocks forward.
  void advance(Nanoseconds by);

 private:
  mutable std::mutex mutex_;
  Nanoseconds now_{0};
};

}  // namespace snowglobe::base
