// snapshots/remove.cc - taking snapshots away: one, a branch, or what a policy does not keep.
#include "snapshots/core.h"
#include "snapshots/reclaim.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <unordered_set>

namespace snowglobe::snapshots {

namespace {

using Numbers = std::set<std::uint64_t>;

// A snapshot and all that descends from it. Parents have smaller numbers.
Numbers branch_of(const View& view, std::uint64_t root) {
  Numbers numbers{root};
  for (const SnapshotRow& row : view.snapshots) {
    if (row.parent.has_value() && numbers.count(*row.parent) != 0) numbers.insert(row.number);
  }
  return numbers;
}

// The nearest one that stays, along `next`.
template <class Next>
const SnapshotRow* nearest_kept(const View& view, const SnapshotRow& row, const Numbers& going,
                                Next next) {
  for (std::optional<std::uint64_t> at = next(row); at.has_value();) {
    const SnapshotRow* const found = view.find_number(*at);
    if (going.count(*at) == 0) return found;
    at = next(*found);
  }
  return nullptr;
}

// What is left of a row when `going` are gone: another parent, a list that leans on another base. A
// base is looked for among the bases of before, so no chain of lists becomes longer.
base::Result<SnapshotRow> rehung(const View& view, const SnapshotRow& row, const Numbers& going) {
  SnapshotRow changed = row;
  const SnapshotRow* const parent =
      nearest_kept(view, row, going, [](const SnapshotRow& of) { return of.parent; });
  changed.parent = parent != nullptr ? std::optional(parent->number) : std::nullopt;
  if (!row.base.has_value() || going.count(*row.base) == 0) return changed;
  auto ids = ids_of(view, row);
  if (!ids.ok()) return ids.error();
  const SnapshotRow* const base =
      nearest_kept(view, row, going, [](const SnapshotRow& of) { return of.base; });
  changed.base.reset();
  changed.list = encode_list(ids.value(), nullptr);
  if (base == nullptr) return changed;
  auto base_ids = ids_of(view, *base);
  if (!base_ids.ok()) return base_ids.error();
  changed.base = base->number;
  changed.list = encode_list(ids.value(), &base_ids.value());
  return changed;
}

base::Result<void> remove_rows(Catalogue::Change& change, const Numbers& going) {
  const View& view = change.view();
  for (const SnapshotRow& row : view.snapshots) {
    const bool leans = (row.parent.has_value() && going.count(*row.parent) != 0) ||
                       (row.base.has_value() && going.count(*row.base) != 0);
    if (!leans || going.count(row.number) != 0) continue;
    auto changed = rehung(view, row, going);
    if (!changed.ok()) return changed.error();
    if (auto replaced = change.replace_snapshot(changed.value()); !replaced.ok()) return replaced;
  }
  // Children before their parents, which the catalogue insists on.
  for (auto number = going.rbegin(); number != going.rend(); ++number) {
    if (auto removed = change.remove_snapshot(*number); !removed.ok()) return removed;
  }
  return {};
}

std::vector<SnapshotInfo> infos_of(const View& view, const Numbers& numbers) {
  std::vector<SnapshotInfo> infos;
  for (const std::uint64_t number : numbers)
    infos.push_back(view.find_number(number)->info);
  return infos;
}

base::Error has_children(const View& view, const SnapshotRow& row) {
  std::string names;
  std::size_t count = 0;
  for (const SnapshotRow& child : view.snapshots) {
    if (child.parent != row.number) continue;
    if (++count <= 5) names += (names.empty() ? "'" : ", '") + child.info.label() + "'";
  }
  if (count > 5) names += fmt::format(" and {} more", count - 5);
  return {base::ErrorCode::kInvalidArgument,
          fmt::format("snapshot '{}' has children ({}): remove them too (cascade), or prune",
                      row.info.label(), names)};
}

/// What was removed is gone already; space that can not be freed now is freed later.
template <class Report>
void free_space(Store::Core& core, double keep_ratio, Report& report) {
  auto freed = reclaim(core, keep_ratio, LockFile::Wait::kNo);
  if (freed.ok()) {
    report.freed_bytes = freed.value().freed_bytes;
    return;
  }
  report.space_deferred = true;
  if (freed.error().code != base::ErrorCode::kUnavailable) {
    core.log(base::LogLevel::kWarning, freed.error().message);
  }
}

bool is_kept(const SnapshotRow& row, std::size_t rank, const KeepPolicy& policy,
             base::Nanoseconds now) {
  const Metadata& metadata = row.info.metadata;
  const bool has_wanted_tag = std::any_of(policy.tags.begin(), policy.tags.end(),
                                          [&](const auto& tag) { return row.info.has_tag(tag); });
  return (policy.last.has_value() && rank < *policy.last) ||
         (policy.within.has_value() && *metadata.created >= now - *policy.within) ||
         (policy.tagged && !metadata.tags.empty()) || has_wanted_tag ||
         (policy.named && !metadata.name.empty());
}

Numbers not_kept(const View& view, const KeepPolicy& policy, base::Nanoseconds now) {
  std::vector<const SnapshotRow*> rows;
  for (const SnapshotRow& row : view.snapshots)
    rows.push_back(&row);
  std::sort(rows.begin(), rows.end(), [](const SnapshotRow* a, const SnapshotRow* b) {
    return std::pair(*a->info.metadata.created, a->number) >
           std::pair(*b->info.metadata.created, b->number);
  });
  Numbers going;
  for (std::size_t rank = 0; rank < rows.size(); ++rank) {
    if (!is_kept(*rows[rank], rank, policy, now)) going.insert(rows[rank]->number);
  }
  return going;
}

// Stored bytes of the chunks that nobody would need without `going`.
base::Result<std::uint64_t> bytes_without(Store::Core& core, const View& view,
                                          const Numbers& going) {
  std::unordered_set<std::uint64_t> needed;
  for (const SnapshotRow& row : view.snapshots) {
    if (going.count(row.number) != 0) continue;
    auto ids = ids_of(view, row);
    if (!ids.ok()) return ids.error();
    for (const ObjectIds& object : ids.value())
      needed.insert(object.ids.begin(), object.ids.end());
  }
  std::uint64_t bytes = 0;
  auto read = core.catalogue->each_chunk([&](const ChunkRow& chunk) {
    if (needed.count(chunk.id) == 0) bytes += kRecordHeadBytes + chunk.stored_bytes;
    return true;
  });
  if (!read.ok()) return read.error();
  return bytes;
}

}  // namespace

base::Result<RemoveReport> Store::remove(const SnapshotId& id, Cascade cascade) {
  if (auto usable = core_->check_writable(); !usable.ok()) return usable.error();
  auto view = core_->view();
  if (!view.ok()) return view.error();
  auto row = Core::row_of(*view.value(), id);
  if (!row.ok()) return row.error();
  const Numbers going = branch_of(*view.value(), row.value()->number);
  if (going.size() > 1 && cascade == Cascade::kNo) return has_children(*view.value(), *row.value());
  std::vector<LockFile::Lease> leases;
  for (const std::uint64_t number : going) {
    auto lease = core_->locks->take(snapshot_lock(number), LockFile::Mode::kExclusive);
    if (!lease.ok()) return lease.error();
    leases.push_back(std::move(lease).value());
  }
  RemoveReport report;
  {
    Catalogue::Change change(*core_->catalogue);
    if (auto begun = change.begin(); !begun.ok()) return begun.error();
    auto again = Core::row_of(change.view(), id);
    if (!again.ok()) return again.error();
    if (branch_of(change.view(), again.value()->number) != going) {
      return base::Error{base::ErrorCode::kUnavailable,
                         "somebody else saves or removes in the same branch: try again"};
    }
    report.removed = infos_of(change.view(), going);
    if (auto removed = remove_rows(change, going); !removed.ok()) return removed.error();
    if (auto committed = change.commit(); !committed.ok()) return committed.error();
  }
  leases.clear();
  free_space(*core_, 0, report);
  return report;
}

base::Result<PruneReport> Store::prune(const KeepPolicy& policy, DryRun dry_run) {
  if (!policy.last.has_value() && !policy.within.has_value() && !policy.tagged &&
      policy.tags.empty() && !policy.named) {
    return base::Error{base::ErrorCode::kInvalidArgument,
                       "prune: the policy keeps nothing: say what is to be kept"};
  }
  if (auto usable = core_->check_writable(); !usable.ok()) return usable.error();
  auto view = core_->view();
  if (!view.ok()) return view.error();
  Numbers going = not_kept(*view.value(), policy, core_->clock.wall());
  PruneReport report;
  std::vector<LockFile::Lease> leases;
  for (auto number = going.begin(); number != going.end();) {
    auto lease =
        core_->locks->take(snapshot_lock(*number), LockFile::Mode::kExclusive, LockFile::Wait::kNo);
    if (lease.ok()) {
      leases.push_back(std::move(lease).value());
      ++number;
    } else if (lease.error().code == base::ErrorCode::kUnavailable) {
      report.in_use.push_back(view.value()->find_number(*number)->info);
      number = going.erase(number);
    } else {
      return lease.error();
    }
  }
  if (dry_run == DryRun::kYes) {
    report.removed = infos_of(*view.value(), going);
    auto bytes = bytes_without(*core_, *view.value(), going);
    if (!bytes.ok()) return bytes.error();
    report.freed_bytes = bytes.value();
    return report;
  }
  {
    Catalogue::Change change(*core_->catalogue);
    if (auto begun = change.begin(); !begun.ok()) return begun.error();
    // Others may have removed some meanwhile.
    std::erase_if(
        going, [&](std::uint64_t number) { return change.view().find_number(number) == nullptr; });
    report.removed = infos_of(change.view(), going);
    if (auto removed = remove_rows(change, going); !removed.ok()) return removed.error();
    if (auto committed = change.commit(); !committed.ok()) return committed.error();
  }
  leases.clear();
  free_space(*core_, 0.7, report);
  return report;
}

}  // namespace snowglobe::snapshots
