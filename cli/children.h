// cli/children.h - other programs: psql, the command of `run`, a pager.
#pragma once

#include "cli/interrupts.h"
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

/// This process's environment, without the variables named in `without` and with `with`
/// ("NAME=value").
[[nodiscard]] std::vector<std::string> environment(const std::vector<std::string>& without,
                                                   const std::vector<std::string>& with);

/// Runs a program in the foreground and waits for it. Ctrl-C is the child's. Returns its exit code,
/// 128 + N when signal N ended it. Throws Failure with 127 in words if there is no such program.
int run_child(Interrupts& interrupts, std::vector<std::string> arguments,
              std::vector<std::string> environment);

/// What a shell command writes to its standard output, in a string. Returns at its end.
[[nodiscard]] std::string output_of(Interrupts& interrupts, const std::string& command);

/// The program's path, or empty if PATH has none.
[[nodiscard]] std::string find_program(std::string_view name);

/// What is written goes to the standard input of a shell command; the destructor waits for its end.
class CommandPipe {
 public:
  CommandPipe(Interrupts& interrupts, const std::string& command);
  CommandPipe(const CommandPipe&) = delete;
  CommandPipe& operator=(const CommandPipe&) = delete;
  ~CommandPipe();
  [[nodiscard]] std::ostream& stream();

 private:
  class Buffer;
  Interrupts& interrupts_;
  std::unique_ptr<Buffer> buffer_;
  std::unique_ptr<std::ostream> stream_;
  pid_t child_ = -1;
};

}  // namespace snowglobe::cli
