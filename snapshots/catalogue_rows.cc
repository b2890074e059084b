// snapshots/catalogue_rows.cc - columns to structs, and the hashes that seal them.
#include "snapshots/catalogue_rows.h"

#include "base/archive.h"
#include "snapshots/hash.h"
#include "snapshots/metadata.h"

#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::snapshots {

namespace {

std::vector<std::string> split_tags(const std::string& lines) {
  std::vector<std::string> tags;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    tags.push_back(lines.substr(at, end - at));
    at = end + 1;
  }
  return tags;
}

base::Error bad_row(const char* table, std::uint64_t number) {
  return {base::ErrorCode::kCorrupt,
          fmt::format("the store's catalogue is damaged: row {} of {} fails its checksum", number,
                      table)};
}

}  // namespace

std::string join_tags(const std::vector<std::string>& tags) {
  std::string lines;
  for (const std::string& tag : tags) {
    if (!lines.empty()) lines.push_back('\n');
    lines += tag;
  }
  return lines;
}

ChunkHash hash_from(base::ConstBytes bytes) {
  ChunkHash hash{};
  if (bytes.size() == hash.size()) std::copy(bytes.begin(), bytes.end(), hash.begin());
  return hash;
}

ChunkHash seal_of(const SnapshotRow& row) {
  base::ArchiveWriter out;
  std::uint64_t number = row.number;
  std::uint64_t parent = row.parent.value_or(0);
  std::uint64_t base = row.base.value_or(0);
  SnapshotInfo info = row.info;
  ChunkHash root = row.root;
  out(number, parent, base, info.id.bytes, info.metadata, info.raw_bytes, info.stored_bytes,
      info.new_bytes, root);
  out.raw(row.list);
  return hash_of(out.take());
}

ChunkHash seal_of(const PackRow& row) {
  base::ArchiveWriter out;
  PackRow copy = row;
  out(copy.number, copy.id.bytes, copy.bytes);
  return hash_of(out.take());
}

std::uint64_t seal_of(const ChunkRow& row) {
  std::uint8_t bytes[64];
  base::store_le(&bytes[0], row.id);
  base::store_le(&bytes[8], row.pack);
  base::store_le(&bytes[16], row.offset);
  base::store_le(&bytes[24], row.stored_bytes);
  base::store_le(&bytes[28], row.raw_bytes);
  std::copy(row.hash.begin(), row.hash.end(), &bytes[32]);
  return check_of(bytes);
}

base::Result<SnapshotRow> snapshot_from(const Statement& columns) {
  SnapshotRow row;
  row.number = columns.number(0);
  const base::ConstBytes id = columns.blob(1);
  if (id.size() != row.info.id.bytes.size()) return bad_row("snapshots", row.number);
  std::copy(id.begin(), id.end(), row.info.id.bytes.begin());
  if (!columns.is_null(2)) row.parent = columns.number(2);
  Metadata& metadata = row.info.metadata;
  metadata.name = columns.text(3);
  metadata.tags = split_tags(columns.text(4));
  metadata.note = columns.text(5);
  metadata.created = base::Nanoseconds(static_cast<std::int64_t>(columns.number(6)));
  metadata.memory_bytes = columns.number(7);
  metadata.image_id = columns.text(8);
  metadata.format_version = static_cast<std::uint32_t>(columns.number(9));
  metadata.postgres_version = columns.text(10);
  metadata.wal_position = columns.text(11);
  const bool properties_fit = properties_from_bytes(columns.blob(12), metadata);
  row.info.raw_bytes = columns.number(13);
  row.info.stored_bytes = columns.number(14);
  row.info.new_bytes = columns.number(15);
  row.root = hash_from(columns.blob(16));
  if (!columns.is_null(17)) row.base = columns.number(17);
  const base::ConstBytes list = columns.blob(18);
  row.list.assign(list.begin(), list.end());
  // Only what is sealed is taken apart.
  if (!properties_fit || seal_of(row) != hash_from(columns.blob(19))) {
    return bad_row("snapshots", row.number);
  }
  auto objects = objects_in_list(row.list);
  if (!objects.ok()) return objects.error();
  row.info.objects = std::move(objects).value();
  return row;
}

base::Result<PackRow> pack_from(const Statement& columns) {
  PackRow row;
  row.number = columns.number(0);
  const base::ConstBytes id = columns.blob(1);
  if (id.size() != row.id.bytes.size()) return bad_row("packs", row.number);
  std::copy(id.begin(), id.end(), row.id.bytes.begin());
  row.bytes = columns.number(2);
  if (seal_of(row) != hash_from(columns.blob(3))) return bad_row("packs", row.number);
  return row;
}

ChunkRow chunk_from(const Statement& columns) {
  ChunkRow row;
  row.id = columns.number(0);
  row.hash = hash_from(columns.blob(1));
  row.pack = columns.number(2);
  row.offset = columns.number(3);
  row.stored_bytes = static_cast<std::uint32_t>(columns.number(4));
  row.raw_bytes = static_cast<std::uint32_t>(columns.number(5));
  row.sealed = columns.number(6) == seal_of(row);
  return row;
}

}  // namespace snowglobe::snapshots
