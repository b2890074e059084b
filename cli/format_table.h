// cli/format_table.h - a result as a table, the way psql draws it.
#pragma once

#include "cli/format.h"

namespace snowglobe::cli {

void print_table(std::ostream& out, const Result& result, const FormatOptions& options);

/// "(3 rows)"
[[nodiscard]] std::string row_count(std::size_t rows);

/// Whether values of a type stand at the right of their column, as numbers do.
[[nodiscard]] bool right_aligned(std::uint32_t type_oid);

}  // namespace snowglobe::cli
