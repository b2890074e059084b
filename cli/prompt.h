// cli/prompt.h - the prompts of our own shell, written as psql's PROMPT1 is.
#pragma once

#include "cli/lexer.h"
#include <functional>
#include <string>
#include <string_view>

namespace snowglobe::cli {

struct PromptFacts {
  std::string database, user;
  char state = '=';          ///< %R: what the line is in
  std::string_view mark;     ///< %x: the state of the transaction
  bool superuser = false;    ///< %#
  int backend_pid = 0;       ///< %p
  std::size_t line = 1;      ///< %l: of the statement
  Variables variables = {};  ///< %:NAME:
  std::function<std::string(const std::string& command)> output_of = {};  ///< %`COMMAND`
};

/// Stands around what takes no room on the screen, as colours do (%[ and %]).
constexpr char kNoWidth = '\1';

/// What psql's PROMPT1 is unless somebody sets it.
constexpr std::string_view kUsualPrompt = "%/%R%x%# ";

[[nodiscard]] std::string expand_prompt(std::string_view format, const PromptFacts& facts);

}  // namespace snowglobe::cli
