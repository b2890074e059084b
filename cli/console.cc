// cli/console.cc - the guest's shell, a line at a time: each runs in a shell of its own, which
// begins in the folder and with the variables that the last one left.
#include "cli/line_editor.h"
#include "cli/shell.h"
#include "cli/terminal.h"
#include <fmt/format.h>
#include <iostream>

namespace snowglobe::cli {
namespace {

// State between lines is a file of the guest; `trap` writes it also when the line says `exit`.
constexpr const char* kLine = R"(f=/run/snowglobe-console
[ -r $f ] && . $f
trap 'c=$?; { export -p; printf "cd \"%s\"\n" "$PWD"; } > $f; exit $c' EXIT
eval "$1")";

std::string folder_of(Database& database) {
  const ExecResult result = database.guest().exec(
      {"sh", "-c", "[ -r /run/snowglobe-console ] && . /run/snowglobe-console; pwd"});
  std::string text = result.out.substr(0, result.out.find('\n'));
  return text.empty() ? "/" : text;
}

bool leaves(const std::string& line) {
  return line == "exit" || line == "logout" || line == "quit";
}

}  // namespace

int run_console(Context& context, Database& database) {
  const bool typed = stdin_is_terminal();
  std::unique_ptr<LineSource> source;
  if (typed) {
    context.say("The guest's shell: every line is a command there. Ctrl-D or exit leaves.");
    source = std::make_unique<LineEditor>(
        context.interrupts, "/dev/null",
        [](std::string_view, std::string_view) { return std::vector<std::string>(); }, [] {});
  } else {
    source = std::make_unique<StreamSource>(std::cin);
  }
  int code = 0;
  ExecOptions options;
  options.limit = std::chrono::hours(1);
  while (const auto line = source->next(typed ? "guest:" + folder_of(database) + "# " : "")) {
    if (leaves(*line)) break;
    if (line->find_first_not_of(" \t") == std::string::npos) continue;
    if (typed) source->remember(*line);
    const ExecResult result = database.guest().exec({"sh", "-c", kLine, "sh", *line}, options);
    std::cout << result.out << std::flush;
    fmt::print(stderr, "{}", result.err);
    code = result.exit_code;
  }
  return code;
}

}  // namespace snowglobe::cli
