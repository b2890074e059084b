// cli/shell_commands.h - the backslash commands of our own shell and of scripts.
#pragma once

#include "cli/sql_engine.h"
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

/// One command of a line, from its backslash on. Lives as long as it runs.
class ShellCommands {
 public:
  explicit ShellCommands(SqlEngine& engine) : engine_(engine) {}

  /// Returns the position behind the command and its arguments. Throws what goes wrong.
  std::size_t run(const std::string& line, std::size_t position);

  /// Names of all commands, with their backslash, for the completion.
  [[nodiscard]] static std::vector<std::string> names();
  /// What \pset sets, and the formats that it knows.
  [[nodiscard]] static std::vector<std::string> looks();
  [[nodiscard]] static std::vector<std::string> formats();

 private:
  using Method = void (ShellCommands::*)();
  struct Entry {
    std::string_view name;
    Method method;
    std::string_view arguments, help;
  };
  [[nodiscard]] static const std::vector<Entry>& entries();

  [[nodiscard]] std::optional<std::string> word();
  [[nodiscard]] std::string required(std::string_view what);
  [[nodiscard]] std::string rest();
  std::string rest_of_words();
  [[nodiscard]] bool truth();
  [[nodiscard]] std::string take_statement();
  bool toggle(bool now);

  void quit(), help(), sql_help(), go(), go_expanded(), go_set(), go_execute(), go_describe();
  void watch(), begin_if(), else_if(), otherwise(), end_if(), skip();
  void print_buffer(), reset(), write_buffer(), edit(), prompt_for(), password();
  void set_environment(), get_environment(), error_details();
  void copy(), echo(), warn(), include(), include_beside(), output();
  void expanded(), align(), html(), field_separator(), tuples(), pset(), timing(), title();
  void crosstab(), bind();
  void connect(), connection_info(), encoding();
  void run_outside(), change_folder(), set(), unset();
  void describe_objects();
  void save(), restore(), snapshots(), guest(), expose(), hide();
  void ignored();

  /// Sets what \pset calls `name`, and says how it is now.
  void look(std::string_view name, const std::optional<std::string>& value);
  void run_buffer(const std::optional<FormatOptions>& format);
  void include_file(const std::string& path);
  void describe_with_guest();
  [[nodiscard]] std::string output_here(std::string_view command);

  SqlEngine& engine_;
  std::string_view line_;
  std::size_t position_ = 0;
  std::string name_;
};

}  // namespace snowglobe::cli
