// api/src/connection_picture.cc - the client's end of a session for snapshots: taken at a save, put
// back at a restore. What the backend knows rolls back by itself; this is what libpq and we know of
// it.
#include "api/src/connection.h"
#include "api/src/pg_wire.h"

#include <algorithm>
#include <array>
#include <sys/socket.h>

namespace snowglobe::detail {
namespace {

// What PostgreSQL 17 reports (its documentation, 55.2.7), and 18's search_path. libpq keeps them by
// name and cannot list them.
constexpr std::array kReported{"application_name",
                               "client_encoding",
                               "DateStyle",
                               "default_transaction_read_only",
                               "in_hot_standby",
                               "integer_datetimes",
                               "IntervalStyle",
                               "is_superuser",
                               "scram_iterations",
                               "search_path",
                               "server_encoding",
                               "server_version",
                               "session_authorization",
                               "standard_conforming_strings",
                               "TimeZone"};

/// Takes in all that has come for an idle connection. False if it is broken, or if it does not end.
bool read_all(PGconn* connection) {
  constexpr int kMostReads = 64;
  for (int i = 0; i < kMostReads; ++i) {
    char byte = 0;
    const ssize_t waiting = ::recv(PQsocket(connection), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (waiting < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    // libpq would close the socket, which its user may be waiting on.
    if (waiting == 0) return false;
    if (PQconsumeInput(connection) == 0) return false;
    // In an idle connection this handles whatever message there is, and leaves notifications.
    (void)PQisBusy(connection);
  }
  return false;
}

}  // namespace

bool Connection::settle() {
  if (in_call() || stale_ || connection_ == nullptr) return false;
  if (PQstatus(connection_) != CONNECTION_OK || PQsslInUse(connection_) != 0) return false;
  if (PQtransactionStatus(connection_) != PQTRANS_IDLE || PQflush(connection_) != 0) return false;
  if (!read_all(connection_)) return false;
  take_notifications();
  return PQtransactionStatus(connection_) == PQTRANS_IDLE;
}

SessionPicture Connection::picture() const {
  SessionPicture picture;
  picture.adoption = pooled_ ? Adoption::pool : Adoption::nobody;
  picture.backend_pid = PQbackendPID(connection_);
  for (const char* name : kReported) {
    if (const char* value = PQparameterStatus(connection_, name)) {
      picture.parameters.emplace_back(name, value);
    }
  }
  picture.prepared.assign(prepared_.begin(), prepared_.end());
  picture.notifications.assign(notifications_.begin(), notifications_.end());
  return picture;
}

bool Connection::reads_mark(std::string_view mark) {
  if (!read_all(connection_)) return false;
  take_notifications();
  const char* const seen = PQparameterStatus(connection_, kMark.data());
  return seen != nullptr && seen == mark;
}

std::string Connection::parameter_messages(const SessionPicture& back) const {
  std::string messages;
  for (const auto& [name, value] : back.parameters) {
    const char* const now = PQparameterStatus(connection_, name.c_str());
    if (now == nullptr || now != value) messages += parameter_status(name, value);
  }
  return messages;
}

void Connection::put_back(const SessionPicture& back) {
  (void)read_all(connection_);
  while (PGnotify* const undone = PQnotifies(connection_))
    PQfreemem(undone);
  notifications_.assign(back.notifications.begin(), back.notifications.end());
  prepared_ = {back.prepared.begin(), back.prepared.end()};
  // What was dropped since is there again, and nobody needs it.
  forgotten_.clear();
  for (const std::string& name : prepared_) {
    if (!statements_.contains(name)) forgotten_.push_back(name);
  }
}

}  // namespace snowglobe::detail
