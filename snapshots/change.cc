// snapshots/change.cc - transactions that write the catalogue.
#include "snapshots/catalogue.h"
#include "snapshots/catalogue_rows.h"
#include "snapshots/metadata.h"

#include <fmt/format.h>

namespace snowglobe::snapshots {

base::Result<void> Catalogue::execute(Query& query) {
  auto done = query->step();
  if (!done.ok()) return done.error();
  return {};
}

base::Result<void> Catalogue::write_snapshot(const char* sql, const SnapshotRow& row) {
  auto out = query(sql);
  if (!out.ok()) return out.error();
  const auto bind_optional = [&](int index, const std::optional<std::uint64_t>& value) {
    if (value.has_value()) {
      out.value()->bind(index, *value);
    } else {
      out.value()->bind_null(index);
    }
  };
  const SnapshotInfo& info = row.info;
  out.value()->bind(1, row.number);
  out.value()->bind(2, base::ConstBytes(info.id.bytes));
  bind_optional(3, row.parent);
  if (info.metadata.name.empty()) {
    out.value()->bind_null(4);
  } else {
    out.value()->bind(4, std::string_view(info.metadata.name));
  }
  out.value()->bind(5, std::string_view(join_tags(info.metadata.tags)));
  out.value()->bind(6, std::string_view(info.metadata.note));
  out.value()->bind(7, static_cast<std::uint64_t>(info.metadata.created->count()));
  out.value()->bind(8, info.metadata.memory_bytes);
  out.value()->bind(9, std::string_view(info.metadata.image_id));
  out.value()->bind(10, std::uint64_t{info.metadata.format_version});
  out.value()->bind(11, std::string_view(info.metadata.postgres_version));
  out.value()->bind(12, std::string_view(info.metadata.wal_position));
  out.value()->bind(13, base::ConstBytes(properties_to_bytes(info.metadata)));
  out.value()->bind(14, info.raw_bytes);
  out.value()->bind(15, info.stored_bytes);
  out.value()->bind(16, info.new_bytes);
  out.value()->bind(17, base::ConstBytes(row.root));
  bind_optional(18, row.base);
  out.value()->bind(19, base::ConstBytes(row.list));
  out.value()->bind(20, base::ConstBytes(seal_of(row)));
  return execute(out.value());
}

base::Result<void> Catalogue::write_chunk(const char* sql, const ChunkRow& row) {
  auto out = query(sql);
  if (!out.ok()) return out.error();
  out.value()->bind(1, row.id);
  out.value()->bind(2, base::ConstBytes(row.hash));
  out.value()->bind(3, row.pack);
  out.value()->bind(4, row.offset);
  out.value()->bind(5, std::uint64_t{row.stored_bytes});
  out.value()->bind(6, std::uint64_t{row.raw_bytes});
  out.value()->bind(7, seal_of(row));
  return execute(out.value());
}

base::Result<void> Catalogue::remove_row(const char* sql, std::uint64_t number) {
  auto out = query(sql);
  if (!out.ok()) return out.error();
  out.value()->bind(1, number);
  return execute(out.value());
}

base::Result<std::uint64_t> Catalogue::next_number(const char* sql) {
  auto last = query(sql);
  if (!last.ok()) return last.error();
  auto row = last.value()->step();
  if (!row.ok()) return row.error();
  return (row.value() ? last.value()->number(0) : 0) + 1;
}

Catalogue::Change::~Change() {
  // After an error SQLite may have taken it back already.
  if (begun_ && catalogue_.database_.in_transaction()) {
    static_cast<void>(catalogue_.database_.run("ROLLBACK"));
  }
}

base::Result<void> Catalogue::Change::begin() {
  if (auto begun = catalogue_.database_.run("BEGIN IMMEDIATE"); !begun.ok()) return begun;
  begun_ = true;
  auto view = catalogue_.load_view();
  if (!view.ok()) return view.error();
  view_ = view.value();
  return {};
}

base::Result<std::uint64_t> Catalogue::Change::add_pack(const PackId& id, std::uint64_t bytes) {
  auto number = catalogue_.next_number("SELECT seq FROM sqlite_sequence WHERE name = 'packs'");
  if (!number.ok()) return number;
  const PackRow row{number.value(), id, bytes};
  auto out = catalogue_.query("INSERT INTO packs VALUES(?, ?, ?, ?)");
  if (!out.ok()) return out.error();
  out.value()->bind(1, row.number);
  out.value()->bind(2, base::ConstBytes(row.id.bytes));
  out.value()->bind(3, row.bytes);
  out.value()->bind(4, base::ConstBytes(seal_of(row)));
  if (auto done = catalogue_.execute(out.value()); !done.ok()) return done.error();
  return row.number;
}

base::Result<void> Catalogue::Change::remove_pack(std::uint64_t number) {
  return catalogue_.remove_row("DELETE FROM packs WHERE number = ?", number);
}

base::Result<std::uint64_t> Catalogue::Change::add_chunk(const ChunkRow& row) {
  if (next_chunk_ == 0) {
    auto next = catalogue_.next_number("SELECT max(id) FROM chunks");
    if (!next.ok()) return next;
    next_chunk_ = next.value();
  }
  ChunkRow numbered = row;
  numbered.id = next_chunk_++;
  auto done = catalogue_.write_chunk("INSERT INTO chunks VALUES(?, ?, ?, ?, ?, ?, ?)", numbered);
  if (!done.ok()) return done.error();
  return numbered.id;
}

base::Result<void> Catalogue::Change::replace_chunk(const ChunkRow& row) {
  return catalogue_.write_chunk("REPLACE INTO chunks VALUES(?, ?, ?, ?, ?, ?, ?)", row);
}

base::Result<void> Catalogue::Change::remove_chunk(std::uint64_t id) {
  return catalogue_.remove_row("DELETE FROM chunks WHERE id = ?", id);
}

base::Result<std::uint64_t> Catalogue::Change::add_snapshot(const SnapshotRow& row) {
  auto number = catalogue_.next_number("SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'");
  if (!number.ok()) return number;
  SnapshotRow numbered = row;
  numbered.number = number.value();
  auto done = catalogue_.write_snapshot(
      "INSERT INTO snapshots VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      numbered);
  if (!done.ok()) return done.error();
  return numbered.number;
}

base::Result<void> Catalogue::Change::replace_snapshot(const SnapshotRow& row) {
  return catalogue_.write_snapshot(
      "UPDATE snapshots SET number=?1, id=?2, parent=?3, name=?4, tags=?5, note=?6, created_ns=?7, "
      "memory_bytes=?8, image_id=?9, format_version=?10, postgres_version=?11, wal_position=?12, "
      "properties=?13, raw_bytes=?14, stored_bytes=?15, new_bytes=?16, root=?17, base=?18, "
      "list=?19, seal=?20 WHERE number=?1",
      row);
}

base::Result<void> Catalogue::Change::remove_snapshot(std::uint64_t number) {
  return catalogue_.remove_row("DELETE FROM snapshots WHERE number = ?", number);
}

base::Result<void> Catalogue::Change::count_sweep() {
  return catalogue_.database_.run("UPDATE counters SET value = value + 1 WHERE name = 'sweeps'");
}

base::Result<void> Catalogue::Change::commit() {
  for (const DigestedTable& table : kDigestedTables) {
    auto computed = catalogue_.digest(table.select_seals);
    if (!computed.ok()) return computed.error();
    auto out = catalogue_.query("REPLACE INTO digests VALUES(?, ?)");
    if (!out.ok()) return out.error();
    out.value()->bind(1, std::string_view(table.name));
    out.value()->bind(2, base::ConstBytes(computed.value()));
    if (auto done = catalogue_.execute(out.value()); !done.ok()) return done;
  }
  catalogue_.view_ = nullptr;
  return catalogue_.database_.run("COMMIT");
}

}  // namespace snowglobe::snapshots
