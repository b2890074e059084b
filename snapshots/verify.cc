// snapshots/verify.cc - reads everything, and says all that is wrong and who suffers.
#include "snapshots/core.h"
#include "snapshots/hash.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>
#include <unordered_map>

namespace snowglobe::snapshots {

namespace {

constexpr std::size_t kMaxDamage = 1000;

class Verifier {
 public:
  Verifier(Store::Core& core, const Progress& progress) : core_(core), progress_(progress) {}

  base::Result<VerifyReport> run() {
    // Packs stay where they are meanwhile; writers go on.
    auto lease = core_.locks->take(kPacksLock, LockFile::Mode::kShared);
    if (!lease.ok()) return lease.error();
    auto structure = core_.catalogue->integrity_errors();
    if (structure.ok()) {
      for (const std::string& error : structure.value())
        damage("catalogue.sqlite: " + error, {});
    } else if (auto noted = note(structure.error()); !noted.ok()) {
      return noted.error();
    }
    auto view = core_.view();
    if (!view.ok()) {
      if (auto noted = note(view.error()); !noted.ok()) return noted.error();
      return std::move(report_);
    }
    if (auto done = check_contents(*view.value()); !done.ok()) {
      if (auto noted = note(done.error()); !noted.ok()) return noted.error();
    }
    return std::move(report_);
  }

 private:
  using Chunks = std::vector<const ChunkRow*>;

  // Damage goes to the report, everything else ends verify.
  base::Result<void> note(const base::Error& error) {
    if (error.code != base::ErrorCode::kCorrupt) return error;
    damage(error.message, {});
    return {};
  }

  void damage(std::string what, const Chunks& chunks) {
    if (report_.damage.size() >= kMaxDamage) return;
    for (const ChunkRow* chunk : chunks)
      damaged_chunks_[chunk->id].push_back(report_.damage.size());
    report_.damage.push_back({std::move(what), {}});
  }

  base::Result<void> check_contents(const View& view) {
    auto read = core_.catalogue->each_chunk([&](const ChunkRow& row) {
      chunks_.push_back(row);
      return true;
    });
    if (!read.ok()) return read;
    report_.chunks = chunks_.size();
    std::map<std::uint64_t, Chunks> by_pack;
    for (const ChunkRow& row : chunks_) {
      by_pack[row.pack].push_back(&row);
      if (!row.sealed) {
        damage(fmt::format("catalogue.sqlite: the row of chunk {} fails its checksum", row.id),
               {&row});
      }
    }
    for (const PackRow& pack : view.packs)
      total_bytes_ += pack.bytes;
    for (const PackRow& pack : view.packs) {
      if (auto done = check_pack(pack, by_pack[pack.number]); !done.ok()) return done;
      by_pack.erase(pack.number);
    }
    for (const auto& [number, chunks] : by_pack)
      damage(
          fmt::format("catalogue.sqlite: pack {} of {} chunks is not there", number, chunks.size()),
          chunks);
    return check_snapshots(view);
  }

  base::Result<void> check_pack(const PackRow& row, Chunks& chunks) {
    ++report_.packs;
    const std::string name = "pack " + pack_file_name(row.id);
    std::sort(chunks.begin(), chunks.end(),
              [](const ChunkRow* a, const ChunkRow* b) { return a->offset < b->offset; });
    core_.packs.forget(row.id);  // what is on the disk now, not what was open
    auto pack = core_.packs.get(row.id);
    if (!pack.ok()) {
      if (pack.error().code == base::ErrorCode::kIo) return pack.error();
      damage(fmt::format("{}: {}", name, pack.error().message), chunks);
      return {};
    }
    auto size = pack.value()->size();
    if (!size.ok()) return size.error();
    if (size.value() != row.bytes) {
      damage(fmt::format("{} has {} bytes, {} were written", name, size.value(), row.bytes), {});
    }
    auto next = chunks.begin();
    for (std::uint64_t offset = kPackHeadBytes; offset < std::min(row.bytes, size.value());) {
      for (; next != chunks.end() && (*next)->offset < offset; ++next)
        damage(fmt::format("{}: chunk {} does not begin at byte {}", name, (*next)->id,
                           (*next)->offset),
               {*next});
      const ChunkRow* expected =
          next != chunks.end() && (*next)->offset == offset ? *next++ : nullptr;
      auto length = check_record(*pack.value(), name, offset, expected);
      if (!length.ok()) return length.error();
      const std::uint64_t end = next != chunks.end() ? (*next)->offset : row.bytes;
      offset = length.value() != 0 ? offset + length.value() : std::max(end, offset + 1);
      report_.bytes += length.value();
      if (progress_ && !progress_(report_.bytes, total_bytes_)) {
        return base::Error{base::ErrorCode::kCancelled, "verify was cancelled"};
      }
    }
    if (next != chunks.end()) {
      damage(fmt::format("{} ends before {} of its chunks", name, chunks.end() - next),
             {next, chunks.end()});
    }
    return {};
  }

  // Gives the length of the record, 0 if it can not be told.
  base::Result<std::uint64_t> check_record(const PackReader& pack, const std::string& name,
                                           std::uint64_t offset, const ChunkRow* expected) {
    const auto bad = [&](const std::string& why) {
      const std::string chunk = expected != nullptr ? to_hex(expected->hash).substr(0, 16)
                                                    : "that the catalogue does not know";
      damage(fmt::format("{} at byte {}, chunk {}: {}", name, offset, chunk, why),
             expected != nullptr ? Chunks{expected} : Chunks{});
    };
    auto record = pack.read(offset, std::nullopt);
    if (!record.ok()) {
      if (record.error().code != base::ErrorCode::kCorrupt) return record.error();
      bad(record.error().message);
      return std::uint64_t{0};
    }
    const RecordHead& head = record.value().head;
    buffer_.resize(head.raw_bytes);
    auto unpacked = unpack_record(head, record.value().payload(), buffer_);
    if (!unpacked.ok()) {
      bad(unpacked.error().message);
    } else if (expected == nullptr) {
      report_.unused_bytes += record.value().bytes.size();
    } else if (expected->hash != head.hash || expected->raw_bytes != head.raw_bytes ||
               expected->stored_bytes != head.stored_bytes) {
      bad("another chunk is there");
    }
    return std::uint64_t{record.value().bytes.size()};
  }

  base::Result<void> check_snapshots(const View& view) {
    std::unordered_map<std::uint64_t, bool> needed;
    for (const SnapshotRow& row : view.snapshots) {
      ++report_.snapshots;
      auto ids = ids_of(view, row);
      if (!ids.ok()) {
        damage_snapshot(row, ids.error().message);
        continue;
      }
      std::set<std::size_t> why;
      for (const ObjectIds& object : ids.value()) {
        for (const std::uint64_t id : object.ids) {
          if (id == 0) continue;
          needed[id] = true;
          const auto found = damaged_chunks_.find(id);
          if (found != damaged_chunks_.end())
            why.insert(found->second.begin(), found->second.end());
        }
      }
      for (const std::size_t index : why)
        report_.damage[index].snapshots.push_back(row.info.id);
      auto contents = core_.catalogue->resolve(ids.value(), row.root);
      if (contents.ok()) continue;
      if (contents.error().code != base::ErrorCode::kCorrupt) return contents.error();
      damage_snapshot(row, contents.error().message);
    }
    for (const ChunkRow& chunk : chunks_) {
      if (needed.count(chunk.id) == 0)
        report_.unused_bytes += kRecordHeadBytes + chunk.stored_bytes;
    }
    return {};
  }

  void damage_snapshot(const SnapshotRow& row, const std::string& why) {
    damage(fmt::format("snapshot '{}': {}", row.info.label(), why), {});
    report_.damage.back().snapshots.push_back(row.info.id);
  }

  Store::Core& core_;
  const Progress& progress_;
  VerifyReport report_;
  std::vector<ChunkRow> chunks_;
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> damaged_chunks_;  // id: damages
  std::vector<std::uint8_t> buffer_;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace

base::Result<VerifyReport> Store::verify(const Progress& progress) const {
  if (auto usable = core_->check_process(); !usable.ok()) return usable.error();
  return Verifier(*core_, progress).run();
}

}  // namespace snowglobe::snapshots
