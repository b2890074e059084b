// snowglobe/snapshot.hpp - a running PostgreSQL as a value: what save() gives, and the folder where
// snapshots outlive the process.
//
//   Snapshot before = db.save("before the test");     // the whole machine, in about a millisecond
//   db.restore(before);                               // the same sessions go on
//   Database other = db.fork(before);                 // a second machine beside the first
//
//   SnapshotStore store = SnapshotStore::open("states");
//   store.put(before);
//   Database later = Database::open_in_memory({.from = store.find("before the test")});
//
// Thread rule: any thread. Errors: SnapshotError and its subclasses, InvalidArgument, Error (the
// host's: a full disk, no permission).
#pragma once

#include <snowglobe/export.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe {
inline namespace v1 {
namespace detail {
class SnapshotData;
class StoreState;
}  // namespace detail

struct SnapshotSizes {
  std::uint64_t memory = 0;  ///< RAM of the machine
  std::uint64_t raw = 0;     ///< of all its parts: memory, what differs on the disk, states
  std::uint64_t stored = 0;  ///< in a store: of its distinct chunks, compressed, shared or not
  std::uint64_t added = 0;   ///< what the store grew by when it was written
};

/// A machine at one instant, and what is known about it. A value: copies are cheap and share the
/// contents, which never change and live as long as somebody holds on to them. Names, tags and
/// notes are as they were when the store was asked.
class SNOWGLOBE_API Snapshot {
 public:
  explicit Snapshot(std::shared_ptr<const detail::SnapshotData> data) noexcept;

  /// 32 hexadecimal digits; a unique prefix of four or more finds it. The same in
  /// memory and in every store.
  [[nodiscard]] const std::string& id() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
  /// The name that it had in its store until another snapshot took it; empty: none.
  [[nodiscard]] const std::string& former_name() const noexcept;
  [[nodiscard]] const std::vector<std::string>& tags() const noexcept;
  [[nodiscard]] const std::string& note() const noexcept;
  /// Id of the snapshot that the machine came from, by save or restore; empty: from none.
  [[nodiscard]] const std::string& parent() const noexcept;
  [[nodiscard]] std::chrono::system_clock::time_point time() const noexcept;
  [[nodiscard]] SnapshotSizes sizes() const noexcept;
  /// The guest image that it needs.
  [[nodiscard]] const std::string& image_id() const noexcept;
  [[nodiscard]] const std::string& postgres_version() const noexcept;
  /// PostgreSQL's at about this moment ("0/1A2B3C4"), or empty if no session was free to ask.
  [[nodiscard]] const std::string& wal_position() const noexcept;
  /// Kept in a store, and not only in memory.
  [[nodiscard]] bool stored() const noexcept;

  friend bool operator==(const Snapshot& one, const Snapshot& other) noexcept {
    return one.id() == other.id();
  }

  // For the library's other parts.
  [[nodiscard]] const std::shared_ptr<const detail::SnapshotData>& data() const noexcept {
    return data_;
  }

 private:
  std::shared_ptr<const detail::SnapshotData> data_;
};

struct SaveOptions {
  std::string note = {};
  std::vector<std::string> tags = {};
  /// Has the guest write back, drop its caches and clear its free memory first: for a small file.
  /// Takes a second or so, and the next statements read from disk again.
  bool quiesce = false;
};

struct SnapshotBranch {
  Snapshot snapshot;
  std::size_t depth = 0;  ///< 0: a root
};

struct SnapshotPartDiff {
  std::string name;  ///< "memory", "disk", ...
  std::uint64_t changed_bytes = 0;
  std::uint64_t changed_chunks = 0;
};

struct SnapshotDiff {
  std::vector<SnapshotPartDiff> parts;
  std::uint64_t changed_bytes = 0;  ///< in chunks that are other ones
  std::uint64_t changed_chunks = 0;
};

/// What prune() keeps: a snapshot stays if one of these says so. At least one must be set.
struct PruneOptions {
  std::optional<std::size_t> last = {};                 ///< the newest n
  std::optional<std::chrono::nanoseconds> within = {};  ///< not older than this
  bool tagged = false;                                  ///< with any tag
  std::vector<std::string> tags = {};                   ///< with one of these tags
  bool named = false;
  bool dry_run = false;  ///< only say what would go
};

struct PruneReport {
  std::vector<Snapshot> removed;  ///< or would be
  std::vector<Snapshot> in_use;   ///< would have gone, but somebody has them open
  std::uint64_t freed_bytes = 0;
};

struct StoreDamage {
  std::string what;                    ///< names pack, chunk and place
  std::vector<std::string> snapshots;  ///< ids of those that can not be read whole
};

struct VerifyReport {
  std::vector<StoreDamage> damage;
  std::uint64_t snapshots = 0;
  std::uint64_t chunks = 0;
  std::uint64_t bytes = 0;
  [[nodiscard]] bool clean() const noexcept { return damage.empty(); }
};

struct StoreOptions {
  /// Memory is kept in pieces of this size, a power of two from 4 to 1024; a snapshot has its
  /// parent's. Small ones share more among snapshots, large ones are packed tighter.
  unsigned chunk_kib = 64;
  /// Folder of the guest image that its snapshots need, as Options::image; empty: look for it.
  std::filesystem::path image = {};
};

struct ExportOptions {
  /// zstd's, 1 to 19, for a smaller file that takes longer to write; 0: as it is in the store.
  int compression_level = 0;
  bool overwrite = false;
};

enum class Children : std::uint8_t { refuse, remove_too };

/// A folder of snapshots: what they share is kept once, compressed, with checksums. Any number of
/// processes may use one. A snapshot in it is there whole or not at all, whatever crashes.
/// Copies are handles to the same store. Files are readable by their owner only: a machine's memory
/// has its secrets in it.
class SNOWGLOBE_API SnapshotStore {
 public:
  /// Makes the folder if it is not there (its parents must be). Throws InvalidArgument if something
  /// else is in it, SnapshotIncompatible (made by a newer version), SnapshotInUse (it stays
  /// locked). A folder that cannot be written (a read-only mount) can be read as it is now; what
  /// would change it throws InvalidArgument.
  [[nodiscard]] static SnapshotStore open(const std::filesystem::path& folder,
                                          const StoreOptions& options = {});

  /// Writes a snapshot, with its own name, tags and note, unless it is there already. Returns it as
  /// it is in the store. A name that another one has in the store goes over to this one; the other
  /// stays, without a name (see Snapshot::former_name()).
  Snapshot put(const Snapshot& snapshot);

  /// Oldest first.
  [[nodiscard]] std::vector<Snapshot> list() const;
  /// `which`: "latest", an id or its unique prefix, a name, or a tag (the newest with it). Throws
  /// SnapshotNotFound.
  [[nodiscard]] Snapshot find(std::string_view which) const;
  /// All as a tree: each behind its parent.
  [[nodiscard]] std::vector<SnapshotBranch> branches() const;

  void tag(const Snapshot& snapshot, std::string_view tag);
  void untag(const Snapshot& snapshot, std::string_view tag);
  /// An empty name takes it away. Throws SnapshotExists if another one has the name.
  void rename(const Snapshot& snapshot, std::string_view name);
  void note(const Snapshot& snapshot, std::string_view note);
  /// Throws InvalidArgument if others descend from it and are not to be removed with it,
  /// SnapshotInUse while somebody reads it. Returns what was removed.
  std::vector<Snapshot> remove(const Snapshot& snapshot, Children children = Children::refuse);

  [[nodiscard]] SnapshotDiff diff(const Snapshot& from, const Snapshot& to) const;
  PruneReport prune(const PruneOptions& keep);
  /// Reads everything and checks every checksum.
  [[nodiscard]] VerifyReport verify() const;

  /// One file that opens on another machine. Throws SnapshotExists if the file is there already,
  /// unless it is to be replaced.
  void export_to(const Snapshot& snapshot, const std::filesystem::path& file,
                 const ExportOptions& options = {}) const;
  /// The newest snapshot of such a file, after all of it was checked. Throws InvalidArgument (it is
  /// no such file), SnapshotDamaged, SnapshotIncompatible, SnapshotExists (with other contents).
  Snapshot import_from(const std::filesystem::path& file);

 private:
  explicit SnapshotStore(std::shared_ptr<detail::StoreState> state) noexcept;

  std::shared_ptr<detail::StoreState> state_;
};

}  // namespace v1
}  // namespace snowglobe
