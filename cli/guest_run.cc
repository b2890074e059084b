// cli/guest_run.cc - a program of the guest in the foreground: its outputs as they come, Ctrl-C for
// it, and our standard input if it is to have it.
#include "cli/input_thread.h"
#include "cli/shell.h"
#include <csignal>
#include <cstdio>

namespace snowglobe::cli {
namespace {

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
  const InputThread feeder([&input](std::string_view text) {
    if (!text.empty()) return input.write(text);
    input.close();
    return false;
  });
  return database.guest().exec(command, options).exit_code;
}

}  // namespace snowglobe::cli
