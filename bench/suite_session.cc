// bench/suite_session.cc - the small things that applications and tests do all day.
#include "bench/suites.h"
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace bench {
namespace {

constexpr double kSelectBound = 1.5;
constexpr double kConnectBound = 3.5;

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

}  // namespace

Suite session_suite() {
  Suite suite{.name = "session",
              .remark =
                  "one client; Snowglobe through the pipe in the process, the others over "
                  "loopback TCP",
              .tasks = {}};
  suite.tasks.push_back({"hop between threads", hop});
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
