// cli/snapshot_tree.cc - snapshots for people and programs: a tree, a line, JSON.
#include "cli/snapshot_tree.h"

#include "cli/branches.h"
#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <ostream>
#include <vector>

namespace snowglobe::cli {
namespace {

struct Line {
  std::string tree;  // "├─● "
  const Snapshot* snapshot;
};

/// Children of each place in the order, and the roots under -1.
std::map<long, std::vector<long>> children_of(std::span<const SnapshotBranch> order) {
  std::map<long, std::vector<long>> children;
  std::vector<long> path;  // the last one of each depth
  for (std::size_t i = 0; i < order.size(); ++i) {
    path.resize(std::min(path.size(), order[i].depth));
    children[path.empty() ? -1 : path.back()].push_back(static_cast<long>(i));
    path.push_back(static_cast<long>(i));
  }
  return children;
}

class Drawing {
 public:
  explicit Drawing(std::span<const SnapshotBranch> order)
      : order_(order), children_(children_of(order)) {
    for (const long root : children_[-1]) {
      roots_.push_back(lines_.size());
      chain(root, "", "");
    }
  }
  [[nodiscard]] const std::vector<Line>& lines() const { return lines_; }
  [[nodiscard]] bool begins_a_tree(std::size_t line) const {
    return std::find(roots_.begin(), roots_.end(), line) != roots_.end();
  }

 private:
  // Straight down as long as there is one child; recursion only where the tree parts.
  void chain(long node, const std::string& first, const std::string& rest) {
    std::string prefix = first;
    for (;;) {
      lines_.push_back({prefix + "● ", &order_[static_cast<std::size_t>(node)].snapshot});
      prefix = rest;
      const std::vector<long>& next = children_[node];
      if (next.size() != 1) {
        for (std::size_t i = 0; i < next.size(); ++i) {
          const bool last = i + 1 == next.size();
          chain(next[i], rest + (last ? "└─" : "├─"), rest + (last ? "  " : "│ "));
        }
        return;
      }
      node = next.front();
    }
  }

  std::span<const SnapshotBranch> order_;
  std::map<long, std::vector<long>> children_;
  std::vector<Line> lines_;
  std::vector<std::size_t> roots_;
};

std::string padded(std::string text, std::size_t width) {
  const std::size_t now = display_width(text);
  if (now < width) text.append(width - now, ' ');
  return text;
}

/// "[main] [try, now] #tag": where the database stands is said with the branch that it is on.
std::string tags_of(const Snapshot& snapshot, bool now) {
  std::vector<std::string> words;
  const std::optional<std::string> on = branch_on(snapshot);
  for (const std::string& head : heads_at(snapshot))
    words.push_back(now && head == on ? styled(Style::green, "[" + head + ", now]")
                                      : "[" + head + "]");
  if (now && !on) words.push_back(styled(Style::green, "[now]"));
  for (const std::string& tag : snapshot.tags())
    if (!is_own_tag(tag)) words.push_back("#" + tag);
  return fmt::format("{}", fmt::join(words, " "));
}

}  // namespace

Json to_json(const Snapshot& snapshot) {
  const SnapshotSizes sizes = snapshot.sizes();
  Json tags = Json::array();
  for (const std::string& tag : snapshot.tags())
    if (!is_own_tag(tag)) tags.push_back(tag);
  return {{"id", snapshot.id()},
          {"name", snapshot.name()},
          {"former_name", snapshot.former_name()},
          {"parent", snapshot.parent()},
          {"time", iso_time(snapshot.time())},
          {"tags", tags},
          {"branches", heads_at(snapshot)},
          {"note", snapshot.note()},
          {"memory_bytes", sizes.memory},
          {"raw_bytes", sizes.raw},
          {"stored_bytes", sizes.stored},
          {"added_bytes", sizes.added},
          {"image", snapshot.image_id()},
          {"postgres", snapshot.postgres_version()},
          {"wal_position", snapshot.wal_position()}};
}

std::string label(const Snapshot& snapshot) {
  std::string id = snapshot.id().substr(0, 8);
  if (!snapshot.name().empty()) return fmt::format("{} ({})", snapshot.name(), id);
  if (!snapshot.former_name().empty())
    return fmt::format("{} (was {})", id, snapshot.former_name());
  return id;
}

void print_tree(std::ostream& out, std::span<const SnapshotBranch> order,
                const std::string& now_at) {
  const Drawing drawing(order);
  const auto now = std::chrono::system_clock::now();
  std::size_t width = 12;
  const auto name_of = [](const Line& line) {
    const Snapshot& snapshot = *line.snapshot;
    if (!snapshot.name().empty()) return line.tree + snapshot.name();
    if (!snapshot.former_name().empty()) return line.tree + "(was " + snapshot.former_name() + ")";
    return line.tree + "-";
  };
  for (const Line& line : drawing.lines())
    width = std::max(width, display_width(name_of(line)));
  out << styled(Style::bold,
                fmt::format("{}  {:<8}  {:<12}  {:>9}  {:>9}  {}", padded("NAME", width), "ID",
                            "SAVED", "SIZE", "ADDED", "TAGS, NOTE"))
      << '\n';
  for (std::size_t i = 0; i < drawing.lines().size(); ++i) {
    const Line& line = drawing.lines()[i];
    if (i > 0 && drawing.begins_a_tree(i)) out << '\n';
    const Snapshot& snapshot = *line.snapshot;
    const SnapshotSizes sizes = snapshot.sizes();
    const std::string tags = tags_of(snapshot, snapshot.id() == now_at);
    std::string text = fmt::format(
        "{}  {:<8}  {:<12}  {:>9}  {:>9}  {}{}{}", padded(name_of(line), width),
        snapshot.id().substr(0, 8), human_age(snapshot.time(), now), human_bytes(sizes.stored),
        human_bytes(sizes.added), tags, tags.empty() || snapshot.note().empty() ? "" : "  ",
        snapshot.note().substr(0, snapshot.note().find('\n')));
    text.erase(text.find_last_not_of(' ') + 1);
    out << text << '\n';
  }
}

}  // namespace snowglobe::cli
