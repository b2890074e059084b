// api/src/flush_policy.h - which thread is to carry out a flush: the machine's or another.
//
// Another thread lets the guest run on while the host's disk works, but waking it and being woken
// costs a commit that nobody runs beside a tenth of a millisecond. So the machine's thread syncs by
// itself where the last flushes on another thread have shown that the guest has nothing else to do
// and that the host's disk is quick; every few flushes another thread is asked again to see whether
// that is still so.
//
// Measured: with one session that commits, this thread computes for 0.16 of the time that another
// one needs for the flush (9 of 10: below 0.24), with four for more than 0.92 (19 of 20).
#pragma once

#include <snowglobe/export.hpp>

#include <chrono>

namespace snowglobe::detail {

/// Thread rule: machine's thread.
class FlushPolicy {
 public:
  using Duration = std::chrono::nanoseconds;

  /// A sync that takes longer is no business of the thread on which the guest runs.
  static constexpr Duration kQuick = std::chrono::milliseconds(1);
  /// Flushes on this thread between two on another.
  static constexpr int kBetweenProbes = 15;
  /// Flushes on another thread beside which the guest was idle, one after the other, before the
  /// first on this thread.
  static constexpr int kProbes = 4;
  /// Flushes on another thread after one on this thread was slow.
  static constexpr int kAfterSlow = 16;

  /// True: sync on this thread now, and say by ended_here() how long it took.
  [[nodiscard]] bool here() {
    if (left_ == 0) return false;
    --left_;
    return true;
  }
  void ended_here(Duration took) {
    if (took <= kQuick) return;
    left_ = 0;
    idle_ = 0;
    avoided_ = kAfterSlow;
  }

  /// Another thread's flush has ended, `took` after it was asked for; meanwhile this thread has
  /// computed for `busy`.
  void ended_elsewhere(Duration took, Duration busy) {
    if (avoided_ > 0) --avoided_;
    idle_ = took <= kQuick && busy * 3 < took ? idle_ + 1 : 0;
    if (avoided_ == 0 && idle_ >= kProbes) left_ = kBetweenProbes;
  }

 private:
  int left_ = 0;  ///< flushes that are this thread's
  int idle_ = 0;  ///< that ended elsewhere, one after the other, and found the guest idle
  int avoided_ = 0;
};

}  // namespace snowglobe::detail
