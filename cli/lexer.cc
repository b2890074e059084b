// cli/lexer.cc - cuts text into SQL statements, line by line.
#include "cli/lexer.h"

#include <algorithm>
#include <cctype>

namespace snowglobe::cli {
namespace {

bool starts_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0;
}
bool continues_name(char c) {
  return starts_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0;
}

std::string quoted_as(char quote, std::string_view value) {
  std::string text(1, quote);
  bool backslash = false;
  for (const char c : value) {
    if (c == quote) text += c;
    if (c == '\\') {
      backslash = true;
      if (quote == '\'') text += c;
    }
    text += c;
  }
  text += quote;
  return backslash && quote == '\'' ? " E" + text : text;
}

}  // namespace

Lexer::Stop Lexer::scan(std::string_view line, std::size_t& position) {
  while (position < line.size()) {
    if (within_ != 0) {
      quoted(line, position);
      continue;
    }
    const char c = line[position];
    if (c == ';' && parentheses_ == 0 && bodies_ == 0) {
      ++position;
      return Stop::statement;
    }
    if (c == '\\') return Stop::backslash;
    plain(line, position);
  }
  return Stop::end_of_line;
}

void Lexer::newline() {
  if (!text_.empty()) text_ += '\n';
}

char Lexer::prompt() const {
  if (within_ == 'e') return '\'';
  if (within_ != 0) return within_;
  if (parentheses_ > 0) return '(';
  return has_token_ ? '-' : '=';
}

std::string Lexer::take() {
  std::string text = std::move(text_);
  clear();
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), blank));
  text.erase(std::find_if_not(text.rbegin(), text.rend(), blank).base(), text.end());
  return text;
}

void Lexer::clear() {
  *this = Lexer(std::move(variables_));
}

void Lexer::append(std::string_view line, std::size_t& position, std::size_t count) {
  text_ += line.substr(position, count);
  position = std::min(position + count, line.size());
}

void Lexer::plain(std::string_view line, std::size_t& position) {
  const char c = line[position];
  const char next = position + 1 < line.size() ? line[position + 1] : '\0';
  if (c == '-' && next == '-') {
    if (has_token_) text_ += line.substr(position);
    position = line.size();
    return;
  }
  if (c == '/' && next == '*') {
    within_ = '*';
    comments_ = 1;
    append(line, position, 2);
    return;
  }
  if (std::isspace(static_cast<unsigned char>(c)) != 0) {
    if (!text_.empty()) text_ += c;
    ++position;
    return;
  }
  has_token_ = true;
  if (starts_name(c)) {
    word(line, position);
  } else if (c == '\'' || c == '"') {
    within_ = c;
    append(line, position, 1);
  } else if (c == '$' && dollar_quote(line, position)) {
    within_ = '$';
  } else if (c == ':' && next == ':') {
    append(line, position, 2);
  } else if (c == ':' && variable(line, position)) {
    return;
  } else {
    if (c == '(') ++parentheses_;
    if (c == ')' && parentheses_ > 0) --parentheses_;
    append(line, position, 1);
  }
}

void Lexer::quoted(std::string_view line, std::size_t& position) {
  if (within_ == '$') {
    const std::size_t end = line.find(dollar_, position);
    if (end == std::string_view::npos) {
      append(line, position, line.size());
    } else {
      append(line, position, end - position + dollar_.size());
      within_ = 0;
    }
    return;
  }
  const char c = line[position];
  const char next = position + 1 < line.size() ? line[position + 1] : '\0';
  if (within_ == '*') {
    const bool pair = (c == '*' && next == '/') || (c == '/' && next == '*');
    if (pair) comments_ += c == '/' ? 1 : -1;
    if (comments_ == 0) within_ = 0;
    append(line, position, pair ? 2 : 1);
    if (within_ == 0 && !has_token_) text_.clear();  // statements begin with a word
    return;
  }
  if (within_ == 'e' && c == '\\') {
    append(line, position, 2);
    return;
  }
  const char quote = within_ == 'e' ? '\'' : within_;
  if (c == quote && next == quote) {
    append(line, position, 2);
    return;
  }
  if (c == quote) within_ = 0;
  append(line, position, 1);
}

void Lexer::word(std::string_view line, std::size_t& position) {
  std::size_t end = position;
  while (end < line.size() && (continues_name(line[end]) || line[end] == '$'))
    ++end;
  std::string lower(line.substr(position, end - position));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  append(line, position, end - position);
  if (lower == "e" && position < line.size() && line[position] == '\'') {
    within_ = 'e';
    append(line, position, 1);
    return;
  }
  count_bodies(lower);
}

// A function's body in SQL has semicolons of its own: CREATE [OR REPLACE] FUNCTION ... BEGIN ATOMIC
// ...; END, in which CASE has an END as well.
void Lexer::count_bodies(const std::string& lower) {
  if (word_count_ < 4) {
    words_ += lower + ' ';
    ++word_count_;
    creates_routine_ = words_.starts_with("create function ") ||
                       words_.starts_with("create procedure ") ||
                       words_.starts_with("create or replace function ") ||
                       words_.starts_with("create or replace procedure ");
  }
  if (!creates_routine_ || parentheses_ > 0) return;
  if (lower == "begin" || (lower == "case" && bodies_ > 0)) ++bodies_;
  if (lower == "end" && bodies_ > 0) --bodies_;
}

bool Lexer::dollar_quote(std::string_view line, std::size_t& position) {
  std::size_t end = position + 1;
  if (end < line.size() && std::isdigit(static_cast<unsigned char>(line[end])) != 0) return false;
  while (end < line.size() && continues_name(line[end]))
    ++end;
  if (end >= line.size() || line[end] != '$') return false;
  dollar_ = line.substr(position, end + 1 - position);
  append(line, position, dollar_.size());
  return true;
}

bool Lexer::variable(std::string_view line, std::size_t& position) {
  if (!variables_) return false;
  const auto found = substitution_at(line, position, variables_);
  if (!found) return false;
  text_ += found->text;
  position = found->end;
  return true;
}

std::optional<Substitution> substitution_at(std::string_view line, std::size_t position,
                                            const Variables& variables) {
  std::size_t begin = position + 1;
  if (begin >= line.size() || line[position] != ':') return std::nullopt;
  const bool asks = line.substr(begin, 2) == "{?";
  const char quote = line[begin] == '\'' || line[begin] == '"' ? line[begin] : '\0';
  begin += asks ? 2 : quote != 0 ? 1 : 0;
  std::size_t end = begin;
  while (end < line.size() && continues_name(line[end]))
    ++end;
  const char closing = asks ? '}' : quote;
  if (end == begin || (closing != 0 && (end >= line.size() || line[end] != closing)))
    return std::nullopt;
  const auto value = variables(line.substr(begin, end - begin));
  if (asks) return Substitution{value ? "TRUE" : "FALSE", end + 1};
  if (!value) return std::nullopt;
  if (quote == 0) return Substitution{*value, end};
  return Substitution{quoted_as(quote, *value), end + 1};
}

}  // namespace snowglobe::cli
