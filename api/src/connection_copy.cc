// api/src/connection_copy.cc - COPY between client and server, a piece at a time.
#include "api/src/connection.h"
#include "api/src/errors.h"

namespace snowglobe::detail {

void Connection::expect_copy(std::string_view sql, ExecStatusType wanted, const char* what) {
  if (sql.find('\0') != std::string_view::npos) {
    throw InvalidArgument("the statement contains a NUL byte");
  }
  require_idle();
  Call call(limit_);
  if (PQsendQuery(connection_, std::string(sql).c_str()) == 0) send_failed();
  const PqResult result = collect(call);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == wanted) return;
  if (status == PGRES_COPY_IN) copy_in_abort();
  if (status == PGRES_COPY_OUT) copy_out_abort();
  throw InvalidArgument(std::string(what) + ": '" + std::string(sql.substr(0, 80)) + "'");
}

void Connection::copy_in_begin(std::string_view sql) {
  const CallScope scope(*this);
  expect_copy(sql, PGRES_COPY_IN, "copy_in() wants a COPY ... FROM STDIN");
}

void Connection::copy_in_data(std::string_view data) {
  const CallScope scope(*this);
  if (!usable()) lost({});
  Call call(limit_);
  for (;;) {
    const int state = PQputCopyData(connection_, data.data(), static_cast<int>(data.size()));
    if (state == 1) break;
    if (state < 0) send_failed();
    if (!wait_socket(true, call.deadline)) out_of_time(call);
    consume_input();
  }
  flush(call);
}

std::uint64_t Connection::copy_in_end() {
  const CallScope scope(*this);
  if (!usable()) lost({});
  Call call(limit_);
  int state = 0;
  while ((state = PQputCopyEnd(connection_, nullptr)) == 0) {
    if (!wait_socket(true, call.deadline)) out_of_time(call);
    consume_input();
  }
  if (state < 0) send_failed();
  return Result(std::make_shared<const ResultData>(collect(call))).affected();
}

void Connection::copy_in_abort() noexcept {
  if (!usable()) return;
  const CallScope scope(*this);
  try {
    Call call(limit_);
    while (PQputCopyEnd(connection_, "given up by the client") == 0) {
      if (!wait_socket(true, call.deadline)) out_of_time(call);
      consume_input();
    }
    (void)collect(call);
  } catch (const SqlError&) {
    // 57014, "COPY from stdin failed: given up by the client": as asked.
  } catch (...) {
    close();
  }
}

void Connection::copy_out_begin(std::string_view sql) {
  const CallScope scope(*this);
  expect_copy(sql, PGRES_COPY_OUT, "copy_out() wants a COPY ... TO STDOUT");
}

bool Connection::copy_out_next(std::vector<char>& piece) {
  const CallScope scope(*this);
  if (!usable()) lost({});
  Call call(limit_);
  for (;;) {
    char* data = nullptr;
    const int length = PQgetCopyData(connection_, &data, 1);
    if (length > 0) {
      piece.assign(data, data + length);
      PQfreemem(data);
      return true;
    }
    if (length < 0) break;
    if (!wait_socket(false, call.deadline)) out_of_time(call);
    consume_input();
  }
  (void)collect(call);
  return false;
}

void Connection::copy_out_abort() noexcept {
  if (!usable()) return;
  const CallScope scope(*this);
  try {
    cancel();
    std::vector<char> piece;
    while (copy_out_next(piece)) {
    }
  } catch (const SqlError&) {
    // 57014: as asked.
  } catch (...) {
    close();
  }
}

}  // namespace snowglobe::detail
