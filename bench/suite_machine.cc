// bench/suite_machine.cc - what a machine costs beside its work: its boot, its idling, and the
// guest's instructions of small things.
#include "bench/processes.h"
#include "bench/suites.h"
#include <stdexcept>
#include <thread>

namespace bench {
namespace {

constexpr double kBootBound = 2000;  // ms
constexpr double kIdleBound = 0.5;   // % of a core

double boot_once(Bench& bench) {
  return milliseconds([&] {
    auto database = snowglobe::Database::open_in_memory(bench.plan().options);
    database.execute("select 1");
  });
}

// Native servers of this process alone, since those of the other rows are not ours to restart.
struct Restarted {
  explicit Restarted(const Plan& plan) {
    const NativeOptions options{.settings = plan.settings, .folder = plan.folder};
    std::string why;
    if (!plan.conninfo[Side::native].empty()) {
      servers[Side::native] = NativeServer::host(why, options);
    }
    if (!plan.conninfo[Side::twin].empty()) {
      servers[Side::twin] = NativeServer::twin(plan.image, why, options);
    }
    if (!why.empty()) throw std::runtime_error(why);
  }
  Sides<std::unique_ptr<NativeServer>> servers;
};

void boot(Bench& bench, const Emit& emit) {
  const Restarted restarted(bench.plan());
  const auto batch = [&](Side side, Samples& samples) {
    if (side == Side::snowglobe) return samples.add(boot_once(bench));
    samples.add(restarted.servers[side]->restart() * 1e3);
  };
  Row row = row_of(bench, "cold boot to the first query's answer", "ms",
                   alternate(bench, bench.choose(7, 3), batch),
                   Ratio::none);  // a native server starts without a kernel
  row.bound = kBootBound;
  emit(row);
}

void idle(Bench& bench, const Emit& emit) {
  Client(bench.conninfo(Side::snowglobe)).run("select 1");
  std::this_thread::sleep_for(std::chrono::seconds(bench.choose(5, 2)));  // what goes on behind it
  const std::chrono::duration<double> span = std::chrono::seconds(bench.choose(20, 8));
  Sides<double> before;
  const auto cpu_seconds = [&](Side side) {
    return side == Side::snowglobe ? own_cpu_seconds()
                                   : tree_cpu_seconds(bench.plan().postmaster[side]);
  };
  for (const Side side : bench.sides())
    before[side] = cpu_seconds(side);
  std::this_thread::sleep_for(span);
  Row row{.name = "idle machine, share of a core", .unit = "%", .ratio = Ratio::none};
  for (const Side side : bench.sides())
    row.warm[side] = (cpu_seconds(side) - before[side]) / span.count() * 100;
  row.bound = kIdleBound;
  emit(row);
}

using Work = std::function<void(const std::string& conninfo, int count)>;

void select_one(const std::string& conninfo, int count) {
  Client client(conninfo);
  for (int i = 0; i < count; ++i)
    client.run("select 1");
}

void connect(const std::string& conninfo, int count) {
  for (int i = 0; i < count; ++i)
    select_one(conninfo, 1);
}

// Guest instructions of one more operation: the difference of a long and a short run, so that what
// does not repeat falls out.
double instructions_each(snowglobe::Database& database, const Work& work, int count) {
  const auto cost = [&](int repetitions) {
    const auto before = database.stats().instructions;
    work(database.conninfo(), repetitions);
    return static_cast<double>(database.stats().instructions - before);
  };
  cost(count);
  const double few = cost(count);
  const double many = cost(3 * count);
  return (many - few) / (2.0 * count);
}

void emit_instructions(const Emit& emit, const std::string& name, double count) {
  Row row{.name = "guest instructions: " + name, .unit = "k", .ratio = Ratio::none};
  row.warm[Side::snowglobe] = count / 1e3;
  emit(row);
}

void instructions(Bench& bench, const Emit& emit) {
  snowglobe::Database& database = bench.snowglobe();
  emit_instructions(emit, "select 1", instructions_each(database, select_one, 100));
  emit_instructions(emit, "new connection and select 1", instructions_each(database, connect, 5));
  auto fresh = snowglobe::Database::open_in_memory(bench.plan().options);
  fresh.execute("select 1");
  emit_instructions(emit, "boot to the first query's answer",
                    static_cast<double>(fresh.stats().instructions));
}

}  // namespace

Suite machine_suite() {
  return {.name = "machine",
          .remark = "beside its work; a native server starts without a kernel",
          .tasks = {{"cold boot", boot}, {"idle machine", idle}, {"instructions", instructions}}};
}

}  // namespace bench
