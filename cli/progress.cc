// cli/progress.cc - a line on stderr about something that takes long.
#include "cli/terminal.h"
#include <condition_variable>
#include <cstdio>
#include <fmt/format.h>
#include <mutex>
#include <stop_token>
#include <thread>

namespace snowglobe::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kFirstDrawn = std::chrono::milliseconds(400);
constexpr auto kRedrawn = std::chrono::milliseconds(100);
constexpr auto kFirstPrinted = std::chrono::seconds(2);

std::string bar(std::uint64_t done, std::uint64_t total) {
  constexpr std::uint64_t kWidth = 24;
  if (total == 0) return {};
  const auto filled = static_cast<std::size_t>(std::min(done, total) * kWidth / total);
  return "[" + std::string(filled, '#') + std::string(kWidth - filled, '.') + "] ";
}

}  // namespace

/// Draws from a thread of its own, so that a phase without news is seen to go on.
class Progress::Painter {
 public:
  Painter() : thread_([this](const std::stop_token& stop) { paint(stop); }) {}
  Painter(const Painter&) = delete;
  Painter& operator=(const Painter&) = delete;
  ~Painter() {
    thread_.request_stop();
    changed_.notify_all();
    thread_.join();
    if (drawn_) std::fputs("\r\033[K", stderr);
  }

  void phase(std::string_view text, std::uint64_t done, std::uint64_t total) {
    const std::lock_guard lock(mutex_);
    const bool news = text_ != text;
    text_ = text;
    done_ = done;
    total_ = total;
    if (news && !terminal_ && Clock::now() - start_ >= kFirstPrinted) {
      std::fprintf(stderr, "%s\n", text_.c_str());
    }
  }

 private:
  void paint(const std::stop_token& stop) {
    if (!terminal_) return;
    std::unique_lock lock(mutex_);
    auto next = kFirstDrawn;
    while (!changed_.wait_for(lock, next, [&stop] { return stop.stop_requested(); })) {
      next = kRedrawn;
      if (text_.empty()) continue;
      const auto seconds =
          std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - start_).count();
      fmt::print(stderr, "\r\033[K{}{}{}", bar(done_, total_), text_,
                 seconds >= 2 ? fmt::format("  {} s", seconds) : "");
      std::fflush(stderr);
      drawn_ = true;
    }
  }

  const bool terminal_ = stderr_is_terminal();
  const Clock::time_point start_ = Clock::now();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  std::uint64_t done_ = 0, total_ = 0;
  bool drawn_ = false;
  std::jthread thread_;  // the last: it uses the others
};

Progress::Progress(bool quiet) : painter_(quiet ? nullptr : std::make_unique<Painter>()) {}
Progress::~Progress() = default;

void Progress::phase(std::string_view text, std::uint64_t done, std::uint64_t total) {
  if (painter_ != nullptr) painter_->phase(text, done, total);
}

void Progress::end() {
  painter_.reset();
}

}  // namespace snowglobe::cli
