// cli/context.cc - how verbs come to a database, a session or a store.
#include "cli/context.h"

#include "cli/branches.h"
#include "cli/terminal.h"
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <unistd.h>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kLogLines = 10'000;
constexpr const char* kLevels[] = {"debug", "info", "warning", "error"};
constexpr const char* kSources[] = {"machine", "kernel", "guest", "postgres", "network", "store"};

/// What -v and SNOWGLOBE_LOG let through; nothing by default but warnings and worse.
LogLevel threshold(const Globals& globals) {
  for (std::size_t level = 0; level < std::size(kLevels); ++level)
    if (globals.log == kLevels[level]) return static_cast<LogLevel>(level);
  if (!globals.log.empty()) {
    throw Failure(
        kUsage,
        fmt::format("SNOWGLOBE_LOG is \"{}\"; it knows debug, info, warning, error", globals.log));
  }
  return globals.verbose >= 2   ? LogLevel::debug
         : globals.verbose == 1 ? LogLevel::info
         : globals.quiet        ? LogLevel::error
                                : LogLevel::warning;
}

bool is_store(const fs::path& folder) {
  std::ifstream format(folder / "FORMAT");
  std::string line;
  return std::getline(format, line) && line.starts_with("Snowglobe snapshot store");
}

}  // namespace

fs::path home_folder() {
  if (const char* home = std::getenv("SNOWGLOBE_HOME"); home != nullptr && *home != 0) return home;
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/')
    return fs::path(data) / "snowglobe";
  const char* home = std::getenv("HOME");
  return fs::path(home == nullptr ? "." : home) / ".local" / "share" / "snowglobe";
}

Context::TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

Options Context::machine_options() {
  Options options;
  options.image = globals.image;
  if (globals.memory_mb != 0) options.memory_mb = globals.memory_mb;
  options.executor = globals.executor;
  options.start = globals.cold ? Start::cold : Start::warm;
  options.statement_limit = std::chrono::milliseconds(0);  // Ctrl-C is the limit
  options.stop = interrupts.closing();
  options.on_log = [this](const LogLine& line) { take_log(line); };
  return options;
}

Database Context::open() {
  Options how = machine_options();
  static_cast<void>(threshold(globals));
  Progress progress(globals.quiet);
  how.on_progress = [&progress](const snowglobe::Progress& step) {
    progress.phase(step.text, static_cast<std::uint64_t>(step.step),
                   static_cast<std::uint64_t>(step.steps));
  };
  how.from = snapshot_to_start_from();
  try {
    if (globals.database.empty() && globals.read_only) {
      throw Failure(kUsage, "--read-only is for a database in a folder: name one with --db");
    }
    if (globals.database.empty()) return Database::open_in_memory(how);
    how.create = globals.create ? Create::if_missing : Create::never;
    how.read_only = globals.read_only;
    how.durability = globals.durability;
    if (may_ask_to_create && !globals.create && !database_exists()) {
      progress.end();
      globals.create =
          ask(fmt::format("There is no database {}. Make it?", globals.database.string()));
      if (globals.create) how.create = Create::if_missing;
    }
    return Database::open(globals.database, how);
  } catch (const DatabaseNotFound& error) {
    if (globals.create) throw;  // the folder that it is to be made in
    if (globals.database.extension() == ".snap")
      throw Failure(kNotFound, fmt::format("there is no file {}", globals.database.string()));
    throw Failure(kNotFound,
                  fmt::format("there is no database {0}; `snowglobe init {0}` makes one, "
                              "and so does --create",
                              globals.database.string()));
  } catch (const SnapshotDamaged&) {
    throw;
  } catch (const SnapshotInUse&) {
    throw;
  } catch (const SnapshotError& error) {
    throw Failure(kIncompatible, error.what());
  }
}

bool Context::database_exists() const {
  std::error_code ignored;
  return fs::exists(globals.database / "database.json", ignored);
}

std::optional<Snapshot> Context::snapshot_to_start_from() {
  if (globals.from.empty()) return std::nullopt;
  if (database_exists())
    throw Failure(kUsage,
                  fmt::format("--from begins a new machine, and {} is there already; `restore` "
                              "puts it back",
                              globals.database.string()));
  std::error_code ignored;
  if (fs::is_regular_file(globals.from, ignored)) return from_file(globals.from);
  return find(store(), globals.from);
}

Snapshot Context::from_file(const fs::path& file) {
  std::string pattern = fs::temp_directory_path() / "snowglobe-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    throw Failure(kFailed,
                  fmt::format("make a folder in {}: {}", fs::temp_directory_path().string(),
                              std::system_category().message(errno)));
  }
  temporary_ = std::make_shared<TemporaryFolder>(TemporaryFolder{pattern});
  return SnapshotStore::open(pattern).import_from(file);
}

void Running::finish() {
  const std::string& name = context_.globals.save_as;
  if (name.empty() || !database.is_open()) return;
  Progress progress(context_.globals.quiet);
  progress.phase("saving");
  SnapshotStore store = context_.store(Context::IfMissing::create);
  const Snapshot saved = store.put(database.save(name, {.note = {}, .tags = {}, .quiesce = true}));
  if (head_of(store, context_.globals.from)) move_on(store, saved, context_.globals.from);
  progress.end();
  context_.say(fmt::format("saved {} ({}) in {}", name, saved.id().substr(0, 8),
                           context_.store_folder().string()));
}

SessionOptions Context::session_options() const {
  SessionOptions options;
  options.user = globals.user;
  options.database = globals.dbname;
  options.application_name = globals.application;
  options.statement_limit = std::chrono::milliseconds(0);
  options.on_notice = [quiet = globals.quiet](const Notice& notice) {
    if (quiet && notice.severity != "WARNING") return;
    fmt::print(stderr, "{}:  {}\n", notice.severity, notice.message);
    if (!notice.detail.empty()) fmt::print(stderr, "DETAIL:  {}\n", notice.detail);
    if (!notice.hint.empty()) fmt::print(stderr, "HINT:  {}\n", notice.hint);
  };
  return options;
}

Session Context::session(Database& database) const {
  try {
    return database.session(session_options());
  } catch (const SqlError& error) {
    throw Failure(kSqlError,
                  fmt::format("log in as {} to database {}: {}; --user and --dbname (or PGUSER and "
                              "PGDATABASE) say who and where",
                              globals.user, globals.dbname, error.message()));
  } catch (const ConnectionLost& error) {
    throw Failure(kSqlError,
                  fmt::format("log in as {} to database {}: {}; --user and --dbname (or PGUSER and "
                              "PGDATABASE) say who and where",
                              globals.user, globals.dbname, error.what()));
  }
}

fs::path Context::store_folder() const {
  if (!globals.store.empty()) return globals.store;
  if (is_store(globals.database)) return globals.database;
  // A database that is still to be made has none of its own.
  if (globals.database.empty() || (!globals.from.empty() && !database_exists()))
    return home_folder() / "snapshots";
  return globals.database / "snapshots";
}

bool Context::store_exists() const {
  std::error_code ignored;
  return fs::exists(store_folder() / "FORMAT", ignored);
}

SnapshotStore Context::store(IfMissing if_missing) const {
  const fs::path folder = store_folder();
  if (if_missing == IfMissing::fail && !store_exists()) {
    if (!globals.database.empty() && globals.store.empty() && !database_exists())
      throw Failure(kNotFound, fmt::format("there is no database {}", globals.database.string()));
    throw Failure(kNotFound,
                  fmt::format("no snapshots in {}; save one first, or name another place: "
                              "DATABASE as first argument, or --store FOLDER",
                              folder.string()));
  }
  if (if_missing == IfMissing::create && globals.store.empty() && globals.database.empty())
    fs::create_directories(folder.parent_path());
  return SnapshotStore::open(folder);
}

std::string Context::now_at() const {
  if (globals.database.empty() || !database_exists() || !globals.store.empty()) return {};
  try {
    return Database::inspect(globals.database).origin;
  } catch (const DatabaseError&) {
    return {};  // its snapshots can be listed all the same
  }
}

Snapshot Context::find(const SnapshotStore& store, const std::string& which) const {
  try {
    return store.find(which);
  } catch (const SnapshotNotFound& error) {
    try {
      return store.find("branch/" + which);
    } catch (const SnapshotError&) {
    }
    throw Failure(kNotFound, fmt::format("{}; `list` shows what {} has", error.what(),
                                         store_folder().string()));
  }
}

void Context::say(const std::string& text) const {
  if (!globals.quiet) fmt::print(stderr, "{}\n", text);
}

void Context::confirm(const std::string& question) const {
  if (globals.yes) return;
  if (!stdin_is_terminal() || !stderr_is_terminal())
    throw Failure(kUsage, question + "? Say --yes, since there is no terminal to ask on");
  if (!ask(question + "?")) throw Failure(kFailed, "nothing was done");
}

void Context::take_log(const LogLine& line) {
  const std::lock_guard lock(log_mutex_);
  if (log_.size() < kLogLines) log_.push_back(line);
  if (log_listener_) {
    log_listener_(line);
  } else if (line.level >= threshold(globals)) {
    fmt::print(stderr, "{}: {}\n", kSources[static_cast<std::size_t>(line.source)], line.text);
  }
}

std::vector<LogLine> Context::log_lines() const {
  const std::lock_guard lock(log_mutex_);
  return log_;
}

void Context::follow_log(std::function<void(const LogLine&)> listener) {
  const std::lock_guard lock(log_mutex_);
  log_listener_ = std::move(listener);
}

}  // namespace snowglobe::cli
