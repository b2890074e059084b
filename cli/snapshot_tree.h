// cli/snapshot_tree.h - snapshots for people and programs: a tree, a line, JSON.
#pragma once

#include <snowglobe/snapshot.hpp>

#include "cli/json.h"
#include <iosfwd>
#include <span>
#include <string>

namespace snowglobe::cli {

[[nodiscard]] Json to_json(const Snapshot& snapshot);

/// "before the test (a1b2c3d4)"
[[nodiscard]] std::string label(const Snapshot& snapshot);

/// A line each; a chain goes straight down, and only where it parts do lines move to the right.
/// `order` is SnapshotStore::branches().
/// `now`: id of the one that the database goes on from, if it is known.
void print_tree(std::ostream& out, std::span<const SnapshotBranch> order,
                const std::string& now = {});

}  // namespace snowglobe::cli
