// vm/machine_clock.h - the guest's time: nanoseconds for which the machine ran.
#pragma once

#include "base/clock.h"
#include "vm/cpu/environment.h"
#include "vm/types.h"

namespace snowglobe::vm {

/// Stands still while the machine is paused. In a deterministic run it counts instructions instead,
/// as one nanosecond each. Thread rule: machine's thread.
class GuestClock final : public TscSource {
 public:
  /// `host` is not owned. Stopped at first.
  explicit GuestClock(const base::Clock& host) : host_(host) {}

  /// From now on the time is `*counter` (not owned) and what was skipped.
  void count_instructions(const u64* counter) { counter_ = counter; }
  [[nodiscard]] bool deterministic() const { return counter_ != nullptr; }

  u64 ticks() override {
    if (counter_ != nullptr) return base_ + *counter_;
    return running_ ? base_ + host_now() - since_ : base_;
  }
  void run() {
    since_ = host_now();
    running_ = true;
  }
  void stop() {
    if (counter_ == nullptr) base_ = ticks();
    running_ = false;
  }
  /// Goes on from `time`, running or stopped: that of a restored machine. A counter of instructions
  /// has its restored value already.
  void set(u64 time) {
    base_ = counter_ != nullptr ? time - *counter_ : time;
    if (running_) since_ = host_now();
  }
  /// Deterministic runs only: lets the time up to `target` pass at once.
  void skip_to(u64 target) {
    const u64 now = ticks();
    if (target > now) base_ += target - now;
  }

 private:
  [[nodiscard]] u64 host_now() const { return static_cast<u64>(host_.monotonic().count()); }

  const base::Clock& host_;
  const u64* counter_ = nullptr;
  u64 base_ = 0;   ///< time that had passed when the clock was last started
  u64 since_ = 0;  ///< host time of that start
  bool running_ = false;
};

}  // namespace snowglobe::vm
