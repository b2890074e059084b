// snapshots/reports.h - what the functions of a Store are told and tell: policies and reports.
#pragma once

#include "base/clock.h"
#include "snapshots/snapshot.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::snapshots {

enum class Cascade : std::uint8_t { kNo, kYes };
enum class DryRun : std::uint8_t { kNo, kYes };

/// Called now and then, on the caller's thread, with bytes done and in all; false ends the work
/// with kCancelled.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

struct TreeEntry {
  SnapshotInfo snapshot;
  std::size_t depth = 0;  ///< 0: a root
};

/// A snapshot is kept if one rule says so.
struct KeepPolicy {
  std::optional<std::size_t> last{};          ///< the newest n
  std::optional<base::Nanoseconds> within{};  ///< created within this time before now
  bool tagged = false;                        ///< with any tag
  std::vector<std::string> tags{};            ///< with one of these tags
  bool named = false;
};

struct ObjectDiff {
  std::string name;
  std::uint64_t size_from = 0;  ///< 0 if it is not there
  std::uint64_t size_to = 0;
  std::uint64_t changed_chunks = 0;  ///< of `to`, which has other contents there than `from`
  std::uint64_t changed_bytes = 0;   ///< in these chunks
};

struct Diff {
  std::vector<ObjectDiff> objects;  ///< all of both, by name
  std::uint64_t changed_chunks = 0;
  std::uint64_t changed_bytes = 0;
};

struct RemoveReport {
  std::vector<SnapshotInfo> removed;
  std::uint64_t freed_bytes = 0;  ///< on disk, so far
  /// Someone is writing: chunks that nothing needs any more go with the next compact().
  bool space_deferred = false;
};

struct PruneReport {
  std::vector<SnapshotInfo> removed;  ///< or would be (dry run)
  std::vector<SnapshotInfo> in_use;   ///< would have gone, but someone has them open
  std::uint64_t freed_bytes = 0;      ///< on disk; in a dry run: of chunks that nothing would need
  bool space_deferred = false;        ///< see RemoveReport
};

struct CompactReport {
  std::uint64_t packs_removed = 0;
  std::uint64_t packs_rewritten = 0;
  std::uint64_t freed_bytes = 0;
  std::uint64_t packs_damaged = 0;  ///< left as they are: see verify()
};

/// One thing that is wrong, and who suffers.
struct Damage {
  std::string what;                   ///< one sentence with the names of pack, chunk and place
  std::vector<SnapshotId> snapshots;  ///< that can not be read whole because of it; may be empty
};

struct VerifyReport {
  std::vector<Damage> damage;  ///< the first thousand
  std::uint64_t snapshots = 0;
  std::uint64_t packs = 0;
  std::uint64_t chunks = 0;
  std::uint64_t bytes = 0;         ///< read from packs
  std::uint64_t unused_bytes = 0;  ///< in packs, needed by no snapshot: compact() frees them
  [[nodiscard]] bool clean() const { return damage.empty(); }
};

struct Statistics {
  std::uint64_t snapshots = 0;
  std::uint64_t chunks = 0;  ///< distinct, not zero
  std::uint64_t packs = 0;
  std::uint64_t raw_bytes = 0;       ///< sum of all snapshots' sizes
  std::uint64_t distinct_bytes = 0;  ///< of distinct chunks, not compressed
  std::uint64_t stored_bytes = 0;    ///< of distinct chunks, compressed
  std::uint64_t pack_bytes = 0;      ///< the pack files: stored, record heads, what is not needed
  std::uint64_t catalogue_bytes = 0;
  /// raw_bytes / stored_bytes: what deduplication, zeros and compression save; 0 when empty.
  [[nodiscard]] double ratio() const {
    return stored_bytes == 0 ? 0
                             : static_cast<double>(raw_bytes) / static_cast<double>(stored_bytes);
  }
};

struct ExportOptions {
  bool with_ancestors = false;
  bool overwrite = false;
  int compression_level = 0;  ///< 0: chunks go as they are stored; else zstd's, for a smaller file
  Progress progress{};
};

struct ExportReport {
  std::vector<SnapshotInfo> snapshots;
  std::uint64_t chunks = 0;
  std::uint64_t file_bytes = 0;
};

struct ImportReport {
  std::vector<SnapshotInfo> imported;  ///< as they are now (names may have changed)
  std::vector<SnapshotInfo> present;   ///< in the file and here before
  std::uint64_t new_bytes = 0;         ///< that the store grew by
};

}  // namespace snowglobe::snapshots
