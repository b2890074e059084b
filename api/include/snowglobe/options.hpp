// snowglobe/options.hpp - how to open a database, a session, a transaction. Plain aggregates:
//   Database::open_in_memory({.memory_mb = 512, .settings = {{"work_mem", "8MB"}}});
#pragma once

#include <snowglobe/snapshot.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>

namespace snowglobe {
inline namespace v1 {

/// How far an open has come. `step` of `steps` are done; `text` says what was just reached.
struct Progress {
  int step = 0;
  int steps = 0;
  std::string text;
};

enum class LogSource : std::uint8_t { machine, kernel, guest, postgres, network, store };
enum class LogLevel : std::uint8_t { debug, info, warning, error };

struct LogLine {
  LogSource source = LogSource::machine;
  LogLevel level = LogLevel::info;
  std::string text;  ///< without a newline
};

/// Who runs the guest's instructions. The translator rewrites them for the host's processor and is
/// 20 to 100 times as fast; the interpreter runs everywhere and takes no signals.
enum class Executor : std::uint8_t {
  automatic,    ///< as the environment's SNOWGLOBE_EXECUTOR says; without it the translator where
                ///< the host lets it run, else the interpreter
  translator,   ///< the open throws an Error with the reason where it can not run
  interpreter,  ///< no machine code is made, no signal handler installed
};

/// How a database comes up.
enum class Start : std::uint8_t {
  warm,  ///< from the image's ready state where it has one that fits the options, else cold
  cold,  ///< the kernel boots
};

/// What Database::open() does about a database that is there, or is not.
enum class Create : std::uint8_t {
  if_missing,
  never,   ///< throws DatabaseNotFound
  always,  ///< throws DatabaseExists: it must be new
};

/// When what was committed is safe: docs/persistence.md has the promises.
enum class Durability : std::uint8_t {
  full,     ///< before commit returns: each flush of the guest is one sync of the host
  relaxed,  ///< within Options::relaxed_window: a killed process or a power cut may take the last
            ///< commits, whole and in order, and breaks nothing (synchronous_commit = off)
  none,     ///< a killed process loses nothing; a power cut may damage the database: for throw-away
            ///< ones
};

/// What becomes of a persistent database whose machine crashed: the kernel panicked, or PostgreSQL
/// ended.
enum class Restart : std::uint8_t {
  never,      ///< calls throw GuestCrashed until it is opened again
  automatic,  ///< the call that met it throws GuestCrashed; the next one starts the machine again
};

/// Callbacks run on a thread of the library: they must not block, must not throw, and must not call
/// the database that they belong to.
struct Options {
  /// Folder of the guest image; empty: look for it (docs/api.md has the order).
  std::filesystem::path image = {};
  /// RAM of the machine in MiB, 48 to 1024 by 4; 0: 256, or what the machine had that goes on (of a
  /// snapshot, or hibernated by the last close). It is taken from the host as it is touched.
  unsigned memory_mb = 0;
  /// Database::info() says which one it became, and why.
  Executor executor = Executor::automatic;
  /// The size of the data disk as PostgreSQL sees it, 96 to 57344 (56 GiB); 0: 4 GiB for a new
  /// database, and all that its disk has for one that is there. It may be another one in each open,
  /// larger or smaller, and set_disk_limit() changes it. A fresh database takes about 45 of it; the
  /// host's disk or memory only what is written. When it is full, statements fail with 53100 and
  /// deleting helps; PostgreSQL's own log goes on for up to 1 GiB beyond it.
  unsigned disk_limit_mb = 0;
  /// Settings of postgresql.conf, e.g. {"work_mem", "8MB"}.
  std::map<std::string, std::string> settings = {};
  /// Database::info() says which one it became. Settings make it cold.
  Start start = Start::warm;
  /// The machine of this snapshot instead of a fresh one. Memory is the snapshot's (memory_mb says
  /// the same, or 0), and so are the settings.
  std::optional<Snapshot> from = {};
  /// now() and its kin stand still at this time (1970 to 2037) from the next transaction on, also
  /// after restores and in forks. clock_timestamp() and time limits go on, from here.
  std::optional<std::chrono::system_clock::time_point> frozen_time = {};
  /// Database::open() only, as the five below.
  Create create = Create::if_missing;
  /// Changes nothing in the folder, which may be on a read-only file system; any number of
  /// processes may do so at a time. Sessions are `default_transaction_read_only`; what they write
  /// all the same is gone at the end.
  bool read_only = false;
  Durability durability = Durability::full;
  /// What may be lost with Durability::relaxed: 3 ms to 30 s.
  std::chrono::milliseconds relaxed_window = std::chrono::milliseconds(200);
  Restart restart = Restart::never;
  /// A clean close leaves the machine beside the disk, some 40 MB, and the next open goes on from
  /// there. Without, it shuts PostgreSQL down, and the next open starts it.
  bool hibernate = true;
  std::function<void(const Progress&)> on_progress = {};
  std::function<void(const LogLine&)> on_log = {};
  /// How long the open may take: more than 0.
  std::chrono::milliseconds boot_limit = std::chrono::minutes(2);
  /// How long one statement may take before it is cancelled with a TimeoutError; 0: for ever.
  std::chrono::milliseconds statement_limit = std::chrono::minutes(5);
  /// Sessions that Database's own query() and execute() keep at most, 1 to 1000. (PostgreSQL's own
  /// limit is 100 connections, unless `settings` has a higher max_connections.)
  unsigned pool_size = 8;
  /// Ends an open that is under way with Cancelled.
  std::stop_token stop = {};
};

/// What a fork has of its own; all else is as in the Options of the database that it comes from.
struct ForkOptions {
  std::optional<Executor> executor = {};
  std::optional<std::chrono::system_clock::time_point> frozen_time = {};
  std::optional<std::chrono::milliseconds> statement_limit = {};
  std::optional<unsigned> pool_size = {};
  /// Callbacks of Options are not inherited.
  std::function<void(const LogLine&)> on_log = {};
};

/// What the server says besides results: a NOTICE, a WARNING, ...
struct Notice {
  std::string severity;
  std::string sqlstate;
  std::string message;
  std::string detail;
  std::string hint;
};

struct SessionOptions {
  std::string database = "postgres";
  std::string user = "postgres";
  std::string application_name = "snowglobe";
  /// As in Options, for this session; negative: what Options says.
  std::chrono::milliseconds statement_limit = std::chrono::milliseconds(-1);
  /// Runs on the thread that uses the session, inside of its call, and must not use it. What it
  /// throws is dropped. Notices go to Options::on_log as well.
  std::function<void(const Notice&)> on_notice = {};
};

enum class Isolation : std::uint8_t { read_committed, repeatable_read, serializable };

struct TransactionOptions {
  Isolation isolation = Isolation::read_committed;
  bool read_only = false;
  bool deferrable = false;
  /// transact() only: how often to run again after 40001 or 40P01.
  int retries = 10;
};

}  // namespace v1
}  // namespace snowglobe
