// cli/crosstab.h - \crosstabview: rows of a result as a grid, with one column across and one down.
#pragma once

#include "cli/format.h"
#include <string>
#include <vector>

namespace snowglobe::cli {

/// `columns` as of psql: names or numbers of the column down, the one across, the one with the
/// values, and the one that sorts those across; those that are left out are the first three.
/// `null` stands for a NULL in a header. Throws Failure.
[[nodiscard]] Sheet crosstab_of(const Result& result, const std::vector<std::string>& columns,
                                const std::string& null);

}  // namespace snowglobe::cli
