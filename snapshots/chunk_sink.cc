// snapshots/chunk_sink.cc - deduplication against the store and against what is being written.
#include "snapshots/chunk_sink.h"

namespace snowglobe::snapshots {

namespace {

// A new pack is begun beyond this, so that compacting never has to write more than a bit at once.
constexpr std::uint64_t kPackBytes = 256 << 20;

}  // namespace

base::Result<std::unique_ptr<ChunkSink>> ChunkSink::create(std::shared_ptr<Store::Core> core) {
  if (auto usable = core->check_writable(); !usable.ok()) return usable.error();
  auto lease = core->locks->take(kPacksLock, LockFile::Mode::kShared);
  if (!lease.ok()) return lease.error();
  return std::unique_ptr<ChunkSink>(new ChunkSink(std::move(core), std::move(lease).value()));
}

ChunkSink::ChunkSink(std::shared_ptr<Store::Core> core, LockFile::Lease lease)
    : core_(std::move(core)), lease_(std::move(lease)) {}

ChunkSink::~ChunkSink() {
  if (leave_packs_ || !core_->check_process().ok()) return;
  // What can not be removed now is removed by the next one who sweeps.
  for (const PackWriter& pack : packs_)
    static_cast<void>(core_->files.remove(core_->packs_folder / pack_file_name(pack.id())));
}

base::Result<ChunkRef> ChunkSink::add(base::ConstBytes chunk, RecordMaker& maker) {
  const ChunkHash hash = hash_of(chunk);
  auto known = find_or_reserve(hash, static_cast<std::uint32_t>(chunk.size()));
  if (!known.ok()) return known.error();
  if (known.value().has_value()) return *known.value();
  return append(hash, maker.make(chunk, hash));
}

base::Result<ChunkRef> ChunkSink::add_record(const RecordHead& head, base::ConstBytes record) {
  auto known = find_or_reserve(head.hash, head.raw_bytes);
  if (!known.ok()) return known.error();
  if (known.value().has_value()) return *known.value();
  return append(head.hash, record);
}

// Nothing: the chunk is new, and the caller is the one to append it.
base::Result<std::optional<ChunkRef>> ChunkSink::find_or_reserve(const ChunkHash& hash,
                                                                 std::uint32_t raw_bytes) {
  const std::lock_guard lock(mutex_);
  if (chunks_.count(hash) != 0) return std::optional<ChunkRef>(ChunkRef{hash, 0, 0});
  auto found = core_->catalogue->find_chunk(hash);
  if (!found.ok()) return found.error();
  if (found.value().has_value()) {
    const ChunkRow& row = *found.value();
    // A chunk whose pack was lost is written again.
    const auto [opens, is_new] = pack_opens_.try_emplace(row.pack, false);
    if (is_new) opens->second = core_->pack_opens(row.pack);
    if (opens->second) return std::optional<ChunkRef>(ChunkRef{hash, row.id, row.stored_bytes});
  }
  chunks_[hash].raw_bytes = raw_bytes;
  return std::optional<ChunkRef>();
}

base::Result<ChunkRef> ChunkSink::append(const ChunkHash& hash, base::ConstBytes record) {
  const std::lock_guard lock(mutex_);
  if (packs_.empty() || packs_.back().bytes() >= kPackBytes) {
    auto pack = PackWriter::create(core_->files, core_->packs_folder, core_->new_id());
    if (!pack.ok()) return pack.error();
    packs_.push_back(std::move(pack).value());
  }
  auto offset = packs_.back().append(record);
  if (!offset.ok()) return offset.error();
  NewChunk& chunk = chunks_[hash];
  chunk.pack = packs_.size() - 1;
  chunk.offset = offset.value();
  chunk.stored_bytes = static_cast<std::uint32_t>(record.size() - kRecordHeadBytes);
  return ChunkRef{hash, 0, chunk.stored_bytes};
}

base::Result<void> ChunkSink::sync() {
  if (packs_.empty()) return {};
  for (PackWriter& pack : packs_) {
    if (auto synced = pack.sync(); !synced.ok()) return synced;
  }
  return core_->files.sync_directory(core_->packs_folder);
}

std::uint64_t ChunkSink::new_bytes() const {
  std::uint64_t sum = 0;
  for (const PackWriter& pack : packs_)
    sum += pack.bytes();
  return sum;
}

}  // namespace snowglobe::snapshots
