// snapshots/catalogue.cc - reading the catalogue, with every seal and digest checked.
#include "snapshots/catalogue.h"

#include "snapshots/catalogue_image.h"
#include "snapshots/catalogue_rows.h"
#include "snapshots/hash.h"
#include "snapshots/schema.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>
#include <unordered_map>

namespace snowglobe::snapshots {

namespace {

base::Error corrupt(const std::string& what) {
  return {base::ErrorCode::kCorrupt, "the store's catalogue is damaged: " + what};
}

/// A chain of bases is no longer than allowed, and leads to older rows only.
base::Result<void> find_depths(View& view) {
  for (SnapshotRow& row : view.snapshots) {
    if (!row.base.has_value()) continue;
    const SnapshotRow* const base = *row.base < row.number ? view.find_number(*row.base) : nullptr;
    if (base == nullptr || base->depth >= kMaxListDepth) {
      return corrupt(fmt::format("the list of snapshot {} leans on nothing", row.info.id.brief()));
    }
    row.depth = base->depth + 1;
  }
  return {};
}

base::Result<void> find_parents(View& view) {
  for (SnapshotRow& row : view.snapshots) {
    if (!row.parent.has_value()) continue;
    const SnapshotRow* const parent =
        *row.parent < row.number ? view.find_number(*row.parent) : nullptr;
    if (parent == nullptr) {
      return corrupt(fmt::format("the parent of snapshot {} is not there", row.info.id.brief()));
    }
    row.info.parent = parent->info.id;
  }
  return {};
}

}  // namespace

Catalogue::Query::~Query() {
  if (statement_ != nullptr) statement_->reset();
}

base::Result<Catalogue::Query> Catalogue::query(const char* sql) {
  auto found = statements_.find(sql);
  if (found == statements_.end()) {
    auto prepared = database_.prepare(sql);
    if (!prepared.ok()) return prepared.error();
    found = statements_.emplace(sql, std::move(prepared).value()).first;
  }
  return Query(&found->second);
}

Catalogue::Catalogue(Database database, const char* vfs)
    : process_(::getpid()), vfs_(vfs), database_(std::move(database)) {}

Catalogue::~Catalogue() {
  if (process_ == ::getpid()) return;
  // A child after fork(): what SQLite does at its end it would do to the parent's files.
  for (auto& [text, statement] : statements_)
    statement.abandon();
  database_.abandon();
}

base::Result<std::unique_ptr<Catalogue>> Catalogue::open(const std::filesystem::path& file,
                                                         const char* vfs,
                                                         std::chrono::milliseconds wait_limit,
                                                         bool has_packs) {
  auto database = Database::open(file, vfs, wait_limit);
  if (!database.ok()) return database.error();
  auto state = look_at_catalogue(database.value());
  if (!state.ok()) return state.error();
  if (state.value() == CatalogueState::kNew) {
    if (has_packs) return corrupt("it is empty, but there are packs; put back a copy of it");
    if (auto made = make_catalogue(database.value()); !made.ok()) return made.error();
  }
  // FULL: a transaction is on the disk when it is said to be done.
  if (auto set = database.value().run("PRAGMA synchronous=FULL"); !set.ok()) return set.error();
  std::unique_ptr<Catalogue> catalogue(new Catalogue(std::move(database).value(), vfs));
  if (auto view = catalogue->view(); !view.ok()) return view.error();
  return catalogue;
}

base::Result<std::unique_ptr<Catalogue>> Catalogue::open_image(base::FileSystem& files,
                                                               const std::filesystem::path& file) {
  auto image = read_catalogue_image(files, file);
  if (!image.ok()) return image.error();
  auto database = Database::open_image(image.value());
  if (!database.ok()) return database.error();
  auto state = look_at_catalogue(database.value());
  if (!state.ok()) return state.error();
  if (state.value() == CatalogueState::kNew) return corrupt("it is empty");
  std::unique_ptr<Catalogue> catalogue(new Catalogue(std::move(database).value(), nullptr));
  if (auto view = catalogue->view(); !view.ok()) return view.error();
  return catalogue;
}

base::Result<void> Catalogue::copy_to(const std::filesystem::path& file) {
  {
    const std::lock_guard lock(mutex_);
    auto copying = database_.prepare("VACUUM INTO ?");
    if (!copying.ok()) return copying.error();
    copying.value().bind(1, std::string_view(file.native()));
    if (auto done = copying.value().step(); !done.ok()) return done.error();
  }
  // Whoever opens it finds it as make_catalogue() leaves one.
  auto copy = Database::open(file, vfs_, std::chrono::milliseconds(0));
  if (!copy.ok()) return copy.error();
  auto mode = copy.value().number("PRAGMA journal_mode=WAL");
  if (!mode.ok()) return mode.error();
  return {};
}

base::Result<ViewPtr> Catalogue::view() {
  const std::lock_guard lock(mutex_);
  auto version = query("PRAGMA data_version");
  if (!version.ok()) return version.error();
  if (auto row = version.value()->step(); !row.ok()) return row.error();
  const std::uint64_t now = version.value()->number(0);
  version.value()->reset();
  if (view_ != nullptr && view_version_ == now) return view_;
  // One transaction, so that rows and digests belong together.
  if (auto begun = database_.run("BEGIN"); !begun.ok()) return begun.error();
  auto view = load_view();
  auto ended = database_.run("COMMIT");
  if (!view.ok()) return view;
  if (!ended.ok()) return ended.error();
  view_ = view.value();
  view_version_ = now;
  return view;
}

// Inside of a transaction.
base::Result<ViewPtr> Catalogue::load_view() {
  auto view = std::make_shared<View>();
  if (auto loaded = load_rows(*view); !loaded.ok()) return loaded.error();
  if (auto checked = check_digests(); !checked.ok()) return checked.error();
  if (auto found = find_depths(*view); !found.ok()) return found.error();
  if (auto found = find_parents(*view); !found.ok()) return found.error();
  return ViewPtr(std::move(view));
}

base::Result<void> Catalogue::load_rows(View& view) {
  auto snapshots = query(kSelectSnapshots);
  if (!snapshots.ok()) return snapshots.error();
  for (;;) {
    auto more = snapshots.value()->step();
    if (!more.ok()) return more.error();
    if (!more.value()) break;
    auto row = snapshot_from(*snapshots.value());
    if (!row.ok()) return row.error();
    view.snapshots.push_back(std::move(row).value());
  }
  auto packs = query(kSelectPacks);
  if (!packs.ok()) return packs.error();
  for (;;) {
    auto more = packs.value()->step();
    if (!more.ok()) return more.error();
    if (!more.value()) return {};
    auto row = pack_from(*packs.value());
    if (!row.ok()) return row.error();
    view.packs.push_back(row.value());
  }
}

base::Result<void> Catalogue::check_digests() {
  for (const DigestedTable& table : kDigestedTables) {
    auto computed = digest(table.select_seals);
    if (!computed.ok()) return computed.error();
    auto stored = query("SELECT hash FROM digests WHERE name=?");
    if (!stored.ok()) return stored.error();
    stored.value()->bind(1, std::string_view(table.name));
    auto row = stored.value()->step();
    if (!row.ok()) return row.error();
    // Nothing was ever written: no digest, and no rows.
    const ChunkHash expected = row.value() ? hash_from(stored.value()->blob(0)) : hash_of({});
    if (computed.value() != expected) {
      return corrupt(fmt::format("rows of {} are missing or out of place", table.name));
    }
  }
  return {};
}

base::Result<ChunkHash> Catalogue::digest(const char* sql) {
  auto seals = query(sql);
  if (!seals.ok()) return seals.error();
  Hasher hasher;
  for (;;) {
    auto more = seals.value()->step();
    if (!more.ok()) return more.error();
    if (!more.value()) return hasher.finish();
    hasher.update(seals.value()->blob(0));
  }
}

base::Result<std::optional<ChunkRow>> Catalogue::find_chunk(const ChunkHash& hash) {
  const std::lock_guard lock(mutex_);
  auto found = query(kFindChunk);
  if (!found.ok()) return found.error();
  found.value()->bind(1, base::ConstBytes(hash).first(8));
  for (;;) {
    auto more = found.value()->step();
    if (!more.ok()) return more.error();
    if (!more.value()) return std::optional<ChunkRow>();
    const ChunkRow row = chunk_from(*found.value());
    if (row.hash == hash && row.sealed) return std::optional<ChunkRow>(row);
  }
}

base::Result<Catalogue::Place> Catalogue::locate(std::uint64_t chunk) {
  const std::lock_guard lock(mutex_);
  auto found = query(kLocateChunk);
  if (!found.ok()) return found.error();
  found.value()->bind(1, chunk);
  auto more = found.value()->step();
  if (!more.ok()) return more.error();
  if (!more.value()) return corrupt(fmt::format("chunk {} is not there", chunk));
  const ChunkRow row = chunk_from(*found.value());
  const base::ConstBytes id = found.value()->blob(7);
  Place place;
  if (!row.sealed || id.size() != place.pack.bytes.size()) {
    return corrupt(fmt::format("the row of chunk {} fails its checksum", chunk));
  }
  std::copy(id.begin(), id.end(), place.pack.bytes.begin());
  place.offset = row.offset;
  place.stored_bytes = row.stored_bytes;
  return place;
}

base::Result<Contents> Catalogue::resolve(const SnapshotIds& ids, const ChunkHash& root) {
  Contents contents;
  std::vector<std::uint64_t> wanted;
  for (const ObjectIds& object : ids) {
    contents.push_back({object.info, std::vector<ChunkRef>(object.ids.size())});
    for (std::size_t i = 0; i < object.ids.size(); ++i) {
      contents.back().chunks[i].id = object.ids[i];
      if (object.ids[i] != 0) wanted.push_back(object.ids[i]);
    }
  }
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  if (auto filled = fill(contents, wanted); !filled.ok()) return filled.error();
  if (root_of(contents) != root) {
    return corrupt("a list of chunks does not lead to what was written");
  }
  return contents;
}

base::Result<void> Catalogue::fill(Contents& contents, const std::vector<std::uint64_t>& ids) {
  const std::lock_guard lock(mutex_);
  std::unordered_map<std::uint64_t, ChunkRow> rows;
  rows.reserve(ids.size());
  for (std::size_t at = 0; at < ids.size();) {
    std::size_t end = at + 1;  // runs of ids are read in one go
    while (end < ids.size() && ids[end] == ids[end - 1] + 1)
      ++end;
    auto range = query(kChunksBetween);
    if (!range.ok()) return range.error();
    range.value()->bind(1, ids[at]);
    range.value()->bind(2, ids[end - 1]);
    for (;;) {
      auto more = range.value()->step();
      if (!more.ok()) return more.error();
      if (!more.value()) break;
      const ChunkRow row = chunk_from(*range.value());
      rows.emplace(row.id, row);
    }
    at = end;
  }
  for (ObjectContents& object : contents) {
    for (std::uint64_t i = 0; i < object.chunks.size(); ++i) {
      ChunkRef& chunk = object.chunks[i];
      if (chunk.id == 0) continue;
      const auto row = rows.find(chunk.id);
      if (row == rows.end() || row->second.raw_bytes != object.info.chunk_length(i)) {
        return corrupt(fmt::format("chunk {} of '{}' is not there", i, object.info.name));
      }
      chunk.hash = row->second.hash;
      chunk.stored_bytes = row->second.stored_bytes;
    }
  }
  return {};
}

base::Result<void> Catalogue::each_chunk(const std::function<bool(const ChunkRow&)>& visit) {
  const std::lock_guard lock(mutex_);
  auto rows = query(kSelectChunks);
  if (!rows.ok()) return rows.error();
  for (;;) {
    auto more = rows.value()->step();
    if (!more.ok()) return more.error();
    if (!more.value() || !visit(chunk_from(*rows.value()))) return {};
  }
}

base::Result<std::vector<std::string>> Catalogue::integrity_errors() {
  const std::lock_guard lock(mutex_);
  auto rows = query("PRAGMA integrity_check(50)");
  if (!rows.ok()) return rows.error();
  std::vector<std::string> errors;
  for (;;) {
    auto more = rows.value()->step();
    if (!more.ok()) return more.error();
    if (!more.value()) break;
    errors.push_back(rows.value()->text(0));
  }
  if (errors.size() == 1 && errors[0] == "ok") errors.clear();
  return errors;
}

base::Result<std::uint64_t> Catalogue::bytes() {
  const std::lock_guard lock(mutex_);
  const auto pages = database_.number("PRAGMA page_count");
  if (!pages.ok()) return pages.error();
  const auto size = database_.number("PRAGMA page_size");
  if (!size.ok()) return size.error();
  return pages.value() * size.value();
}

}  // namespace snowglobe::snapshots
