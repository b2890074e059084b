// api/src/io_worker.h - a thread for what may block on the host's disk, so that the machine's does
// not.
#pragma once

#include "base/error.h"
#include <snowglobe/export.hpp>

#include <chrono>
#include <functional>
#include <memory>

namespace snowglobe::detail {

/// Does jobs one after the other, in the order in which they were given. Jobs must not throw.
/// Thread rule: any thread. After the application's fork() the child's copy does nothing.
class IoWorker {
 public:
  using Job = std::function<void()>;

  /// `name`: at most 15 characters, for people who look at threads. Errors: kResourceExhausted.
  static base::Result<std::unique_ptr<IoWorker>> start(const char* name);
  /// Does all that was given, and ends the thread.
  ~IoWorker();
  IoWorker(const IoWorker&) = delete;
  IoWorker& operator=(const IoWorker&) = delete;

  void post(Job job);
  /// Returns when all posted jobs are done. False: the limit passed.
  [[nodiscard]] bool wait_idle(std::chrono::nanoseconds limit);

 private:
  struct Body;
  explicit IoWorker(std::unique_ptr<Body> body);

  std::unique_ptr<Body> body_;
};

}  // namespace snowglobe::detail
