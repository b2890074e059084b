// api/src/console_log.h - the last lines of the guest, for GuestCrashed and Guest::console().
#pragma once

#include <snowglobe/export.hpp>

#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace snowglobe::detail {

/// Thread rule: any thread.
class ConsoleLog {
 public:
  /// Adds a line; the oldest ones go.
  void add(std::string line) {
    constexpr std::size_t kLines = 200;
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    if (lines_.size() > kLines) lines_.pop_front();
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return {lines_.begin(), lines_.end()};
  }

 private:
  mutable std::mutex mutex_;
  std::deque<std::string> lines_;
};

/// Cuts a stream of bytes into lines without control characters; of a long line its start counts.
class LineCutter {
 public:
  /// Calls `line` for each line that is complete.
  template <class Fn>
  void feed(std::string_view bytes, const Fn& line) {
    constexpr std::size_t kLongest = 1024;
    for (const char c : bytes) {
      if (c == '\n') {
        line(std::exchange(partial_, {}));
      } else if (static_cast<unsigned char>(c) >= 0x20 && partial_.size() < kLongest) {
        partial_ += c;
      }
    }
  }
  /// What came after the last newline.
  [[nodiscard]] const std::string& partial() const { return partial_; }

 private:
  std::string partial_;
};

}  // namespace snowglobe::detail
