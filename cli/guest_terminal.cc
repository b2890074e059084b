// cli/guest_terminal.cc - a program of the guest on this terminal: keys go there as they are typed,
// Ctrl-C too, and its screen is ours. Ctrl-] is the way out.
#include "cli/input_thread.h"
#include "cli/shell.h"
#include <chrono>
#include <csignal>
#include <cstdio>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <utility>

namespace snowglobe::cli {
namespace {

constexpr char kWayOut = '\x1d';  // Ctrl-]
// A signal tells of another size sooner, but to whichever thread; the machine's is not to be had.
constexpr std::chrono::milliseconds kSizeEvery{200};

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
  const auto follow_size = [&input, size = TerminalSize(size)]() mutable {
    const TerminalSize now = size_now();
    if (now.rows != size.rows || now.columns != size.columns) input.resize(size = now);
  };
  const auto type = [&input, way_out = SIGHUP](std::string_view keys) mutable {
    if (keys.empty()) {
      input.signal(SIGHUP);  // the window is closed
      return false;
    }
    const std::size_t leaves = keys.find(kWayOut);
    if (!input.write(keys.substr(0, leaves))) return false;
    if (leaves != std::string_view::npos) input.signal(std::exchange(way_out, SIGKILL));
    return true;
  };
  const InputThread keys(type, follow_size, kSizeEvery);
  return database.guest().exec(command, options).exit_code;
}

}  // namespace snowglobe::cli
