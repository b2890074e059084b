// api/src/session.cc - Session, Transaction, Savepoint and Statement, over Connection.
#include "api/src/connection.h"
#include "api/src/option_checks.h"
#include <snowglobe/session.hpp>

#include <thread>

namespace snowglobe {
inline namespace v1 {
namespace {

// What a destructor may spend on a rollback before it drops the connection, which has the same
// effect.
constexpr std::chrono::milliseconds kQuietLimit = std::chrono::seconds(10);

const std::shared_ptr<detail::Connection>& required(
    const std::shared_ptr<detail::Connection>& connection, const char* what) {
  if (!connection)
    throw InvalidArgument(std::string("this ") + what + " is finished or moved from");
  return connection;
}

std::string begin_statement(const TransactionOptions& options) {
  std::string sql = "begin isolation level ";
  switch (options.isolation) {
    case Isolation::read_committed:
      sql += "read committed";
      break;
    case Isolation::repeatable_read:
      sql += "repeatable read";
      break;
    case Isolation::serializable:
      sql += "serializable";
      break;
  }
  if (options.read_only) sql += " read only";
  if (options.deferrable) sql += " deferrable";
  return sql;
}

}  // namespace

namespace detail {

void before_retry(const SqlError& error, int attempt, int retries) {
  const bool again = error.sqlstate() == "40001" || error.sqlstate() == "40P01";
  if (!again || attempt >= retries) throw;  // NOLINT: called from a handler
  // Contenders that start again at the same moment meet again: wait a little longer each time.
  std::this_thread::sleep_for(std::chrono::milliseconds(1) * (1 << std::min(attempt, 5)));
}

}  // namespace detail

// --- Savepoint

Savepoint::Savepoint(std::shared_ptr<detail::Connection> connection, std::string name)
    : connection_(std::move(connection)), name_(std::move(name)) {
  connection_->run_simple("savepoint " + name_);
}

Savepoint::~Savepoint() {
  if (connection_ && connection_->usable()) {
    connection_->run_quietly("rollback to savepoint " + name_ + "; release savepoint " + name_,
                             kQuietLimit);
  }
}

void Savepoint::release() {
  required(connection_, "savepoint")->run_simple("release savepoint " + name_);
  connection_.reset();
}

void Savepoint::rollback() {
  required(connection_, "savepoint")
      ->run_simple("rollback to savepoint " + name_ + "; release savepoint " + name_);
  connection_.reset();
}

// --- Transaction

Transaction::Transaction(std::shared_ptr<detail::Connection> connection,
                         const TransactionOptions& options)
    : connection_(std::move(connection)) {
  required(connection_, "session");
  if (connection_->usable() && !connection_->idle_outside_transaction()) {
    throw InvalidArgument("the session is inside a transaction; use savepoint() to nest");
  }
  connection_->run_simple(begin_statement(options));
}

Transaction::~Transaction() {
  if (connection_ && connection_->usable()) connection_->run_quietly("rollback", kQuietLimit);
}

detail::Connection& Transaction::connection() const {
  return *required(connection_, "transaction");
}

void Transaction::commit() {
  const Result result = connection().run_simple("commit");
  connection_.reset();
  if (result.command() == "COMMIT") return;
  SqlDiagnostics diagnostics;
  diagnostics.sqlstate = "25P02";
  diagnostics.severity = "ERROR";
  diagnostics.message = "the transaction had failed before: it was rolled back, not committed";
  throw InFailedTransaction(std::move(diagnostics));
}

void Transaction::rollback() {
  connection().run_simple("rollback");
  connection_.reset();
}

Savepoint Transaction::savepoint() {
  return {connection_, connection().next_name()};
}

Result Transaction::run(std::string_view sql, std::span<const Parameter> parameters) {
  return connection().run(sql, parameters);
}

void Transaction::run_script(std::string_view sql) {
  connection().run_simple(sql);
}

// --- Statement

Statement::Statement(std::shared_ptr<detail::Connection> connection, std::string_view sql)
    : connection_(std::move(connection)), name_(required(connection_, "session")->prepare(sql)) {}

Statement::~Statement() {
  if (connection_) connection_->forget(std::move(name_));
}

Result Statement::run(std::span<const Parameter> parameters) {
  return required(connection_, "statement")->run_prepared(name_, parameters);
}

// --- Session

Session::Session(std::shared_ptr<detail::Connection> connection) noexcept
    : connection_(std::move(connection)) {}

Session::~Session() = default;

detail::Connection& Session::connection() const {
  return *required(connection_, "session");
}

void Session::listen(std::string_view channel) {
  connection().run_simple("listen " + connection().quoted_identifier(channel));
}

void Session::unlisten(std::string_view channel) {
  connection().run_simple("unlisten " + connection().quoted_identifier(channel));
}

void Session::notify(std::string_view channel, std::string_view payload) {
  const Parameter parameters[] = {channel, payload};
  connection().run("select pg_notify($1, $2)", parameters);
}

std::optional<Notification> Session::wait_notification(std::chrono::milliseconds limit) {
  return connection().wait_notification(limit);
}

void Session::cancel() noexcept {
  if (connection_) connection_->cancel();
}

void Session::set_statement_limit(std::chrono::milliseconds limit) {
  detail::require_limit(limit, "Session::set_statement_limit()'s limit");
  connection().set_statement_limit(limit);
}

int Session::backend_pid() const {
  return connection().backend_pid();
}

SessionState Session::state() const noexcept {
  return connection_ ? connection_->state() : SessionState::closed;
}

void Session::use_native(const std::function<void(pg_conn*)>& use) {
  connection().use_native(use);
}

bool Session::usable() const noexcept {
  return connection_ && connection_->usable();
}

void Session::close() noexcept {
  if (connection_) connection_->close();
}

Result Session::run(std::string_view sql, std::span<const Parameter> parameters) {
  return connection().run(sql, parameters);
}

void Session::run_script(std::string_view sql) {
  connection().run_simple(sql);
}

}  // namespace v1
}  // namespace snowglobe
