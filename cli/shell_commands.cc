// cli/shell_commands.cc - the backslash commands: their table, their arguments, and those that have
// to do with statements and output. shell_commands_more.cc has the others.
#include "cli/shell_commands.h"

#include "cli/describe.h"
#include "cli/files.h"
#include "cli/shell_output.h"
#include "cli/terminal.h"
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <sstream>

namespace snowglobe::cli {

const std::vector<ShellCommands::Entry>& ShellCommands::entries() {
  using C = ShellCommands;
  static const std::vector<Entry> kEntries = {
      {"q", &C::quit, "", "leave (also quit, exit)"},
      {"?", &C::help, "", "this list"},
      {"h", &C::sql_help, "[COMMAND]", "how an SQL command is written"},
      {"errverbose", &C::error_details, "", "the last error again, with its SQLSTATE"},
      {"g", &C::go, "[FILE or |COMMAND]", "run what was typed, or the last statement again"},
      {"gx", &C::go_expanded, "", "the same, a record below the other"},
      {"gset", &C::go_set, "[PREFIX]", "run it and set a variable for each column"},
      {"gexec", &C::go_execute, "", "run it, and each value of its result as a statement"},
      {"gdesc", &C::go_describe, "", "its columns, without running it"},
      {"crosstabview", &C::crosstab, "[DOWN [ACROSS [VALUES [SORT]]]]",
       "run it, and show its rows as a grid"},
      {"bind", &C::bind, "[VALUE]...", "values for $1, $2, ... of the next statement"},
      {"watch", &C::watch, "[[i=]SECONDS] [c=TIMES] [m=ROWS]",
       "run it every 2 seconds, until Ctrl-C, so many times, or fewer rows than m"},
      {"e", &C::edit, "[FILE]", "edit what was typed, or a file, in EDITOR, and run it"},
      {"p", &C::print_buffer, "", "show what was typed"},
      {"r", &C::reset, "", "forget what was typed"},
      {"w", &C::write_buffer, "FILE", "write what was typed to a file"},
      {"copy", &C::copy, "TABLE|(QUERY) from|to FILE|stdin|stdout [OPTIONS]",
       "COPY with files of the host"},
      {"i", &C::include, "FILE", "run a file"},
      {"ir", &C::include_beside, "FILE", "the same, beside the file that says so"},
      {"if", &C::begin_if, "TRUTH", "run what follows only if it is true; with \\elif, \\else"},
      {"elif", &C::else_if, "TRUTH", "else this part, if it is true"},
      {"else", &C::otherwise, "", "else this part"},
      {"endif", &C::end_if, "", "its end"},
      {"o", &C::output, "[FILE or |COMMAND]", "results go there from now on"},
      {"echo", &C::echo, "TEXT", "print text on stdout"},
      {"qecho", &C::echo, "TEXT", "the same"},
      {"warn", &C::warn, "TEXT", "print text on stderr"},
      {"d", &C::describe_objects, "[NAME]",
       "tables and their columns; also dt di dv dm ds df dn du dT dx l, with S and +"},
      {"x", &C::expanded, "[on|off|auto]", "a record below the other"},
      {"a", &C::align, "", "aligned or not"},
      {"t", &C::tuples, "[on|off]", "rows only"},
      {"pset", &C::pset, "[NAME [VALUE]]",
       "how results look: border, format, linestyle, null, ...; alone it lists them"},
      {"H", &C::html, "", "HTML or not"},
      {"f", &C::field_separator, "[TEXT]", "what separates columns that are not aligned"},
      {"C", &C::title, "[TEXT]", "a title above tables"},
      {"timing", &C::timing, "[on|off]", "how long each statement takes"},
      {"c", &C::connect, "[DATABASE] [USER]", "a new session"},
      {"conninfo", &C::connection_info, "", "about this session"},
      {"encoding", &C::encoding, "[NAME]", "of the client"},
      {"!", &C::run_outside, "COMMAND", "run a command of the host"},
      {"cd", &C::change_folder, "[FOLDER]", "go to a folder of the host"},
      {"set", &C::set, "[NAME [VALUE]]", "variables: :name, :'name', :\"name\""},
      {"unset", &C::unset, "NAME", "forget one"},
      {"prompt", &C::prompt_for, "[TEXT] NAME", "ask for the value of a variable"},
      {"getenv", &C::get_environment, "NAME VARIABLE", "take it from the environment"},
      {"setenv", &C::set_environment, "VARIABLE [VALUE]", "set or unset one for commands"},
      {"password", &C::password, "[ROLE]", "set a role's password; only its hash is sent"},
      {"save", &C::save, "[NAME]", "keep the whole machine as it is now"},
      {"restore", &C::restore, "[NAME]", "put it back, by name or the latest"},
      {"snapshots", &C::snapshots, "", "what was saved here"},
      {"guest", &C::guest, "COMMAND", "run a command in the machine"},
      {"expose", &C::expose, "[PORT]", "let programs outside in; prints a line for psql"},
      {"hide", &C::hide, "", "take \\expose back: nobody new gets in (also \\unexpose)"},
      {"restrict", &C::ignored, "KEY", "as pg_dump writes it; nothing is restricted"},
      {"unrestrict", &C::ignored, "KEY", "its end"},
  };
  return kEntries;
}

std::vector<std::string> ShellCommands::names() {
  std::vector<std::string> names;
  for (const Entry& entry : entries())
    names.push_back("\\" + std::string(entry.name));
  for (const std::string_view each : {"\\dt", "\\di", "\\dv", "\\dm", "\\ds", "\\df", "\\dn",
                                      "\\du", "\\dT", "\\dx", "\\l", "\\connect", "\\quit"})
    names.emplace_back(each);
  return names;
}

std::size_t ShellCommands::run(const std::string& line, std::size_t position) {
  line_ = line;
  position_ = position + 1;
  if (position_ < line.size() && line[position_] == '\\') return position_ + 1;  // a separator
  const std::size_t end = std::min(line.find_first_of(" \t\\", position_), line.size());
  name_ = line.substr(position_, end - position_);
  if (name_.starts_with('!')) name_ = "!";  // \!ls
  position_ += name_.size();
  if (name_ == "quit") name_ = "q";
  if (name_ == "connect") name_ = "c";
  if (name_ == "include") name_ = "i";
  if (name_ == "edit") name_ = "e";
  if (name_ == "help") name_ = "h";
  if (name_ == "unexpose") name_ = "hide";
  if (name_ == "z") name_ = "dp";
  const auto& all = entries();
  auto found =
      std::find_if(all.begin(), all.end(), [&](const Entry& e) { return e.name == name_; });
  if (found == all.end() && (name_.starts_with('d') || name_.starts_with('l') ||
                             name_.starts_with("sf") || name_.starts_with("sv")))
    found = std::find_if(all.begin(), all.end(), [](const Entry& e) { return e.name == "d"; });
  if (found == all.end() && !engine_.conditions_.active()) {
    skip();
    return position_;
  }
  if (found == all.end())
    throw Failure(kUsage, fmt::format("there is no command \\{}; \\? lists them", name_));
  const bool steers = name_ == "if" || name_ == "elif" || name_ == "else" || name_ == "endif";
  if (steers || engine_.conditions_.active()) {
    (this->*found->method)();
  } else {
    skip();
  }
  return position_;
}

std::optional<std::string> ShellCommands::word() {
  while (position_ < line_.size() &&
         std::isspace(static_cast<unsigned char>(line_[position_])) != 0)
    ++position_;
  if (position_ >= line_.size() || line_[position_] == '\\') return std::nullopt;
  std::string text;
  char quote = 0;
  for (; position_ < line_.size(); ++position_) {
    const char c = line_[position_];
    const char next = position_ + 1 < line_.size() ? line_[position_ + 1] : '\0';
    if (quote == '\'' && c == '\\' && next != 0) {
      text += next == 'n' ? '\n' : next == 't' ? '\t' : next;
      ++position_;
    } else if (quote != 0 && c == quote && next == quote) {
      text += c;
      ++position_;
    } else if (c == quote) {
      quote = 0;
      if (c == '"') text += c;
    } else if (quote == 0 && c == '`') {
      const std::size_t end = std::min(line_.find('`', position_ + 1), line_.size());
      text += output_here(line_.substr(position_ + 1, end - position_ - 1));
      position_ = end;
    } else if (const auto value = quote == 0
                                      ? substitution_at(line_, position_, engine_.variable_values())
                                      : std::nullopt) {
      text += value->text;
      position_ = value->end - 1;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      if (c == '"') text += c;  // names keep theirs: they say what the case means
    } else if (quote == 0 && (std::isspace(static_cast<unsigned char>(c)) != 0 || c == '\\')) {
      break;
    } else {
      text += c;
    }
  }
  return text;
}

std::string ShellCommands::required(std::string_view what) {
  if (auto text = word()) return *text;
  throw Failure(kUsage, fmt::format("\\{} needs {}", name_, what));
}

std::string ShellCommands::rest() {
  std::string text(line_.substr(std::min(position_, line_.size())));
  position_ = line_.size();
  text.erase(0, text.find_first_not_of(" \t"));
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
    text.pop_back();
  return text;
}

bool ShellCommands::toggle(bool now) {
  const auto text = word();
  if (!text) return !now;
  return parse_truth(*text, "\\" + name_);
}

void ShellCommands::quit() {
  engine_.quit_ = true;
  position_ = line_.size();
}

void ShellCommands::help() {
  for (const Entry& entry : entries())
    std::cout << fmt::format("  {:<44} {}\n", fmt::format("\\{} {}", entry.name, entry.arguments),
                             entry.help);
  std::cout.flush();
}

/// What stands between backquotes: a command of the host, but not in a part that does not run.
std::string ShellCommands::output_here(std::string_view command) {
  if (!engine_.conditions_.active()) return {};
  std::string text = output_of(engine_.context_.interrupts, std::string(command));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The guest's psql knows all of them.
void ShellCommands::sql_help() {
  std::string command = rest();
  while (!command.empty() && (command.back() == ';' || command.back() == ' '))
    command.pop_back();
  const ExecResult result =
      engine_.database_.guest().exec({"psql", "-X", "-U", "postgres", "-c", "\\h " + command});
  std::ostringstream text;
  text << result.out << result.err;
  page(engine_.context_.interrupts, text.str());
}

void ShellCommands::ignored() {
  position_ = line_.size();
}

// --- statements ---------------------------------------------------------------------------------

void ShellCommands::run_buffer(const std::optional<FormatOptions>& format) {
  engine_.next_format_ = format;
  const std::string sql = take_statement();
  if (!sql.empty()) engine_.execute(sql);
}

void ShellCommands::go() {
  const std::string target = rest();
  if (!target.empty())
    engine_.next_output_ = std::make_unique<SqlEngine::Output>(engine_.context_.interrupts, target);
  run_buffer(std::nullopt);
}

void ShellCommands::go_expanded() {
  const std::string target = rest();
  if (!target.empty())
    engine_.next_output_ = std::make_unique<SqlEngine::Output>(engine_.context_.interrupts, target);
  FormatOptions format = engine_.options_.format;
  format.expanded = Expanded::on;
  run_buffer(format);
}

void ShellCommands::print_buffer() {
  std::cout << (engine_.lexer_.has_statement() ? engine_.lexer_.text() : engine_.last_statement_)
            << '\n';
}

void ShellCommands::reset() {
  engine_.lexer_.clear();
}

void ShellCommands::write_buffer() {
  const std::string target = rest();
  if (target.empty()) throw Failure(kUsage, "\\w needs the name of a file");
  SqlEngine::Output output(engine_.context_.interrupts, target);
  output.stream() << (engine_.lexer_.has_statement() ? engine_.lexer_.text()
                                                     : engine_.last_statement_)
                  << '\n';
  if (!output.stream().flush()) throw Failure(kFailed, fmt::format("cannot write {}", target));
}

// --- files --------------------------------------------------------------------------------------

namespace {

/// "\copy t (a, b) from 'x.csv' csv header" in its pieces.
struct CopyCommand {
  std::string what;  // "t (a, b)" or "(select ...)"
  bool in = false;
  std::string file;     // or stdin, stdout
  bool quoted = false;  // then it is a file, whatever it is called
  std::string options;
};

CopyCommand parse_copy(const std::string& text) {
  int depth = 0;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
      continue;
    }
    if (c == '\'' || c == '"') quote = c;
    if (c == '(') ++depth;
    if (c == ')') --depth;
    const bool from = text.compare(i, 6, " from ") == 0 || text.compare(i, 6, " FROM ") == 0;
    const bool to = text.compare(i, 4, " to ") == 0 || text.compare(i, 4, " TO ") == 0;
    if (depth != 0 || (!from && !to)) continue;
    CopyCommand command{text.substr(0, i), from, {}, false, {}};
    std::size_t at = text.find_first_not_of(' ', i + (from ? 6 : 4));
    if (at == std::string::npos) break;
    command.quoted = text[at] == '\'';
    const std::size_t end = command.quoted ? text.find('\'', at + 1) : text.find(' ', at);
    if (command.quoted) ++at;
    command.file = text.substr(at, end == std::string::npos ? end : end - at);
    if (end != std::string::npos) command.options = text.substr(end + 1);
    return command;
  }
  throw Failure(kUsage, "say it as \\copy TABLE from FILE, or \\copy (QUERY) to FILE csv header");
}

std::string as_options(const std::string& options) {
  const std::size_t begin = options.find_first_not_of(' ');
  return begin == std::string::npos ? "" : " " + options.substr(begin);
}

}  // namespace

void ShellCommands::copy() {
  const CopyCommand command = parse_copy(rest());
  const bool stream = !command.quoted && (command.file == "stdin" || command.file == "stdout" ||
                                          command.file == "pstdin" || command.file == "pstdout");
  const std::string sql =
      fmt::format("copy {} {}{}", command.what, command.in ? "from stdin" : "to stdout",
                  as_options(command.options));
  const auto cancel = engine_.context_.interrupts.on_cancel([this] { engine_.session_->cancel(); });
  if (command.in) {
    std::ifstream file;
    if (!stream) {
      file.open(command.file, std::ios::binary);
      if (!file) throw Failure(kNotFound, fmt::format("cannot read {}", command.file));
    }
    engine_.copy_in(sql, stream ? nullptr : &file);
  } else if (stream) {
    engine_.copy_out(sql, engine_.out());
  } else {
    std::ofstream file(command.file, std::ios::binary);
    if (!file) throw Failure(kFailed, fmt::format("cannot write {}", command.file));
    engine_.copy_out(sql, file);
    if (!file.flush())
      throw Failure(kFailed, fmt::format("cannot write {}: is the disk full?", command.file));
  }
  if (engine_.source_->interactive()) std::cout << engine_.last_tag_ << std::endl;
}

void ShellCommands::include_file(const std::string& path) {
  constexpr std::size_t kDeepest = 32;
  if (engine_.files_.size() >= kDeepest) throw Failure(kFailed, "\\i goes round in circles");
  require_file(path);
  std::ifstream file(path);
  StreamSource source(file);
  engine_.files_.push_back(path);
  const int code = engine_.run(source);
  engine_.files_.pop_back();
  if (code != kOk) engine_.exit_code_ = code;
}

void ShellCommands::include() {
  include_file(required("the name of a file"));
}

void ShellCommands::include_beside() {
  const std::filesystem::path path = required("the name of a file");
  include_file(engine_.files_.empty() ? path : engine_.files_.back().parent_path() / path);
}

void ShellCommands::output() {
  const std::string target = rest();
  engine_.output_ = target.empty()
                        ? nullptr
                        : std::make_unique<SqlEngine::Output>(engine_.context_.interrupts, target);
}

void ShellCommands::echo() {
  const auto first = word();
  const bool no_newline = first == "-n";
  std::string text = no_newline ? "" : first.value_or("");
  const std::string more = rest_of_words();
  text += (text.empty() || more.empty() ? "" : " ") + more;
  (name_ == "qecho" ? engine_.out() : std::cout) << text << (no_newline ? "" : "\n") << std::flush;
}

void ShellCommands::warn() {
  fmt::print(stderr, "{}\n", rest_of_words());
}

}  // namespace snowglobe::cli
