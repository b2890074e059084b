// snowglobe/subscription.hpp - LISTEN/NOTIFY with a callback: Database::subscribe().
//
//   auto subscription = db.subscribe(
//       "jobs", [](const snowglobe::Notification& n) { use(n.payload); });
#pragma once

#include <snowglobe/export.hpp>

#include <memory>
#include <string>

namespace snowglobe {
inline namespace v1 {
namespace detail {
class Subscriber;
}

struct Notification {
  std::string channel;
  std::string payload;
  int backend_pid = 0;  ///< of the session that sent it
};

/// Listens until it is dropped, on a session and a thread of its own. Move-only.
///
/// Thread rule: the callback runs on that thread, one call at a time; it may use the database, and
/// may drop the Subscription. What it throws goes to Options::on_log.
///
/// A restore does not end it: where its session cannot go on it listens on a new one.
/// Notifications that are sent meanwhile are lost, as in PostgreSQL without a session that listens.
class SNOWGLOBE_API Subscription {
 public:
  explicit Subscription(std::shared_ptr<detail::Subscriber> subscriber) noexcept;
  Subscription(Subscription&& other) noexcept = default;
  Subscription& operator=(Subscription&& other) noexcept;
  ~Subscription();

  /// False once the database is closed or the machine dead.
  [[nodiscard]] bool active() const noexcept;
  /// Returns when no callback runs any more (at once in the callback itself). Idempotent.
  void stop() noexcept;

 private:
  std::shared_ptr<detail::Subscriber> subscriber_;
};

}  // namespace v1
}  // namespace snowglobe
