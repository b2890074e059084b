// cli/print.h - results for people (a table) and for programs (JSON).
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <iosfwd>

namespace snowglobe::cli {

/// Columns side by side with a header, as psql does; of a statement without rows its command tag.
void print_table(std::ostream& out, const Result& result);

/// An array with an object a row; values are strings, as PostgreSQL prints them, or null.
void print_json(std::ostream& out, const Result& result);

}  // namespace snowglobe::cli
