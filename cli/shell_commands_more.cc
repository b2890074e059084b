// cli/shell_commands_more.cc - backslash commands about looks, variables, sessions, and the
// machine.
#include "cli/children.h"
#include "cli/describe.h"
#include "cli/shell_commands.h"
#include "cli/shell_output.h"
#include "cli/terminal.h"
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <iostream>

namespace snowglobe::cli {

// --- looks --------------------------------------------------------------------------------------

void ShellCommands::expanded() {
  Expanded& now = engine_.options_.format.expanded;
  const std::size_t before = position_;
  if (word() == "auto") {
    now = Expanded::automatic;
  } else {
    position_ = before;
    now = toggle(now == Expanded::on) ? Expanded::on : Expanded::off;
  }
  if (engine_.source_->interactive())
    std::cout << "Expanded display is "
              << (now == Expanded::on    ? "on.\n"
                  : now == Expanded::off ? "off.\n"
                                         : "used automatically.\n");
}

void ShellCommands::align() {
  Format& format = engine_.options_.format.format;
  format = format == Format::aligned ? Format::unaligned : Format::aligned;
  if (engine_.source_->interactive())
    std::cout << "Output format is " << (format == Format::aligned ? "aligned.\n" : "unaligned.\n");
}

void ShellCommands::tuples() {
  bool& now = engine_.options_.format.tuples_only;
  now = toggle(now);
  if (engine_.source_->interactive()) std::cout << "Tuples only is " << (now ? "on.\n" : "off.\n");
}

void ShellCommands::timing() {
  engine_.options_.timing = toggle(engine_.options_.timing);
  if (engine_.source_->interactive())
    std::cout << "Timing is " << (engine_.options_.timing ? "on.\n" : "off.\n");
}

void ShellCommands::title() {
  engine_.options_.format.title = rest();
}

void ShellCommands::pset() {
  // psql's that change nothing here: scripts and ~/.psqlrc files set them.
  static constexpr std::string_view kOthers[] = {"border",
                                                 "columns",
                                                 "csv_fieldsep",
                                                 "fieldsep_zero",
                                                 "footer",
                                                 "linestyle",
                                                 "numericlocale",
                                                 "pager",
                                                 "recordsep",
                                                 "pager_min_lines",
                                                 "recordsep_zero",
                                                 "tableattr",
                                                 "xheader_width",
                                                 "unicode_border_linestyle",
                                                 "unicode_column_linestyle",
                                                 "unicode_header_linestyle"};
  const std::string what = required("null, format, fieldsep, expanded or tuples_only");
  FormatOptions& format = engine_.options_.format;
  if (what == "null") {
    format.null = word().value_or("");
  } else if (what == "fieldsep") {
    format.separator = word().value_or("|");
  } else if (what == "expanded" || what == "x") {
    expanded();
  } else if (what == "tuples_only" || what == "t") {
    tuples();
  } else if (what == "format") {
    const std::string name = required("aligned, unaligned, csv or json");
    if (name == "aligned") {
      format.format = Format::aligned;
    } else if (name == "unaligned") {
      format.format = Format::unaligned;
    } else if (name == "csv") {
      format.format = Format::csv;
    } else if (name == "json") {
      format.format = Format::json;
    } else {
      throw Failure(kUsage, "formats are aligned, unaligned, csv and json");
    }
  } else if (what == "title" || what == "C") {
    title();
  } else if (std::find(std::begin(kOthers), std::end(kOthers), what) != std::end(kOthers)) {
    static_cast<void>(rest_of_words());
  } else {
    throw Failure(kUsage, fmt::format("\\pset: unknown option: {}", what));
  }
}

// --- variables and the host ---------------------------------------------------------------------

void ShellCommands::set() {
  const auto name = word();
  if (!name) {
    for (const auto& [each, value] : engine_.variables_)
      std::cout << each << " = '" << value << "'\n";
    std::cout.flush();
    return;
  }
  std::string value;
  while (const auto each = word())
    value += *each;
  engine_.set_variable(*name, value);
}

void ShellCommands::unset() {
  engine_.variables_.erase(required("a name"));
}

void ShellCommands::run_outside() {
  std::string command = rest();
  const char* shell = std::getenv("SHELL");
  const std::string program = shell == nullptr || *shell == 0 ? "/bin/sh" : shell;
  std::cout.flush();
  std::vector<std::string> arguments = {program};
  if (!command.empty()) arguments.insert(arguments.end(), {"-c", std::move(command)});
  run_child(engine_.context_.interrupts, std::move(arguments), environment({}, {}));
}

void ShellCommands::change_folder() {
  const char* home = std::getenv("HOME");
  const std::string folder = word().value_or(home == nullptr ? "/" : home);
  std::error_code failure;
  std::filesystem::current_path(folder, failure);
  if (failure) throw Failure(kFailed, fmt::format("go to {}: {}", folder, failure.message()));
}

// --- sessions -----------------------------------------------------------------------------------

void ShellCommands::connect() {
  Globals& globals = engine_.context_.globals;
  const std::string dbname = globals.dbname, user = globals.user;
  if (const auto name = word(); name && *name != "-") globals.dbname = *name;
  if (const auto name = word(); name && *name != "-") globals.user = *name;
  try {
    engine_.begin_session();
  } catch (...) {
    globals.dbname = dbname;
    globals.user = user;
    throw;
  }
  if (engine_.source_->interactive())
    std::cout << fmt::format("You are now connected to database \"{}\" as user \"{}\".\n",
                             globals.dbname, globals.user);
}

void ShellCommands::connection_info() {
  const Globals& globals = engine_.context_.globals;
  std::cout << fmt::format(
      "You are connected to database \"{}\" as user \"{}\" inside of this process (backend {}). "
      "Nothing listens outside; \\expose lets others in.\n",
      globals.dbname, globals.user, engine_.session_->backend_pid());
}

void ShellCommands::encoding() {
  if (const auto name = word()) {
    static_cast<void>(
        engine_.session_->query("select set_config('client_encoding', $1, false)", *name));
  } else {
    std::cout << engine_.session_->one<std::string>("show client_encoding") << '\n';
  }
}

// --- what is in the database --------------------------------------------------------------------

void ShellCommands::describe_objects() {
  const std::string pattern = word().value_or("");
  const auto listing = describe_catalogue(*engine_.session_, name_, pattern);
  if (!listing) {
    describe_with_guest();
    return;
  }
  if (listing->empty()) {
    const std::string text = pattern.empty()
                                 ? "Did not find any relations."
                                 : fmt::format("Did not find any relation named \"{}\".", pattern);
    throw Failure(kFailed, text);
  }
  for (const Described& each : *listing) {
    FormatOptions format = engine_.options_.format;
    format.title = each.title;
    format.footers = each.footers;
    engine_.show_rows(each.rows, format);
    const bool paged = engine_.source_->interactive() && &engine_.out() == &std::cout;
    if (format.format == Format::aligned && !paged) engine_.out() << '\n';
  }
  engine_.out().flush();
}

// What we do not have, the guest's own psql has; in a session of its own.
void ShellCommands::describe_with_guest() {
  const Globals& globals = engine_.context_.globals;
  std::string text(line_);
  position_ = line_.size();
  const ExecResult result = engine_.database_.guest().exec(
      {"psql", "-X", "-U", globals.user, "-d", globals.dbname, "-c", text});
  engine_.out() << result.out << std::flush;
  if (result.exit_code != 0) throw Failure(kFailed, result.err);
}

// --- the machine --------------------------------------------------------------------------------

void ShellCommands::save() {
  const std::string name = rest();
  const auto start = std::chrono::steady_clock::now();
  const Snapshot saved = engine_.database_.save(name.empty() ? "latest save" : name);
  std::cout << fmt::format("Saved \"{}\" ({}) in {}.\n", saved.name(), saved.id().substr(0, 8),
                           human_duration(std::chrono::steady_clock::now() - start));
}

void ShellCommands::restore() {
  const std::string name = rest();
  const auto start = std::chrono::steady_clock::now();
  engine_.database_.restore(name.empty() ? "latest" : name);
  std::cout << fmt::format("Restored in {}.\n",
                           human_duration(std::chrono::steady_clock::now() - start));
  if (!engine_.session_->usable()) engine_.reconnect();
}

void ShellCommands::snapshots() {
  const auto all = engine_.database_.snapshots();
  if (all.empty()) std::cout << "Nothing was saved here yet; \\save NAME does.\n";
  for (const Snapshot& each : all)
    std::cout << fmt::format("{}  {:<20} {}\n", each.id().substr(0, 8), each.name(),
                             human_age(each.time(), std::chrono::system_clock::now()));
}

void ShellCommands::guest() {
  const std::string command = rest();
  if (command.empty()) throw Failure(kUsage, "\\guest needs a command, e.g. \\guest ps");
  const ExecResult result = engine_.database_.guest().exec({"sh", "-c", command});
  std::cout << result.out << std::flush;
  fmt::print(stderr, "{}", result.err);
}

void ShellCommands::expose() {
  ExposeOptions options;
  if (const auto port = word()) {
    const int number = std::atoi(port->c_str());
    if (number < 1 || number > 65535) throw Failure(kUsage, "a port is a number from 1 to 65535");
    options.port = static_cast<std::uint16_t>(number);
  }
  const Endpoint endpoint = engine_.database_.expose(options);
  std::cout << endpoint.psql(engine_.context_.globals.dbname) << '\n';
}

// Who is connected stays.
void ShellCommands::hide() {
  engine_.database_.hide();
  std::cout << "Nothing listens any more.\n";
}

}  // namespace snowglobe::cli
