// bench/suite_pgbench.cc - pgbench of the image's own build, run on the host: over TCP to the twin,
// and through an exposed port to the machine.
#include "bench/pgbench.h"
#include "bench/suites.h"
#include <array>
#include <fmt/core.h>

namespace bench {
namespace {

constexpr double kPgbenchBound = 2.5;

struct Script {
  const char* name;
  std::vector<std::string> options;
};

std::string address_of(Bench& bench, Side side) {
  if (side != Side::snowglobe) return bench.conninfo(side);
  return bench.snowglobe().expose({.user = "postgres"}).uri() + "?sslmode=disable";
}

const std::array kScripts = {Script{"-S", {"-S"}}, Script{"TPC-B", {}}};

Task task(const std::shared_ptr<Pgbench>& pgbench, const Script& script, int clients,
          bool spinning) {
  const std::string name =
      fmt::format("pgbench {}, {} client{}", script.name, clients, clients == 1 ? "" : "s") +
      beside(spinning);
  return {name, [=, &script](Bench& bench, const Emit& emit) {
            const Spinner busy(spinning);
            const auto once = [&](Side side) {
              return pgbench->rate(bench, side, script.options, clients);
            };
            Row row = row_of(bench, name, "tps", alternate_one(bench, bench.choose(3, 1), once),
                             Ratio::of_rates);
            row.bound = kPgbenchBound;
            emit(row);
          }};
}

}  // namespace

Suite pgbench_suite() {
  Suite suite{.name = "pgbench", .remark = "scale 1, over loopback TCP on all sides", .tasks = {}};
  const auto pgbench = std::make_shared<Pgbench>(address_of);
  for (const bool spinning : {false, true}) {
    for (const Script& script : kScripts) {
      for (const int clients : {1, 4})
        suite.tasks.push_back(task(pgbench, script, clients, spinning));
    }
  }
  return suite;
}

}  // namespace bench
