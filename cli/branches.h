// cli/branches.h - branches: names that go along with what is saved on top of them. They are tags
// in the store, so that every process sees them; so is the one that a database is on.
#pragma once

#include <snowglobe/snapshot.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

/// Tags that the command sets for itself. A head has "branch/NAME"; that of the branch that the
/// store's database is on has "on-branch/NAME" as well.
constexpr std::string_view kBranchTag = "branch/";
constexpr std::string_view kOnBranchTag = "on-branch/";

/// Whether a tag is one of those.
[[nodiscard]] bool is_own_tag(std::string_view tag);
/// Branches whose head `snapshot` is.
[[nodiscard]] std::vector<std::string> heads_at(const Snapshot& snapshot);
[[nodiscard]] std::optional<Snapshot> head_of(const SnapshotStore& store,
                                              const std::string& branch);
/// The branch that the next save on top of `snapshot` moves: the one that was chosen, else the only
/// one that is there.
[[nodiscard]] std::optional<std::string> branch_on(const Snapshot& snapshot);

/// Puts a head somewhere else; a branch that is not there begins.
void move_head(SnapshotStore& store, const std::string& branch, const Snapshot& to);
/// Forgets a branch. False if there is none.
bool remove_branch(SnapshotStore& store, const std::string& branch);
/// What the database is on from now on; nothing: on none.
void choose_branch(SnapshotStore& store, const std::optional<std::string>& branch);
/// Takes the branch of its parent along, if one is chosen. `branch`: that one, whatever is chosen.
void move_on(SnapshotStore& store, const Snapshot& saved,
             const std::optional<std::string>& branch = {});

}  // namespace snowglobe::cli
