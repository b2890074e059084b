// bench/suite_pgbench.cc - pgbench of the image's own build, run on the host: over TCP to the twin,
// and through an exposed port to the machine.
#include "bench/child.h"
#include "bench/suites.h"
#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <stdexcept>

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr double kPgbenchBound = 2.5;

struct Script {
  const char* name;
  std::vector<std::string> options;
};

// The program, and where it finds each server; the tables are made at a side's first use.
class Pgbench {
 public:
  double rate(Bench& bench, Side side, const Script& script, int clients) {
    prepare(bench, side);
    const int seconds = bench.choose(5, 2);
    std::vector<std::string> options = script.options;
    for (const std::string& word :
         {std::string("-n"), "-c" + std::to_string(clients),
          "-j" + std::to_string(std::min(clients, 2)), "-T" + std::to_string(seconds)})
      options.push_back(word);
    const std::string output = run(bench, side, options, std::chrono::seconds(seconds + 60));
    const std::size_t at = output.find("tps = ");
    if (at == output.npos) throw std::runtime_error("pgbench said: " + output);
    return std::stod(output.substr(at + 6));
  }

 private:
  void prepare(Bench& bench, Side side) {
    if (!addresses_[side].empty()) return;
    if (side == Side::snowglobe) {
      const auto endpoint = bench.snowglobe().expose({.user = "postgres"});
      addresses_[side] = endpoint.uri() + "?sslmode=disable";
    } else {
      addresses_[side] = bench.conninfo(side);
    }
    run(bench, side, {"-i", "-q", "-s1"}, std::chrono::minutes(2));
  }

  std::string run(Bench& bench, Side side, const std::vector<std::string>& options,
                  std::chrono::milliseconds limit) {
    const fs::path testing = bench.plan().image / "testing";
    std::vector<std::string> command = {(testing / "bin/pgbench").string()};
    ChildOptions child{.environment = {{"LD_LIBRARY_PATH", (testing / "lib").string()}}};
    if (!fs::exists(command[0])) {
      command[0] = (bench.plan().host_bin / "pgbench").string();
      child.environment.clear();
    }
    if (!fs::exists(command[0]))
      throw std::runtime_error("there is no pgbench: ./dev guest --testing");
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(addresses_[side]);
    return run_program(command, child, bench.plan().folder, limit);
  }

  Sides<std::string> addresses_;
};

const std::array kScripts = {Script{"-S", {"-S"}}, Script{"TPC-B", {}}};

Task task(const std::shared_ptr<Pgbench>& pgbench, const Script& script, int clients,
          bool spinning) {
  const std::string name =
      fmt::format("pgbench {}, {} client{}", script.name, clients, clients == 1 ? "" : "s") +
      beside(spinning);
  return {name, [=, &script](Bench& bench, const Emit& emit) {
            const Spinner busy(spinning);
            const auto once = [&](Side side) {
              return pgbench->rate(bench, side, script, clients);
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
  const auto pgbench = std::make_shared<Pgbench>();
  for (const bool spinning : {false, true}) {
    for (const Script& script : kScripts) {
      for (const int clients : {1, 4})
        suite.tasks.push_back(task(pgbench, script, clients, spinning));
    }
  }
  return suite;
}

}  // namespace bench
