// cli/verbs_guest.cc - the machine below: exec, console, put, get, logs.
#include "cli/files.h"
#include "cli/json.h"
#include "cli/shell.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <poll.h>
#include <sstream>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

struct ExecArguments {
  std::vector<std::string> variables;
  std::string directory = "/";
  std::string timeout = "1h";
  unsigned uid = 0;
  bool input = false, terminal = false;
};

struct CopyArguments {
  std::string from, to;
  std::string mode = "644";
};

struct LogsArguments {
  std::string source = "all";
  std::size_t last = 0;
  bool follow = false;
};

struct Nothing {};

int exec(Context& context, const ExecArguments& arguments) {
  if (context.tail.empty())
    throw Failure(kUsage, "exec needs a command: snowglobe exec -- ls -l /");
  ExecOptions options;
  options.limit =
      std::chrono::duration_cast<std::chrono::milliseconds>(parse_duration(arguments.timeout));
  options.uid = options.gid = arguments.uid;
  options.directory = arguments.directory;
  options.environment = arguments.variables;
  if (arguments.terminal && context.globals.json)
    throw Failure(kUsage, "--terminal and --json: say one of them");
  if (arguments.terminal && !stdin_is_terminal())
    throw Failure(kUsage, "--terminal needs a terminal on standard input; --stdin takes a pipe");
  Running running(context);
  if (arguments.terminal) {
    const int code = run_on_terminal(running.database, context.tail, options);
    running.finish();
    return code;
  }
  if (!context.globals.json) {
    const int code =
        run_in_guest(context, running.database, context.tail, options, arguments.input);
    running.finish();
    return code;
  }
  const ExecResult result = running.database.guest().exec(context.tail, options);
  print_json({{"exit_code", result.exit_code}, {"stdout", result.out}, {"stderr", result.err}});
  running.finish();
  return result.exit_code;
}

int console(Context& context, const Nothing&) {
  Running running(context);
  const int code = run_console(context, running.database);
  running.finish();
  return code;
}

std::string read_whole(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  require_file(path);
  std::ifstream file(path, std::ios::binary);
  text << file.rdbuf();
  return text.str();
}

unsigned parse_mode(const std::string& text) {
  std::size_t used = 0;
  unsigned long mode = 0;
  try {
    mode = std::stoul(text, &used, 8);
  } catch (const std::exception&) {
  }
  if (used != text.size() || mode > 07777)
    throw Failure(kUsage, fmt::format("--mode {}: it is octal, e.g. 644", text));
  return static_cast<unsigned>(mode);
}

int put(Context& context, const CopyArguments& arguments) {
  const unsigned mode = parse_mode(arguments.mode);
  const std::string contents = read_whole(arguments.from);
  Running running(context);
  running.database.guest().put(arguments.to, contents, mode);
  running.finish();
  if (context.globals.json) print_json({{"path", arguments.to}, {"bytes", contents.size()}});
  return kOk;
}

int get(Context& context, const CopyArguments& arguments) {
  Running running(context);
  const std::string contents = running.database.guest().get(arguments.from);
  std::string to = arguments.to;
  if (to.empty()) to = fs::path(arguments.from).filename();
  if (to == "-") {
    std::cout.write(contents.data(), static_cast<std::streamsize>(contents.size()));
    return kOk;
  }
  if (fs::is_directory(to)) to = fs::path(to) / fs::path(arguments.from).filename();
  NewFile file(to);
  file.stream().write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.keep();
  if (context.globals.json) print_json({{"file", to}, {"bytes", contents.size()}});
  return kOk;
}

constexpr const char* kSources[] = {"machine", "kernel", "guest", "postgres", "network", "store"};

/// The kernel's own buffer goes back further than what came since the start.
std::vector<LogLine> all_lines(Context& context, Database& database, const std::string& source) {
  std::vector<LogLine> lines;
  if (source == "all" || source == "kernel") {
    std::istringstream kernel(database.guest().exec({"dmesg"}).out);
    for (std::string line; std::getline(kernel, line);)
      lines.push_back({LogSource::kernel, LogLevel::info, line});
  }
  for (LogLine& line : context.log_lines())
    if (source == "all"
            ? line.source != LogSource::kernel
            : source == kSources[static_cast<std::size_t>(line.source)] && source != "kernel")
      lines.push_back(std::move(line));
  return lines;
}

int logs(Context& context, const LogsArguments& arguments) {
  Running running(context);
  std::vector<LogLine> lines = all_lines(context, running.database, arguments.source);
  const std::size_t first =
      arguments.last != 0 && arguments.last < lines.size() ? lines.size() - arguments.last : 0;
  Json array = Json::array();
  const auto print = [&](const LogLine& line) {
    const char* source = kSources[static_cast<std::size_t>(line.source)];
    if (arguments.source != "all" && arguments.source != source) return;
    std::cout << fmt::format("{:<9}{}\n", source, line.text) << std::flush;
  };
  for (std::size_t i = first; i < lines.size(); ++i) {
    if (context.globals.json) {
      array.push_back({{"source", kSources[static_cast<std::size_t>(lines[i].source)]},
                       {"text", lines[i].text}});
    } else {
      print(lines[i]);
    }
  }
  if (context.globals.json) print_json(array);
  if (!arguments.follow) return kOk;
  context.follow_log(print);
  const auto wait_over = context.interrupts.on_cancel([] {});
  pollfd event{context.interrupts.descriptor(), POLLIN, 0};
  while (poll(&event, 1, 1000) == 0 && running.database.is_open()) {
  }
  context.follow_log([](const LogLine&) {});
  return kOk;
}

}  // namespace

void add_guest_verbs(CLI::App& app, Context& context) {
  {
    auto [verb, arguments] = add_verb<ExecArguments>(
        app, context, "exec", "Run a command in the guest; the exit code is its own", exec);
    verb->footer("Say it as: snowglobe [DATABASE] exec [OPTIONS] [--] COMMAND [ARGUMENTS...]");
    verb->add_option("-e,--env", arguments->variables,
                     "NAME=value; without any the guest's own environment")
        ->allow_extra_args(false);
    verb->add_option("--cwd", arguments->directory, "Folder to run it in")->capture_default_str();
    verb->add_option("--timeout", arguments->timeout, "Then it is killed: 30s, 10m, 2h")
        ->capture_default_str();
    verb->add_flag("-i,--stdin", arguments->input, "It reads our standard input");
    verb->add_flag("-t,--terminal", arguments->terminal,
                   "It has this terminal, for vi, top or sh; Ctrl-] is the way out");
    verb->add_option("--uid", arguments->uid, "User and group to run as")->capture_default_str();
  }
  add_verb<Nothing>(app, context, "console", "The guest's shell", console);
  {
    auto [verb, arguments] =
        add_verb<CopyArguments>(app, context, "put", "Copy a file into the guest", put);
    verb->add_option("file", arguments->from, "File of the host; - is standard input")->required();
    verb->add_option("path", arguments->to, "Where in the guest, from / on")->required();
    verb->add_option("--mode", arguments->mode, "Its rights, in octal")->capture_default_str();
  }
  {
    auto [verb, arguments] =
        add_verb<CopyArguments>(app, context, "get", "Copy a file out of the guest", get);
    verb->add_option("path", arguments->from, "Where in the guest, from / on")->required();
    verb->add_option(
        "file", arguments->to,
        "File or folder of the host; - is standard output; without it its own name here");
  }
  auto [verb, arguments] = add_verb<LogsArguments>(
      app, context, "logs", "What kernel, guest and PostgreSQL have said", logs);
  verb->add_option("--source", arguments->source, "Of whom")
      ->check(CLI::IsMember({"all", "machine", "kernel", "guest", "postgres", "network", "store"}))
      ->capture_default_str();
  verb->add_option("-n,--last", arguments->last, "Only so many lines");
  verb->add_flag("-f,--follow", arguments->follow, "Go on until Ctrl-C");
}

}  // namespace snowglobe::cli
