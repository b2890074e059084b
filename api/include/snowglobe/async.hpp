// snowglobe/async.hpp - statements without waiting, for programs on Asio (the standalone library;
// this header alone needs it, and the main one does not include it).
//
//   snowglobe::AsyncSession session(db.session(), context.get_executor());
//   auto result =
//       co_await session.async_query("select $1::int", 7, asio::use_awaitable);
//
// Completions are (std::exception_ptr, Result): null, or what Session::query() would have thrown.
//
// Thread rule: call from any thread; statements run one after the other, in the order of the calls,
// on one thread of this object; completions run on the handler's associated executor, or the
// object's. Per-operation cancellation (asio::cancellation_signal) cancels the statement, or drops
// it if it has not begun. The destructor cancels what is under way and waits for it; completions of
// all that was asked for still come.
#pragma once

#include <snowglobe/session.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace snowglobe {
inline namespace v1 {

class AsyncSession {
 public:
  AsyncSession(Session session, asio::any_io_executor executor)
      : executor_(std::move(executor)),
        state_(std::make_shared<State>(std::move(session))),
        thread_([state = state_] { state->run(); }) {}
  AsyncSession(const AsyncSession&) = delete;
  AsyncSession& operator=(const AsyncSession&) = delete;
  ~AsyncSession() {
    state_->stop();
    // Completions may run on this very thread when the executor runs them at once.
    if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();
    } else {
      thread_.join();
    }
  }

  using executor_type = asio::any_io_executor;
  [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

  /// Runs one statement. The last argument is the completion token; those before it are the
  /// statement's parameters, which are copied.
  template <class... ArgsAndToken>
  auto async_query(std::string_view sql, ArgsAndToken&&... args) {
    static_assert(sizeof...(ArgsAndToken) > 0, "the last argument is a completion token");
    auto all = std::forward_as_tuple(std::forward<ArgsAndToken>(args)...);
    constexpr std::size_t kParameters = sizeof...(ArgsAndToken) - 1;
    auto parameters = own(all, std::make_index_sequence<kParameters>{});
    return async_run(
        [text = std::string(sql), parameters = std::move(parameters)](Session& session) {
          return std::apply([&](const auto&... values) { return session.query(text, values...); },
                            parameters);
        },
        std::get<kParameters>(std::move(all)));
  }

  /// Runs `work(Session&)`, which returns a Result, in its turn: transactions, COPY, whatever a
  /// Session does.
  template <class Work, class Token>
  auto async_run(Work work, Token&& token) {
    return asio::async_initiate<Token, void(std::exception_ptr, Result)>(
        [state = state_, executor = executor_](auto handler, Work wanted) {
          state->push(std::make_unique<Task<decltype(handler), Work>>(std::move(handler), executor,
                                                                      std::move(wanted), state));
        },
        token, std::move(work));
  }

 private:
  template <class Tuple, std::size_t... kIndex>
  static auto own(const Tuple& all, std::index_sequence<kIndex...>) {
    return std::make_tuple(owned(std::get<kIndex>(all))...);
  }
  // Views and literals become strings: the caller's are gone when the statement runs.
  template <class T>
  static auto owned(const T& value) {
    if constexpr (std::is_pointer_v<T> && std::is_convertible_v<T, const char*>) {
      return value == nullptr ? std::nullopt : std::optional<std::string>(value);
    } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return std::string(std::string_view(value));
    } else if constexpr (std::is_same_v<T, BytesView>) {
      return Bytes(value.begin(), value.end());
    } else {
      return value;
    }
  }

  struct State;

  /// A statement that waits for its turn, with who wants to know.
  struct TaskBase {
    virtual ~TaskBase() = default;
    virtual void run(Session& session) = 0;
    virtual void fail(std::exception_ptr error) = 0;
    std::uint64_t id = 0;
    bool cancelled = false;
  };

  template <class Handler, class Work>
  struct Task final : TaskBase {
    using Executor = asio::associated_executor_t<Handler, asio::any_io_executor>;

    Task(Handler taken, const asio::any_io_executor& executor, Work wanted,
         const std::shared_ptr<State>& state)
        : handler(std::move(taken)),
          guard(asio::make_work_guard(asio::get_associated_executor(handler, executor))),
          work(std::move(wanted)) {
      id = ++state->last_id;
      auto slot = asio::get_associated_cancellation_slot(handler);
      if (slot.is_connected()) {
        slot.assign([weak = std::weak_ptr<State>(state), which = id](asio::cancellation_type) {
          if (const auto alive = weak.lock()) alive->cancel(which);
        });
      }
    }
    void run(Session& session) override {
      std::exception_ptr error;
      Result result;
      try {
        result = work(session);
      } catch (...) {
        error = std::current_exception();
      }
      complete(error, std::move(result));
    }
    void fail(std::exception_ptr error) override { complete(std::move(error), Result()); }
    void complete(std::exception_ptr error, Result result) {
      asio::post(guard.get_executor(), [handler = std::move(handler), error = std::move(error),
                                        result = std::move(result)]() mutable {
        asio::get_associated_cancellation_slot(handler).clear();
        std::move(handler)(std::move(error), std::move(result));
      });
      guard.reset();
    }

    Handler handler;
    asio::executor_work_guard<Executor> guard;
    Work work;
  };

  struct State {
    explicit State(Session taken) : session(std::move(taken)) {}

    void push(std::unique_ptr<TaskBase> task) {
      const std::lock_guard lock(mutex);
      tasks.push_back(std::move(task));
      changed.notify_one();
    }
    /// Of one that may be done: then nothing happens. The lock keeps the next one from beginning
    /// before the request was taken: it would be the one that is cancelled.
    void cancel(std::uint64_t id) {
      const std::lock_guard lock(mutex);
      for (const auto& waiting : tasks) {
        if (waiting->id == id) waiting->cancelled = true;
      }
      if (running == id) session.cancel();
    }
    void stop() {
      const std::lock_guard lock(mutex);
      stopped = true;
      if (running != 0) session.cancel();
      changed.notify_one();
    }
    void run() {
      for (;;) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return stopped || !tasks.empty(); });
        if (tasks.empty()) return;
        const std::unique_ptr<TaskBase> task = std::move(tasks.front());
        tasks.pop_front();
        const bool drop = stopped || task->cancelled;
        running = drop ? 0 : task->id;
        lock.unlock();
        if (drop) {
          task->fail(
              std::make_exception_ptr(Cancelled("the statement was cancelled before it began")));
        } else {
          task->run(session);
        }
        lock.lock();
        running = 0;
      }
    }

    Session session;
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::unique_ptr<TaskBase>> tasks;
    std::atomic<std::uint64_t> last_id = 0;
    std::uint64_t running = 0;  // its id
    bool stopped = false;
  };

  asio::any_io_executor executor_;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace v1
}  // namespace snowglobe
