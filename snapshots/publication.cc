// snapshots/publication.cc - numbers for new chunks, names, and lists against a base.
#include "snapshots/publication.h"

#include "snapshots/limits.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace snowglobe::snapshots {

namespace {

// With room for what is put behind it; never in the middle of a UTF-8 sequence.
std::string shortened(const std::string& name) {
  std::size_t length = std::min(name.size(), kMaxNameBytes - 30);
  while (length < name.size() && length > 0 && (name[length] & 0xC0) == 0x80)
    --length;
  return name.substr(0, length);
}

}  // namespace

base::Result<void> Publication::begin() {
  if (auto begun = change_.begin(); !begun.ok()) return begun;
  std::vector<std::uint64_t> pack_numbers;
  for (const PackWriter& pack : sink_.packs()) {
    auto number = change_.add_pack(pack.id(), pack.bytes());
    if (!number.ok()) return number.error();
    pack_numbers.push_back(number.value());
  }
  // In the order of the packs: neighbours get neighbouring ids, and lists of runs stay short.
  std::vector<const ChunkSink::NewChunks::value_type*> chunks;
  for (const auto& entry : sink_.chunks())
    chunks.push_back(&entry);
  std::sort(chunks.begin(), chunks.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.pack, a->second.offset) <
           std::pair(b->second.pack, b->second.offset);
  });
  for (const auto* entry : chunks) {
    const ChunkSink::NewChunk& chunk = entry->second;
    auto id = change_.add_chunk({0, entry->first, pack_numbers[chunk.pack], chunk.offset,
                                 chunk.stored_bytes, chunk.raw_bytes, true});
    if (!id.ok()) return id.error();
    new_ids_.emplace(entry->first, id.value());
  }
  return {};
}

base::Result<SnapshotInfo> Publication::add(NewSnapshot snapshot, NameTaken name_taken) {
  SnapshotRow row;
  row.info = std::move(snapshot.info);
  if (auto settled = settle_name(row.info, name_taken); !settled.ok()) return settled.error();
  auto ids = final_ids(snapshot.contents);
  if (!ids.ok()) return ids.error();
  row.info.objects.clear();
  for (const ObjectContents& object : snapshot.contents)
    row.info.objects.push_back(object.info);
  row.info.raw_bytes = raw_bytes_of(snapshot.contents);
  row.info.stored_bytes = stored_bytes_of(snapshot.contents);
  row.root = root_of(snapshot.contents);
  if (auto chosen = choose_list(row, ids.value()); !chosen.ok()) return chosen.error();
  if (!row.parent.has_value()) row.info.parent.reset();
  auto number = change_.add_snapshot(row);
  if (!number.ok()) return number.error();
  row.number = number.value();
  added_.push_back({row.number, row.info.id, row.info.metadata.name});
  last_ = row;
  last_ids_ = std::move(ids).value();
  return row.info;
}

base::Result<void> Publication::commit() {
  sink_.leave_packs();
  return change_.commit();
}

bool Publication::name_is_taken(const std::string& name) const {
  return view().find_name(name) != nullptr ||
         std::any_of(added_.begin(), added_.end(),
                     [&](const Added& added) { return added.name == name; });
}

base::Result<void> Publication::settle_name(SnapshotInfo& info, NameTaken name_taken) {
  std::string& name = info.metadata.name;
  if (name.empty() || !name_is_taken(name)) return {};
  if (name_taken == NameTaken::kRefuse) {
    return base::Error{
        base::ErrorCode::kAlreadyExists,
        fmt::format("there is a snapshot named '{}': choose another name, or let the "
                    "new one take it",
                    name)};
  }
  if (name_taken == NameTaken::kTakeOver) {
    SnapshotRow old = *view().find_name(name);
    old.info.metadata.properties[kFormerName] = std::exchange(old.info.metadata.name, {});
    return change_.replace_snapshot(old);
  }
  const std::string wanted = shortened(name);
  for (unsigned n = 1; name_is_taken(name); ++n)
    name = n == 1 ? wanted + " (imported)" : fmt::format("{} (imported {})", wanted, n);
  return {};
}

base::Result<SnapshotIds> Publication::final_ids(Contents& contents) const {
  SnapshotIds ids;
  for (ObjectContents& object : contents) {
    ids.push_back({object.info, {}});
    ids.back().ids.reserve(object.chunks.size());
    for (ChunkRef& chunk : object.chunks) {
      if (chunk.id == 0 && !all_zero(chunk.hash)) {
        const auto found = new_ids_.find(chunk.hash);
        if (found == new_ids_.end()) {
          return base::Error{base::ErrorCode::kInternal, "a chunk was not written"};
        }
        chunk.id = found->second;
        chunk.stored_bytes = sink_.chunks().at(chunk.hash).stored_bytes;
      }
      ids.back().ids.push_back(chunk.id);
    }
  }
  return ids;
}

// The whole list, or what is other than in the parent: whichever is shorter.
base::Result<void> Publication::choose_list(SnapshotRow& row, const SnapshotIds& ids) {
  row.list = encode_list(ids, nullptr);
  if (!row.info.parent.has_value()) return {};
  const bool after_last = last_.has_value() && last_->info.id == *row.info.parent;
  const SnapshotRow* const parent = after_last ? &*last_ : view().find(*row.info.parent);
  if (parent == nullptr) {
    const auto found = std::find_if(added_.begin(), added_.end(), [&](const Added& added) {
      return added.id == *row.info.parent;
    });
    if (found != added_.end()) row.parent = found->number;
    return {};
  }
  row.parent = parent->number;
  if (parent->depth >= kMaxListDepth) return {};
  if (!after_last) {
    auto parent_ids = ids_of(view(), *parent);
    if (!parent_ids.ok()) return parent_ids.error();
    last_ids_ = std::move(parent_ids).value();
  }
  std::vector<std::uint8_t> delta = encode_list(ids, &last_ids_);
  if (delta.size() >= row.list.size()) return {};
  row.list = std::move(delta);
  row.base = parent->number;
  row.depth = parent->depth + 1;
  return {};
}

}  // namespace snowglobe::snapshots
