// guestnet/alarm.cc - the network's timer on asio::steady_timer.
// A deadline that moves later does not touch the timer: it fires once too early and is armed again,
// which saves a system call for nearly every segment.
#include "guestnet/alarm.h"

#include <algorithm>
#include <utility>

namespace snowglobe::net {

struct AsioAlarm::State {
  std::function<void()> handler;
  base::Nanoseconds wanted = kNever;
  base::Nanoseconds armed = kNever;  // what the timer waits for
  std::uint64_t generation = 0;      // tells the latest wait from those it replaced
};

AsioAlarm::AsioAlarm(asio::io_context& loop, const base::Clock& clock)
    : clock_(clock), timer_(loop), state_(std::make_shared<State>()) {}

AsioAlarm::~AsioAlarm() = default;

void AsioAlarm::set_handler(std::function<void()> handler) {
  state_->handler = std::move(handler);
}

void AsioAlarm::set(base::Nanoseconds when) {
  State& state = *state_;
  state.wanted = when;
  if (when == kNever) {  // nothing may keep the loop from running out of work
    state.armed = kNever;
    ++state.generation;
    timer_.cancel();
    return;
  }
  if (when >= state.armed) return;
  state.armed = when;
  const std::uint64_t generation = ++state.generation;
  timer_.expires_after(std::max(base::Nanoseconds{0}, when - clock_.monotonic()));
  timer_.async_wait([this, weak = std::weak_ptr<State>(state_), generation](std::error_code) {
    const auto alive = weak.lock();
    if (alive == nullptr || alive->generation != generation) return;
    alive->armed = kNever;
    const base::Nanoseconds wanted = alive->wanted;
    if (wanted == kNever) return;
    if (wanted > clock_.monotonic()) {
      set(wanted);
      return;
    }
    alive->wanted = kNever;
    if (alive->handler) alive->handler();
  });
}

}  // namespace snowglobe::net
