// snapshots/export.cc - snapshots as one portable file.
#include "snapshots/core.h"
#include "snapshots/export_format.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <unordered_map>

namespace snowglobe::snapshots {

namespace {

class Exporter {
 public:
  Exporter(Store::Core& core, const ExportOptions& options) : core_(core), options_(options) {}

  /// Finds what goes into the file, and sees to it that nobody removes it meanwhile.
  base::Result<void> choose(const std::vector<SnapshotId>& ids) {
    auto view = core_.view();
    if (!view.ok()) return view.error();
    std::map<std::uint64_t, SnapshotId> chosen;  // by number: parents first
    for (const SnapshotId& id : ids) {
      auto row = Store::Core::row_of(*view.value(), id);
      if (!row.ok()) return row.error();
      for (const SnapshotRow* at = row.value(); at != nullptr;) {
        chosen.emplace(at->number, at->info.id);
        const bool goes_on = options_.with_ancestors && at->parent.has_value();
        at = goes_on ? view.value()->find_number(*at->parent) : nullptr;
      }
    }
    std::set<SnapshotId> in_file;
    for (const auto& [number, id] : chosen) {
      auto held = core_.hold(id);
      if (!held.ok()) return held.error();
      if (auto added = add(*held.value().view, *held.value().row); !added.ok()) return added;
      leases_.push_back(std::move(held.value().lease));
      in_file.insert(id);
    }
    for (Manifest& manifest : manifests_) {
      auto& parent = manifest.info.parent;
      if (parent.has_value() && in_file.count(*parent) == 0) parent.reset();
    }
    return {};
  }

  base::Result<ExportReport> write(base::File& file) {
    ExportWriter out(file);
    ExportReport report;
    const ExportHead head{static_cast<std::uint32_t>(manifests_.size()), chunks_.size()};
    if (auto done = out.head(head); !done.ok()) return done.error();
    for (const Manifest& manifest : manifests_) {
      if (auto done = out.manifest(manifest); !done.ok()) return done.error();
      report.snapshots.push_back(manifest.info);
    }
    if (auto done = write_records(out); !done.ok()) return done.error();
    if (auto done = out.end(); !done.ok()) return done.error();
    if (auto done = file.sync(); !done.ok()) return done.error();
    report.chunks = chunks_.size();
    report.file_bytes = out.bytes();
    return report;
  }

 private:
  struct Chunk {
    ChunkRef ref;
    std::uint32_t raw_bytes = 0;
  };

  base::Result<void> add(const View& view, const SnapshotRow& row) {
    auto ids = ids_of(view, row);
    if (!ids.ok()) return ids.error();
    auto contents = core_.catalogue->resolve(ids.value(), row.root);
    if (!contents.ok()) return contents.error();
    for (std::size_t o = 0; o < contents.value().size(); ++o) {
      const ObjectContents& object = contents.value()[o];
      for (std::size_t i = 0; i < object.chunks.size(); ++i) {
        const ChunkRef& chunk = object.chunks[i];
        if (chunk.id == 0) continue;
        const auto [place, is_new] = numbers_.try_emplace(chunk.hash, chunks_.size() + 1);
        if (is_new) chunks_.push_back({chunk, object.info.chunk_length(i)});
        ids.value()[o].ids[i] = place->second;
      }
    }
    manifests_.push_back({row.info, row.root, encode_list(ids.value(), nullptr)});
    return {};
  }

  base::Result<void> write_records(ExportWriter& out) {
    std::uint64_t total = 0;
    for (const Chunk& chunk : chunks_)
      total += chunk.raw_bytes;
    std::uint64_t done = 0;
    RecordMaker maker(options_.compression_level);
    std::vector<std::uint8_t> raw;
    for (const Chunk& chunk : chunks_) {
      raw.resize(chunk.raw_bytes);
      auto record = core_.read_record(chunk.ref, raw);
      if (!record.ok()) return record.error();
      const bool as_stored = options_.compression_level == 0;
      auto written = out.record(as_stored ? record.value().bytes : maker.make(raw, chunk.ref.hash));
      if (!written.ok()) return written;
      done += chunk.raw_bytes;
      if (options_.progress && !options_.progress(done, total)) {
        return base::Error{base::ErrorCode::kCancelled, "the export was cancelled"};
      }
    }
    return {};
  }

  Store::Core& core_;
  const ExportOptions& options_;
  std::vector<LockFile::Lease> leases_;
  std::vector<Manifest> manifests_;
  std::vector<Chunk> chunks_;
  std::unordered_map<ChunkHash, std::uint64_t, HashOfHash> numbers_;  // from 1 on
};

// A new file beside the wanted one, and then its name: nobody sees half an export.
base::Result<ExportReport> write_and_rename(Store::Core& core, Exporter& exporter,
                                            const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const auto temporary =
      folder / fmt::format(".{}.{}.part", path.filename().string(), core.new_id().brief());
  auto file = core.files.create(temporary);
  if (!file.ok()) return file.error();
  auto report = exporter.write(*file.value());
  if (report.ok()) {
    if (auto renamed = core.files.rename(temporary, path); !renamed.ok()) {
      report = renamed.error();
    }
  }
  if (!report.ok()) {
    static_cast<void>(core.files.remove(temporary));
    return report;
  }
  if (auto synced = core.files.sync_directory(folder); !synced.ok()) return synced.error();
  return report;
}

}  // namespace

base::Result<ExportReport> Store::export_to(const std::filesystem::path& file,
                                            const std::vector<SnapshotId>& ids,
                                            const ExportOptions& options) const {
  if (auto usable = core_->check_process(); !usable.ok()) return usable.error();
  if (ids.empty()) {
    return base::Error{base::ErrorCode::kInvalidArgument, "export: say which snapshots"};
  }
  if (!options.overwrite && core_->files.exists(file)) {
    return base::Error{base::ErrorCode::kAlreadyExists,
                       fmt::format("export to '{}': it is there already", file.string())};
  }
  Exporter exporter(*core_, options);
  if (auto chosen = exporter.choose(ids); !chosen.ok()) return chosen.error();
  return write_and_rename(*core_, exporter, file);
}

}  // namespace snowglobe::snapshots
