// api/src/connection.cc - statements over a non-blocking libpq connection: send, wait, collect,
// cancel.
#include "api/src/connection.h"

#include "api/src/conninfo.h"
#include "api/src/errors.h"
#include "api/src/leak.h"
#include "api/src/statement_parts.h"

#include <cerrno>
#include <poll.h>
#include <unistd.h>

namespace snowglobe::detail {
namespace {

// A cancel goes through a new backend; on a slow host with many sessions that takes a while.
constexpr std::chrono::milliseconds kCancelGrace = std::chrono::seconds(10);
// How long the news of the machine's end may come after the connection broke without a word: that
// may have been this backend alone.
constexpr std::chrono::milliseconds kSilenceGrace = std::chrono::seconds(1);
// And after a backend told that the server is dead: the agent is certain to say so as well.
constexpr std::chrono::milliseconds kVerdictGrace = std::chrono::seconds(5);

/// What a connection's last words leave open about the server; the news of its end is waited for
/// that long, and no longer than until it comes.
std::chrono::milliseconds grace_for_verdict(const SqlDiagnostics& last_words) {
  if (last_words.sqlstate.empty()) return kSilenceGrace;
  // The server says 57P01 of a pg_terminate_backend() as well, so the words must tell: see
  // secure_read() of PostgreSQL's backend/libpq/be-secure.c. The image's words are not
  // translated (no NLS).
  const bool orphan = last_words.sqlstate == "57P01" &&
                      last_words.message.find("postmaster exit") != std::string::npos;
  return orphan ? kVerdictGrace : std::chrono::milliseconds(0);
}

bool is_error(const PGresult* result) {
  const ExecStatusType status = PQresultStatus(result);
  return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE ||
         status == PGRES_NONFATAL_ERROR;
}

}  // namespace

SqlDiagnostics diagnostics_of(const PGresult* result) {
  const auto field = [result](int code) {
    const char* text = PQresultErrorField(result, code);
    return std::string(text ? text : "");
  };
  SqlDiagnostics d;
  d.sqlstate = field(PG_DIAG_SQLSTATE);
  d.severity = field(PG_DIAG_SEVERITY_NONLOCALIZED);
  d.message = field(PG_DIAG_MESSAGE_PRIMARY);
  d.detail = field(PG_DIAG_MESSAGE_DETAIL);
  d.hint = field(PG_DIAG_MESSAGE_HINT);
  d.context = field(PG_DIAG_CONTEXT);
  d.schema = field(PG_DIAG_SCHEMA_NAME);
  d.table = field(PG_DIAG_TABLE_NAME);
  d.column = field(PG_DIAG_COLUMN_NAME);
  d.constraint = field(PG_DIAG_CONSTRAINT_NAME);
  d.position = std::atoi(field(PG_DIAG_STATEMENT_POSITION).c_str());  // NOLINT: digits or empty
  // Errors that libpq makes itself have no fields.
  if (d.message.empty()) d.message = PQresultErrorMessage(result);
  return d;
}

Connection::CallScope::CallScope(Connection& connection) : connection_(connection) {
  // In a forked child the gate may be held by nobody who lives; the call is going to fail.
  if (connection_.owner_ != getpid()) return;
  const std::lock_guard lock(connection_.gate_);
  ++connection_.calls_;
  counted_ = true;
}

Connection::CallScope::~CallScope() {
  if (!counted_) return;
  const std::lock_guard lock(connection_.gate_);
  --connection_.calls_;
}

Connection::~Connection() {
  if (owner_ == getpid()) server_->sessions().remove(*this);
  close();
}

void Connection::close() noexcept {
  if (owner_ != getpid()) {
    if (connection_ == nullptr) return;
    // The socket is the parent's: PQfinish would end its session. A mutex may be held by nobody
    // who lives.
    leak(cancel_);
    leak(server_);
    connection_ = nullptr;
    return;
  }
  const CallScope scope(*this);
  close_now();
}

void Connection::close_now() noexcept {
  if (connection_ == nullptr) return;
  PQfinish(connection_);
  connection_ = nullptr;
  socket_ = -1;
  const std::lock_guard lock(cancel_mutex_);
  cancel_.reset();
}

bool Connection::usable() const noexcept {
  if (owner_ != getpid() || stale_) return false;
  const std::lock_guard lock(gate_);
  return connection_ != nullptr && PQstatus(connection_) == CONNECTION_OK;
}

bool Connection::idle_outside_transaction() const noexcept {
  if (owner_ != getpid() || stale_) return false;
  const std::lock_guard lock(gate_);
  return connection_ != nullptr && PQstatus(connection_) == CONNECTION_OK &&
         PQtransactionStatus(connection_) == PQTRANS_IDLE;
}

int Connection::backend_pid() const {
  return backend_pid_;
}

std::string Connection::next_name() {
  return "snowglobe_" + std::to_string(++names_);
}

void Connection::throw_stale() {
  throw StaleSession(
      "a restore took the database back to where this session was not idle or not there; open "
      "another");
}

void Connection::require_idle() const {
  if (owner_ != getpid()) {
    throw ConnectionLost("this session belongs to process " + std::to_string(owner_) +
                         "; after fork() open a database of your own");
  }
  if (stale_) throw_stale();
  if (!usable()) {
    server_->check(std::chrono::milliseconds(0));
    throw ConnectionLost("the session is closed; open another");
  }
  if (PQtransactionStatus(connection_) == PQTRANS_ACTIVE) {
    throw InvalidArgument("a COPY of this session is not finished");
  }
}

// --- waiting

bool Connection::wait_socket(bool for_write, const Deadline& deadline) {
  const int socket = socket_ >= 0 ? socket_ : PQsocket(connection_);
  pollfd ready{socket, static_cast<short>(for_write ? POLLIN | POLLOUT : POLLIN), 0};
  if (spin_.spin([&ready] { return ::poll(&ready, 1, 0) != 0; })) return true;
  for (;;) {
    const int count = ::poll(&ready, 1, deadline.poll_timeout());
    spin_.slept();
    if (count > 0) return true;
    if (count == 0 && deadline.passed()) return false;
    if (count < 0 && errno != EINTR) return true;  // libpq will find the socket broken
  }
}

void Connection::consume_input() {
  if (PQconsumeInput(connection_) == 0) {
    SqlDiagnostics diagnostics;
    diagnostics.message = PQerrorMessage(connection_);
    lost(diagnostics);
  }
}

void Connection::flush(Call& call) {
  for (;;) {
    const int state = PQflush(connection_);
    if (state == 0) return;
    // A failed write is not the end of the story: what the server said before it left is still to
    // be read.
    if (state < 0) return;
    if (!wait_socket(true, call.deadline)) {
      out_of_time(call);
      continue;
    }
    // The server may have to get rid of notices before it reads on.
    if (PQconsumeInput(connection_) == 0) return;
  }
}

void Connection::out_of_time(Call& call) {
  if (stale_) {
    close();
    throw_stale();
  }
  if (call.timed_out) {
    close();
    server_->check(std::chrono::milliseconds(0));
    throw TimeoutError(
        "the statement was not done after " + std::to_string(call.limit.count()) +
        " ms, and the server did not react to its cancelling: the session is closed");
  }
  call.timed_out = true;
  call.deadline = Deadline(kCancelGrace);
  cancel();
}

PqResult Connection::next_result(Call& call) {
  while (PQisBusy(connection_) != 0) {
    if (!wait_socket(false, call.deadline)) {
      out_of_time(call);
      continue;
    }
    if (PQconsumeInput(connection_) == 0) break;  // PQgetResult tells why
  }
  return PqResult(PQgetResult(connection_));
}

PqResult Connection::collect(Call& call) {
  flush(call);
  PqResult last;
  PqResult error;
  for (;;) {
    PqResult result = next_result(call);
    if (!result) break;
    const ExecStatusType status = PQresultStatus(result.get());
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      last = std::move(result);
      break;  // the caller knows whether that was asked for
    }
    if (is_error(result.get())) {
      if (!error) error = std::move(result);
      if (PQstatus(connection_) == CONNECTION_BAD) break;
    } else {
      last = std::move(result);
    }
  }
  if (!error && PQstatus(connection_) == CONNECTION_OK) return last;
  throw_result_error(error.get(), call);
}

void Connection::throw_result_error(const PGresult* error, const Call& call) {
  SqlDiagnostics diagnostics;
  if (error != nullptr) diagnostics = diagnostics_of(error);
  if (diagnostics.message.empty()) diagnostics.message = PQerrorMessage(connection_);
  const bool fatal = diagnostics.severity == "FATAL" || diagnostics.severity == "PANIC";
  if (fatal || PQstatus(connection_) == CONNECTION_BAD) lost(diagnostics);
  if (call.timed_out && diagnostics.sqlstate == "57014") {
    throw TimeoutError("the statement was cancelled after its limit of " +
                       std::to_string(call.limit.count()) + " ms");
  }
  throw_sql_error(std::move(diagnostics));
}

void Connection::lost(const SqlDiagnostics& diagnostics) {
  close();
  if (stale_) throw_stale();
  server_->check(grace_for_verdict(diagnostics));
  std::string text = "the connection was lost: " + diagnostics.message;
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  throw ConnectionLost(text, diagnostics.sqlstate);
}

void Connection::send_failed() {
  SqlDiagnostics diagnostics;
  diagnostics.message = PQerrorMessage(connection_);
  if (PQstatus(connection_) == CONNECTION_BAD) lost(diagnostics);
  throw InvalidArgument(diagnostics.message);
}

// --- statements

Result Connection::run(std::string_view sql, std::span<const Parameter> parameters) {
  const CallScope scope(*this);
  const std::string text = statement_text(sql);
  const ParameterArrays arrays(parameters);
  require_idle();
  Call call(limit_);
  if (PQsendQueryParams(connection_, text.c_str(), static_cast<int>(parameters.size()),
                        arrays.types_for(text), arrays.values.data(), arrays.lengths.data(),
                        arrays.formats.data(), 0) == 0) {
    send_failed();
  }
  PqResult result = collect(call);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == PGRES_COPY_IN) copy_in_abort();
  if (status == PGRES_COPY_OUT) copy_out_abort();
  if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT) {
    throw InvalidArgument("use Session::copy_in() and copy_out() for COPY from and to the client");
  }
  return Result(std::make_shared<const ResultData>(std::move(result)));
}

Result Connection::run_simple(std::string_view sql) {
  const CallScope scope(*this);
  const std::string text = statement_text(sql);
  require_idle();
  Call call(limit_);
  if (PQsendQuery(connection_, text.c_str()) == 0) send_failed();
  PqResult result = collect(call);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == PGRES_COPY_IN) copy_in_abort();
  if (status == PGRES_COPY_OUT) copy_out_abort();
  if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT) {
    throw InvalidArgument("a script cannot COPY from or to the client");
  }
  return Result(std::make_shared<const ResultData>(std::move(result)));
}

bool Connection::run_quietly(std::string_view sql, std::chrono::milliseconds limit) noexcept {
  const std::chrono::milliseconds before = limit_;
  try {
    limit_ = limit;
    run_simple(sql);
    limit_ = before;
    return true;
  } catch (...) {
    limit_ = before;
    close();
    return false;
  }
}

void Connection::prepare_as(const std::string& name, const std::string& text, Call& call) {
  if (PQsendPrepare(connection_, name.c_str(), text.c_str(), 0, nullptr) == 0) send_failed();
  (void)collect(call);
  prepared_.insert(name);
}

std::string Connection::prepare(std::string_view sql) {
  const CallScope scope(*this);
  const std::string text = statement_text(sql);
  require_idle();
  drop_forgotten();
  Call call(limit_);
  std::string name = next_name();
  prepare_as(name, text, call);
  statements_[name] = text;
  return name;
}

Result Connection::run_prepared(const std::string& name, std::span<const Parameter> parameters) {
  const CallScope scope(*this);
  const ParameterArrays arrays(parameters);
  require_idle();
  Call call(limit_);
  // A restore took the backend back to before the statement was prepared.
  if (!prepared_.contains(name)) prepare_as(name, statements_[name], call);
  if (PQsendQueryPrepared(connection_, name.c_str(), static_cast<int>(parameters.size()),
                          arrays.values.data(), arrays.lengths.data(), arrays.formats.data(),
                          0) == 0) {
    send_failed();
  }
  PqResult result = collect(call);
  return Result(std::make_shared<const ResultData>(std::move(result)));
}

void Connection::forget(std::string name) noexcept {
  if (!usable()) return;
  const CallScope scope(*this);
  statements_.erase(name);
  if (prepared_.contains(name)) forgotten_.push_back(std::move(name));
}

void Connection::drop_forgotten() {
  // A failed transaction takes no statement; and a round trip for each name would be dear.
  constexpr std::size_t kBatch = 16;
  if (forgotten_.size() < kBatch || !idle_outside_transaction()) return;
  std::string sql;
  for (const std::string& name : forgotten_) {
    sql += "deallocate " + name + ";";
    prepared_.erase(name);
  }
  forgotten_.clear();
  run_simple(sql);
}

void Connection::take_notifications() {
  while (PGnotify* const notify = PQnotifies(connection_)) {
    notifications_.push_back({notify->relname, notify->extra, notify->be_pid});
    PQfreemem(notify);
  }
}

std::optional<Notification> Connection::wait_notification(std::chrono::milliseconds limit) {
  const auto until = moment_after(limit);
  for (;;) {
    {
      const CallScope scope(*this);
      require_idle();
      consume_input();
      take_notifications();
      if (!notifications_.empty()) {
        Notification notification = std::move(notifications_.front());
        notifications_.pop_front();
        return notification;
      }
    }
    // Waiting is no call: a session that listens lives through a restore. Only this thread closes
    // the socket. But a save or a restore may take a notification off it, hence the look now and
    // then.
    constexpr std::chrono::milliseconds kLook(50);
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return std::nullopt;
    wait_socket(false, Deadline(std::min(left, kLook)));
  }
}

void Connection::use_native(const std::function<void(PGconn*)>& use) {
  const CallScope scope(*this);
  require_idle();
  use(connection_);
  if (PQstatus(connection_) == CONNECTION_BAD) {
    SqlDiagnostics diagnostics;
    diagnostics.message = PQerrorMessage(connection_);
    lost(diagnostics);
  }
  PQsetnonblocking(connection_, 1);
  if (PQtransactionStatus(connection_) == PQTRANS_ACTIVE ||
      PQpipelineStatus(connection_) != PQ_PIPELINE_OFF) {
    close();
    throw InvalidArgument("native() left libpq in the middle of something: the session is closed");
  }
}

SessionState Connection::state() const noexcept {
  if (!usable()) return SessionState::closed;
  const std::lock_guard lock(gate_);
  if (connection_ == nullptr) return SessionState::closed;
  switch (PQtransactionStatus(connection_)) {
    case PQTRANS_IDLE:
      return SessionState::idle;
    case PQTRANS_INTRANS:
      return SessionState::in_transaction;
    case PQTRANS_INERROR:
      return SessionState::failed;
    case PQTRANS_ACTIVE:
      return SessionState::busy;
    case PQTRANS_UNKNOWN:
      break;
  }
  return SessionState::closed;
}

std::string Connection::quoted_identifier(std::string_view name) const {
  std::string out = "\"";
  for (const char c : statement_text(name)) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

std::string Connection::quoted_literal(std::string_view text) const {
  std::string out = "'";
  for (const char c : statement_text(text)) {
    if (c == '\'') out += '\'';
    out += c;
  }
  return out + "'";
}

}  // namespace snowglobe::detail
