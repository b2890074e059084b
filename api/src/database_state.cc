// api/src/database_state.cc - the pool of auto-commit sessions.
#include "api/src/database_state.h"

#include "api/src/leak.h"
#include "api/src/persistence.h"
#include <snowglobe/error.hpp>

#include <chrono>
#include <unistd.h>

namespace snowglobe::detail {

DatabaseState::DatabaseState(std::shared_ptr<Server> server, const Options& options)
    : DatabaseState(std::move(server), options, nullptr) {}

DatabaseState::DatabaseState(std::shared_ptr<Server> server, const Options& options,
                             std::unique_ptr<Persistence> persistence)
    : options_(options),
      disk_limit_mb_(options.disk_limit_mb),
      persistence_(std::move(persistence)),
      server_(std::move(server)),
      limit_(options.statement_limit),
      pool_size_(std::max(1u, options.pool_size)),
      owner_(getpid()) {
  idle_.reserve(pool_size_);  // so that give_back() cannot throw
}

DatabaseState::~DatabaseState() {
  if (in_folder() && in_owner_process()) close();
}

std::shared_ptr<DatabaseState> DatabaseState::open(const std::filesystem::path& path,
                                                   const Options& options,
                                                   base::FileSystem& files) {
  auto persistence = std::make_unique<Persistence>(path, options, files);
  auto instance = persistence->start();
  Options own = options;
  own.from.reset();  // it would be kept in memory
  auto state = std::make_shared<DatabaseState>(std::move(instance), own, std::move(persistence));
  const auto origin = state->persistence_->origin();
  state->came_from(origin, origin);
  state->set_durability();
  return state;
}

namespace {

/// Returns when `connection` goes by the new settings, which the postmaster reads some time after
/// it was asked to. It has begun then to tell its other processes.
void reload_settings(Connection& connection) {
  constexpr std::chrono::seconds kLimit(10);
  const auto end = std::chrono::steady_clock::now() + kLimit;
  const auto loaded = [&connection] {
    return connection.run_simple("select pg_conf_load_time()::text")[0][0].as<std::string>();
  };
  const std::string before = loaded();
  connection.run_simple("select pg_reload_conf()");
  while (loaded() == before) {
    if (std::chrono::steady_clock::now() > end) {
      throw TimeoutError("the server did not take up the durability asked for; open it again");
    }
    connection.run_simple("select pg_sleep(0.001)");
  }
}

}  // namespace

void DatabaseState::set_durability() {
  if (!persistence_->needs_other_durability()) return;
  const std::shared_ptr<Connection> connection = acquire();
  if (const unsigned window = persistence_->relaxed_milliseconds(); window != 0) {
    // What was committed is written after at most three of these delays (PostgreSQL 17, 28.4).
    connection->run_simple("alter system set synchronous_commit = off");
    connection->run_simple("alter system set wal_writer_delay = " + std::to_string(window / 3));
  } else {
    connection->run_simple("alter system reset synchronous_commit");
    connection->run_simple("alter system reset wal_writer_delay");
  }
  reload_settings(*connection);
  // The postmaster does one thing after the other: one that takes a connection has told them all,
  // and each reads the settings ahead of its next statement.
  connect({});
  persistence_->set_durability();
}

std::shared_ptr<Server> DatabaseState::server() const {
  const std::lock_guard lock(server_mutex_);
  return server_;
}

Info DatabaseState::info() const {
  Info info = server()->info();
  if (persistence_) info.path = persistence_->path();
  return info;
}

std::uint64_t DatabaseState::disk_bytes() {
  if (!persistence_) return server()->stats().disk_bytes;
  const std::lock_guard lock(machine_mutex_);
  return persistence_->disk_bytes();
}

void DatabaseState::set_disk_limit(unsigned megabytes) {
  working_server()->set_disk_limit(megabytes);
  disk_limit_mb_ = megabytes;
  if (!persistence_) return;
  const std::lock_guard lock(machine_mutex_);
  persistence_->set_disk_limit(megabytes);
}

std::shared_ptr<Server> DatabaseState::working_server() {
  require_owner();
  if (!persistence_) return server();
  const std::lock_guard lock(machine_mutex_);
  std::shared_ptr<Server> now = server();
  {
    const std::lock_guard pool_lock(mutex_);
    if (closed_) return now;  // which says so
  }
  persistence_->check();
  if (options_.restart == Restart::never || now->is_open()) return now;
  now->close();
  std::shared_ptr<Server> fresh;
  try {
    fresh = persistence_->restart(closing_.get_token());
  } catch (const Cancelled&) {
    throw ConnectionLost("the database was closed while its machine was being started again");
  }
  std::vector<std::shared_ptr<Connection>> lost;
  {
    const std::lock_guard pool_lock(mutex_);
    lost.swap(idle_);
    idle_.reserve(pool_size_);  // as in the constructor
  }
  const std::lock_guard server_lock(server_mutex_);
  server_ = std::move(fresh);
  return server_;
}

bool DatabaseState::in_owner_process() const noexcept {
  return owner_ == getpid();
}

void DatabaseState::require_owner() const {
  if (in_owner_process()) return;
  throw ConnectionLost("this database belongs to process " + std::to_string(owner_) +
                       "; after fork() open one of your own");
}

std::shared_ptr<Connection> DatabaseState::connect(const SessionOptions& options, bool pooled) {
  require_owner();
  SessionOptions actual = options;
  if (actual.statement_limit.count() < 0) actual.statement_limit = limit_;
  return Connection::open(working_server(), actual, Deadline(limit_), pooled);
}

std::shared_ptr<Connection> DatabaseState::take_idle() {
  const Deadline deadline(limit_);
  std::unique_lock lock(mutex_);
  for (;;) {
    if (closed_) throw ConnectionLost("the database is closed");
    while (!idle_.empty()) {
      std::shared_ptr<Connection> connection = std::move(idle_.back());
      idle_.pop_back();
      if (!connection->usable()) continue;
      ++lent_;
      return connection;
    }
    if (lent_ < pool_size_) {
      ++lent_;
      return nullptr;
    }
    if (!deadline.at()) {
      changed_.wait(lock);
    } else if (changed_.wait_until(lock, *deadline.at()) == std::cv_status::timeout) {
      throw TimeoutError("all " + std::to_string(pool_size_) +
                         " pooled sessions stayed in use; raise Options::pool_size");
    }
  }
}

std::shared_ptr<Connection> DatabaseState::acquire() {
  require_owner();
  if (persistence_) {
    persistence_->check();
    if (options_.restart != Restart::never) working_server();
  }
  std::shared_ptr<Connection> connection = take_idle();
  if (!connection) {
    try {
      connection = connect({}, true);
    } catch (...) {
      give_back(nullptr);
      throw;
    }
  }
  Connection* raw = connection.get();
  return {raw, [self = shared_from_this(), connection = std::move(connection)](
                   Connection*) mutable { self->give_back(std::move(connection)); }};
}

void DatabaseState::give_back(std::shared_ptr<Connection> connection) noexcept {
  if (!in_owner_process()) {
    leak(connection);  // the parent's
    return;
  }
  // Somebody else's transaction must not go on in the next statement.
  if (connection && !connection->idle_outside_transaction()) connection.reset();
  {
    const std::lock_guard lock(mutex_);
    --lent_;
    if (connection && !closed_) idle_.push_back(std::move(connection));
  }
  changed_.notify_one();
}

void DatabaseState::close() noexcept {
  closing_.request_stop();  // a restart under way, which may hang, has the mutex
  const std::lock_guard machine_lock(machine_mutex_);  // who comes second waits for the first
  std::vector<std::shared_ptr<Connection>> idle;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    idle.swap(idle_);
  }
  changed_.notify_all();
  const std::shared_ptr<Server> now = server();
  if (persistence_) persistence_->put_down(idle);
  idle.clear();
  now->close();
  if (persistence_) persistence_->release();
}

}  // namespace snowglobe::detail
