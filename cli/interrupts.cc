// cli/interrupts.cc - Ctrl-C in three stages: cancel what runs, close cleanly, exit at once.
#include "cli/interrupts.h"

#include <csignal>
#include <cstdint>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <system_error>
#include <termios.h>
#include <unistd.h>
#include <utility>

namespace snowglobe::cli {
namespace {

sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  return set;
}

int checked(int descriptor) {
  if (descriptor < 0) throw std::system_error(errno, std::system_category(), "watch for Ctrl-C");
  return descriptor;
}

void ring(int event) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event, &one, sizeof one);
}

}  // namespace

Interrupts::Scope::Scope(Interrupts& owner, std::vector<std::function<void()>>& list,
                         std::function<void()> action)
    : owner_(owner), list_(list) {
  const std::lock_guard lock(owner_.mutex_);
  list_.push_back(std::move(action));
}

Interrupts::Scope::~Scope() {
  const std::lock_guard lock(owner_.mutex_);
  list_.pop_back();
}

Interrupts::Interrupts() {
  const sigset_t set = watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = checked(signalfd(-1, &set, SFD_CLOEXEC));
  event_ = checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  end_ = checked(eventfd(0, EFD_CLOEXEC));
  watcher_ = std::jthread([this] { watch(); });
}

Interrupts::~Interrupts() {
  ring(end_);
  watcher_.join();
  actions_.clear();
  close(signals_);
  close(event_);
  close(end_);
}

Interrupts::Scope Interrupts::on_cancel(std::function<void()> action) {
  return {*this, cancel_, std::move(action)};
}

Interrupts::Scope Interrupts::on_close(std::function<void()> action) {
  return {*this, close_, std::move(action)};
}

int Interrupts::exit_code() const {
  const int signal = first_signal_;
  return 128 + (signal == 0 ? SIGINT : signal);
}

void Interrupts::rearm() {
  if (closing_.stop_requested()) return;
  count_ = 0;
  first_signal_ = 0;
  ++round_;
  std::uint64_t drained = 0;
  while (read(event_, &drained, sizeof drained) > 0) {
  }
}

void Interrupts::watch() {
  termios saved{};
  const bool terminal = tcgetattr(STDIN_FILENO, &saved) == 0;
  for (;;) {
    pollfd both[] = {{signals_, POLLIN, 0}, {end_, POLLIN, 0}};
    if (poll(both, 2, -1) < 0) continue;
    if (both[1].revents != 0) return;
    signalfd_siginfo info{};
    if (read(signals_, &info, sizeof info) != sizeof info) continue;
    const int signal = static_cast<int>(info.ssi_signo);
    if (count_ >= 2 && child_ == 0) {
      if (terminal) tcsetattr(STDIN_FILENO, TCSANOW, &saved);  // a line editor may have it
      _exit(128 + signal);
    }
    take(signal, info.ssi_code == SI_KERNEL);
  }
}

void Interrupts::hand_over(pid_t child) {
  const std::lock_guard lock(child_mutex_);
  child_ = child;
  if (count_ > 0) kill(child, first_signal_);
}

void Interrupts::take(int signal, bool from_terminal) {
  const std::lock_guard lock(child_mutex_);
  if (const pid_t child = child_; child != 0) {
    if (!from_terminal) kill(child, signal);
    return;
  }
  int expected = 0;
  first_signal_.compare_exchange_strong(expected, signal);
  if (signal != SIGINT && count_ == 0) count_ = 1;
  const unsigned round = round_;  // before the prompt hears of it
  const int stage = ++count_;
  ring(event_);
  // An action may wait for the guest; meanwhile the next signal must be heard.
  actions_.emplace_back([this, stage, round] { act(stage, round); });
}

void Interrupts::act(int stage, unsigned round) {
  const std::lock_guard lock(mutex_);
  if (round != round_) return;  // the prompt has dealt with it, and the next statement may run
  if (stage == 1 && !cancel_.empty()) {
    cancel_.back()();
    return;
  }
  closing_.request_stop();
  for (auto action = close_.rbegin(); action != close_.rend(); ++action)
    (*action)();
}

}  // namespace snowglobe::cli
