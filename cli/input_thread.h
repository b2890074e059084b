// cli/input_thread.h - our standard input, read beside a program of the guest that is to have it.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>
#include <thread>

namespace snowglobe::cli {

/// Ends with the object, at once.
class InputThread {
 public:
  /// `take` gets what was read, or nothing at the end, and says if more is wanted. Both functions
  /// are called on the thread; `look`, if there is one, `every` so often as well.
  explicit InputThread(std::function<bool(std::string_view)> take, std::function<void()> look = {},
                       std::chrono::milliseconds every = std::chrono::milliseconds(-1));
  InputThread(const InputThread&) = delete;
  InputThread& operator=(const InputThread&) = delete;
  ~InputThread();

 private:
  void run(const std::function<bool(std::string_view)>& take, const std::function<void()>& look,
           int every_ms) const;

  int end_;  // eventfd
  std::thread thread_;
};

}  // namespace snowglobe::cli
