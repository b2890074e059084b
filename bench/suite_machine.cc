// bench/suite_machine.cc - what a machine costs beside its work: its boot, its idling, and the
// guest's instructions of small things.
#include "bench/processes.h"
#include "bench/servers.h"
#include "bench/suites.h"
#include <thread>

namespace bench {
namespace {

constexpr double kBootBound = 2000;    // ms
constexpr double kIdleBound = 0.5;     // % of a core
constexpr double kOutsideBound = 0.1;  // % of the guest's instructions

double boot_once(Bench& bench) {
  return milliseconds([&] {
    auto database = snowglobe::Database::open_in_memory(bench.plan().options);
    database.execute("select 1");
  });
}

void boot(Bench& bench, const Emit& emit) {
  const NativeServers servers = own_servers(bench.plan());
  const auto batch = [&](Side side, Samples& samples) {
    if (side == Side::snowglobe) return samples.add(boot_once(bench));
    samples.add(servers[side]->restart() * 1e3);
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

// A little of all: new sessions, changes, a sort, arithmetic.
void mixture(const std::string& conninfo, int count) {
  for (int i = 0; i < count; ++i) {
    select_one(conninfo, 100);
    Client client(conninfo);
    client.run("create temp table t(id int primary key, word text)");
    client.run("insert into t select i, md5(i::text) from generate_series(1, 5000) i");
    client.run("select count(*) from (select word from t order by word offset 0) s");
    client.run("select sum(id::numeric / 3), stddev(id::float8) from t where word like '%a%'");
  }
}

snowglobe::Database open_with(Bench& bench, snowglobe::Executor executor) {
  snowglobe::Options options = bench.plan().options;
  options.executor = executor;
  auto database = snowglobe::Database::open_in_memory(options);
  database.execute("select 1");
  return database;
}

// Instructions that the interpreter's functions ran: all of them in the interpreter, else what the
// translated code left to them.
struct Interpreted {
  double all = 0;
  double handled = 0;  ///< of these, called from translated code for one instruction
};

Interpreted operator-(const Interpreted& a, const Interpreted& b) {
  return {a.all - b.all, a.handled - b.handled};
}

Interpreted cost_of(snowglobe::Database& database, const Work& work, int count) {
  const auto now = [&database] {
    const snowglobe::Stats stats = database.stats();
    return Interpreted{static_cast<double>(stats.instructions),
                       static_cast<double>(stats.translator.handled)};
  };
  const Interpreted before = now();
  work(database.conninfo(), count);
  return now() - before;
}

// Of one more operation: the difference of a long and a short run, so that what does not repeat
// falls out.
Interpreted cost_each(snowglobe::Database& database, const Work& work, int count) {
  cost_of(database, work, count);
  const Interpreted few = cost_of(database, work, count);
  const Interpreted rest = cost_of(database, work, 3 * count) - few;
  return {rest.all / (2 * count), rest.handled / (2 * count)};
}

void emit_figure(const Emit& emit, const std::string& name, const std::string& unit, double figure,
                 std::optional<double> bound = std::nullopt) {
  Row row{.name = name, .unit = unit, .ratio = Ratio::none, .bound = bound};
  row.warm[Side::snowglobe] = figure;
  emit(row);
}

void instructions(Bench& bench, const Emit& emit) {
  auto database = open_with(bench, snowglobe::Executor::interpreter);
  emit_figure(emit, "guest instructions: boot to the first query's answer", "k",
              static_cast<double>(database.stats().instructions) / 1e3);
  emit_figure(emit, "guest instructions: select 1", "k",
              cost_each(database, select_one, 100).all / 1e3);
  emit_figure(emit, "guest instructions: new connection and select 1", "k",
              cost_each(database, connect, 5).all / 1e3);
}

// The translator does not count what its code runs; the interpreter does, for the same work.
void outside(Bench& bench, const Emit& emit) {
  if (bench.snowglobe().info().executor != "translator") return;
  const int count = bench.choose(6, 2);
  auto interpreter = open_with(bench, snowglobe::Executor::interpreter);
  const double all = cost_each(interpreter, mixture, count).all;
  const Interpreted left = cost_each(bench.snowglobe(), mixture, count);
  emit_figure(emit, "guest instructions outside of translated code", "%",
              (left.all - left.handled) / all * 100, kOutsideBound);
  emit_figure(emit, "guest instructions run by helpers", "%", left.handled / all * 100);
}

}  // namespace

Suite machine_suite() {
  return {.name = "machine",
          .remark = "beside its work; a native server starts without a kernel",
          .tasks = {{"cold boot", boot},
                    {"idle machine", idle},
                    {"instructions", instructions},
                    {"outside of translated code", outside}}};
}

}  // namespace bench
