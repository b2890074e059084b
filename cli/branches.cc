// cli/branches.cc - branches: names that go along with what is saved on top of them.
#include "cli/branches.h"

#include <algorithm>

namespace snowglobe::cli {
namespace {

std::string tagged(std::string_view prefix, const std::string& branch) {
  return std::string(prefix).append(branch);
}

std::vector<std::string> names_behind(std::string_view prefix, const Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const std::string& tag : snapshot.tags())
    if (tag.starts_with(prefix)) names.push_back(tag.substr(prefix.size()));
  return names;
}

}  // namespace

bool is_own_tag(std::string_view tag) {
  return tag.starts_with(kBranchTag) || tag.starts_with(kOnBranchTag);
}

std::vector<std::string> heads_at(const Snapshot& snapshot) {
  return names_behind(kBranchTag, snapshot);
}

std::optional<Snapshot> head_of(const SnapshotStore& store, const std::string& branch) {
  for (const Snapshot& each : store.list()) {
    const std::vector<std::string> heads = heads_at(each);
    if (std::find(heads.begin(), heads.end(), branch) != heads.end()) return each;
  }
  return std::nullopt;
}

std::optional<std::string> branch_on(const Snapshot& snapshot) {
  const std::vector<std::string> heads = heads_at(snapshot);
  for (const std::string& chosen : names_behind(kOnBranchTag, snapshot))
    if (std::find(heads.begin(), heads.end(), chosen) != heads.end()) return chosen;
  return heads.size() == 1 ? std::optional(heads.front()) : std::nullopt;
}

void move_head(SnapshotStore& store, const std::string& branch, const Snapshot& to) {
  const std::optional<Snapshot> before = head_of(store, branch);
  if (before) store.untag(*before, tagged(kBranchTag, branch));
  store.tag(to, tagged(kBranchTag, branch));
}

bool remove_branch(SnapshotStore& store, const std::string& branch) {
  const std::optional<Snapshot> head = head_of(store, branch);
  if (!head) return false;
  store.untag(*head, tagged(kBranchTag, branch));
  const auto& tags = head->tags();
  if (std::find(tags.begin(), tags.end(), tagged(kOnBranchTag, branch)) != tags.end())
    store.untag(*head, tagged(kOnBranchTag, branch));
  return true;
}

void choose_branch(SnapshotStore& store, const std::optional<std::string>& branch) {
  for (const Snapshot& each : store.list()) {
    const std::vector<std::string> heads = heads_at(each);
    const bool here = branch && std::find(heads.begin(), heads.end(), *branch) != heads.end();
    bool chosen = false;
    for (const std::string& name : names_behind(kOnBranchTag, each)) {
      if (here && name == *branch) {
        chosen = true;
      } else {
        store.untag(each, tagged(kOnBranchTag, name));
      }
    }
    if (here && !chosen) store.tag(each, tagged(kOnBranchTag, *branch));
  }
}

void move_on(SnapshotStore& store, const Snapshot& saved,
             const std::optional<std::string>& branch) {
  if (saved.parent().empty()) return;
  for (const Snapshot& each : store.list()) {
    if (each.id() != saved.parent()) continue;
    const std::optional<std::string> goes = branch ? branch : branch_on(each);
    const std::vector<std::string> heads = heads_at(each);
    if (!goes || std::find(heads.begin(), heads.end(), *goes) == heads.end()) return;
    move_head(store, *goes, saved);
    if (!branch) choose_branch(store, goes);
    return;
  }
}

}  // namespace snowglobe::cli
