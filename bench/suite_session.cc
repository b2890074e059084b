// bench/suite_session.cc - the small things that applications and tests do all day.
#include "bench/suites.h"
#include <cstdlib>
#include <fmt/core.h>
#include <libpq-fe.h>
#include <memory>
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace bench {
namespace {

constexpr double kSelectBound = 1.5;
constexpr double kConnectBound = 3.5;
constexpr double kTypedBound = 1.2;

void select_one(Bench& bench, const Emit& emit, bool spinning) {
  const Sides<std::unique_ptr<Client>> clients = connect_all(bench);
  const Spinner busy(spinning);
  const int count = bench.choose(500, 200);
  const auto batch = [&](Side side, Samples& samples) {
    for (int i = 0; i < count; ++i)
      samples.add(microseconds([&] { clients[side]->run("select 1"); }));
  };
  const Sides<Series> series = alternate(bench, bench.choose(10, 4), batch);
  Row p50 = row_of(bench, "select 1, warm session, p50" + beside(spinning), "us", series);
  p50.first = {};
  p50.bound = kSelectBound;
  Row p99 = p50;
  p99.name = "select 1, warm session, p99" + beside(spinning);
  p99.bound.reset();
  for (const Side side : bench.sides())
    p99.warm[side] = series[side].warm.percentile(0.99);
  emit(p50);
  emit(p99);
}

void connect(Bench& bench, const Emit& emit, bool spinning) {
  const Spinner busy(spinning);
  const int count = bench.choose(20, 10);
  const auto batch = [&](Side side, Samples& samples) {
    const std::string conninfo = bench.conninfo(side);
    for (int i = 0; i < count; ++i) {
      samples.add(milliseconds([&] {
        Client client(conninfo);
        client.run("select 1");
      }));
    }
  };
  Row row = row_of(bench, "new connection and select 1, p50" + beside(spinning), "ms",
                   alternate(bench, bench.choose(10, 3), batch));
  row.bound = kConnectBound;
  emit(row);
}

// What a request and its answer between two threads cost without any server: the floor of the rows
// below.
void hop(Bench& bench, const Emit& emit) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::runtime_error("no pair of sockets");
  }
  char byte = 0;
  std::thread echo([end = ends[1]] {
    char echoed = 0;
    while (::read(end, &echoed, 1) == 1)
      (void)!::write(end, &echoed, 1);
  });
  Samples samples;
  for (int i = 0; i < bench.choose(5000, 1000); ++i) {
    samples.add(microseconds([&] {
      (void)!::write(ends[0], &byte, 1);
      (void)!::read(ends[0], &byte, 1);
    }));
  }
  ::shutdown(ends[0], SHUT_RDWR);
  echo.join();
  ::close(ends[0]);
  ::close(ends[1]);
  Row row{.name = "a byte to another thread and back, p50", .unit = "us", .ratio = Ratio::none};
  row.warm[Side::snowglobe] = samples.median();
  emit(row);
}

// What the face adds to bare libpq: the same rows read as C++ values by both, each from a session
// of its own to the same machine.
void typed_reads(Bench& bench, const Emit& emit) {
  const int rows = bench.scaled(100'000);
  const std::string sql = "select g, 'row number ' || g, g * 0.5::float8 from generate_series(1, " +
                          std::to_string(rows) + ") g";
  snowglobe::Session session = bench.snowglobe().session();
  const std::unique_ptr<PGconn, void (*)(PGconn*)> libpq(
      PQconnectdb(bench.conninfo(Side::snowglobe).c_str()), PQfinish);
  const auto through_face = [&] {
    double sum = 0;
    for (const auto& [number, text, half] : session.query<int, std::string, double>(sql))
      sum += number + half + static_cast<double>(text.size());
    return sum;
  };
  const auto through_libpq = [&] {
    const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(libpq.get(), sql.c_str()),
                                                                PQclear);
    double sum = 0;
    for (int row = 0; row < PQntuples(result.get()); ++row) {
      const std::string text(PQgetvalue(result.get(), row, 1),
                             static_cast<std::size_t>(PQgetlength(result.get(), row, 1)));
      sum += std::atoi(PQgetvalue(result.get(), row, 0)) +  // NOLINT: as programs do
             std::strtod(PQgetvalue(result.get(), row, 2), nullptr) +
             static_cast<double>(text.size());
    }
    return sum;
  };
  if (through_face() != through_libpq()) throw std::runtime_error("the two read different rows");
  Samples face;
  Samples bare;
  for (int i = 0; i < bench.choose(10, 4) && !bench.time_is_over(); ++i) {
    bare.add(milliseconds([&] { (void)through_libpq(); }));
    face.add(milliseconds([&] { (void)through_face(); }));
  }
  Row row{.name = std::to_string(rows) + " typed rows read, over bare libpq",
          .unit = "x",
          .ratio = Ratio::none};
  row.warm[Side::snowglobe] = face.median() / bare.median();
  row.bound = kTypedBound;
  row.remark = fmt::format("{:.1f} ms and {:.1f} ms", face.median(), bare.median());
  emit(row);
}

}  // namespace

Suite session_suite() {
  Suite suite{.name = "session",
              .remark =
                  "one client; Snowglobe through the pipe in the process, the others over "
                  "loopback TCP",
              .tasks = {}};
  suite.tasks.push_back({"hop between threads", hop});
  suite.tasks.push_back({"typed rows", typed_reads});
  for (const bool spinning : {false, true}) {
    suite.tasks.push_back(
        {"select 1" + beside(spinning),
         [spinning](Bench& bench, const Emit& emit) { select_one(bench, emit, spinning); }});
    suite.tasks.push_back(
        {"new connection and select 1" + beside(spinning),
         [spinning](Bench& bench, const Emit& emit) { connect(bench, emit, spinning); }});
  }
  return suite;
}

}  // namespace bench
