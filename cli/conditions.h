// cli/conditions.h - which part of a script is to run: the stack of \if, \elif, \else and \endif.
#pragma once

#include <string_view>
#include <vector>

namespace snowglobe::cli {

/// Thread rule: one thread. Each throws Failure if it does not belong where it stands.
class Conditions {
 public:
  /// Whether what comes now is to run.
  [[nodiscard]] bool active() const { return stack_.empty() || stack_.back().active; }
  /// Whether the expression of an \if or \elif that comes now counts; else it is not looked at.
  [[nodiscard]] bool if_counts() const { return active(); }
  [[nodiscard]] bool elif_counts() const { return !stack_.empty() && stack_.back().may_begin; }

  void begin_if(bool value);
  void else_if(bool value);
  void otherwise();
  void end_if();
  /// How many are open.
  [[nodiscard]] std::size_t open() const { return stack_.size(); }

 private:
  struct Level {
    bool active;     ///< this part runs
    bool may_begin;  ///< no part of it has run yet, and one may
    bool in_else = false;
  };
  std::vector<Level> stack_;
};

/// true, yes, on, 1, false, no, off, 0, or the beginning of one; throws Failure.
[[nodiscard]] bool parse_truth(std::string_view text, std::string_view of);

}  // namespace snowglobe::cli
