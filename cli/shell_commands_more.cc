// cli/shell_commands_more.cc - backslash commands about variables, sessions, and the
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

void ShellCommands::timing() {
  engine_.options_.timing = toggle(engine_.options_.timing);
  if (engine_.source_->interactive())
    std::cout << "Timing is " << (engine_.options_.timing ? "on.\n" : "off.\n");
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
    format.null.clear();
    if (each.across) format.expanded = Expanded::off;
    engine_.show_rows(sheet_of(each.rows), format);
    const bool paged = engine_.source_->interactive() && &engine_.out() == &std::cout;
    if (is_table(format) && !paged) engine_.out() << '\n';
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
  std::cout << endpoint.psql(engine_.context_.globals.dbname) << '\n'
            << fmt::format("The server sees whoever comes by it as {}; \\hide takes it back.\n",
                           kGatewayAddress);
}

// Who is connected stays.
void ShellCommands::hide() {
  engine_.database_.hide();
  std::cout << "Nothing listens any more.\n";
}

}  // namespace snowglobe::cli
