// api/src/database.cc - Database and Guest: thin handles over DatabaseState and Server.
#include "api/src/conninfo.h"
#include "api/src/database_state.h"
#include "api/src/leak.h"
#include <snowglobe/database.hpp>
#include <snowglobe/version.hpp>

namespace snowglobe {
inline namespace v1 {

std::string_view library_version() noexcept {
  return SNOWGLOBE_VERSION;
}

Database::Database(std::shared_ptr<detail::DatabaseState> state) noexcept
    : state_(std::move(state)) {}

Database::~Database() {
  let_go();
}

Database& Database::operator=(Database&& other) noexcept {
  if (this == &other) return *this;
  let_go();
  state_ = std::move(other.state_);
  return *this;
}

void Database::let_go() noexcept {
  if (!state_) return;
  if (!state_->in_owner_process()) {
    // A forked child's copy: the machine, its thread and its locks are the parent's.
    detail::leak(state_);
    return;
  }
  // Sessions may outlive it, but a folder is free for the next one to open when this returns.
  if (state_->in_folder()) state_->close();
  state_.reset();
}

detail::DatabaseState& Database::state() const {
  if (!state_) throw InvalidArgument("this database is moved from");
  return *state_;
}

Session Database::session(const SessionOptions& options) {
  return Session(state().connect(options));
}

Session Database::pooled_session() {
  return Session(state().acquire());
}

Result Database::run(std::string_view sql, std::span<const Parameter> parameters) {
  const std::shared_ptr<detail::Connection> connection = state().acquire();
  Result result = connection->run(sql, parameters);
  if (!connection->idle_outside_transaction()) {
    connection->close();
    throw InvalidArgument("a transaction needs a session of its own: use session() or transact()");
  }
  return result;
}

void Database::run_script(std::string_view sql) {
  const std::shared_ptr<detail::Connection> connection = state().acquire();
  connection->run_simple(sql);
  if (!connection->idle_outside_transaction()) {
    connection->close();
    throw InvalidArgument("the script left a transaction open: it was rolled back");
  }
}

Snapshot Database::save(std::string_view name, const SaveOptions& options) {
  return state().save(name, options);
}

void Database::restore(const Snapshot& snapshot) {
  state().restore(snapshot);
}

void Database::restore(std::string_view which) {
  state().restore(state().find(which));
}

Database Database::fork(const ForkOptions& options) {
  return Database(state().fork(nullptr, options));
}

Database Database::fork(const Snapshot& snapshot, const ForkOptions& options) {
  return Database(state().fork(&snapshot, options));
}

std::vector<Snapshot> Database::snapshots() const {
  return state().snapshots();
}

void Database::forget(const Snapshot& snapshot) {
  state().forget(snapshot);
}

std::string Database::conninfo(std::string_view database, std::string_view user) const {
  return detail::conninfo_string(state().server()->address(), database, user);
}

std::string Database::version() {
  return one<std::string>("select version()");
}

Info Database::info() const {
  return state().info();
}

Stats Database::stats() const {
  return state().server()->stats();
}

Guest Database::guest() const {
  return Guest(state().server());
}

bool Database::is_open() const noexcept {
  return state_ && state_->in_owner_process() && state_->server()->is_open();
}

void Database::close() noexcept {
  if (state_ && state_->in_owner_process()) state_->close();
}

Guest::Guest(std::shared_ptr<detail::Server> server) noexcept : server_(std::move(server)) {}

namespace {

/// Names and arguments of the guest's Linux end at a NUL: what is behind it would be lost.
void require_no_nul(std::string_view text, const char* what) {
  if (text.find('\0') == std::string_view::npos) return;
  throw InvalidArgument(std::string(what) + " has a NUL byte");
}

}  // namespace

ExecResult Guest::exec(const std::vector<std::string>& arguments, const ExecOptions& options) {
  if (arguments.empty()) throw InvalidArgument("exec() needs the name of a program");
  for (const std::string& argument : arguments)
    require_no_nul(argument, "an argument of exec()");
  for (const std::string& variable : options.environment)
    require_no_nul(variable, "a variable of ExecOptions::environment");
  require_no_nul(options.directory, "ExecOptions::directory");
  return server_->exec(arguments, options);
}

void Guest::put(std::string_view path, BytesView contents, unsigned mode) {
  require_no_nul(path, "the path in the guest");
  server_->put(
      path, {static_cast<const char*>(static_cast<const void*>(contents.data())), contents.size()},
      mode);
}

void Guest::put(std::string_view path, std::string_view contents, unsigned mode) {
  require_no_nul(path, "the path in the guest");
  server_->put(path, contents, mode);
}

std::string Guest::get(std::string_view path) {
  require_no_nul(path, "the path in the guest");
  return server_->get(path);
}

std::vector<std::string> Guest::console() const {
  return server_->console();
}

}  // namespace v1
}  // namespace snowglobe
