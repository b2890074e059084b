// cli/shell.h - the prompt: the host's psql where there is one, else our own, and the guest's shell
// behind it.
#pragma once

#include "cli/context.h"
#include "cli/sql_engine.h"
#include <string>
#include <vector>

namespace snowglobe::cli {

struct ShellOptions {
  bool own = false;  ///< ours, also where psql is installed
  bool no_history = false;
  bool no_start_file = false;
  std::vector<std::string> psql_arguments;
  EngineOptions engine;
};

/// Returns the exit code.
int run_shell(Context& context, Running& running, const ShellOptions& options);

/// Runs a program of the guest in the foreground: its outputs as they come, Ctrl-C for it, and our
/// standard input if it is to have it. Returns its exit code.
int run_in_guest(Context& context, Database& database, const std::vector<std::string>& command,
                 ExecOptions options, bool with_input);

/// Runs a program of the guest on this terminal: keys go to it as they are typed, Ctrl-C too, and
/// it is told of the terminal's size. Ctrl-] hangs it up, a second one kills it. The terminal is as
/// before at the end, whatever happens. Requires a terminal on standard input.
int run_on_terminal(Database& database, const std::vector<std::string>& command,
                    ExecOptions options);

/// The guest's own shell. Returns the exit code of its last command.
int run_console(Context& context, Database& database);

}  // namespace snowglobe::cli
