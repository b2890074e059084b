// snapshots/pack.h - pack files: a head, then records, only ever appended to and by one writer.
#pragma once

#include "base/file_system.h"
#include "snapshots/record.h"
#include "snapshots/snapshot.h"

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace snowglobe::snapshots {

inline constexpr std::size_t kPackHeadBytes = 40;

/// 128 random bits; the name of the file is its digits. A name is never used twice, so whoever has
/// a pack open reads what he thinks he reads.
using PackId = SnapshotId;

[[nodiscard]] std::string pack_file_name(const PackId& id);
/// Nothing unless `name` is one that pack_file_name() gives.
[[nodiscard]] std::optional<PackId> pack_of_file_name(std::string_view name);

/// A pack that is being written.
class PackWriter {
 public:
  static base::Result<PackWriter> create(base::FileSystem& files,
                                         const std::filesystem::path& folder, const PackId& id);

  /// Gives the offset of the record.
  base::Result<std::uint64_t> append(base::ConstBytes record);
  /// Returns when the disk has all of it (the folder is for the caller to sync).
  base::Result<void> sync() { return file_->sync(); }
  [[nodiscard]] const PackId& id() const { return id_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  PackWriter(const PackId& id, std::unique_ptr<base::File> file)
      : id_(id), file_(std::move(file)) {}

  PackId id_;
  std::unique_ptr<base::File> file_;
  std::uint64_t bytes_ = 0;
};

/// A pack that is read. Thread rule: any thread.
class PackReader {
 public:
  static base::Result<std::shared_ptr<PackReader>> open(base::FileSystem& files,
                                                        const std::filesystem::path& folder,
                                                        const PackId& id);
  struct Record {
    RecordHead head;
    std::vector<std::uint8_t> bytes;  ///< head and payload
    [[nodiscard]] base::ConstBytes payload() const {
      return base::ConstBytes(bytes).subspan(kRecordHeadBytes);
    }
  };
  /// The record at `offset`; its head is checked, its payload not yet. `expected_stored` is what
  /// the catalogue says, or nothing when the pack is read from end to end.
  base::Result<Record> read(std::uint64_t offset,
                            std::optional<std::uint32_t> expected_stored) const;
  base::Result<std::uint64_t> size() const { return file_->size(); }

 private:
  explicit PackReader(std::unique_ptr<base::File> file) : file_(std::move(file)) {}

  std::unique_ptr<base::File> file_;
};

/// Keeps the packs that were read last open, no more than a few. Thread rule: any thread.
class PackCache {
 public:
  PackCache(base::FileSystem& files, std::filesystem::path folder)
      : files_(files), folder_(std::move(folder)) {}

  base::Result<std::shared_ptr<PackReader>> get(const PackId& id);
  void forget(const PackId& id);

 private:
  static constexpr std::size_t kOpenPacks = 32;

  base::FileSystem& files_;
  const std::filesystem::path folder_;
  std::mutex mutex_;
  std::list<std::pair<PackId, std::shared_ptr<PackReader>>> recent_;  // the newest in front
};

}  // namespace snowglobe::snapshots
