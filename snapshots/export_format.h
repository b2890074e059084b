// snapshots/export_format.h - the portable file: a head, one manifest a snapshot, the records of
// all chunks, an end with a hash of everything. Layout: docs/snapshots.md. Nothing here trusts its
// input.
#pragma once

#include "base/file_system.h"
#include "snapshots/chunk_list.h"
#include "snapshots/hash.h"
#include "snapshots/record.h"

#include <optional>
#include <vector>

namespace snowglobe::snapshots {

/// Chunks in an exported file are numbered from 1 on in the order of their records; lists of
/// manifests name these numbers.
struct Manifest {
  SnapshotInfo info;               ///< objects are in the list
  ChunkHash root{};                ///< of its contents
  std::vector<std::uint8_t> list;  ///< encode_list(), without a base
};

struct ExportHead {
  std::uint32_t snapshots = 0;
  std::uint64_t chunks = 0;
};

/// Writes the parts in their order; every byte goes into the hash at the end.
class ExportWriter {
 public:
  explicit ExportWriter(base::File& file) : file_(file) {}

  base::Result<void> head(const ExportHead& head);
  base::Result<void> manifest(Manifest manifest);
  base::Result<void> record(base::ConstBytes record) { return put(record); }
  base::Result<void> end();
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  base::Result<void> put(base::ConstBytes bytes);
  base::Result<void> flush();

  base::File& file_;
  Hasher hasher_;
  std::vector<std::uint8_t> buffer_;
  std::uint64_t bytes_ = 0;
};

/// Reads the parts in the same order. All errors are kCorrupt (the file is damaged), kUnsupported
/// (made by a newer version), kInvalidArgument (no export at all) or the file's own.
class ExportReader {
 public:
  /// `file` is not owned.
  static base::Result<ExportReader> begin(base::File& file, const std::filesystem::path& path);

  [[nodiscard]] const ExportHead& head() const { return head_; }
  [[nodiscard]] std::uint64_t position() const { return position_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// The next of head().snapshots.
  base::Result<Manifest> manifest();
  struct Record {
    RecordHead head;
    base::ConstBytes bytes;  ///< head and payload; valid until the next call
    base::ConstBytes raw;    ///< decompressed and verified; likewise
  };
  /// The next of head().chunks.
  base::Result<Record> record();
  /// After all of them: the hash fits, and nothing follows.
  base::Result<void> end();

 private:
  ExportReader(base::File& file, std::filesystem::path path);
  base::Result<base::ConstBytes> peek(std::size_t count);
  base::Result<base::ConstBytes> take(std::size_t count);
  base::Error damaged(const std::string& what) const;

  base::File* file_;
  std::filesystem::path path_;
  ExportHead head_;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
  std::uint64_t manifest_bytes_ = 0;
  std::unique_ptr<Hasher> hasher_;
  std::vector<std::uint8_t> buffer_;  // what was read ahead
  std::size_t buffer_at_ = 0;
  std::vector<std::uint8_t> raw_;
};

}  // namespace snowglobe::snapshots
