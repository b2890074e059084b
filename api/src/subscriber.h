// api/src/subscriber.h - a thread that listens on one channel for a Subscription.
#pragma once

#include <snowglobe/options.hpp>
#include <snowglobe/subscription.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <thread>

namespace snowglobe::detail {

class Connection;
class DatabaseState;

/// Thread rule: any thread. Keeps the machine alive, as a session does. In a forked child it does
/// nothing.
class Subscriber : public std::enable_shared_from_this<Subscriber> {
 public:
  using Callback = std::function<void(const Notification&)>;

  Subscriber(std::shared_ptr<DatabaseState> database, std::string channel, Callback callback,
             SessionOptions options);
  /// Listens, and starts the thread. Throws as Database::session().
  void start();
  /// Returns when the thread is done with this, at once on the thread itself.
  void stop() noexcept;
  [[nodiscard]] bool active() const noexcept { return active_; }

 private:
  std::shared_ptr<Connection> listening_connection();
  void run(std::shared_ptr<Connection> connection) noexcept;
  /// Waits on this connection until stop() or its end.
  void serve(Connection& connection);
  void call_back(const Notification& notification) noexcept;

  const std::shared_ptr<DatabaseState> database_;
  const std::string channel_;
  const Callback callback_;
  const SessionOptions options_;
  const pid_t owner_;
  std::atomic<bool> stopped_ = false;
  std::atomic<bool> active_ = true;
  std::thread thread_;
};

}  // namespace snowglobe::detail
