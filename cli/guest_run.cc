// cli/guest_run.cc - a program of the guest in the foreground: its outputs as they come, Ctrl-C for
// it, and our standard input if it is to have it.
#include "cli/shell.h"
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <poll.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

/// Reads standard input for a program until either ends.
class InputFeeder {
 public:
  explicit InputFeeder(GuestInput input)
      : end_(eventfd(0, EFD_CLOEXEC)), thread_([this, input]() mutable { feed(input); }) {}
  InputFeeder(const InputFeeder&) = delete;
  InputFeeder& operator=(const InputFeeder&) = delete;
  ~InputFeeder() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(end_, &one, sizeof one);
    thread_.join();
    close(end_);
  }

 private:
  void feed(GuestInput& input) const {
    char block[1 << 16];
    for (;;) {
      pollfd both[] = {{STDIN_FILENO, POLLIN, 0}, {end_, POLLIN, 0}};
      if (poll(both, 2, -1) < 0) continue;
      if (both[1].revents != 0) return;
      const ssize_t got = read(STDIN_FILENO, block, sizeof block);
      if (got <= 0) return input.close();
      if (!input.write({block, static_cast<std::size_t>(got)})) return;
    }
  }

  int end_;
  std::thread thread_;
};

void print(std::string_view text, std::FILE* to) {
  std::fwrite(text.data(), 1, text.size(), to);
  std::fflush(to);
}

}  // namespace

int run_in_guest(Context& context, Database& database, const std::vector<std::string>& command,
                 ExecOptions options, bool with_input) {
  GuestInput input;
  options.input = input;
  options.on_out = [](std::string_view text) { print(text, stdout); };
  options.on_err = [](std::string_view text) { print(text, stderr); };
  const auto cancel = context.interrupts.on_cancel([&input] { input.signal(SIGINT); });
  if (!with_input) {
    input.close();
    return database.guest().exec(command, options).exit_code;
  }
  const InputFeeder feeder(input);
  return database.guest().exec(command, options).exit_code;
}

}  // namespace snowglobe::cli
