// base/clock.cc - the host's clocks and the manual one.
#include "base/clock.h"

namespace snowglobe::base {

Nanoseconds SystemClock::monotonic() const {
  return std::chrono::steady_clock::now().time_since_epoch();
}

Nanoseconds SystemClock::wall() const {
  return std::chrono::system_clock::now().time_since_epoch();
}

Nanoseconds ManualClock::monotonic() const {
  const std::lock_guard lock(mutex_);
  return now_;
}

Nanoseconds ManualClock::wall() const {
  return monotonic();
}

void ManualClock::advance(Nanoseconds by) {
  const std::lock_guard lock(mutex_);
  now_ += by;
}

}  // namespace snowglobe::base
