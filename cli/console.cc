// cli/console.cc - the guest's shell: on our terminal where there is one, else a `sh` that reads
// lines from standard input.
#include "cli/shell.h"
#include "cli/terminal.h"

namespace snowglobe::cli {

int run_console(Context& context, Database& database) {
  ExecOptions options;
  options.limit = std::chrono::milliseconds(0);
  if (!stdin_is_terminal() || !stdout_is_terminal())
    return run_in_guest(context, database, {"sh"}, options, true);
  context.say("The guest's shell. Ctrl-D or exit leaves; Ctrl-] hangs it up.");
  return run_on_terminal(database, {"sh", "-l"}, options);  // -l: /etc/profile has the prompt
}

}  // namespace snowglobe::cli
