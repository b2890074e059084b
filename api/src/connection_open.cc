// api/src/connection_open.cc - how a connection comes about, and the cancel request beside it.
#include "api/src/connection.h"
#include "api/src/conninfo.h"
#include "api/src/errors.h"
#include "api/src/pg_wire.h"

#include <condition_variable>
#include <thread>
#include <unistd.h>

namespace snowglobe::detail {
namespace {

// How long cancel() waits for the request to be taken; the machine may be slow, or stand still.
constexpr std::chrono::milliseconds kCancelWait = std::chrono::seconds(2);

SessionToken next_token() {
  static std::atomic<SessionToken> last = 0;
  return ++last;
}

/// Of "FATAL:  3D000: database ... does not exist" and a second line, as PQERRORS_VERBOSE writes
/// it. A failed connection has no result that could be asked.
SqlDiagnostics parse_verbose(std::string_view text) {
  SqlDiagnostics d;
  const std::size_t mark = text.find("FATAL:  ");
  if (mark == std::string_view::npos) return d;
  const std::string_view rest = text.substr(mark + 8);
  if (rest.size() < 7 || rest[5] != ':') return d;
  d.severity = "FATAL";
  d.sqlstate = rest.substr(0, 5);
  d.message = rest.substr(7, rest.find('\n') - 7);
  return d;
}

}  // namespace

Connection::Connection(std::shared_ptr<Server> server, const SessionOptions& options, bool pooled)
    : server_(std::move(server)),
      limit_(options.statement_limit),
      pooled_(pooled),
      token_(next_token()),
      owner_(getpid()),
      notice_(options.on_notice) {
  server_->sessions().add(*this);
}

std::shared_ptr<Connection> Connection::open(std::shared_ptr<Server> server,
                                             const SessionOptions& options, Deadline deadline,
                                             bool pooled) {
  server->check(std::chrono::milliseconds(0));
  std::shared_ptr<Connection> connection(new Connection(std::move(server), options, pooled));
  connection->connect(options, deadline);
  return connection;
}

void Connection::connect(const SessionOptions& options, Deadline deadline) {
  const CallScope scope(*this);
  const ConnectionParameters parameters =
      connection_parameters(server_->address(), options, token_setting(token_, pooled_));
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, value] : parameters) {
    keywords.push_back(keyword.c_str());
    values.push_back(value.c_str());
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  connection_ = PQconnectStartParams(keywords.data(), values.data(), 0);
  if (connection_ == nullptr) throw std::bad_alloc();
  PQsetErrorVerbosity(connection_, PQERRORS_VERBOSE);
  PQsetNoticeReceiver(connection_, on_notice, this);
  PostgresPollingStatusType state = PGRES_POLLING_WRITING;
  while (PQstatus(connection_) != CONNECTION_BAD && state != PGRES_POLLING_OK) {
    if (!wait_socket(state == PGRES_POLLING_WRITING, deadline)) {
      close();
      if (stale_) throw_stale();
      server_->check(std::chrono::milliseconds(0));
      throw TimeoutError("the server did not answer a new connection in time");
    }
    state = PQconnectPoll(connection_);
    if (state == PGRES_POLLING_FAILED) break;
  }
  if (PQstatus(connection_) != CONNECTION_OK) refuse_connect();
  PQsetErrorVerbosity(connection_, PQERRORS_DEFAULT);
  PQsetnonblocking(connection_, 1);
  socket_ = PQsocket(connection_);
  backend_pid_ = PQbackendPID(connection_);
  {
    const std::lock_guard lock(cancel_mutex_);
    cancel_ = {PQgetCancel(connection_), [](PGcancel* cancel) { PQfreeCancel(cancel); }};
  }
  const std::string undo = undo_environment();
  if (!undo.empty()) run_simple(undo);
}

void Connection::refuse_connect() {
  SqlDiagnostics diagnostics = parse_verbose(PQerrorMessage(connection_));
  if (diagnostics.sqlstate.empty()) {
    diagnostics.message = PQerrorMessage(connection_);
    lost(diagnostics);
  }
  close();
  if (stale_) throw_stale();
  throw_sql_error(std::move(diagnostics));
}

void Connection::on_notice(void* self, const PGresult* notice) {
  auto& connection = *static_cast<Connection*>(self);
  const SqlDiagnostics d = diagnostics_of(notice);
  try {  // libpq is C: nothing may fly through it
    connection.server_->log({LogSource::postgres, LogLevel::info, d.message});
    if (connection.notice_) {
      connection.notice_({d.severity, d.sqlstate, d.message, d.detail, d.hint});
    }
  } catch (...) {
    // As documented: dropped.
  }
}

void Connection::cancel() noexcept {
  // After a restore somebody else may go by this session's process id.
  if (owner_ != getpid() || stale_) return;
  if (server_->cancel_statement(backend_pid_, kCancelWait)) return;
  std::shared_ptr<PGcancel> cancel;
  {
    const std::lock_guard lock(cancel_mutex_);
    cancel = cancel_;
  }
  if (cancel) send_cancel(std::move(cancel), kCancelWait);
}

std::string Connection::scram_verifier(const std::string& user, const std::string& password) const {
  const std::unique_ptr<char, void (*)(void*)> verifier(
      PQencryptPasswordConn(connection_, password.c_str(), user.c_str(), "scram-sha-256"),
      PQfreemem);
  if (!verifier) throw Error(Errc::internal, "libpq could not make a SCRAM verifier");
  return verifier.get();
}

void send_cancel(std::shared_ptr<PGcancel> cancel, std::chrono::milliseconds limit) noexcept {
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  try {
    const auto state = std::make_shared<State>();
    // Detached: PQcancel() returns at the latest when the machine's end closes the pipe.
    std::thread([state, cancel = std::move(cancel)] {
      char error[256];
      PQcancel(cancel.get(), error, sizeof error);
      const std::lock_guard lock(state->mutex);
      state->done = true;
      state->changed.notify_all();
    }).detach();
    std::unique_lock lock(state->mutex);
    state->changed.wait_for(lock, limit, [&] { return state->done; });
  } catch (...) {
    // No thread, no cancel: the statement's limit ends it.
  }
}

}  // namespace snowglobe::detail
