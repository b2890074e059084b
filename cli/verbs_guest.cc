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
  std::vector<std::string> paths;
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

/// There is no working folder in the guest that a path could begin at.
void require_absolute(const std::string& path) {
  if (!path.starts_with('/'))
    throw Failure(kUsage, fmt::format("{} is a path in the guest: it begins with /", path));
}

struct Copied {
  std::string path;
  std::size_t bytes;
};

void print_copied(const Context& context, const char* what, const std::vector<Copied>& all) {
  if (!context.globals.json) return;
  Json list = Json::array();
  for (const Copied& each : all)
    list.push_back({{what, each.path}, {"bytes", each.bytes}});
  print_json(list.size() == 1 ? list[0] : list);
}

int put(Context& context, const CopyArguments& arguments) {
  const unsigned mode = parse_mode(arguments.mode);
  std::string to = arguments.paths.back();
  require_absolute(to);
  const std::vector<std::string> files(arguments.paths.begin(), arguments.paths.end() - 1);
  const bool into_folder = files.size() > 1 || to.ends_with('/');
  std::vector<std::string> contents;
  for (const std::string& file : files) {
    if (file == "-" && into_folder)
      throw Failure(kUsage, "- has no name of its own: say which file it becomes in the guest");
    contents.push_back(read_whole(file));
  }
  Running running(context);
  std::vector<Copied> copied;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string path =
        into_folder ? (fs::path(to) / fs::path(files[i]).filename()).string() : to;
    running.database.guest().put(path, contents[i], mode);
    copied.push_back({path, contents[i].size()});
  }
  running.finish();
  print_copied(context, "path", copied);
  return kOk;
}

int get(Context& context, const CopyArguments& arguments) {
  std::vector<std::string> paths = arguments.paths;
  std::string to = ".";  // as a folder: own names
  if (paths.size() > 1) {
    to = paths.back();
    paths.pop_back();
  }
  for (const std::string& path : paths)
    require_absolute(path);
  const bool into_folder = fs::is_directory(to);
  if (paths.size() > 1 && !into_folder)
    throw Failure(kUsage, fmt::format("several files need a folder, and {} is none", to));
  Running running(context);
  std::vector<Copied> copied;
  for (const std::string& path : paths) {
    const std::string contents = running.database.guest().get(path);
    const auto size = static_cast<std::streamsize>(contents.size());
    if (to == "-") {
      std::cout.write(contents.data(), size);
      return kOk;
    }
    const std::string name = !into_folder ? to
                             : arguments.paths.size() == 1
                                 ? fs::path(path).filename().string()
                                 : (fs::path(to) / fs::path(path).filename()).string();
    NewFile file(name);
    file.stream().write(contents.data(), size);
    file.keep();
    copied.push_back({name, contents.size()});
  }
  print_copied(context, "file", copied);
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
        add_verb<CopyArguments>(app, context, "put", "Copy files into the guest", put);
    verb->footer("Say it as: snowglobe [DATABASE] put FILE... PATH");
    verb->add_option(
            "files", arguments->paths,
            "Files of the host (- is standard input), and where to in the guest, from / on: "
            "for several, or with / at its end, a folder")
        ->required()
        ->expected(2, -1);
    verb->add_option("--mode", arguments->mode, "Its rights, in octal")->capture_default_str();
  }
  {
    auto [verb, arguments] =
        add_verb<CopyArguments>(app, context, "get", "Copy files out of the guest", get);
    verb->footer("Say it as: snowglobe [DATABASE] get PATH... [FILE or FOLDER]");
    verb->add_option("paths", arguments->paths,
                     "Files of the guest, from / on, and where to: a file or folder of the host, - "
                     "is standard output; without it its own name here")
        ->required();
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
