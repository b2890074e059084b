// snapshots/core.cc - chunks by their reference, snapshots by their id, rests of crashed writers.
#include "snapshots/core.h"

#include "snapshots/hash.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

namespace snowglobe::snapshots {

namespace {

const base::Clock& host_clock() {
  static const base::SystemClock clock;
  return clock;
}

base::RandomSource& host_random() {
  static base::SystemRandom random;
  return random;
}

base::Error damaged_chunk(const ChunkHash& hash, const std::string& pack, std::uint64_t offset,
                          const std::string& why) {
  return {base::ErrorCode::kCorrupt,
          fmt::format("chunk {} in pack {} at byte {} is damaged: {}; verify the store, and put "
                      "back a copy of the pack or remove the snapshots that need the chunk",
                      to_hex(hash).substr(0, 16), pack, offset, why)};
}

}  // namespace

Store::Core::Core(std::filesystem::path store_folder, const StoreOptions& store_options)
    : folder(std::move(store_folder)),
      packs_folder(folder / kPacksFolder),
      options(store_options),
      files(options.files != nullptr ? *options.files : base::FileSystem::host()),
      clock(options.clock != nullptr ? *options.clock : host_clock()),
      random(options.random != nullptr ? *options.random : host_random()),
      packs(files, packs_folder),
      process_(::getpid()) {}

base::Result<void> Store::Core::check_process() const {
  if (process_ == ::getpid()) return {};
  return base::Error{base::ErrorCode::kUnavailable,
                     "the store was opened before fork(): open it again in this process"};
}

base::Result<void> Store::Core::check_writable() const {
  if (auto usable = check_process(); !usable.ok()) return usable;
  if (!options.read_only) return {};
  return base::Error{base::ErrorCode::kInvalidArgument,
                     fmt::format("the store '{}' is open read-only, or cannot be written: nothing "
                                 "in it can be changed",
                                 folder.string())};
}

SnapshotId Store::Core::new_id() {
  SnapshotId id;
  random.fill(id.bytes);
  return id;
}

void Store::Core::log(base::LogLevel level, std::string text) const {
  if (options.log) options.log({level, base::LogSource::kStore, std::move(text)});
}

base::Result<ViewPtr> Store::Core::view() {
  if (auto usable = check_process(); !usable.ok()) return usable.error();
  return catalogue->view();
}

base::Result<const SnapshotRow*> Store::Core::row_of(const View& view, const SnapshotId& id) {
  const SnapshotRow* const row = view.find(id);
  if (row != nullptr) return row;
  return base::Error{base::ErrorCode::kNotFound,
                     fmt::format("there is no snapshot {} in the store", id.brief())};
}

base::Result<Store::Core::Held> Store::Core::hold(const SnapshotId& id) {
  auto before = view();
  if (!before.ok()) return before.error();
  auto row = row_of(*before.value(), id);
  if (!row.ok()) return row.error();
  const std::uint64_t number = row.value()->number;
  auto lease = locks->take(snapshot_lock(number), LockFile::Mode::kShared);
  if (!lease.ok()) return lease.error();
  auto after = view();  // it may have been removed before we had the lock
  if (!after.ok()) return after.error();
  Held held{std::move(lease).value(), after.value(), nullptr};
  row = row_of(*held.view, id);
  if (!row.ok()) return row.error();
  held.row = row.value();
  return held;
}

base::Result<void> Store::Core::read_chunk(const ChunkRef& chunk, base::Bytes out) {
  auto record = read_record(chunk, out);
  if (record.ok()) return {};
  std::fill(out.begin(), out.end(), std::uint8_t{0});
  return record.error();
}

base::Result<PackReader::Record> Store::Core::read_record(const ChunkRef& chunk, base::Bytes out) {
  Catalogue::Place place;
  std::shared_ptr<PackReader> pack;
  for (int attempt = 0; pack == nullptr; ++attempt) {
    auto located = catalogue->locate(chunk.id);
    if (!located.ok()) return located.error();
    place = located.value();
    auto opened = packs.get(place.pack);
    if (opened.ok()) {
      pack = opened.value();
    } else if (opened.error().code != base::ErrorCode::kNotFound) {
      return opened.error();
    } else if (attempt != 0) {  // at first another process may have moved the chunk just now
      return damaged_chunk(chunk.hash, pack_file_name(place.pack), place.offset,
                           "the pack is missing");
    }
  }
  const auto damaged = [&](const base::Error& error) {
    if (error.code != base::ErrorCode::kCorrupt) return error;
    return damaged_chunk(chunk.hash, pack_file_name(place.pack), place.offset, error.message);
  };
  auto record = pack->read(place.offset, place.stored_bytes);
  if (!record.ok()) return damaged(record.error());
  if (record.value().head.hash != chunk.hash) {
    return damaged({base::ErrorCode::kCorrupt, "another chunk is there"});
  }
  auto unpacked = unpack_record(record.value().head, record.value().payload(), out);
  if (!unpacked.ok()) return damaged(unpacked.error());
  return record;
}

bool Store::Core::pack_opens(std::uint64_t number) {
  auto now = catalogue->view();
  if (!now.ok()) return false;
  const PackRow* const row = now.value()->find_pack(number);
  return row != nullptr && packs.get(row->id).ok();
}

base::Result<std::uint64_t> Store::Core::sweep_unknown_packs() {
  auto names = files.list(packs_folder);
  if (!names.ok()) return names.error();
  auto known = view();
  if (!known.ok()) return known.error();
  const auto& rows = known.value()->packs;
  std::vector<PackId> unknown;
  std::size_t known_files = 0;
  for (const std::string& name : names.value()) {
    const auto id = pack_of_file_name(name);
    if (!id.has_value()) continue;
    const bool is_known =
        std::any_of(rows.begin(), rows.end(), [&](const PackRow& row) { return row.id == *id; });
    if (is_known) {
      ++known_files;
    } else {
      unknown.push_back(*id);
    }
  }
  if (unknown.empty()) return std::uint64_t{0};
  // Another store's catalogue, or an old copy of ours, put in its place by somebody: it does not
  // know what these packs are needed for.
  if (rows.empty() || known_files != rows.size()) {
    log(base::LogLevel::kWarning,
        fmt::format("store '{}': {} packs that its catalogue does not know are left alone, since "
                    "it knows none that are there, or not all of its own are",
                    folder.string(), unknown.size()));
    return std::uint64_t{0};
  }
  {
    Catalogue::Change change(*catalogue);
    if (auto begun = change.begin(); !begun.ok()) return begun.error();
    if (auto counted = change.count_sweep(); !counted.ok()) return counted.error();
    if (auto committed = change.commit(); !committed.ok()) return committed.error();
  }
  std::uint64_t freed = 0;
  for (const PackId& id : unknown) {
    const auto path = packs_folder / pack_file_name(id);
    if (auto file = files.open(path, base::FileSystem::Access::kRead); file.ok())
      freed += file.value()->size().ok() ? file.value()->size().value() : 0;
    if (auto removed = files.remove(path); !removed.ok()) return removed.error();
  }
  log(base::LogLevel::kInfo,
      fmt::format("store '{}': removed {} packs of writers that did not finish", folder.string(),
                  unknown.size()));
  return freed;
}

}  // namespace snowglobe::snapshots
