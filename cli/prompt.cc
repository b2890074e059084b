// cli/prompt.cc - the prompts of our own shell: PostgreSQL 17, psql, "Prompting".
#include "cli/prompt.h"

namespace snowglobe::cli {
namespace {

/// Up to three octal digits from `at` on, which it moves behind them.
char octal(std::string_view format, std::size_t& at) {
  int value = 0;
  for (int digits = 0; digits < 3 && at < format.size(); ++digits, ++at) {
    if (format[at] < '0' || format[at] > '7') break;
    value = value * 8 + (format[at] - '0');
  }
  return static_cast<char>(value);
}

/// What stands from `at` to `end`, which `at` is moved behind.
std::string up_to(std::string_view format, std::size_t& at, char end) {
  const std::size_t found = format.find(end, at);
  std::string text(format.substr(at, found == std::string_view::npos ? found : found - at));
  at = found == std::string_view::npos ? format.size() : found + 1;
  return text;
}

std::string one_of(char letter, const PromptFacts& facts) {
  switch (letter) {
    case '/':
      return facts.database;
    case '~':
      return facts.database == facts.user ? "~" : facts.database;
    case 'n':
      return facts.user;
    case 'M':
    case 'm':
      return "[local]";  // nothing listens: as psql says it of a Unix socket
    case '>':
      return "5432";
    case 'p':
      return std::to_string(facts.backend_pid);
    case 'R':
      return std::string(1, facts.state);
    case 'x':
      return std::string(facts.mark);
    case '#':
      return facts.superuser ? "#" : ">";
    case 'l':
      return std::to_string(facts.line);
    case '[':
    case ']':
      return std::string(1, kNoWidth);
    default:
      return std::string(1, letter);
  }
}

}  // namespace

std::string expand_prompt(std::string_view format, const PromptFacts& facts) {
  std::string text;
  for (std::size_t at = 0; at < format.size();) {
    const char c = format[at++];
    if (c != '%' || at == format.size()) {
      text += c;
    } else if (format[at] >= '0' && format[at] <= '7') {
      text += octal(format, at);
    } else if (format[at] == ':') {
      const std::string name = up_to(format, ++at, ':');
      text += facts.variables ? facts.variables(name).value_or("") : "";
    } else if (format[at] == '`') {
      std::string output = facts.output_of ? facts.output_of(up_to(format, ++at, '`')) : "";
      if (!output.empty() && output.back() == '\n') output.pop_back();
      text += output;
    } else {
      text += one_of(format[at++], facts);
    }
  }
  return text;
}

}  // namespace snowglobe::cli
