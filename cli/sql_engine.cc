// cli/sql_engine.cc - runs text that has SQL and backslash commands in it on a session.
#include "cli/sql_engine.h"

#include "cli/children.h"
#include "cli/json.h"
#include "cli/prompt.h"
#include "cli/shell_commands.h"
#include "cli/shell_output.h"
#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <libpq-fe.h>
#include <sstream>

namespace snowglobe::cli {
namespace {

using Clock = std::chrono::steady_clock;

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  while (!text.empty() && (text.back() == ' ' || text.back() == ';'))
    text.remove_suffix(1);
  return std::find(words.begin(), words.end(), text) != words.end();
}

}  // namespace

std::optional<std::string> StreamSource::next(const std::string&) {
  std::string line;
  if (!std::getline(in_, line)) return std::nullopt;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

std::optional<std::string> ArgumentSource::next(const std::string&) {
  std::string line;
  return std::getline(text_, line) ? std::optional(line) : std::nullopt;
}

std::optional<std::string> ArgumentSource::next_data() {
  StreamSource input(std::cin);
  return input.next({});
}

SqlEngine::SqlEngine(Context& context, Database& database, EngineOptions options)
    : context_(context),
      database_(database),
      options_(std::move(options)),
      lexer_(variable_values()) {
  variables_ = {{"AUTOCOMMIT", "on"},
                {"ECHO", "none"},
                {"VERBOSITY", "default"},
                {"PROMPT1", std::string(kUsualPrompt)},
                {"PROMPT2", std::string(kUsualPrompt)}};
  begin_session();
}

SqlEngine::~SqlEngine() = default;

std::ostream& SqlEngine::out() {
  if (next_output_ != nullptr) return next_output_->stream();
  return output_ != nullptr ? output_->stream() : std::cout;
}

namespace {

std::string_view mark_of(SessionState state) {
  switch (state) {
    case SessionState::idle:
      return "";
    case SessionState::in_transaction:
    case SessionState::busy:
      return "*";
    case SessionState::failed:
      return "!";
    case SessionState::closed:
      return "?";
  }
  return "";
}

bool is_superuser(Session& session) {
  if (session.state() == SessionState::closed) return false;
  const char* value = session.native(
      [](PGconn* connection) { return PQparameterStatus(connection, "is_superuser"); });
  return value != nullptr && std::string_view(value) == "on";
}

}  // namespace

std::string SqlEngine::prompt() {
  const bool within = lexer_.prompt() != '=';
  const std::string& typed = lexer_.text();
  PromptFacts facts;
  facts.database = context_.globals.dbname;
  facts.user = context_.globals.user;
  facts.state = conditions_.active() || within ? lexer_.prompt() : '@';
  facts.mark = mark_of(session_->state());
  facts.superuser = is_superuser(*session_);
  facts.backend_pid = session_->state() == SessionState::closed ? 0 : session_->backend_pid();
  facts.line = 1 + static_cast<std::size_t>(std::count(typed.begin(), typed.end(), '\n'));
  facts.variables = variable_values();
  facts.output_of = [this](const std::string& command) {
    return output_of(context_.interrupts, command);
  };
  const auto format = variables_.find(within ? "PROMPT2" : "PROMPT1");
  return expand_prompt(format == variables_.end() ? "" : format->second, facts);
}

/// What it says counts, what goes wrong in it is said and ends nothing.
void SqlEngine::run_start_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  StreamSource source(file);
  files_.push_back(path);
  run(source);
  files_.pop_back();
  exit_code_ = kOk;
}

int SqlEngine::run(LineSource& source) {
  LineSource* const outer = std::exchange(source_, &source);
  Conditions outer_conditions = std::exchange(conditions_, {});
  quit_ = false;
  if (options_.single_transaction && !std::exchange(begun_, true)) execute_or_throw("begin");
  while (!quit_) {
    const auto line = source.next(source.interactive() ? prompt() : std::string());
    if (!line || !take_line(*line)) break;
  }
  const bool stopped = exit_code_ != kOk && options_.stop_at_error;
  if (!stopped && !quit_ && !source.interactive()) at_end_of_source();
  source_ = outer;
  conditions_ = std::move(outer_conditions);
  std::cout.flush();
  return exit_code_;
}

int SqlEngine::finish() {
  if (begun_ && session_->usable())
    static_cast<void>(session_->query(exit_code_ == kOk ? "commit" : "rollback"));
  if (options_.format.format == Format::json && !printed_json_ && exit_code_ == kOk)
    std::cout << Json{{"command", last_tag_}}.dump() << std::endl;
  return exit_code_;
}

/// Returns false if the rest must not be run.
bool SqlEngine::take_line(const std::string& line) {
  if (!source_->interactive() && variable_is("ECHO", "all")) std::cout << line << '\n';
  if (source_->interactive() && !lexer_.has_statement() && lexer_.prompt() == '=') {
    lexer_.clear();
    if (is_one_of(line, {"quit", "exit"})) {
      quit_ = true;
      return false;
    }
    if (is_one_of(line, {"help"})) {
      std::cout << "SQL ends with a semicolon. \\? lists the commands, \\q leaves.\n";
      return true;
    }
  }
  std::size_t position = 0;
  while (!quit_) {
    const Lexer::Stop stop = lexer_.scan(line, position);
    if (stop == Lexer::Stop::end_of_line) break;
    if (stop == Lexer::Stop::backslash) {
      take_backslash(line, position);
    } else {
      const bool worth_it = lexer_.has_statement();
      const std::string sql = lexer_.take();
      if (source_->interactive() && worth_it) source_->remember(sql + ";");
      if (worth_it && conditions_.active()) execute(sql);
    }
    if (exit_code_ != kOk && options_.stop_at_error) return false;
  }
  lexer_.newline();
  return true;
}

void SqlEngine::take_backslash(const std::string& line, std::size_t& position) {
  const std::string typed = line.substr(position);
  if (source_->interactive() && !lexer_.has_statement()) source_->remember(typed);
  ShellCommands commands(*this);
  try {
    position = commands.run(line, position);
  } catch (const SqlError& error) {
    note_error(error, {});
    exit_code_ = kSqlError;
  } catch (const ConnectionLost&) {
    reconnect();
  } catch (const TimeoutError&) {
    throw;
  } catch (const GuestCrashed&) {
    throw;
  } catch (const std::exception& error) {
    // In a script it is the end; somebody at a terminal reads on.
    if (!source_->interactive() && options_.stop_at_error) throw;
    fmt::print(stderr, "{}\n", error.what());
    position = line.size();
    exit_code_ = kFailed;
  }
  if (source_->interactive()) exit_code_ = kOk;
}

// The last statement of a file or an argument needs no semicolon.
void SqlEngine::at_end_of_source() {
  if (conditions_.open() > 0) {
    fmt::print(stderr, "reached EOF without finding closing \\endif(s)\n");
    exit_code_ = kSqlError;
  }
  if (!files_.empty()) return;
  const bool worth_it = lexer_.has_statement();
  const std::string sql = lexer_.take();
  if (worth_it && conditions_.active()) execute(sql);
}

namespace {

/// As psql: "12.345 ms", and from a second on minutes and seconds (or hours, days) as well.
std::string time_taken(double ms) {
  std::string text = fmt::format("{:.3f} ms", ms);
  if (ms < 1000) return text;
  const auto minutes = static_cast<long>(ms / 60'000);
  const double seconds = ms / 1000 - static_cast<double>(minutes) * 60;
  if (minutes < 60) return text + fmt::format(" ({:02}:{:06.3f})", minutes, seconds);
  if (minutes < 1440)
    return text + fmt::format(" ({:02}:{:02}:{:06.3f})", minutes / 60, minutes % 60, seconds);
  return text + fmt::format(" ({} d {:02}:{:02}:{:06.3f})", minutes / 1440, minutes / 60 % 24,
                            minutes % 60, seconds);
}

/// Statements that begin or end transactions, or run outside of them only: AUTOCOMMIT and
/// ON_ERROR_ROLLBACK leave them alone.
bool stands_alone(std::string_view sql) {
  std::istringstream in{std::string(sql)};
  std::string first, second;
  in >> first >> second;
  for (std::string* word : {&first, &second}) {
    std::transform(word->begin(), word->end(), word->begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    while (!word->empty() && (word->back() == ';' || word->back() == '('))
      word->pop_back();
  }
  if (is_one_of(first, {"abort", "begin", "commit", "end", "prepare", "release", "rollback",
                        "savepoint", "start", "vacuum"}))
    return true;
  const bool of_all =
      is_one_of(second, {"all", "concurrently", "database", "system", "tablespace"});
  return of_all && is_one_of(first, {"alter", "create", "discard", "drop", "reindex"});
}

}  // namespace

/// With what AUTOCOMMIT and ON_ERROR_ROLLBACK ask for.
void SqlEngine::execute_guarded(const std::string& sql) {
  const bool alone = stands_alone(sql);
  if (!alone && variable_is("AUTOCOMMIT", "off") && session_->state() == SessionState::idle)
    static_cast<void>(session_->query("begin"));
  const bool wanted = variable_is("ON_ERROR_ROLLBACK", "on") ||
                      (source_->interactive() && variable_is("ON_ERROR_ROLLBACK", "interactive"));
  if (!wanted || alone || session_->state() != SessionState::in_transaction) {
    execute_or_throw(sql);
    return;
  }
  static_cast<void>(session_->query("savepoint pg_psql_temporary_savepoint"));
  try {
    execute_or_throw(sql);
  } catch (const SqlError&) {
    if (session_->state() == SessionState::failed)
      static_cast<void>(session_->query("rollback to savepoint pg_psql_temporary_savepoint"));
    throw;
  }
  static_cast<void>(session_->query("release savepoint pg_psql_temporary_savepoint"));
}

/// Returns false after an error, which it has printed.
bool SqlEngine::execute(const std::string& sql) {
  const bool worked = execute_once(sql);
  if (context_.interrupts.interrupted()) {
    if (!source_->interactive()) throw Exit{context_.interrupts.exit_code()};
    context_.interrupts.rearm();
  }
  return worked;
}

bool SqlEngine::execute_once(const std::string& sql) {
  struct ForThisOne {
    SqlEngine& engine;
    ~ForThisOne() {
      engine.next_output_.reset();
      engine.next_format_.reset();
      engine.next_view_ = {};
      engine.bound_.reset();
    }
  } const for_this_one{*this};
  const auto start = Clock::now();
  last_statement_ = sql;
  bool worked = true;
  try {
    execute_guarded(sql);
  } catch (const SqlError& error) {
    worked = false;
    note_error(error, sql);
    if (!source_->interactive()) exit_code_ = kSqlError;
  } catch (const ConnectionLost& error) {
    worked = false;
    if (context_.interrupts.closing().stop_requested() || !source_->interactive()) throw;
    fmt::print(stderr, "{}\n", error.what());
    reconnect();
  }
  if (options_.timing) {
    const std::chrono::duration<double, std::milli> took = Clock::now() - start;
    fmt::print(stdout, "Time: {}\n", time_taken(took.count()));
    std::fflush(stdout);
  }
  return worked;
}

void SqlEngine::execute_or_throw(const std::string& sql) {
  const auto cancel = context_.interrupts.on_cancel([this] { session_->cancel(); });
  if (variable_is("ECHO", "queries")) out() << sql << '\n';
  switch (copy_kind(sql)) {
    case CopyKind::from_stdin:
      copy_in(sql, nullptr);
      return;
    case CopyKind::to_stdout:
      copy_out(sql, out());
      return;
    case CopyKind::none:
      break;
  }
  std::vector<Parameter> values;
  if (bound_) values.assign(bound_->begin(), bound_->end());
  const Result result = session_->query_with(sql, values);
  if (result.command() == "LISTEN") listening_ = true;
  note_success(result);
  show(result);
  if (listening_) print_notifications();
}

void SqlEngine::copy_in(const std::string& sql, std::istream* data) {
  CopyWriter writer = session_->copy_in(sql);
  if (data != nullptr) {
    std::string block(1 << 16, '\0');
    while (data->read(block.data(), static_cast<std::streamsize>(block.size())), data->gcount() > 0)
      writer.raw(std::string_view(block).substr(0, static_cast<std::size_t>(data->gcount())));
  } else {
    if (source_->interactive())
      std::cout << "Enter data to be copied followed by a newline.\n"
                   "End with a backslash and a period on a line by itself, or an EOF signal.\n";
    while (const auto line = source_->next_data()) {
      if (*line == "\\.") break;
      writer.raw(*line + "\n");
    }
  }
  const std::uint64_t rows = writer.finish();
  last_tag_ = fmt::format("COPY {}", rows);
  if (options_.command_tags) std::cout << last_tag_ << '\n';
}

void SqlEngine::copy_out(const std::string& sql, std::ostream& out) {
  CopyReader reader = session_->copy_out(sql);
  std::uint64_t lines = 0;
  while (const auto chunk = reader.raw()) {
    out << *chunk;
    ++lines;
  }
  last_tag_ = fmt::format("COPY {}", lines);
  printed_json_ = true;
}

void SqlEngine::show(const Result& result) {
  last_tag_ = result.command();
  const bool rows_without_columns =
      result.columns().empty() && !result.empty() && options_.format.format != Format::json;
  if (result.columns().empty() && !rows_without_columns) {
    if (next_view_) throw Failure(kUsage, "\\crosstabview: statement did not return a result set");
    if (options_.command_tags) std::cout << result.command() << '\n';
    return;
  }
  const FormatOptions format = next_format_.value_or(options_.format);
  show_rows(next_view_ ? next_view_(result, format) : sheet_of(result), format);
}

void SqlEngine::show_rows(const Sheet& sheet, const FormatOptions& format) {
  if (options_.discard_rows) return;
  FormatOptions with_width = format;
  if (with_width.columns == 0) with_width.columns = terminal_columns();
  printed_json_ = true;
  if (!source_->interactive() || next_output_ != nullptr || output_ != nullptr) {
    print_rows(out(), sheet, with_width);
    return;
  }
  std::ostringstream text;
  print_rows(text, sheet, with_width);
  if (is_table(format)) text << '\n';
  page(context_.interrupts, text.str(), format.pager);
}

void SqlEngine::print_notifications() {
  while (const auto got = session_->wait_notification(std::chrono::milliseconds(0))) {
    std::cout << fmt::format(
        "Asynchronous notification \"{}\"{} received from server process with PID {}.\n",
        got->channel, got->payload.empty() ? "" : " with payload \"" + got->payload + "\"",
        got->backend_pid);
  }
}

void SqlEngine::begin_session() {
  session_.emplace(context_.session(database_));
  listening_ = false;
  variables_["DBNAME"] = context_.globals.dbname;
  variables_["USER"] = context_.globals.user;
  session_->native([this](PGconn* connection) {
    const char* name = PQparameterStatus(connection, "server_version");
    variables_["SERVER_VERSION_NAME"] = name == nullptr ? "" : name;
    variables_["SERVER_VERSION_NUM"] = std::to_string(PQserverVersion(connection));
  });
}

// --- variables ----------------------------------------------------------------------------------

Variables SqlEngine::variable_values() const {
  return [this](std::string_view name) -> std::optional<std::string> {
    const auto found = variables_.find(name);
    return found == variables_.end() ? std::nullopt : std::optional(found->second);
  };
}

std::vector<std::string> SqlEngine::variable_names() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : variables_)
    names.push_back(name);
  return names;
}

Session* SqlEngine::quiet_session() {
  const SessionState state = session_->state();
  return state == SessionState::idle || state == SessionState::in_transaction ? &*session_
                                                                              : nullptr;
}

bool SqlEngine::variable_is(std::string_view name, std::string_view value) const {
  const auto found = variables_.find(name);
  return found != variables_.end() && found->second == value;
}

void SqlEngine::set_variable(const std::string& name, const std::string& value) {
  if (name == "ON_ERROR_STOP") options_.stop_at_error = parse_truth(value, name);
  if (name == "QUIET") options_.command_tags = !parse_truth(value.empty() ? "on" : value, name);
  if (name == "AUTOCOMMIT" || (name == "ON_ERROR_ROLLBACK" && value != "interactive")) {
    variables_[name] = parse_truth(value, name) ? "on" : "off";
    return;
  }
  variables_[name] = value;
}

void SqlEngine::note_success(const Result& result) {
  last_rows_ = result.size();
  variables_["ERROR"] = "false";
  variables_["SQLSTATE"] = "00000";
  variables_["ROW_COUNT"] =
      std::to_string(result.columns().empty() ? result.affected() : result.size());
}

/// Prints it, and keeps it for \errverbose and for scripts that ask.
void SqlEngine::note_error(const SqlError& error, const std::string& sql) {
  std::cout.flush();
  last_error_ = describe(error, sql);
  variables_["ERROR"] = "true";
  variables_["ROW_COUNT"] = "0";
  variables_["LAST_ERROR_MESSAGE"] = error.message();
  variables_["SQLSTATE"] = variables_["LAST_ERROR_SQLSTATE"] = error.sqlstate();
  if (options_.json_errors) {
    report_failure(true);
  } else if (variable_is("VERBOSITY", "sqlstate")) {
    fmt::print(stderr, "ERROR:  {}\n", error.sqlstate());
  } else if (variable_is("VERBOSITY", "terse")) {
    fmt::print(stderr, "ERROR:  {}\n", error.message());
  } else {
    fmt::print(stderr, "{}\n", last_error_);
  }
  if (variable_is("ECHO", "errors") && !sql.empty()) fmt::print(stderr, "STATEMENT:  {}\n", sql);
}

void SqlEngine::reconnect() {
  begin_session();
  fmt::print(stderr, "A new session has begun.\n");
}

CopyKind copy_kind(std::string_view sql) {
  std::string words;  // lower case, without what stands in quotes and parentheses
  char quote = 0;
  int depth = 0;
  for (const char c : sql) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '(') {
      ++depth;
    } else if (c == ')') {
      --depth;
    } else if (depth == 0) {
      words += std::isspace(static_cast<unsigned char>(c)) != 0
                   ? ' '
                   : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  std::istringstream in(words);
  std::string word, before;
  if (!(in >> word) || word != "copy") return CopyKind::none;
  while (in >> word) {
    if (before == "from" && word == "stdin") return CopyKind::from_stdin;
    if (before == "to" && word == "stdout") return CopyKind::to_stdout;
    before = word;
  }
  return CopyKind::none;
}

}  // namespace snowglobe::cli
