// cli/sql_words.h - what TAB offers in our own shell.
#pragma once

#include "cli/line_editor.h"
#include "cli/sql_engine.h"

namespace snowglobe::cli {

/// Lives as long as `engine` does.
[[nodiscard]] Completer sql_completer(SqlEngine& engine);

}  // namespace snowglobe::cli
