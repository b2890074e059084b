// cli/sql_engine.h - runs text that has SQL and backslash commands in it on a session: what `sql`,
// `load` and our own shell are made of. docs/cli.md lists the commands.
#pragma once

#include "cli/conditions.h"
#include "cli/context.h"
#include "cli/format.h"
#include "cli/lexer.h"
#include <iosfwd>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

/// Where lines come from: a file, an argument, a line editor.
class LineSource {
 public:
  virtual ~LineSource() = default;
  /// A line without its newline; nothing at the end. `prompt` is for people.
  virtual std::optional<std::string> next(const std::string& prompt) = 0;
  /// A line of data for COPY ... FROM STDIN; nothing at its end.
  virtual std::optional<std::string> next_data() { return next(">> "); }
  /// Somebody types here.
  [[nodiscard]] virtual bool interactive() const { return false; }
  /// A whole statement or command, for the history.
  virtual void remember(const std::string& text) { static_cast<void>(text); }
};

/// Lines of a stream that outlives it.
class StreamSource : public LineSource {
 public:
  explicit StreamSource(std::istream& in) : in_(in) {}
  std::optional<std::string> next(const std::string& prompt) override;

 private:
  std::istream& in_;
};

/// A statement of the command line; data for its COPY are on standard input.
class ArgumentSource : public LineSource {
 public:
  explicit ArgumentSource(const std::string& text) : text_(text) {}
  std::optional<std::string> next(const std::string& prompt) override;
  std::optional<std::string> next_data() override;

 private:
  std::istringstream text_;
};

struct EngineOptions {
  FormatOptions format;
  bool stop_at_error = true;
  bool command_tags = false;  ///< "INSERT 0 1" on stdout
  bool timing = false;
  bool single_transaction = false;
  bool json_errors = false;
  bool discard_rows = false;  ///< a dump's "select set_config(...)" says nothing to anybody
};

/// Thread rule: one thread.
class SqlEngine {
 public:
  SqlEngine(Context& context, Database& database, EngineOptions options);
  ~SqlEngine();

  /// Reads a source to its end. Returns an ExitCode: that of the first error if it stops there,
  /// else kOk. Several may follow each other; finish() comes last.
  int run(LineSource& source);
  /// Runs somebody's ~/.psqlrc before they type.
  void run_start_file(const std::filesystem::path& path);
  /// Commits or rolls back a single transaction, and says what there is to say at the end.
  int finish();
  /// How the last run() of an interactive source ended.
  [[nodiscard]] bool quit_was_said() const { return quit_; }

  [[nodiscard]] std::string prompt();
  /// Forgets the statement that is half typed.
  void drop_typed() { lexer_.clear(); }
  [[nodiscard]] Database& database() { return database_; }
  /// For completion: what was typed of a statement, names of variables, and the session if a query
  /// between two statements does no harm to it, else nullptr.
  [[nodiscard]] const std::string& typed() const { return lexer_.text(); }
  [[nodiscard]] std::vector<std::string> variable_names() const;
  [[nodiscard]] Session* quiet_session();

 private:
  friend class ShellCommands;
  struct Output;

  bool take_line(const std::string& line);
  void take_backslash(const std::string& line, std::size_t& position);
  void at_end_of_source();
  bool execute(const std::string& sql);
  /// The same, and leaves it to the caller to look at the interrupts.
  bool execute_once(const std::string& sql);
  void execute_guarded(const std::string& sql);
  void execute_or_throw(const std::string& sql);
  /// A variable, and what it means for this engine.
  void set_variable(const std::string& name, const std::string& value);
  [[nodiscard]] bool variable_is(std::string_view name, std::string_view value) const;
  [[nodiscard]] Variables variable_values() const;
  void note_success(const Result& result);
  void note_error(const SqlError& error, const std::string& sql);
  void copy_in(const std::string& sql, std::istream* data);
  void copy_out(const std::string& sql, std::ostream& out);
  void show(const Result& result);
  void show_rows(const Sheet& sheet, const FormatOptions& format);
  void print_notifications();
  void begin_session();
  void reconnect();
  std::ostream& out();

  Context& context_;
  Database& database_;
  EngineOptions options_;
  std::optional<Session> session_;
  std::map<std::string, std::string, std::less<>> variables_;
  Lexer lexer_;
  LineSource* source_ = nullptr;
  std::string last_statement_;
  std::unique_ptr<Output> output_;       // \o
  std::unique_ptr<Output> next_output_;  // \g
  std::optional<FormatOptions> next_format_;
  /// What \crosstabview makes of the next result.
  std::function<Sheet(const Result&, const FormatOptions&)> next_view_;
  std::optional<std::vector<std::string>> bound_;  // \bind: values of the next statement
  bool listening_ = false;
  bool quit_ = false;
  bool begun_ = false;
  std::vector<std::filesystem::path> files_;  // of \i, the innermost last
  Conditions conditions_;
  std::string last_error_;
  std::size_t last_rows_ = 0;
  int exit_code_ = kOk;
  bool printed_json_ = false;
  std::string last_tag_;
};

/// Whether a statement is COPY ... FROM STDIN or COPY ... TO STDOUT.
enum class CopyKind : std::uint8_t { none, from_stdin, to_stdout };
[[nodiscard]] CopyKind copy_kind(std::string_view sql);

}  // namespace snowglobe::cli
