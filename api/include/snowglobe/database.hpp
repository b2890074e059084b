// snowglobe/database.hpp - a running PostgreSQL inside this process.
//
// Thread rule: every function of Database may be called from any thread; each statement of query(),
// execute()... commits by itself, on a session of a small pool. What must stay together
// (transactions, settings, temporary tables, LISTEN) belongs on a session() or into transact().
#pragma once

#include <snowglobe/care.hpp>
#include <snowglobe/export.hpp>
#include <snowglobe/expose.hpp>
#include <snowglobe/guest.hpp>
#include <snowglobe/options.hpp>
#include <snowglobe/session.hpp>
#include <snowglobe/snapshot.hpp>
#include <snowglobe/statements.hpp>
#include <snowglobe/subscription.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe {
inline namespace v1 {
namespace detail {
class DatabaseState;
}

/// What this database is.
struct Info {
  std::string library_version;
  std::string postgres_version;  ///< of the image, e.g. "17.6"
  std::string kernel_version;
  std::string image_id;         ///< SHA-256 of the image's parts
  std::filesystem::path image;  ///< the folder that was used; empty: it is in the program
  std::uint64_t image_bytes = 0;
  unsigned memory_mb = 0;
  std::string executor;         ///< "translator" or "interpreter"
  std::string why_interpreted;  ///< in words, if Options left the choice and the translator can not
                                ///< run here; else empty
  std::chrono::milliseconds boot_time{0};
  std::string started;         ///< "cold", "warm", "snapshot", "fork", "resumed" or "recovered"
  std::string why_cold;        ///< in words, if Options asked for a warm start; else empty
  std::filesystem::path path;  ///< of the database's folder; empty: in memory
};

/// What the translator has done so far; nothing on the interpreter.
struct TranslatorStats {
  std::uint64_t blocks = 0;              ///< pieces of guest code that were translated
  std::uint64_t code_bytes = 0;          ///< machine code made of them
  std::uint64_t code_flushes = 0;        ///< times that all of it was dropped for want of room
  std::uint64_t handled = 0;             ///< single instructions run by the interpreter's functions
  std::uint64_t interpreted_blocks = 0;  ///< cold or odd blocks, and single steps, that the
  std::uint64_t interpreted_steps = 0;   ///< interpreter ran
  std::uint64_t faults = 0;              ///< SIGSEGV and SIGFPE taken by translated code
  std::uint64_t page_faults = 0;         ///< those that became page faults of the guest
  std::uint64_t emulated_accesses = 0;   ///< those that were run by the interpreter
  std::uint64_t mappings = 0;            ///< of the host, in use for windows now
  std::uint64_t window_fills = 0;        ///< runs of pages mapped into windows,
  std::uint64_t window_drops = 0;        ///< taken out again,
  std::uint64_t window_evictions = 0;    ///< and whole windows given up for others
};

/// What it has done so far.
struct Stats {
  std::uint64_t instructions = 0;  ///< that the interpreter ran: with the translator, what it left
  std::uint64_t blocks_decoded = 0;
  std::uint64_t interrupts = 0;
  std::chrono::nanoseconds idle{0};  ///< time in which the guest slept
  std::uint64_t disk_bytes = 0;      ///< of the data disk that differ from the image
  /// Of the image's root that were read, in pieces of 64 KiB: the rest was not needed yet. Forks
  /// count together.
  std::uint64_t image_bytes_read = 0;
  unsigned sessions = 0;             ///< connections that are open through the pipe
  TranslatorStats translator;
};

/// Move-only. The machine ends when the last of the Database and its Sessions is gone, or at
/// close().
class SNOWGLOBE_API Database : public detail::Statements<Database> {
 public:
  /// Starts a machine with a fresh database, or with Options::from, that is gone with it. Nothing
  /// touches the disk, nothing listens. Throws ImageError, InvalidArgument (options), TimeoutError,
  /// Cancelled, GuestCrashed, SnapshotError, Error.
  [[nodiscard]] static Database open_in_memory(const Options& options = {});

  /// Opens the database that is kept in the folder `path`, or makes one there (see
  /// Options::create); its parent must exist. What was committed is there again after a close, a
  /// crash, a kill or a power cut: docs/persistence.md has the promises. One Database at a time has
  /// it open, in this process or another, but for read-only ones. With Options::from, a new one
  /// begins with that snapshot. Throws DatabaseError and its subclasses (nothing in the folder has
  /// changed then), DiskFailed, and as open_in_memory().
  ///
  ///   auto db = snowglobe::Database::open("shop.globe");
  [[nodiscard]] static Database open(const std::filesystem::path& path,
                                     const Options& options = {});

  explicit Database(std::shared_ptr<detail::DatabaseState> state) noexcept;
  Database(Database&& other) noexcept = default;
  Database& operator=(Database&& other) noexcept;
  ~Database();

  /// A backend of its own, for one thread at a time.
  [[nodiscard]] Session session(const SessionOptions& options = {});
  /// Runs fn(Transaction&) on a session of the pool: see Session::transact.
  template <class Fn>
  auto transact(Fn&& fn, const TransactionOptions& options = {}) {
    return pooled_session().transact(std::forward<Fn>(fn), options);
  }

  /// Calls `callback` for each notification of a channel, on a thread of its own, until the
  /// Subscription is dropped. Whoever is told of this call's return can be sure that what is sent
  /// from then on arrives. Throws as session().
  [[nodiscard]] Subscription subscribe(std::string_view channel,
                                       std::function<void(const Notification&)> callback,
                                       const SessionOptions& options = {});

  /// The whole machine as it is at this moment: all sessions, locks, caches and files. It stands
  /// still for about a millisecond, whatever is under way in it. A snapshot with a name is kept by
  /// the database (see snapshots()) and takes the name from another one that has it; one without
  /// lives as long as the Snapshot. Of a
  /// database in a folder those with a name are written into the folder before this returns, as
  /// much as differs from the last one; one whose name is taken stays there without a name, until
  /// forget() or SnapshotStore::prune(). Throws SnapshotError, TimeoutError, ConnectionLost,
  /// GuestCrashed.
  Snapshot save(std::string_view name = {}, const SaveOptions& options = {});
  /// Puts the machine back, whole or not at all. Clock and randomness are not put back: they are
  /// the host's at once. Sessions that were idle outside of a transaction at the save and are now
  /// go on, with settings, prepared statements and LISTENs as of the snapshot; all other sessions
  /// throw StaleSession from now on, statements that are under way do so at once, and outside
  /// clients are told 57P01. Throws SnapshotIncompatible (of another image or size),
  /// SnapshotNotFound, SnapshotDamaged, and as save(): the database is as it was then.
  void restore(const Snapshot& snapshot);
  /// One of snapshots(), by name, tag, id, prefix of an id, or "latest".
  void restore(std::string_view which);
  /// A second machine that goes on from a snapshot, or from now, beside this one. They share
  /// nothing but pages that neither has written. Sessions do not come along. Throws as restore()
  /// and open_in_memory().
  [[nodiscard]] Database fork(const ForkOptions& options = {});
  [[nodiscard]] Database fork(const Snapshot& snapshot, const ForkOptions& options = {});
  /// The named snapshots that this database keeps, in memory or in its folder, oldest first.
  [[nodiscard]] std::vector<Snapshot> snapshots() const;
  /// Stops keeping one of them. In a folder: throws InvalidArgument if others descend from it,
  /// which SnapshotStore::remove() can take along.
  void forget(const Snapshot& snapshot);

  /// For other libraries that are built on libpq, in this process only:
  /// PQconnectdb(db.conninfo().c_str()).
  [[nodiscard]] std::string conninfo(std::string_view database = "postgres",
                                     std::string_view user = "postgres") const;
  /// What `select version()` says.
  [[nodiscard]] std::string version();
  [[nodiscard]] Info info() const;
  [[nodiscard]] Stats stats() const;
  [[nodiscard]] Guest guest() const;

  /// Lets programs outside of this process in by TCP or a Unix socket, with a password (SCRAM); the
  /// guest sees them as 10.5.0.1. Nothing listens before this. Throws InvalidArgument (address),
  /// SqlError (no such role), AddressInUse, AddressError (nothing can listen there).
  Endpoint expose(const ExposeOptions& options = {});
  /// Nobody new gets in there, or anywhere. Clients that are connected stay.
  void hide(const Endpoint& endpoint);
  void hide();

  /// Writes one of its databases into a file, by the guest's pg_dump in the custom format, which
  /// any PostgreSQL of its major or a later one can restore. Takes room on the data disk meanwhile.
  /// Throws InvalidArgument (the file is there), Error (pg_dump's words, the host's).
  void dump(const std::filesystem::path& file, const DumpOptions& options = {});
  /// Reads such a file into one of its databases, wholly or not at all. Throws as dump().
  void load(const std::filesystem::path& file, const LoadOptions& options = {});
  /// Reads every page of every table and index, which compares its checksum, and looks at rows and
  /// at the order of B-trees (amcheck). Changes nothing. Throws as query().
  CheckReport check();
  /// VACUUM in every database; what is free is given back to the host then. Throws as query().
  CompactReport compact(const CompactOptions& options = {});
  /// Another Options::disk_limit_mb from now on, larger or smaller; what is on the disk already
  /// stays. A disk that has grown never takes more of the host than is written to it. Throws
  /// InvalidArgument, and as query().
  ///
  ///   db.set_disk_limit(16384);  // MB
  void set_disk_limit(unsigned megabytes);
  /// Makes a folder with a copy of this database as it is at this moment, to be opened by open().
  /// The machine stands still for about a millisecond and goes on while the disk is copied. What
  /// is cut off leaves nothing that can be taken for a database. Throws DatabaseError (something is
  /// there), and as save().
  BackupResult backup_to(const std::filesystem::path& path, const BackupOptions& options = {});
  /// What a folder says about itself; opens and locks nothing. Throws DatabaseError.
  [[nodiscard]] static DatabaseInfo inspect(const std::filesystem::path& path);

  [[nodiscard]] bool is_open() const noexcept;
  /// Ends the machine now. Sessions that are still there throw ConnectionLost from now on. Of a
  /// database in a folder, the machine is put down beside its disk first, so that the next open
  /// goes on from there; if that fails, the next open recovers what was committed. So does the
  /// destructor of such a database. Idempotent; returns when it is closed.
  void close() noexcept;

 private:
  friend class detail::Statements<Database>;
  void let_go() noexcept;
  Result run(std::string_view sql, std::span<const Parameter> parameters);
  void run_script(std::string_view sql);
  Session pooled_session();
  detail::DatabaseState& state() const;

  std::shared_ptr<detail::DatabaseState> state_;
};

}  // namespace v1
}  // namespace snowglobe
