// base/adaptive_spin.h - whether to spin for a moment before a thread goes to sleep.
//
// Waking a thread costs 5 us on a busy host and 35 us or more where the processor slept as well: as
// long as a whole short query. So a thread whose last waits were short looks a while before it
// sleeps.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace snowglobe::base {

/// One for each thread and thing that is waited for. Thread rule: confined to that thread.
class AdaptiveSpin {
 public:
  using Clock = std::chrono::steady_clock;

  /// Calls `ready` until it is true, or until it pays no longer. False: go to sleep, and tell
  /// slept().
  template <class Ready>
  bool spin(Ready ready) {
    began_ = Clock::now();
    if (score_ < kWorth) return false;
    const Clock::time_point end = began_ + kLongest;
    do {
      if (ready()) {
        score_ = std::min(score_ + 1, kMost);
        return true;
      }
    } while (Clock::now() < end);
    score_ -= 2;
    return false;
  }

  /// What was waited for came while the thread slept: would spinning have met it?
  void slept() {
    const bool short_wait = Clock::now() - began_ < 2 * kLongest;
    static const bool alone = std::thread::hardware_concurrency() < 2;
    if (alone) return;
    score_ = short_wait ? std::min(score_ + 1, kMost) : std::max(score_ - 1, 0);
  }

 private:
  static constexpr std::chrono::microseconds kLongest{50};
  static constexpr int kWorth = 4;  // that many short waits in a row start it
  static constexpr int kMost = 8;

  Clock::time_point began_;
  int score_ = 0;
};

}  // namespace snowglobe::base
