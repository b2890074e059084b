// cli/lexer.h - cuts text into SQL statements, line by line, as psql does: at semicolons outside of
// quotes, comments, parentheses and SQL bodies of functions. Finds backslash commands and puts
// variables in place of :name, :'name' and :"name".
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace snowglobe::cli {

/// ":name", ":'name'", ":\"name\"" or ":{?name}" at `position`, and what stands for it: the value,
/// as a literal, as an identifier, or whether there is one. `end` is the position behind it.
struct Substitution {
  std::string text;
  std::size_t end = 0;
};
using Variables = std::function<std::optional<std::string>(std::string_view name)>;
[[nodiscard]] std::optional<Substitution> substitution_at(std::string_view line,
                                                          std::size_t position,
                                                          const Variables& variables);

/// PostgreSQL 17, 4.1 "Lexical Structure". Thread rule: one thread.
class Lexer {
 public:
  explicit Lexer(Variables variables = {}) : variables_(std::move(variables)) {}

  enum class Stop : std::uint8_t { end_of_line, statement, backslash };
  /// Reads on in `line` (without its newline) from `position`, which it moves behind what it took:
  /// a semicolon, or up to a backslash.
  Stop scan(std::string_view line, std::size_t& position);
  /// The line is over.
  void newline();

  /// What was read since the last take() or clear(), and whether more than blanks and comments.
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool has_statement() const { return has_token_; }
  /// In a quote, a parenthesis or the like: the end of a file would cut it.
  [[nodiscard]] bool open() const { return within_ != 0 || parentheses_ > 0 || bodies_ > 0; }
  /// For the prompt: ' " $ * ( or, in the middle of a statement, -; = at the start of one.
  [[nodiscard]] char prompt() const;
  std::string take();
  void clear();

 private:
  void plain(std::string_view line, std::size_t& position);
  void quoted(std::string_view line, std::size_t& position);
  void word(std::string_view line, std::size_t& position);
  bool dollar_quote(std::string_view line, std::size_t& position);
  bool variable(std::string_view line, std::size_t& position);
  void append(std::string_view line, std::size_t& position, std::size_t count);
  void count_bodies(const std::string& lower);

  Variables variables_;
  std::string text_;
  char within_ = 0;     // ' e (E'...') " $ * (comment), or 0
  std::string dollar_;  // "$tag$" that ends it
  int comments_ = 0;    // depth: they nest
  int parentheses_ = 0;
  bool has_token_ = false;
  std::string words_;  // the first four, to find CREATE FUNCTION
  int word_count_ = 0;
  bool creates_routine_ = false;
  int bodies_ = 0;  // BEGIN ATOMIC ... END, with CASE ... END inside
};

}  // namespace snowglobe::cli
