// tests/support/event_loop.h - an event loop without sockets: posted functions, and a condition
// variable.
#pragma once

#include "vm/backends.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

namespace snowglobe::vm::test {

class PostLoop final : public EventLoop {
 public:
  /// Has `work` called on the machine's thread. Any thread.
  void post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      work_.push_back(std::move(work));
    }
    changed_.notify_all();
  }

  void poll() override { run_posted(); }

  void wait(base::Nanoseconds limit) override {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, limit, [this] { return woken_ || !work_.empty(); });
      woken_ = false;
    }
    run_posted();
  }

  void wake() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    changed_.notify_all();
  }

 private:
  void run_posted() {
    std::vector<std::function<void()>> ready;
    {
      const std::lock_guard lock(mutex_);
      ready.swap(work_);
    }
    for (const auto& work : ready)
      work();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> work_;
  bool woken_ = false;
};

}  // namespace snowglobe::vm::test
