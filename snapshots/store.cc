// snapshots/store.cc - snapshots as values: list, find, the tree, names, tags and notes.
#include "snapshots/store.h"

#include "snapshots/core.h"
#include "snapshots/metadata.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>

namespace snowglobe::snapshots {

namespace {

bool is_older(const SnapshotRow* a, const SnapshotRow* b) {
  return std::pair(*a->info.metadata.created, a->number) <
         std::pair(*b->info.metadata.created, b->number);
}

std::vector<const SnapshotRow*> by_age(const View& view) {
  std::vector<const SnapshotRow*> rows;
  for (const SnapshotRow& row : view.snapshots)
    rows.push_back(&row);
  std::sort(rows.begin(), rows.end(), is_older);
  return rows;
}

base::Error not_found(std::string_view text) {
  return {base::ErrorCode::kNotFound, fmt::format("there is no snapshot '{}' in the store", text)};
}

base::Result<SnapshotInfo> find_prefix(const View& view, std::string_view text) {
  std::string prefix(text);
  std::transform(prefix.begin(), prefix.end(), prefix.begin(),
                 [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  if (prefix.size() < kMinIdPrefix ||
      prefix.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return not_found(text);
  }
  const SnapshotRow* found = nullptr;
  for (const SnapshotRow& row : view.snapshots) {
    if (!row.info.id.hex().starts_with(prefix)) continue;
    if (found != nullptr) {
      return base::Error{base::ErrorCode::kInvalidArgument,
                         fmt::format("'{}' fits {} and {}: give more digits", text,
                                     found->info.id.hex(), row.info.id.hex())};
    }
    found = &row;
  }
  if (found == nullptr) return not_found(text);
  return found->info;
}

/// One transaction that changes one row; `edit` is told the view and says no with an error.
base::Result<void> edit_row(
    Store::Core& core, const SnapshotId& id,
    const std::function<base::Result<void>(const View&, SnapshotRow&)>& edit) {
  if (auto usable = core.check_writable(); !usable.ok()) return usable;
  Catalogue::Change change(*core.catalogue);
  if (auto begun = change.begin(); !begun.ok()) return begun;
  auto row = Store::Core::row_of(change.view(), id);
  if (!row.ok()) return row.error();
  SnapshotRow edited = *row.value();
  if (auto done = edit(change.view(), edited); !done.ok()) return done;
  if (auto replaced = change.replace_snapshot(edited); !replaced.ok()) return replaced;
  return change.commit();
}

}  // namespace

Store::Store(std::shared_ptr<Core> core) : core_(std::move(core)) {}

Store::~Store() = default;

const std::filesystem::path& Store::folder() const {
  return core_->folder;
}

base::Result<std::vector<SnapshotInfo>> Store::list() const {
  auto view = core_->view();
  if (!view.ok()) return view.error();
  std::vector<SnapshotInfo> infos;
  for (const SnapshotRow* row : by_age(*view.value()))
    infos.push_back(row->info);
  return infos;
}

base::Result<SnapshotInfo> Store::find(std::string_view text) const {
  auto loaded = core_->view();
  if (!loaded.ok()) return loaded.error();
  const View& view = *loaded.value();
  const std::vector<const SnapshotRow*> rows = by_age(view);
  if (text == "latest") {
    if (!rows.empty()) return rows.back()->info;
    return base::Error{base::ErrorCode::kNotFound, "the store has no snapshots yet"};
  }
  if (const auto id = SnapshotId::parse(text); id.has_value()) return get(*id);
  if (const SnapshotRow* named = view.find_name(text); named != nullptr) return named->info;
  const auto tagged = std::find_if(rows.rbegin(), rows.rend(),
                                   [&](const SnapshotRow* row) { return row->info.has_tag(text); });
  if (tagged != rows.rend()) return (*tagged)->info;
  return find_prefix(view, text);
}

base::Result<SnapshotInfo> Store::get(const SnapshotId& id) const {
  auto view = core_->view();
  if (!view.ok()) return view.error();
  auto row = Core::row_of(*view.value(), id);
  if (!row.ok()) return row.error();
  return row.value()->info;
}

base::Result<std::vector<SnapshotInfo>> Store::ancestors(const SnapshotId& id) const {
  auto view = core_->view();
  if (!view.ok()) return view.error();
  auto row = Core::row_of(*view.value(), id);
  if (!row.ok()) return row.error();
  std::vector<SnapshotInfo> infos;
  // Parents have smaller numbers (the catalogue was checked for it), so this ends.
  for (const SnapshotRow* at = row.value(); at->parent.has_value();) {
    at = view.value()->find_number(*at->parent);
    infos.push_back(at->info);
  }
  return infos;
}

base::Result<std::vector<SnapshotInfo>> Store::children(const SnapshotId& id) const {
  auto view = core_->view();
  if (!view.ok()) return view.error();
  auto row = Core::row_of(*view.value(), id);
  if (!row.ok()) return row.error();
  std::vector<SnapshotInfo> infos;
  for (const SnapshotRow* other : by_age(*view.value())) {
    if (other->parent == row.value()->number) infos.push_back(other->info);
  }
  return infos;
}

base::Result<std::vector<TreeEntry>> Store::tree() const {
  auto view = core_->view();
  if (!view.ok()) return view.error();
  std::map<std::uint64_t, std::vector<const SnapshotRow*>> children;  // of 0: the roots
  for (const SnapshotRow* row : by_age(*view.value()))
    children[row->parent.value_or(0)].push_back(row);
  // A stack of our own: a chain may be longer than the thread's.
  std::vector<std::pair<const SnapshotRow*, std::size_t>> stack;
  const auto push_children = [&](std::uint64_t of, std::size_t depth) {
    const auto& list = children[of];
    for (auto child = list.rbegin(); child != list.rend(); ++child)
      stack.emplace_back(*child, depth);
  };
  std::vector<TreeEntry> entries;
  push_children(0, 0);
  while (!stack.empty()) {
    const auto [row, depth] = stack.back();
    stack.pop_back();
    entries.push_back({row->info, depth});
    push_children(row->number, depth + 1);
  }
  return entries;
}

base::Result<void> Store::tag(const SnapshotId& id, std::string_view tag) {
  if (auto checked = check_tag(tag); !checked.ok()) return checked;
  return edit_row(*core_, id, [&](const View&, SnapshotRow& row) -> base::Result<void> {
    if (!row.info.has_tag(tag)) row.info.metadata.tags.emplace_back(tag);
    return check_metadata(row.info.metadata);
  });
}

base::Result<void> Store::untag(const SnapshotId& id, std::string_view tag) {
  return edit_row(*core_, id, [&](const View&, SnapshotRow& row) -> base::Result<void> {
    if (std::erase(row.info.metadata.tags, tag) != 0) return {};
    return base::Error{base::ErrorCode::kNotFound,
                       fmt::format("snapshot '{}' has no tag '{}'", row.info.label(), tag)};
  });
}

base::Result<void> Store::rename(const SnapshotId& id, std::string_view name) {
  if (auto checked = check_name(name); !checked.ok()) return checked;
  return edit_row(*core_, id, [&](const View& view, SnapshotRow& row) -> base::Result<void> {
    const SnapshotRow* const holder = view.find_name(name);
    if (holder != nullptr && holder->number != row.number) {
      return base::Error{base::ErrorCode::kAlreadyExists,
                         fmt::format("there is a snapshot named '{}': choose another name", name)};
    }
    row.info.metadata.name = name;
    if (!name.empty()) row.info.metadata.properties.erase(kFormerName);
    return {};
  });
}

base::Result<void> Store::set_note(const SnapshotId& id, std::string_view note) {
  if (auto checked = check_note(note); !checked.ok()) return checked;
  return edit_row(*core_, id, [&](const View&, SnapshotRow& row) -> base::Result<void> {
    row.info.metadata.note = note;
    return {};
  });
}

base::Result<Diff> Store::diff(const SnapshotId& from, const SnapshotId& to) const {
  auto old_one = open(from);
  if (!old_one.ok()) return old_one.error();
  auto new_one = open(to);
  if (!new_one.ok()) return new_one.error();
  Diff diff;
  for (std::size_t i = 0; i < new_one.value().objects().size(); ++i) {
    const ObjectInfo& object = new_one.value().objects()[i];
    ObjectDiff entry{object.name, 0, object.size, 0, 0};
    if (auto old_object = old_one.value().object(object.name); old_object.ok()) {
      entry.size_from = old_one.value().objects()[old_object.value()].size;
    }
    for (const std::uint64_t index : new_one.value().changed_since(old_one.value(), i)) {
      ++entry.changed_chunks;
      entry.changed_bytes += object.chunk_length(index);
    }
    diff.changed_chunks += entry.changed_chunks;
    diff.changed_bytes += entry.changed_bytes;
    diff.objects.push_back(std::move(entry));
  }
  for (const ObjectInfo& object : old_one.value().objects()) {
    if (!new_one.value().object(object.name).ok()) {
      diff.objects.push_back({object.name, object.size, 0, 0, 0});
    }
  }
  std::sort(diff.objects.begin(), diff.objects.end(),
            [](const ObjectDiff& a, const ObjectDiff& b) { return a.name < b.name; });
  return diff;
}

base::Result<Statistics> Store::statistics() const {
  auto view = core_->view();
  if (!view.ok()) return view.error();
  Statistics statistics;
  statistics.snapshots = view.value()->snapshots.size();
  statistics.packs = view.value()->packs.size();
  for (const SnapshotRow& row : view.value()->snapshots)
    statistics.raw_bytes += row.info.raw_bytes;
  for (const PackRow& pack : view.value()->packs)
    statistics.pack_bytes += pack.bytes;
  auto counted = core_->catalogue->each_chunk([&](const ChunkRow& row) {
    ++statistics.chunks;
    statistics.distinct_bytes += row.raw_bytes;
    statistics.stored_bytes += row.stored_bytes;
    return true;
  });
  if (!counted.ok()) return counted.error();
  auto bytes = core_->catalogue->bytes();
  if (!bytes.ok()) return bytes.error();
  statistics.catalogue_bytes = bytes.value();
  return statistics;
}

}  // namespace snowglobe::snapshots
