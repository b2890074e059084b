// snapshots/import.cc - taking over an exported file: everything in it is verified before anything
// of it is visible.
#include "snapshots/chunk_sink.h"
#include "snapshots/core.h"
#include "snapshots/export_format.h"
#include "snapshots/publication.h"

#include <fmt/format.h>
#include <set>
#include <system_error>

namespace snowglobe::snapshots {

namespace {

// A few bytes can stand for a long list of zeros: what all lists together may name is bounded, or a
// small file could keep us busy for hours.
constexpr std::uint64_t kMaxChunksOfAll = std::uint64_t{1} << 26;

class Importer {
 public:
  Importer(Store::Core& core, ExportReader& in, const std::filesystem::path& path)
      : core_(core), in_(in), path_(path) {}

  base::Result<ImportReport> run(const Progress& progress) {
    auto sink = ChunkSink::create(core_.shared_from_this());
    if (!sink.ok()) return sink.error();
    if (auto read = read_manifests(); !read.ok()) return read.error();
    if (auto read = read_chunks(*sink.value(), progress); !read.ok()) return read.error();
    if (auto ended = in_.end(); !ended.ok()) return ended.error();
    if (auto checked = check_contents(); !checked.ok()) return checked.error();
    if (auto synced = sink.value()->sync(); !synced.ok()) return synced.error();
    return publish(*sink.value());
  }

 private:
  struct Chunk {
    ChunkRef ref;
    std::uint32_t raw_bytes = 0;
  };

  base::Error damaged(const std::string& what) const {
    return {base::ErrorCode::kCorrupt,
            fmt::format("the exported file '{}' is damaged: {}; nothing of it was taken over",
                        path_.string(), what)};
  }

  base::Result<void> read_manifests() {
    std::uint64_t chunks = 0;
    std::set<SnapshotId> ids;
    std::set<std::string> names;
    for (std::uint32_t i = 0; i < in_.head().snapshots; ++i) {
      auto manifest = in_.manifest();
      if (!manifest.ok()) return manifest.error();
      const SnapshotInfo& info = manifest.value().info;
      if (!ids.insert(info.id).second) return damaged("a snapshot is there twice");
      const std::string& name = info.metadata.name;
      if (!name.empty() && !names.insert(name).second) return damaged("a name is there twice");
      for (const ObjectInfo& object : info.objects)
        chunks += object.chunk_count();
      if (chunks > kMaxChunksOfAll) return damaged("its lists are too long");
      manifests_.push_back(std::move(manifest).value());
    }
    return {};
  }

  base::Result<void> read_chunks(ChunkSink& sink, const Progress& progress) {
    for (std::uint64_t i = 0; i < in_.head().chunks; ++i) {
      auto record = in_.record();
      if (!record.ok()) return record.error();
      // Zeros have no record; one that says so would not be what it seems when it is read.
      if (base::all_zero(record.value().raw)) return damaged("a chunk of zeros");
      auto ref = sink.add_record(record.value().head, record.value().bytes);
      if (!ref.ok()) return ref.error();
      chunks_.push_back({ref.value(), record.value().head.raw_bytes});
      if (progress && !progress(in_.position(), in_.size())) {
        return base::Error{base::ErrorCode::kCancelled, "the import was cancelled"};
      }
    }
    return {};
  }

  base::Result<Contents> contents_of(const Manifest& manifest) const {
    auto ids = decode_list(manifest.list, nullptr);
    if (!ids.ok()) return damaged(ids.error().message);
    Contents contents;
    for (const ObjectIds& object : ids.value()) {
      contents.push_back({object.info, std::vector<ChunkRef>(object.ids.size())});
      for (std::size_t i = 0; i < object.ids.size(); ++i) {
        const std::uint64_t number = object.ids[i];
        if (number == 0) continue;
        if (number > chunks_.size() || chunks_[static_cast<std::size_t>(number - 1)].raw_bytes !=
                                           object.info.chunk_length(i)) {
          return damaged("a list of chunks leads nowhere");
        }
        contents.back().chunks[i] = chunks_[static_cast<std::size_t>(number - 1)].ref;
      }
    }
    if (root_of(contents) != manifest.root) {
      return damaged("a list of chunks does not lead to what was written");
    }
    return contents;
  }

  base::Result<void> check_contents() const {
    for (const Manifest& manifest : manifests_) {
      if (auto contents = contents_of(manifest); !contents.ok()) return contents.error();
    }
    return {};
  }

  base::Result<ImportReport> publish(ChunkSink& sink) {
    ImportReport report;
    report.new_bytes = sink.new_bytes();
    Publication publication(core_, sink);
    if (auto begun = publication.begin(); !begun.ok()) return begun.error();
    for (const Manifest& manifest : manifests_) {
      if (const SnapshotRow* present = publication.view().find(manifest.info.id)) {
        if (present->root != manifest.root) {
          return base::Error{
              base::ErrorCode::kAlreadyExists,
              fmt::format("import '{}': snapshot {} is here with other contents, or in chunks of "
                          "another size",
                          path_.string(), manifest.info.id.brief())};
        }
        report.present.push_back(present->info);
        continue;
      }
      auto contents = contents_of(manifest);
      if (!contents.ok()) return contents.error();
      auto added =
          publication.add({manifest.info, std::move(contents).value()}, NameTaken::kChangeOurs);
      if (!added.ok()) return added.error();
      report.imported.push_back(added.value());
    }
    if (report.imported.empty()) return report;  // and the sink takes its packs away
    if (auto committed = publication.commit(); !committed.ok()) return committed.error();
    return report;
  }

  Store::Core& core_;
  ExportReader& in_;
  const std::filesystem::path& path_;
  std::vector<Manifest> manifests_;
  std::vector<Chunk> chunks_;
};

/// Where users keep such files, there may be links to them.
base::Result<std::unique_ptr<base::File>> open_export(base::FileSystem& files,
                                                      const std::filesystem::path& file) {
  std::error_code error;
  const auto whole = std::filesystem::canonical(file, error);
  if (error) return base::os_error("open", file, error.value());
  return files.open(whole, base::FileSystem::Access::kRead);
}

}  // namespace

base::Result<ImportReport> Store::import_from(const std::filesystem::path& file,
                                              const Progress& progress) {
  if (auto usable = core_->check_writable(); !usable.ok()) return usable.error();
  auto opened = open_export(core_->files, file);
  if (!opened.ok()) return opened.error();
  auto reader = ExportReader::begin(*opened.value(), file);
  if (!reader.ok()) return reader.error();
  return Importer(*core_, reader.value(), file).run(progress);
}

base::Result<std::vector<SnapshotInfo>> Store::inspect(const std::filesystem::path& file,
                                                       const StoreOptions& options) {
  base::FileSystem& files = options.files != nullptr ? *options.files : base::FileSystem::host();
  auto opened = open_export(files, file);
  if (!opened.ok()) return opened.error();
  auto reader = ExportReader::begin(*opened.value(), file);
  if (!reader.ok()) return reader.error();
  std::vector<SnapshotInfo> infos;
  for (std::uint32_t i = 0; i < reader.value().head().snapshots; ++i) {
    auto manifest = reader.value().manifest();
    if (!manifest.ok()) return manifest.error();
    infos.push_back(std::move(manifest.value().info));
  }
  return infos;
}

}  // namespace snowglobe::snapshots
