// guestnet/alarm.h - the one timer of a network: an interface, and its implementation on Asio.
// Connections keep deadlines of their own; the alarm only says when to look at them again.
#pragma once

#include "base/clock.h"

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <memory>

namespace snowglobe::net {

/// A deadline that never comes.
inline constexpr base::Nanoseconds kNever = base::Nanoseconds::max();

/// Thread rule: confined to the network's thread.
class Alarm {
 public:
  virtual ~Alarm() = default;
  /// What set() wakes. Set once, before the first set().
  virtual void set_handler(std::function<void()> handler) = 0;
  /// Asks for a call of the handler when the network's clock has reached `when`. A later call
  /// replaces an earlier one; kNever cancels. The handler may also be called too early.
  virtual void set(base::Nanoseconds when) = 0;
};

/// An asio::steady_timer that wakes by the given clock's time.
class AsioAlarm final : public Alarm {
 public:
  /// Both outlive the alarm.
  AsioAlarm(asio::io_context& loop, const base::Clock& clock);
  ~AsioAlarm() override;
  AsioAlarm(const AsioAlarm&) = delete;
  AsioAlarm& operator=(const AsioAlarm&) = delete;

  void set_handler(std::function<void()> handler) override;
  void set(base::Nanoseconds when) override;

 private:
  struct State;

  const base::Clock& clock_;
  asio::steady_timer timer_;
  std::shared_ptr<State> state_;  // what a late completion finds alive or gone
};

}  // namespace snowglobe::net
