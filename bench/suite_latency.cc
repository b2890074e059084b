// bench/suite_latency.cc - the small things that tests do all day, in time and in guest
// instructions.
#include "bench/suites.h"

namespace bench {
namespace {

using Work = std::function<void(const std::string& conninfo, int count, Timings& timings)>;

void select_one(const std::string& conninfo, int count, Timings& timings) {
  Client client(conninfo);
  for (int i = 0; i < count / 10; ++i)
    client.run("select 1");
  for (int i = 0; i < count; ++i)
    timings.add(time([&] { client.run("select 1"); }));
}

void insert_row(const std::string& conninfo, int count, Timings& timings) {
  Client client(conninfo);
  client.run("create temp table scratch(id int primary key, name text)");
  for (int i = 0; i < count; ++i) {
    const std::string sql = "insert into scratch values (" + std::to_string(i) + ", 'name')";
    timings.add(time([&] { client.run(sql); }));
  }
}

void connect_and_select(const std::string& conninfo, int count, Timings& timings) {
  for (int i = 0; i < count; ++i) {
    timings.add(time([&] {
      Client client(conninfo);
      client.run("select 1");
    }));
  }
}

struct Measured {
  std::optional<double> median;
  std::optional<double> p99;
};

Measured measure(const std::string& conninfo, const Work& work, int count) {
  if (conninfo.empty()) return {};
  Timings timings;
  work(conninfo, count, timings);
  return {timings.median().count() * 1e6, timings.percentile(0.99).count() * 1e6};
}

void compare(Servers& servers, Report& report, const std::string& name, const Work& work,
             int count) {
  const Measured ours = measure(servers.snowglobe_conninfo(), work, count);
  const Measured twin = measure(servers.twin_conninfo(), work, count);
  const Measured native = measure(servers.native_conninfo(), work, count);
  report.add({.name = name + ", p50",
              .unit = "us",
              .snowglobe = ours.median,
              .twin = twin.median,
              .native = native.median,
              .in_geomean = true});
  report.add({.name = name + ", p99",
              .unit = "us",
              .snowglobe = ours.p99,
              .twin = twin.p99,
              .native = native.p99});
}

// Guest instructions of one more operation: the difference of a long and a short run, so that what
// does not repeat falls out.
double instructions_each(snowglobe::Database& database, const Work& work, int count) {
  const auto cost = [&](int repetitions) {
    Timings ignored;
    const auto before = database.stats().instructions;
    work(database.conninfo(), repetitions, ignored);
    return static_cast<double>(database.stats().instructions - before);
  };
  cost(count);
  const double few = cost(count);
  const double many = cost(3 * count);
  return (many - few) / (2.0 * count);
}

void count_instructions(Servers& servers, Report& report, const std::string& name, const Work& work,
                        int count) {
  report.add({.name = name,
              .unit = "k insn",
              .snowglobe = instructions_each(*servers.snowglobe, work, count) / 1e3,
              .twin = std::nullopt,
              .native = std::nullopt});
}

}  // namespace

void run_latency_suite(Servers& servers, Report& report, bool quick) {
  report.begin_suite("latency",
                     "one client; snowglobe through the pipe in the process, the others over "
                     "loopback TCP");
  const int count = quick ? 300 : 2000;
  compare(servers, report, "select 1, warm session", select_one, count);
  compare(servers, report, "insert of a row, warm session", insert_row, count);
  compare(servers, report, "connect, select 1, close", connect_and_select, count / 20);
  report.end_suite();
  count_instructions(servers, report, "select 1", select_one, 100);
  count_instructions(servers, report, "connect, select 1, close", connect_and_select, 5);
}

}  // namespace bench
