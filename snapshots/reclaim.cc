// snapshots/reclaim.cc - which packs go, and moving what is needed out of them.
#include "snapshots/reclaim.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

namespace snowglobe::snapshots {

namespace {

// Written anew together, so that neither time nor space grows without bounds.
constexpr std::uint64_t kBatchBytes = 256 << 20;
// This many packs below the size become one: a small snapshot makes a small pack.
constexpr std::size_t kSmallPacks = 16;
constexpr std::uint64_t kSmallPackBytes = 4 << 20;

base::Error corrupt(const std::string& what) {
  return {
      base::ErrorCode::kCorrupt,
      fmt::format("the store's catalogue is damaged: {}; nothing was removed, verify() tells more",
                  what)};
}

struct PackUse {
  const PackRow* row = nullptr;
  std::uint64_t needed_bytes = 0;
  std::vector<std::size_t> chunks;  // indices in the inventory
};

base::Result<std::vector<PackUse>> use_of_packs(const View& view, const Inventory& inventory) {
  std::map<std::uint64_t, PackUse> packs;
  for (const PackRow& row : view.packs)
    packs[row.number].row = &row;
  for (std::size_t i = 0; i < inventory.chunks.size(); ++i) {
    const ChunkRow& chunk = inventory.chunks[i];
    const auto pack = packs.find(chunk.pack);
    if (pack == packs.end()) return corrupt(fmt::format("chunk {} is in no pack", chunk.id));
    pack->second.chunks.push_back(i);
    if (inventory.needed[i]) pack->second.needed_bytes += kRecordHeadBytes + chunk.stored_bytes;
  }
  std::vector<PackUse> uses;
  uses.reserve(packs.size());
  for (auto& [number, use] : packs)
    uses.push_back(std::move(use));
  return uses;
}

class Reclaimer {
 public:
  Reclaimer(Store::Core& core, const Inventory& inventory) : core_(core), inventory_(inventory) {}

  /// One transaction: moves what is needed in `packs` to a new one, and removes them.
  base::Result<void> remove(const std::vector<PackUse*>& packs) {
    std::vector<ChunkRow> moved;
    std::vector<PackUse*> going;
    std::optional<PackWriter> target;
    for (PackUse* pack : packs) {
      auto copied = copy(*pack, target, moved);
      if (!copied.ok()) {
        drop(target);
        return copied.error();
      }
      if (copied.value()) going.push_back(pack);
    }
    if (target.has_value()) {
      auto synced = target->sync();
      if (synced.ok()) synced = core_.files.sync_directory(core_.packs_folder);
      if (!synced.ok()) {
        drop(target);
        return synced;
      }
    }
    if (auto entered = enter(going, target, moved); !entered.ok()) return entered;
    return unlink(going, target.has_value() ? target->bytes() : 0);
  }

  CompactReport report;

 private:
  void drop(const std::optional<PackWriter>& target) {
    if (!target.has_value()) return;
    static_cast<void>(core_.files.remove(core_.packs_folder / pack_file_name(target->id())));
  }

  // False: the pack is damaged and stays as it is.
  base::Result<bool> copy(const PackUse& pack, std::optional<PackWriter>& target,
                          std::vector<ChunkRow>& moved) {
    if (pack.needed_bytes == 0) return true;
    const std::size_t moved_before = moved.size();
    const auto damaged = [&](const base::Error& error) -> base::Result<bool> {
      if (error.code != base::ErrorCode::kCorrupt && error.code != base::ErrorCode::kNotFound) {
        return error;
      }
      moved.resize(moved_before);
      ++report.packs_damaged;
      core_.log(base::LogLevel::kError, fmt::format("compacting: pack {} stays: {}",
                                                    pack_file_name(pack.row->id), error.message));
      return false;
    };
    auto source = core_.packs.get(pack.row->id);
    if (!source.ok()) return damaged(source.error());
    for (const std::size_t index : pack.chunks) {
      if (!inventory_.needed[index]) continue;
      const ChunkRow& chunk = inventory_.chunks[index];
      auto record = source.value()->read(chunk.offset, chunk.stored_bytes);
      if (!record.ok()) return damaged(record.error());
      if (record.value().head.hash != chunk.hash) {
        return damaged({base::ErrorCode::kCorrupt, "another chunk is there"});
      }
      auto checked = check_payload(record.value().head, record.value().payload());
      if (!checked.ok()) return damaged(checked.error());
      auto offset = append(target, record.value().bytes);
      if (!offset.ok()) return offset.error();
      moved.push_back(chunk);
      moved.back().offset = offset.value();
    }
    return true;
  }

  base::Result<std::uint64_t> append(std::optional<PackWriter>& target, base::ConstBytes record) {
    if (!target.has_value()) {
      auto made = PackWriter::create(core_.files, core_.packs_folder, core_.new_id());
      if (!made.ok()) return made.error();
      target.emplace(std::move(made).value());
    }
    return target->append(record);
  }

  base::Result<void> enter(const std::vector<PackUse*>& going,
                           const std::optional<PackWriter>& target, std::vector<ChunkRow>& moved) {
    Catalogue::Change change(*core_.catalogue);
    if (auto begun = change.begin(); !begun.ok()) return begun;
    // Also when nothing is entered: what is unlinked next must stay unknown, see count_sweep().
    if (auto counted = change.count_sweep(); !counted.ok()) return counted;
    if (target.has_value()) {
      auto number = change.add_pack(target->id(), target->bytes());
      if (!number.ok()) return number.error();
      for (ChunkRow& chunk : moved) {
        chunk.pack = number.value();
        if (auto replaced = change.replace_chunk(chunk); !replaced.ok()) return replaced;
      }
    }
    for (const PackUse* pack : going) {
      for (const std::size_t index : pack->chunks) {
        if (inventory_.needed[index]) continue;
        auto removed = change.remove_chunk(inventory_.chunks[index].id);
        if (!removed.ok()) return removed;
      }
      if (auto removed = change.remove_pack(pack->row->number); !removed.ok()) return removed;
    }
    return change.commit();
  }

  base::Result<void> unlink(const std::vector<PackUse*>& going, std::uint64_t written) {
    std::uint64_t gone = 0;
    for (const PackUse* pack : going) {
      core_.packs.forget(pack->row->id);
      auto removed = core_.files.remove(core_.packs_folder / pack_file_name(pack->row->id));
      if (!removed.ok() && removed.error().code != base::ErrorCode::kNotFound) return removed;
      gone += pack->row->bytes;
      ++(pack->needed_bytes == 0 ? report.packs_removed : report.packs_rewritten);
    }
    report.freed_bytes += gone > written ? gone - written : 0;
    return {};
  }

  Store::Core& core_;
  const Inventory& inventory_;
};

// Packs to be written anew, in batches.
std::vector<std::vector<PackUse*>> batches_of(std::vector<PackUse>& packs, double keep_ratio) {
  const auto is_small = [](const PackUse& pack) { return pack.row->bytes < kSmallPackBytes; };
  const bool merge_small =
      static_cast<std::size_t>(std::count_if(packs.begin(), packs.end(), is_small)) >= kSmallPacks;
  std::vector<std::vector<PackUse*>> batches;
  std::uint64_t bytes = kBatchBytes;
  for (PackUse& pack : packs) {
    if (pack.needed_bytes == 0) continue;
    const bool sparse = static_cast<double>(pack.needed_bytes) <
                        keep_ratio * static_cast<double>(pack.row->bytes - kPackHeadBytes);
    if (!sparse && !(merge_small && keep_ratio > 0 && is_small(pack))) continue;
    if (bytes + pack.needed_bytes > kBatchBytes) {
      batches.emplace_back();
      bytes = 0;
    }
    batches.back().push_back(&pack);
    bytes += pack.needed_bytes;
  }
  return batches;
}

}  // namespace

base::Result<Inventory> Inventory::take(Catalogue& catalogue, const View& view) {
  Inventory inventory;
  std::optional<std::uint64_t> unsealed;
  auto read = catalogue.each_chunk([&](const ChunkRow& row) {
    if (!row.sealed) unsealed = row.id;
    inventory.chunks.push_back(row);
    return row.sealed;
  });
  if (!read.ok()) return read.error();
  if (unsealed.has_value()) {
    return corrupt(fmt::format("the row of chunk {} fails its checksum", *unsealed));
  }
  const std::vector<ChunkRow>& chunks = inventory.chunks;
  inventory.needed.resize(chunks.size());
  for (const SnapshotRow& row : view.snapshots) {
    auto runs = ids_in_list(row.list);
    if (!runs.ok()) return runs.error();
    for (const IdRun& run : runs.value()) {
      const auto first =
          std::lower_bound(chunks.begin(), chunks.end(), run.first,
                           [](const ChunkRow& chunk, std::uint64_t id) { return chunk.id < id; });
      auto index = static_cast<std::size_t>(first - chunks.begin());
      for (std::uint64_t id = run.first; id < run.first + run.count; ++id, ++index) {
        if (index >= chunks.size() || chunks[index].id != id) {
          return corrupt(
              fmt::format("chunk {} of snapshot '{}' is not there", id, row.info.label()));
        }
        inventory.needed[index] = true;
      }
    }
  }
  return inventory;
}

base::Result<CompactReport> reclaim(Store::Core& core, double keep_ratio, LockFile::Wait wait) {
  auto alone = core.locks->take(kPacksLock, LockFile::Mode::kExclusive, wait);
  if (!alone.ok()) return alone.error();
  auto swept = core.sweep_unknown_packs();
  if (!swept.ok()) return swept.error();
  auto view = core.view();
  if (!view.ok()) return view.error();
  auto inventory = Inventory::take(*core.catalogue, *view.value());
  if (!inventory.ok()) return inventory.error();
  auto packs = use_of_packs(*view.value(), inventory.value());
  if (!packs.ok()) return packs.error();
  Reclaimer reclaimer(core, inventory.value());
  reclaimer.report.freed_bytes = swept.value();
  std::vector<PackUse*> empty;
  for (PackUse& pack : packs.value()) {
    if (pack.needed_bytes == 0) empty.push_back(&pack);
  }
  if (!empty.empty()) {
    if (auto removed = reclaimer.remove(empty); !removed.ok()) return removed.error();
  }
  for (const std::vector<PackUse*>& batch : batches_of(packs.value(), keep_ratio)) {
    // One pack by itself that is full enough already gains nothing by being copied.
    if (batch.size() == 1 && batch[0]->needed_bytes + kPackHeadBytes >= batch[0]->row->bytes)
      continue;
    if (auto removed = reclaimer.remove(batch); !removed.ok()) return removed.error();
  }
  return reclaimer.report;
}

base::Result<CompactReport> Store::compact(double keep_ratio) {
  if (auto usable = core_->check_writable(); !usable.ok()) return usable.error();
  return reclaim(*core_, std::clamp(keep_ratio, 0.0, 1.0), LockFile::Wait::kYes);
}

}  // namespace snowglobe::snapshots
