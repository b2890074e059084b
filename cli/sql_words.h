// cli/sql_words.h - what TAB offers in our own shell.
#pragma once

#include "cli/line_editor.h"

namespace snowglobe::cli {

/// Backslash commands, SQL's words, and the names of tables, columns and functions, which are asked
/// for on sessions of `database`'s pool. It must outlive the completer.
[[nodiscard]] Completer sql_completer(Database& database);

}  // namespace snowglobe::cli
