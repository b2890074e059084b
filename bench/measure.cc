// bench/measure.cc - libpq, a stopwatch, percentiles.
#include "bench/measure.h"

#include <algorithm>
#include <stdexcept>

namespace bench {

Client::Client(const std::string& conninfo) : connection_(PQconnectdb(conninfo.c_str()), PQfinish) {
  if (PQstatus(connection_.get()) != CONNECTION_OK) fail("connect");
  PQsetNoticeProcessor(
      connection_.get(), [](void*, const char*) {}, nullptr);
}

void Client::fail(const std::string& what) const {
  throw std::runtime_error(what.substr(0, 80) + ": " + PQerrorMessage(connection_.get()));
}

Client::Result Client::checked(PGresult* result, const std::string& sql) const {
  Result owned(result, PQclear);
  const ExecStatusType status = PQresultStatus(result);
  const bool good =
      status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_COPY_IN;
  if (!good) fail(sql);
  return owned;
}

std::string Client::run(const std::string& sql) {
  const Result result = checked(PQexec(connection_.get(), sql.c_str()), sql);
  if (PQntuples(result.get()) == 0 || PQnfields(result.get()) == 0) return {};
  return PQgetvalue(result.get(), 0, 0);
}

std::vector<std::pair<std::string, std::string>> Client::pairs(const std::string& sql) {
  const Result result = checked(PQexec(connection_.get(), sql.c_str()), sql);
  std::vector<std::pair<std::string, std::string>> rows;
  for (int row = 0; row < PQntuples(result.get()); ++row)
    rows.emplace_back(PQgetvalue(result.get(), row, 0), PQgetvalue(result.get(), row, 1));
  return rows;
}

void Client::copy_in(const std::string& sql, std::string_view text) {
  // A piece of 64 KiB a message, as psql sends about: no server may have the whole text at once.
  constexpr std::size_t kPiece = 65536;
  (void)checked(PQexec(connection_.get(), sql.c_str()), sql);
  for (std::size_t at = 0; at < text.size(); at += kPiece) {
    const std::string_view piece = text.substr(at, kPiece);
    if (PQputCopyData(connection_.get(), piece.data(), static_cast<int>(piece.size())) != 1) {
      fail(sql);
    }
  }
  if (PQputCopyEnd(connection_.get(), nullptr) != 1) fail(sql);
  (void)checked(PQgetResult(connection_.get()), sql);
  while (PGresult* rest = PQgetResult(connection_.get()))
    PQclear(rest);
}

Seconds time(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::steady_clock::now() - start;
}

double milliseconds(const std::function<void()>& work) {
  return time(work).count() * 1e3;
}

double microseconds(const std::function<void()>& work) {
  return time(work).count() * 1e6;
}

double Samples::percentile(double share) const {
  std::vector<double> sorted = figures_;
  std::sort(sorted.begin(), sorted.end());
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted.at(static_cast<std::size_t>(share * last + 0.5));
}

}  // namespace bench
