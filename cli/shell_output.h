// cli/shell_output.h - where results go in the shell: stdout, a file, a command, a pager.
#pragma once

#include "cli/children.h"
#include "cli/sql_engine.h"
#include <fstream>
#include <memory>
#include <string>

namespace snowglobe::cli {

/// Target of \o and \g: a file, or a shell command after a "|". Throws Failure.
struct SqlEngine::Output {
  Output(Interrupts& interrupts, const std::string& target);
  [[nodiscard]] std::ostream& stream() { return pipe_ ? pipe_->stream() : file_; }

 private:
  std::ofstream file_;
  std::unique_ptr<CommandPipe> pipe_;
};

/// Prints text on stdout; by way of PAGER (or less) if it is higher or wider than the terminal.
void page(Interrupts& interrupts, const std::string& text, Pager pager = Pager::long_output);

}  // namespace snowglobe::cli
