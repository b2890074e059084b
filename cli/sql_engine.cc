// cli/sql_engine.cc - runs text that has SQL and backslash commands in it on a session.
#include "cli/sql_engine.h"

#include "cli/children.h"
#include "cli/json.h"
#include "cli/shell_commands.h"
#include "cli/shell_output.h"
#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>
#include <iostream>
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
      session_(context.session(database)),
      lexer_([this](std::string_view name) -> std::optional<std::string> {
        const auto found = variables_.find(name);
        return found == variables_.end() ? std::nullopt : std::optional(found->second);
      }) {}

SqlEngine::~SqlEngine() = default;

std::ostream& SqlEngine::out() {
  if (next_output_ != nullptr) return next_output_->stream();
  return output_ != nullptr ? output_->stream() : std::cout;
}

std::string SqlEngine::prompt() const {
  return fmt::format(
      "{}{}{}# ", context_.globals.dbname, lexer_.prompt(),
      transaction_ == Transaction::none ? "" : std::string(1, static_cast<char>(transaction_)));
}

int SqlEngine::run(LineSource& source) {
  LineSource* const outer = std::exchange(source_, &source);
  quit_ = false;
  if (options_.single_transaction && !std::exchange(begun_, true)) execute_or_throw("begin");
  while (!quit_) {
    const auto line = source.next(source.interactive() ? prompt() : std::string());
    if (!line || !take_line(*line)) break;
  }
  const bool stopped = exit_code_ != kOk && options_.stop_at_error;
  if (!stopped && !quit_ && !source.interactive()) at_end_of_source();
  source_ = outer;
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
      if (worth_it) execute(sql);
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
    fmt::print(stderr, "{}\n", describe(error, {}));
    exit_code_ = kSqlError;
  } catch (const ConnectionLost&) {
    reconnect();
  } catch (const TimeoutError&) {
    throw;
  } catch (const GuestCrashed&) {
    throw;
  } catch (const std::exception& error) {
    // In a script it is the end; somebody at a terminal reads on.
    if (!source_->interactive()) throw;
    fmt::print(stderr, "{}\n", error.what());
    position = line.size();
  }
  if (source_->interactive()) exit_code_ = kOk;
}

// The last statement of a file or an argument needs no semicolon.
void SqlEngine::at_end_of_source() {
  if (depth_ > 0) return;
  const bool worth_it = lexer_.has_statement();
  const std::string sql = lexer_.take();
  if (worth_it) execute(sql);
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
  const auto start = Clock::now();
  last_statement_ = sql;
  bool worked = true;
  try {
    execute_or_throw(sql);
  } catch (const SqlError& error) {
    worked = false;
    if (transaction_ == Transaction::open) transaction_ = Transaction::failed;
    std::cout.flush();
    if (options_.json_errors) {
      report_failure(true);
    } else {
      fmt::print(stderr, "{}\n", describe(error, sql));
    }
    if (!source_->interactive()) exit_code_ = kSqlError;
  } catch (const ConnectionLost& error) {
    worked = false;
    if (context_.interrupts.closing().stop_requested() || !source_->interactive()) throw;
    fmt::print(stderr, "{}\n", error.what());
    reconnect();
  }
  next_output_.reset();
  next_format_.reset();
  if (options_.timing) {
    const std::chrono::duration<double, std::milli> took = Clock::now() - start;
    fmt::print(stdout, "Time: {:.3f} ms\n", took.count());
    std::fflush(stdout);
  }
  return worked;
}

void SqlEngine::execute_or_throw(const std::string& sql) {
  const auto cancel = context_.interrupts.on_cancel([this] { session_->cancel(); });
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
  const Result result = session_->query(sql);
  follow_transaction(result, sql);
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
  if (result.columns().empty()) {
    if (options_.command_tags) std::cout << result.command() << '\n';
    return;
  }
  show_rows(result, next_format_.value_or(options_.format));
}

void SqlEngine::show_rows(const Result& result, const FormatOptions& format) {
  if (options_.discard_rows) return;
  FormatOptions with_width = format;
  with_width.columns = terminal_columns();
  printed_json_ = true;
  if (!source_->interactive() || next_output_ != nullptr || output_ != nullptr) {
    print_rows(out(), result, with_width);
    return;
  }
  std::ostringstream text;
  print_rows(text, result, with_width);
  page(context_.interrupts, text.str());
}

// The protocol says it after each statement, but the API does not hand it on: the tags tell.
void SqlEngine::follow_transaction(const Result& result, const std::string& sql) {
  const std::string_view tag = result.command();
  if (tag == "BEGIN" || tag == "START TRANSACTION") transaction_ = Transaction::open;
  if (tag == "COMMIT" || tag == "PREPARE TRANSACTION") transaction_ = Transaction::none;
  if (tag == "LISTEN") listening_ = true;
  if (tag != "ROLLBACK") return;
  std::string lower = sql;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool to_savepoint = lower.find(" to ") != std::string::npos;
  transaction_ = to_savepoint ? Transaction::open : Transaction::none;
}

void SqlEngine::print_notifications() {
  while (const auto got = session_->wait_notification(std::chrono::milliseconds(0))) {
    std::cout << fmt::format(
        "Asynchronous notification \"{}\"{} received from server process with PID {}.\n",
        got->channel, got->payload.empty() ? "" : " with payload \"" + got->payload + "\"",
        got->backend_pid);
  }
}

void SqlEngine::reconnect() {
  session_.emplace(context_.session(database_));
  transaction_ = Transaction::none;
  listening_ = false;
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
