// cli/shell_output.cc - where results go in the shell.
#include "cli/shell_output.h"

#include "cli/terminal.h"
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <iostream>
#include <sstream>
#include <sys/ioctl.h>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

bool fits_terminal(const std::string& text) {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return true;
  std::istringstream lines(text);
  std::size_t rows = 0;
  for (std::string line; std::getline(lines, line);) {
    ++rows;
    if (display_width(line) > size.ws_col) return false;
  }
  return rows < size.ws_row;
}

std::string pager_command() {
  for (const char* name : {"PSQL_PAGER", "PAGER"})
    if (const char* value = std::getenv(name); value != nullptr) return value;
  return find_program("less").empty() ? std::string() : "less -SFX";
}

}  // namespace

SqlEngine::Output::Output(Interrupts& interrupts, const std::string& target) {
  if (target.starts_with('|')) {
    pipe_ = std::make_unique<CommandPipe>(interrupts, target.substr(1));
    return;
  }
  file_.open(target);
  if (!file_) throw Failure(kFailed, fmt::format("cannot write {}", target));
}

void page(Interrupts& interrupts, const std::string& text, Pager pager) {
  const bool wanted = stdout_is_terminal() && pager != Pager::never &&
                      (pager == Pager::always || !fits_terminal(text));
  const std::string command = wanted ? pager_command() : "";
  if (command.empty()) {
    std::cout << text << std::flush;
    return;
  }
  CommandPipe pipe(interrupts, command);
  pipe.stream() << text;
}

}  // namespace snowglobe::cli
