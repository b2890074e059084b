// cli/shell_commands_flow.cc - backslash commands that steer a script, or make statements: \if,
// \gset, \gexec, \gdesc, \watch, \e, \prompt, \password.
#include "cli/children.h"
#include "cli/shell_commands.h"
#include "cli/terminal.h"
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <libpq-fe.h>
#include <memory>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

namespace snowglobe::cli {
namespace fs = std::filesystem;

// --- which part runs ----------------------------------------------------------------------------

bool ShellCommands::truth() {
  const std::string text = rest_of_words();
  try {
    return parse_truth(text, "\\" + name_ + " expression");
  } catch (const Failure& error) {  // as psql: said, and taken as false
    fmt::print(stderr, "{}\n", error.what());
    return false;
  }
}

std::string ShellCommands::rest_of_words() {
  std::string text;
  while (const auto each = word())
    text += (text.empty() ? "" : " ") + *each;
  return text;
}

void ShellCommands::begin_if() {
  Conditions& conditions = engine_.conditions_;
  const bool counts = conditions.if_counts();
  conditions.begin_if(counts ? truth() : (static_cast<void>(rest_of_words()), false));
}

void ShellCommands::else_if() {
  Conditions& conditions = engine_.conditions_;
  const bool counts = conditions.elif_counts();
  conditions.else_if(counts ? truth() : (static_cast<void>(rest_of_words()), false));
}

void ShellCommands::otherwise() {
  engine_.conditions_.otherwise();
}

void ShellCommands::end_if() {
  engine_.conditions_.end_if();
}

/// Passes over a command of a part that does not run.
void ShellCommands::skip() {
  constexpr std::string_view kWholeLine[] = {"!", "copy", "h", "help", "ef", "ev", "sf", "sv"};
  if (std::find(std::begin(kWholeLine), std::end(kWholeLine), name_) != std::end(kWholeLine)) {
    position_ = line_.size();
  } else {
    static_cast<void>(rest_of_words());
  }
}

// --- results that become something else ---------------------------------------------------------

std::string ShellCommands::take_statement() {
  const bool typed = engine_.lexer_.has_statement();
  std::string sql = typed ? engine_.lexer_.take() : engine_.last_statement_;
  if (typed && engine_.source_->interactive()) engine_.source_->remember(sql + ";");
  engine_.last_statement_ = sql;
  return sql;
}

void ShellCommands::go_set() {
  const std::string prefix = word().value_or("");
  const Result result = engine_.session_->query(take_statement());
  if (result.size() != 1) {
    throw Failure(kFailed, result.empty() ? "no rows returned for \\gset"
                                          : "more than one row returned for \\gset");
  }
  for (std::size_t c = 0; c < result.columns().size(); ++c) {
    const auto value = result.text(0, c);
    if (value) {
      engine_.set_variable(prefix + result.columns()[c].name, std::string(*value));
    } else {
      engine_.variables_.erase(prefix + result.columns()[c].name);
    }
  }
}

/// Each value of the result is a statement.
void ShellCommands::go_execute() {
  const Result result = engine_.session_->query(take_statement());
  for (std::size_t r = 0; r < result.size(); ++r) {
    for (std::size_t c = 0; c < result.columns().size(); ++c) {
      const auto sql = result.text(r, c);
      if (!sql) continue;
      const bool worked = engine_.execute(std::string(*sql));
      if (!worked && engine_.options_.stop_at_error) return;
    }
  }
}

/// The columns that a statement would have, without running it.
void ShellCommands::go_describe() {
  const std::string sql = take_statement();
  std::string columns;
  engine_.session_->native([&](PGconn* connection) {
    using Answer = std::unique_ptr<PGresult, decltype(&PQclear)>;
    const Answer prepared(PQprepare(connection, "", sql.c_str(), 0, nullptr), &PQclear);
    if (PQresultStatus(prepared.get()) != PGRES_COMMAND_OK)
      throw Failure(kSqlError, PQresultErrorMessage(prepared.get()));
    const Answer described(PQdescribePrepared(connection, ""), &PQclear);
    for (int c = 0; c < PQnfields(described.get()); ++c) {
      char* name = PQescapeLiteral(connection, PQfname(described.get(), c),
                                   std::char_traits<char>::length(PQfname(described.get(), c)));
      columns += fmt::format("{}({}, {}::oid, {})", columns.empty() ? "" : ", ", name,
                             PQftype(described.get(), c), PQfmod(described.get(), c));
      PQfreemem(name);
    }
  });
  if (columns.empty()) {
    engine_.out() << "The command has no result, or the result has no columns.\n";
    return;
  }
  const Result described = engine_.session_->query(
      "select name as \"Column\", pg_catalog.format_type(tp, tpm) as \"Type\" from (values " +
      columns + ") s(name, tp, tpm)");
  engine_.show_rows(sheet_of(described), engine_.options_.format);
  engine_.out().flush();
}

void ShellCommands::bind() {
  std::vector<std::string> values;
  while (const auto each = word())
    values.push_back(*each);
  engine_.bound_ = std::move(values);
}

namespace {

struct Watch {
  double seconds = 2;
  long times = 0;     // 0: for ever
  long min_rows = 0;  // 0: whatever comes
};

double number_of(const std::string& text) {
  std::size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  if (used != text.size() || !(value >= 0) || value > 1e6)
    throw Failure(kUsage, fmt::format("\\watch: incorrect interval value \"{}\"", text));
  return value;
}

void take_word(Watch& watch, const std::string& word) {
  const std::size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  if (equals == std::string::npos) {
    watch.seconds = number_of(word);
  } else if (name == "i" || name == "interval") {
    watch.seconds = number_of(word.substr(equals + 1));
  } else if (name == "c" || name == "count") {
    watch.times = static_cast<long>(number_of(word.substr(equals + 1)));
  } else if (name == "m" || name == "min_rows") {
    watch.min_rows = static_cast<long>(number_of(word.substr(equals + 1)));
  } else {
    throw Failure(kUsage, fmt::format("\\watch: unrecognized parameter \"{}\"", word));
  }
}

/// "Mon Nov 23 10:00:00 2026 (every 2s)"
std::string watch_title(const Watch& watch) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%c", &parts);
  return fmt::format("{} (every {:g}s)\n", text, watch.seconds);
}

}  // namespace

void ShellCommands::watch() {
  Watch watch;
  while (const auto each = word())
    take_word(watch, *each);
  const std::string sql = take_statement();
  Interrupts& interrupts = engine_.context_.interrupts;
  const auto nothing = interrupts.on_cancel([] {});
  for (long n = 1; !interrupts.interrupted(); ++n) {
    FormatOptions format = engine_.options_.format;
    format.title = watch_title(watch);
    engine_.next_format_ = format;
    engine_.last_rows_ = 0;
    // A Ctrl-C that comes as the statement ends is meant for the loop.
    if (!engine_.execute_once(sql)) break;
    engine_.out() << std::endl;
    if (n == watch.times || engine_.last_rows_ < static_cast<std::size_t>(watch.min_rows)) break;
    pollfd event{interrupts.descriptor(), POLLIN, 0};
    poll(&event, 1, static_cast<int>(watch.seconds * 1000));
  }
  if (engine_.source_->interactive()) interrupts.rearm();
}

// --- typing -------------------------------------------------------------------------------------

/// What was typed, or a file, in an editor; statements that are whole are run then.
void ShellCommands::edit() {
  const auto named = word();
  std::string path = named.value_or("");
  if (!named) {
    std::string pattern = fs::temp_directory_path() / "snowglobe-edit-XXXXXX.sql";
    const int descriptor = mkstemps(pattern.data(), 4);
    if (descriptor < 0) throw Failure(kFailed, "cannot write " + pattern);
    close(descriptor);
    path = pattern;
    std::ofstream(path) << (engine_.lexer_.has_statement() ? engine_.lexer_.text()
                                                           : engine_.last_statement_)
                        << '\n';
  }
  std::string editor = "vi";
  for (const char* name : {"VISUAL", "EDITOR", "PSQL_EDITOR"})
    if (const char* value = std::getenv(name); value != nullptr && *value != 0) editor = value;
  std::cout.flush();
  const int code =
      run_child(engine_.context_.interrupts, {"/bin/sh", "-c", editor + " \"$1\"", "sh", path},
                environment({}, {}));
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!named) std::remove(path.c_str());
  if (code != 0) throw Failure(kFailed, fmt::format("{} ended with {}", editor, code));
  engine_.lexer_.clear();
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (engine_.source_->interactive()) std::cout << line << '\n';
    engine_.take_line(line);
  }
}

void ShellCommands::prompt_for() {
  std::string text = required("the name of a variable");
  std::string name = text;
  if (const auto second = word()) {
    name = *second;
  } else {
    text.clear();
  }
  engine_.set_variable(name, engine_.source_->next(text).value_or(""));
}

namespace {

/// A line from the terminal that is not shown; the terminal is as before, whatever happens.
std::string read_hidden(const char* prompt) {
  std::fputs(prompt, stderr);
  termios before{};
  const bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    termios hidden = before;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    hidden.c_lflag |= ICANON;
    hidden.c_iflag |= ICRNL;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
  std::fputc('\n', stderr);
  return line;
}

}  // namespace

/// The password leaves this process hashed only, and is in no log.
void ShellCommands::password() {
  const std::string role =
      word().value_or(engine_.session_->one<std::string>("select current_user"));
  const std::string once =
      read_hidden(fmt::format("Enter new password for user \"{}\": ", role).c_str());
  if (once != read_hidden("Enter it again: ")) throw Failure(kFailed, "Passwords didn't match.");
  const std::string sql = engine_.session_->native([&](PGconn* connection) {
    using Text = std::unique_ptr<char, decltype(&PQfreemem)>;
    const Text hash(PQencryptPasswordConn(connection, once.c_str(), role.c_str(), "scram-sha-256"),
                    &PQfreemem);
    const Text name(PQescapeIdentifier(connection, role.c_str(), role.size()), &PQfreemem);
    if (!hash || !name) throw Failure(kFailed, PQerrorMessage(connection));
    return fmt::format("ALTER USER {} PASSWORD '{}'", name.get(), hash.get());
  });
  static_cast<void>(engine_.session_->query(sql));
}

// --- the environment ----------------------------------------------------------------------------

void ShellCommands::set_environment() {
  const std::string name = required("the name of a variable");
  if (name.empty() || name.find('=') != std::string::npos)
    throw Failure(kUsage, "\\setenv: environment variable name must not contain \"=\"");
  if (const auto value = word()) {
    setenv(name.c_str(), value->c_str(), 1);
  } else {
    unsetenv(name.c_str());
  }
}

void ShellCommands::get_environment() {
  const std::string name = required("the name of a variable");
  const std::string variable = required("the name of an environment variable");
  if (const char* value = std::getenv(variable.c_str()); value != nullptr)
    engine_.set_variable(name, value);
}

/// What the last error said, with its SQLSTATE.
void ShellCommands::error_details() {
  std::cout << (engine_.last_error_.empty() ? "There is no previous error." : engine_.last_error_)
            << std::endl;
}

}  // namespace snowglobe::cli
