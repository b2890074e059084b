// bench/suite_memory.cc - statements that touch much fresh memory: page faults, and pages given
// back.
#include "bench/suites.h"
#include <fmt/core.h>

namespace bench {
namespace {

constexpr double kFaultBound = 2.5;

// Each round in a session of its own, whose memory nobody has touched yet.
void measure(Bench& bench, const Emit& emit, const std::string& name, const std::string& sql,
             bool spinning) {
  const Spinner busy(spinning);
  const auto once = [&](Side side) {
    Client client(bench.conninfo(side));
    client.run("set work_mem = '64MB'");
    return milliseconds([&] { client.run(sql); });
  };
  Row row =
      row_of(bench, name + beside(spinning), "ms", alternate_one(bench, bench.choose(7, 3), once));
  row.bound = kFaultBound;
  emit(row);
}

void sort(Bench& bench, const Emit& emit, bool spinning) {
  const int rows = bench.choose(200'000, 100'000);
  measure(bench, emit, fmt::format("sort of {} in memory, new session", rows),
          fmt::format("select count(*) from (select i from generate_series({}, 1, -1) i "
                      "order by i offset 0) s",
                      rows),
          spinning);
}

// Values of that size are mapped and unmapped each by itself; nearly all time goes into their
// pages. The planner works the expression out and keeps a copy, so there are two of them.
void touch(Bench& bench, const Emit& emit, bool spinning) {
  measure(bench, emit, "64 MB made, copied and freed, new session",
          "select octet_length(repeat(repeat('x', 8192), 8192))", spinning);
}

}  // namespace

Suite memory_suite() {
  Suite suite{
      .name = "memory", .remark = "page faults: fresh memory in a new session", .tasks = {}};
  for (const bool spinning : {false, true}) {
    suite.tasks.push_back({"sort" + beside(spinning), [spinning](Bench& bench, const Emit& emit) {
                             sort(bench, emit, spinning);
                           }});
    suite.tasks.push_back({"64 MB" + beside(spinning), [spinning](Bench& bench, const Emit& emit) {
                             touch(bench, emit, spinning);
                           }});
  }
  return suite;
}

}  // namespace bench
