// bench/suite_machines.cc - ten machines in one process, which share its mappings: what each pays
// for the others.
#include "bench/suites.h"
#include <fmt/core.h>

namespace bench {
namespace {

constexpr int kMachines = 10;

using Machines = std::vector<snowglobe::Database>;

// A session of its own on each machine in turn, as on the servers beside them.
void measure(Bench& bench, const Emit& emit, Machines& machines, const std::string& name,
             const std::string& sql) {
  while (machines.size() < kMachines)
    machines.push_back(snowglobe::Database::open_in_memory(bench.plan().options));
  const auto visit = [&sql](const std::string& conninfo) {
    return milliseconds([&] {
      Client client(conninfo);
      client.run(sql);
    });
  };
  const auto batch = [&](Side side, Samples& samples) {
    for (const snowglobe::Database& machine : machines)
      samples.add(visit(side == Side::snowglobe ? machine.conninfo() : bench.conninfo(side)));
  };
  emit(row_of(bench, name + ", ten machines in turn", "ms",
              alternate(bench, bench.choose(5, 2), batch)));
}

}  // namespace

Suite machines_suite() {
  const auto machines = std::make_shared<Machines>();
  const auto task = [&machines](const std::string& name, const std::string& sql) {
    return Task{name, [machines, name, sql](Bench& bench, const Emit& emit) {
                  measure(bench, emit, *machines, name, sql);
                }};
  };
  return {.name = "machines",
          .remark = "ten in a process, against one server; compare with the rows of one machine",
          .tasks = {task("new connection and select 1", "select 1"),
                    task("new connection and sort of 20000",
                         "select count(*) from (select i from generate_series(20000, 1, -1) i "
                         "order by i offset 0) s")}};
}

}  // namespace bench
