// cli/describe_relation.h - \d NAME: columns, indexes, constraints and triggers of single
// relations.
#pragma once

#include "cli/describe.h"

namespace snowglobe::cli {

/// Empty if none fits.
[[nodiscard]] std::vector<Described> describe_relations(Session& session,
                                                        const NamePattern& pattern, bool more);

}  // namespace snowglobe::cli
