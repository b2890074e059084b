// cli/guest_terminal.cc - a program of the guest on this terminal: keys go there as they are typed,
// Ctrl-C too, and its screen is ours. Ctrl-] is the way out.
#include "cli/shell.h"
#include "cli/terminal.h"
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace snowglobe::cli {
namespace {

constexpr char kWayOut = '\x1d';  // Ctrl-]
// A signal tells of another size sooner, but to whichever thread; the machine's is not to be had.
constexpr int kSizeEveryMs = 200;

/// The terminal hands on every key until the end of the scope.
class RawMode {
 public:
  RawMode() : changed_(tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!changed_) return;
    termios raw = before_;
    cfmakeraw(&raw);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
  }
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;
  ~RawMode() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }

 private:
  termios before_{};
  bool changed_;
};

TerminalSize size_now() {
  winsize size{};
  if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
    return {};
  return {.rows = size.ws_row, .columns = size.ws_col};
}

/// Sends keys and sizes to the program until either ends.
class Keys {
 public:
  Keys(GuestInput input, TerminalSize size)
      : end_(eventfd(0, EFD_CLOEXEC)),
        thread_([this, input, size]() mutable { feed(input, size); }) {}
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;
  ~Keys() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(end_, &one, sizeof one);
    thread_.join();
    close(end_);
  }

 private:
  void feed(GuestInput& input, TerminalSize size) const {
    char block[4096];
    int way_out = SIGHUP;
    for (;;) {
      pollfd both[] = {{STDIN_FILENO, POLLIN, 0}, {end_, POLLIN, 0}};
      if (poll(both, 2, kSizeEveryMs) < 0) continue;
      if (both[1].revents != 0) return;
      const TerminalSize now = size_now();
      if (now.rows != size.rows || now.columns != size.columns) input.resize(size = now);
      if (both[0].revents == 0) continue;
      const ssize_t got = read(STDIN_FILENO, block, sizeof block);
      if (got <= 0) return input.signal(SIGHUP);  // the window is closed
      const std::string_view typed(block, static_cast<std::size_t>(got));
      const std::size_t leaves = typed.find(kWayOut);
      if (!input.write(typed.substr(0, leaves))) return;
      if (leaves != std::string_view::npos) input.signal(std::exchange(way_out, SIGKILL));
    }
  }

  int end_;
  std::thread thread_;
};

}  // namespace

int run_on_terminal(Database& database, const std::vector<std::string>& command,
                    ExecOptions options) {
  GuestInput input;
  const TerminalSize size = size_now();
  options.input = input;
  options.terminal = size;
  options.on_out = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const RawMode raw;
  const Keys keys(input, size);
  return database.guest().exec(command, options).exit_code;
}

}  // namespace snowglobe::cli
