// bench/suite_boot.cc - from nothing to the first query, in seconds and in guest instructions.
#include "bench/suites.h"

namespace bench {
namespace {

struct Boot {
  double seconds = 0;
  double instructions = 0;
};

Boot boot_once() {
  Boot boot;
  boot.seconds = time([&] {
                   auto database = snowglobe::Database::open_in_memory();
                   database.execute("select 1");
                   boot.instructions = static_cast<double>(database.stats().instructions);
                 }).count();
  return boot;
}

}  // namespace

void run_boot_suite(Servers& servers, Report& report, bool quick) {
  report.begin_suite("boot",
                     "cold start to the first query's answer; a native server starts without a "
                     "kernel, on a cluster that it knows");
  const int rounds = quick ? 3 : 7;
  Timings ours;
  Timings twin;
  Timings native;
  double instructions = 0;
  for (int round = 0; round < rounds; ++round) {
    const Boot boot = boot_once();
    ours.add(Seconds(boot.seconds));
    instructions = boot.instructions;
    if (servers.twin) twin.add(Seconds(servers.twin->restart()));
    if (servers.native) native.add(Seconds(servers.native->restart()));
  }
  const auto median = [](bool there, const Timings& timings) {
    return there ? std::optional(timings.median().count() * 1e3) : std::nullopt;
  };
  report.add({.name = "cold boot to first query",
              .unit = "ms",
              .snowglobe = ours.median().count() * 1e3,
              .twin = median(servers.twin != nullptr, twin),
              .native = median(servers.native != nullptr, native)});
  report.add({.name = "cold boot to first query",
              .unit = "M insn",
              .snowglobe = instructions / 1e6,
              .twin = std::nullopt,
              .native = std::nullopt});
  report.end_suite();
}

}  // namespace bench
