// cli/conditions.cc - which part of a script is to run.
#include "cli/conditions.h"

#include "cli/failure.h"
#include <algorithm>
#include <cctype>
#include <fmt/format.h>

namespace snowglobe::cli {

void Conditions::begin_if(bool value) {
  const bool outer = active();
  stack_.push_back({outer && value, outer && !value});
}

void Conditions::else_if(bool value) {
  if (stack_.empty()) throw Failure(kUsage, "\\elif: no matching \\if");
  Level& level = stack_.back();
  if (level.in_else) throw Failure(kUsage, "\\elif: cannot occur after \\else");
  level.active = level.may_begin && value;
  level.may_begin = level.may_begin && !value;
}

void Conditions::otherwise() {
  if (stack_.empty()) throw Failure(kUsage, "\\else: no matching \\if");
  Level& level = stack_.back();
  if (level.in_else) throw Failure(kUsage, "\\else: cannot occur after \\else");
  level.active = level.may_begin;
  level.may_begin = false;
  level.in_else = true;
}

void Conditions::end_if() {
  if (stack_.empty()) throw Failure(kUsage, "\\endif: no matching \\if");
  stack_.pop_back();
}

bool parse_truth(std::string_view text, std::string_view of) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto begins = [&lower](std::string_view word) {
    return !lower.empty() && word.starts_with(lower);
  };
  if (begins("true") || begins("yes") || lower == "on" || lower == "1") return true;
  if (begins("false") || begins("no") || lower == "of" || lower == "off" || lower == "0")
    return false;
  throw Failure(kUsage,
                fmt::format("unrecognized value \"{}\" for \"{}\": Boolean expected", text, of));
}

}  // namespace snowglobe::cli
