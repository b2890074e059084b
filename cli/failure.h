// cli/failure.h - what went wrong, as a line for people or JSON, and as an exit code.
#pragma once

#include <snowglobe/error.hpp>
#include <snowglobe/sql_errors.hpp>

#include "cli/exit_codes.h"
#include <exception>
#include <string>

namespace snowglobe::cli {

/// Thrown by verbs where the library has no class of its own.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ExitCode exit_code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// Ends the program with this code without a word: a child's own, or after Ctrl-C.
struct Exit {
  int code;
};

/// "ERROR:  ...", with LINE, DETAIL, HINT and CONTEXT as psql prints them; many lines, no newline
/// at the end. `statement` may be empty.
[[nodiscard]] std::string describe(const SqlError& error, std::string_view statement);

/// Prints the exception that is being handled on stderr. Returns the exit code.
int report_failure(bool json);

}  // namespace snowglobe::cli
