// api/src/program_streams.h - what goes to and fro while a program of the guest runs.
#pragma once

#include "api/src/agent_wire.h"
#include "api/src/guest_input.h"
#include "guest/agent/protocol.h"
#include <snowglobe/guest.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace snowglobe::detail {

/// Lives as long as one exec(), on the thread that called it.
class ProgramStreams {
 public:
  explicit ProgramStreams(const ExecOptions& options) : options_(options) {}
  ProgramStreams(const ProgramStreams&) = delete;
  ProgramStreams& operator=(const ProgramStreams&) = delete;
  ~ProgramStreams() {
    if (!options_.input) return;
    GuestInputState& input = *options_.input->state();
    const std::lock_guard lock(input.mutex);
    input.over = true;
    input.wake = nullptr;
    input.changed.notify_all();
  }

  /// `wake` is called when there is something to send.
  void begin(std::function<void()> wake) {
    if (!options_.input) return;
    GuestInputState& input = *options_.input->state();
    const std::lock_guard lock(input.mutex);
    input.wake = std::move(wake);
  }

  [[nodiscard]] bool wants_out() const { return static_cast<bool>(options_.on_out); }
  [[nodiscard]] bool wants_err() const { return static_cast<bool>(options_.on_err); }
  void deliver(std::string_view out, std::string_view err) const {
    if (!out.empty()) options_.on_out(out);
    if (!err.empty()) options_.on_err(err);
  }

  /// Types and payloads of frames, within the agent's window; the program has read `taken` bytes
  /// more.
  std::vector<std::pair<std::uint16_t, std::string>> to_send(std::size_t taken) {
    unread_ -= std::min(unread_, taken);
    if (!options_.input) return {};
    GuestInputState& input = *options_.input->state();
    const std::lock_guard lock(input.mutex);
    std::vector<std::pair<std::uint16_t, std::string>> parts;
    for (const int number : std::exchange(input.signals, {}))
      parts.emplace_back(SNOWGLOBE_SIGNAL,
                         WireWriter().number(static_cast<std::uint32_t>(number)).take());
    if (const auto screen = std::exchange(input.size, {}); screen && options_.terminal) {
      parts.emplace_back(SNOWGLOBE_RESIZE, size_payload(*screen));
    }
    const std::size_t size =
        std::min<std::size_t>(input.bytes.size(), SNOWGLOBE_STDIN_WINDOW - unread_);
    if (size > 0) parts.emplace_back(SNOWGLOBE_STDIN, input.bytes.substr(0, size));
    input.bytes.erase(0, size);
    unread_ += size;
    if (input.closed && input.bytes.empty() && !std::exchange(end_sent_, true))
      parts.emplace_back(SNOWGLOBE_STDIN, std::string());
    input.changed.notify_all();
    return parts;
  }

  /// As EXEC and RESIZE have it. What no terminal has is as large as one can be.
  static std::string size_payload(TerminalSize size) {
    const auto bounded = [](unsigned count) { return std::uint32_t{std::min(count, 65535u)}; };
    return WireWriter().number(bounded(size.rows)).number(bounded(size.columns)).take();
  }

 private:
  const ExecOptions& options_;
  std::size_t unread_ = 0;  // sent, and not read by the program
  bool end_sent_ = false;
};

}  // namespace snowglobe::detail
