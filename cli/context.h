// cli/context.h - what all verbs share: the global options, and how to come to a database, a
// session or a store by them.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include "cli/exit_codes.h"
#include "cli/failure.h"
#include "cli/interrupts.h"
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::cli {

struct Globals {
  std::filesystem::path database;  ///< empty: in memory
  std::filesystem::path store;     ///< empty: the database's, else the user's own
  std::string from;                ///< a snapshot of the store, or an exported file
  std::string save_as;             ///< the machine goes into the store by this name at the end
  bool create = false;
  bool read_only = false;
  Durability durability = Durability::full;
  std::filesystem::path image;
  unsigned memory_mb = 0;  ///< 0: the library's choice
  Executor executor = Executor::automatic;
  bool cold = false;
  bool json = false, quiet = false, yes = false;
  int verbose = 0;
  std::string log;  ///< SNOWGLOBE_LOG
  std::string user = "postgres", dbname = "postgres", application = "snowglobe";
};

/// Thread rule: one thread, but for what log() prints.
class Context {
 public:
  explicit Context(Interrupts& the_interrupts) : interrupts(the_interrupts) {}

  Globals globals;
  Interrupts& interrupts;
  /// The command of run and exec, and what is behind "--".
  std::vector<std::string> tail;
  /// What the verb on the command line will do; set while the command line is read.
  std::function<int()> action;

  /// The database that the command line names. See Running.
  [[nodiscard]] Database open();
  /// A session as PGUSER, PGDATABASE and PGAPPNAME or their options say, without a time limit.
  [[nodiscard]] Session session(Database& database) const;
  [[nodiscard]] SessionOptions session_options() const;
  /// Image, executor, memory, limits and log of any machine that a verb starts.
  [[nodiscard]] Options machine_options();

  enum class IfMissing : std::uint8_t { fail, create };
  /// Whether the database that the command line names is there.
  [[nodiscard]] bool database_exists() const;
  /// For verbs that somebody talks to: open() may ask whether to make what is not there.
  bool may_ask_to_create = false;

  [[nodiscard]] std::filesystem::path store_folder() const;
  [[nodiscard]] bool store_exists() const;
  [[nodiscard]] SnapshotStore store(IfMissing if_missing = IfMissing::fail) const;
  /// Id of the snapshot that the database of the command line goes on from; empty: of none.
  [[nodiscard]] std::string now_at() const;
  /// As SnapshotStore::find(), with the names of branches as well.
  [[nodiscard]] Snapshot find(const SnapshotStore& store, const std::string& which) const;

  /// A line for people on stderr, unless --quiet.
  void say(const std::string& text) const;
  /// Says what is about to go and asks; throws Failure where nobody can be asked without --yes.
  void confirm(const std::string& question) const;

  /// Lines of the machine and the server that open() has seen, oldest first.
  [[nodiscard]] std::vector<LogLine> log_lines() const;
  /// Called with each line from now on, on a thread of the library.
  void follow_log(std::function<void(const LogLine&)> listener);

 private:
  [[nodiscard]] Database open_folder(Options how);
  void take_log(const LogLine& line);
  std::optional<Snapshot> snapshot_to_start_from();
  Snapshot from_file(const std::filesystem::path& file);

  struct TemporaryFolder {
    std::filesystem::path path;
    ~TemporaryFolder();
  };
  std::shared_ptr<TemporaryFolder> temporary_;
  mutable std::mutex log_mutex_;
  std::vector<LogLine> log_;
  std::function<void(const LogLine&)> log_listener_;
};

/// The database of a verb, which the second Ctrl-C closes.
class Running {
 public:
  explicit Running(Context& context)
      : database(context.open()),
        context_(context),
        closing_(context.interrupts.on_close([this] { database.close(); })) {}

  Database database;
  /// Does what --save-as asks for. To be called when the verb has done its work.
  void finish();

 private:
  Context& context_;
  Interrupts::Scope closing_;
};

/// Where connections from outside seem to come from: docs/architecture.md, "The cable".
constexpr const char* kGatewayAddress = "10.5.0.1";

/// SNOWGLOBE_HOME, else $XDG_DATA_HOME/snowglobe, else ~/.local/share/snowglobe.
[[nodiscard]] std::filesystem::path home_folder();

}  // namespace snowglobe::cli
