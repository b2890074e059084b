// api/src/subscriber.cc - Subscription, and the thread behind it.
#include "api/src/subscriber.h"

#include "api/src/database_state.h"

#include <unistd.h>

namespace snowglobe {
inline namespace v1 {
namespace detail {
namespace {

using namespace std::chrono_literals;

// How late a stop() is noticed.
constexpr auto kLook = 100ms;
// A server that ends sessions as fast as they come is not to be asked in a loop.
constexpr auto kPause = 100ms;

}  // namespace

Subscriber::Subscriber(std::shared_ptr<DatabaseState> database, std::string channel,
                       Callback callback, SessionOptions options)
    : database_(std::move(database)),
      channel_(std::move(channel)),
      callback_(std::move(callback)),
      options_(std::move(options)),
      owner_(getpid()) {
  if (!callback_) throw InvalidArgument("subscribe() needs a callback");
}

std::shared_ptr<Connection> Subscriber::listening_connection() {
  auto connection = database_->connect(options_);
  connection->run_simple("listen " + connection->quoted_identifier(channel_));
  return connection;
}

void Subscriber::start() {
  std::shared_ptr<Connection> connection = listening_connection();
  // The thread keeps this alive: its own callback may drop the last Subscription.
  thread_ = std::thread([self = shared_from_this(), connection = std::move(connection)]() mutable {
    self->run(std::move(connection));
  });
}

void Subscriber::stop() noexcept {
  // In a forked child there is no such thread. What it holds keeps this from being destroyed there.
  if (owner_ != getpid()) return;
  stopped_ = true;
  if (!thread_.joinable()) return;
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Subscriber::run(std::shared_ptr<Connection> connection) noexcept {
  while (!stopped_) {
    const bool anew = connection == nullptr;
    try {
      if (anew) connection = listening_connection();
      serve(*connection);
    } catch (const std::exception& error) {
      if (stopped_) break;
      // A machine that is down may be started again by the next session, if Options say so.
      if (anew && !database_->server()->is_open()) break;
      database_->server()->log({LogSource::postgres, LogLevel::warning,
                                "listens anew on '" + channel_ + "': " + error.what()});
      std::this_thread::sleep_for(kPause);
    }
    connection.reset();
  }
  active_ = false;
}

void Subscriber::serve(Connection& connection) {
  while (!stopped_ && database_->server()->is_open()) {
    const std::optional<Notification> notification = connection.wait_notification(kLook);
    if (notification && !stopped_) call_back(*notification);
  }
}

void Subscriber::call_back(const Notification& notification) noexcept {
  std::string what = "something that is no std::exception";
  try {
    callback_(notification);
    return;
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
  }
  database_->server()->log({LogSource::postgres, LogLevel::error,
                            "the callback of channel '" + channel_ + "' threw: " + what});
}

}  // namespace detail

Subscription::Subscription(std::shared_ptr<detail::Subscriber> subscriber) noexcept
    : subscriber_(std::move(subscriber)) {}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    stop();
    subscriber_ = std::move(other.subscriber_);
  }
  return *this;
}

Subscription::~Subscription() {
  stop();
}

bool Subscription::active() const noexcept {
  return subscriber_ && subscriber_->active();
}

void Subscription::stop() noexcept {
  if (subscriber_) subscriber_->stop();
}

Subscription Database::subscribe(std::string_view channel,
                                 std::function<void(const Notification&)> callback,
                                 const SessionOptions& options) {
  (void)state();  // throws where there is none
  auto subscriber = std::make_shared<detail::Subscriber>(state_, std::string(channel),
                                                         std::move(callback), options);
  subscriber->start();
  return Subscription(std::move(subscriber));
}

}  // namespace v1
}  // namespace snowglobe
