// bench/worker.h - a child process that works and tells: what crashes or hangs there ends a row,
// not the benchmark.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <sys/types.h>

namespace bench {

/// Requires that this process has no other threads while it starts one.
class Worker {
 public:
  using Tell = std::function<void(const nlohmann::ordered_json&)>;

  /// Forks; `body` runs in the child, and the child ends with it or with us. An exception is told
  /// as {"error": its text}.
  explicit Worker(const std::function<void(const Tell&)>& body);
  /// Kills the child if it is still there.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// What was told next; nothing when the child has ended or the time has passed.
  std::optional<nlohmann::ordered_json> next(std::chrono::steady_clock::time_point until);
  /// How it ended ("signal 11 ..."), or that it had to be killed because it went on; empty if all
  /// is well.
  std::string end();

 private:
  bool read_more(std::chrono::steady_clock::time_point until);

  pid_t child_ = -1;
  int pipe_ = -1;
  bool ended_ = false;
  std::string input_;
};

}  // namespace bench
