// bench/suite_snapshots.cc - a running server as a value: how fast it is there, goes back, and is
// there a second time.
#include "bench/ground.h"
#include "bench/servers.h"
#include "bench/suites.h"
#include "bench/trial.h"
#include <filesystem>
#include <fmt/core.h>
#include <stdexcept>

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr double kOpenBound = 25;    // ms
constexpr double kRestoreBound = 2;  // ms
constexpr double kSaveBound = 10;    // ms
constexpr double kForkBound = 10;    // ms
constexpr double kMemoryBound = 12;  // MB
constexpr double kReadyBound = 12;   // MB
constexpr double kSavedMegabytes = 5;

// Measured on this kind of machine with these programs; from "go back" to the first answer.
constexpr const char* kOthersBack =
    "others, back to a state: PostgreSQL's template 29 ms (no session kept), QEMU loadvm 273 (67 "
    "inside), stop and copy of a native data directory 180, PGlite 665, pgmock 1362";
constexpr const char* kOthersOpen =
    "others, a new process from a saved state: native 70-100 ms, QEMU 400, PGlite 1400, pgmock "
    "3000";
constexpr const char* kOthersMemory =
    "others, each of ten instances: native 17 MiB, QEMU 130, PGlite 690";

// --- open

// Of many opens the figures of those in the same place.
struct Opens {
  Samples open, query, all;
  void add(const Open& figures) {
    open.add(figures.open);
    query.add(figures.query);
    all.add(figures.all);
  }
};

Row row_of_opens(const Bench& bench, const std::string& name, const Opens& opens) {
  return own_row(name, "ms", typical(bench, opens.all), kOpenBound,
                 fmt::format("open_in_memory() {:.1f} ms, first query {:.1f} ms",
                             typical(bench, opens.open), typical(bench, opens.query)));
}

// A row without a figure would pass for one that is within its bound.
void require_warm(const TrialResult& result) {
  if (result.started != "warm") throw std::runtime_error("no ready state: " + result.why_cold);
}

void open_warm(Bench& bench, const Emit& emit) {
  const std::string name = "warm open to the first answer";
  const Trial trial{.name = "open", .count = 3};
  const TrialResult first = run_trial(bench, trial);  // unpacks the state if nobody has
  require_warm(first);
  const NativeServers servers = own_servers(bench.plan());
  Opens fresh, again, beside_another;
  Samples from_exec;
  Sides<Samples> native;
  for (int round = 0; round < bench.choose(15, 5) && !bench.time_is_over(); ++round) {
    const TrialResult result = run_trial(bench, trial);
    fresh.add(result.opens.at(0));
    again.add(result.opens.at(1));
    beside_another.add(result.opens.at(2));
    from_exec.add(result.from_exec);
    for (const Side side : {Side::native, Side::twin})
      if (servers[side]) native[side].add(servers[side]->restart() * 1e3);
  }
  Row row = row_of_opens(bench, name + ", new process", fresh);
  for (const Side side : {Side::native, Side::twin})
    if (!native[side].empty()) row.warm[side] = typical(bench, native[side]);
  row.remark += fmt::format("; p90 {:.1f} ms; native and twin: a server's start\n    {}",
                            fresh.all.percentile(0.9), kOthersOpen);
  emit(row);
  emit(own_row(name + ", new process, from exec on", "ms", typical(bench, from_exec)));
  emit(row_of_opens(bench, name + ", again in the process", again));
  emit(row_of_opens(bench, name + ", beside another one", beside_another));
}

void open_first(Bench& bench, const Emit& emit) {
  const fs::path cache = bench.plan().disk / "cache";
  const TrialResult result =
      run_trial(bench, {.name = "open", .environment = {{"XDG_CACHE_HOME", cache.string()}}});
  require_warm(result);
  emit(own_row("first warm open of all, which unpacks the state", "ms", result.opens.at(0).all));
}

void open_cold(Bench& bench, const Emit& emit) {
  Opens opens;
  for (int round = 0; round < bench.choose(5, 2); ++round) {
    const TrialResult result = run_trial(bench, {.name = "open", .start = snowglobe::Start::cold});
    if (result.started != "cold") throw std::runtime_error("it started " + result.started);
    opens.add(result.opens.at(0));
  }
  Row row = row_of_opens(bench, "cold open to the first answer, new process", opens);
  row.bound.reset();
  emit(row);
}

void ready_size(Bench& bench, const Emit& emit) {
  std::error_code none;
  const std::uintmax_t bytes = fs::file_size(bench.plan().image / "ready.snap", none);
  Row row{.name = "ready state on disk", .unit = "MB", .ratio = Ratio::none, .bound = kReadyBound};
  if (none) throw std::runtime_error("the image has no ready state: ./dev guest makes it");
  row.warm[Side::snowglobe] = static_cast<double>(bytes) / 1e6;
  emit(row);
}

// --- restore

// The nearest that PostgreSQL has: a copy of a database, and a new session on it.
Sides<Samples> templates(Bench& bench, int rounds) {
  Sides<Samples> samples;
  for (const Side side : {Side::native, Side::twin}) {
    if (bench.plan().conninfo[side].empty()) continue;
    Client client(bench.conninfo(side));
    client.run("create database pristine");
    for (int round = 0; round < rounds; ++round) {
      samples[side].add(milliseconds([&] {
        client.run("create database scratch template pristine");
        Client(bench.conninfo(side) + " dbname=scratch").run("select 1");
      }));
      client.run("drop database scratch");
    }
    client.run("drop database pristine");
  }
  return samples;
}

void restore(Bench& bench, const Emit& emit, Ground& ground, bool spinning) {
  Samples call, answer, write;
  {
    const Spinner busy(spinning);
    for (int round = 0; round < bench.choose(500, 100) && !bench.time_is_over(); ++round) {
      write.add(milliseconds([&] { ground.write_small(100); }));
      double alone = 0;
      answer.add(milliseconds([&] {
        alone = milliseconds([&] { ground.database().restore(ground.empty()); });
        ground.expect_rows(0);
      }));
      call.add(alone);
    }
  }
  const std::string behind = beside(spinning);
  emit(own_row("100 rows written, restore: the call, p50" + behind, "ms", typical(bench, call)));
  Row row = own_row("100 rows written, restore, query, p50" + behind, "ms", typical(bench, answer),
                    kRestoreBound);
  row.first[Side::snowglobe] = answer.first();
  row.rounds = static_cast<int>(answer.count());
  if (!spinning) {
    const Sides<Samples> copies = templates(bench, bench.choose(20, 5));
    for (const Side side : {Side::native, Side::twin})
      if (!copies[side].empty()) row.warm[side] = typical(bench, copies[side]);
    row.remark = fmt::format(
        "the session is kept; writing takes {:.2f} ms; native and twin: create database ... "
        "template, connect, query\n    {}",
        typical(bench, write), kOthersBack);
  }
  emit(row);
  emit(own_row("100 rows written, restore, query, p90" + behind, "ms", answer.percentile(0.9)));
}

void pages(Bench& bench, const Emit& emit, Ground& ground) {
  constexpr double kPage = 4096 / 1e6;
  Samples with, without;
  for (int round = 0; round < bench.choose(9, 3); ++round) {
    ground.database().restore(ground.empty());
    ground.expect_rows(0);
    without.add(ground.save().megabytes / kPage);
    ground.database().restore(ground.empty());
    ground.write_small(100);
    with.add(ground.save().megabytes / kPage);
  }
  emit(own_row(
      "pages that change when 100 rows are written", "4 KB", with.median(), std::nullopt,
      fmt::format("from the restore on; {:.0f} if there is only a query", without.median())));
}

// --- save

void save(Bench& bench, const Emit& emit, Ground& ground) {
  const int rows = ground.large_rows_for(kSavedMegabytes);
  Samples times, dirty;
  for (int round = 0; round < bench.choose(30, 8) && !bench.time_is_over(); ++round) {
    ground.clean();
    ground.write_large(rows);
    const Ground::Saved saved = ground.save();
    times.add(saved.ms);
    dirty.add(saved.megabytes);
  }
  emit(own_row("save with 5 MB dirty, p50", "ms", typical(bench, times), kSaveBound,
               fmt::format("the whole call, the pause is less; dirty {:.1f} MB; p90 {:.1f} ms",
                           dirty.median(), times.percentile(0.9))));
}

// --- fork

void fork(Bench& bench, const Emit& emit, Ground& ground) {
  ground.database().restore(ground.empty());
  Samples call, answer;
  for (int round = 0; round < bench.choose(50, 10) && !bench.time_is_over(); ++round) {
    std::optional<snowglobe::Database> other;
    double alone = 0;
    answer.add(milliseconds([&] {
      alone = milliseconds([&] { other = ground.database().fork(ground.empty()); });
      if (other->one<int>("select count(*) from t") != 0) throw std::runtime_error("not empty");
    }));
    call.add(alone);
  }
  emit(own_row("fork: the call, p50", "ms", typical(bench, call)));
  Row row = own_row("fork to the first answer, p50", "ms", typical(bench, answer), kForkBound,
                    fmt::format("p90 {:.1f} ms", answer.percentile(0.9)));
  row.first[Side::snowglobe] = answer.first();
  row.rounds = static_cast<int>(answer.count());
  emit(row);
}

void forks(Bench& bench, const Emit& emit) {
  const int count = bench.choose(100, 30);
  const TrialResult result = run_trial(bench, {.name = "forks", .count = count});
  std::string parts;
  for (const auto& [kind, megabytes] : result.figures)
    if (kind != "sum")
      parts += fmt::format("{}{} {:.2f}", parts.empty() ? "" : ", ", kind, megabytes);
  emit(own_row(
      fmt::format("private memory of an idle fork, {} alive", count), "MB",
      result.figures.at("sum"), kMemoryBound,
      fmt::format("each (parent: {} start): {}\n    {}", result.started, parts, kOthersMemory)));
}

}  // namespace

Suite snapshots_suite() {
  const auto kept = std::make_shared<std::optional<Ground>>();
  const auto task = [&kept](const std::string& name, const auto& run) {
    return Task{name, [kept, run](Bench& bench, const Emit& emit) {
                  if (!*kept) kept->emplace(bench);
                  run(bench, emit, **kept);
                }};
  };
  Suite suite{.name = "snapshots",
              .remark = "a running server as a value; 256 MiB and the image's own settings",
              .tasks = {{"warm open", open_warm},
                        {"first open", open_first},
                        {"cold open", open_cold},
                        {"ready state", ready_size},
                        {"forks alive", forks}}};
  for (const bool spinning : {false, true}) {
    suite.tasks.push_back(task("restore" + beside(spinning),
                               [spinning](Bench& bench, const Emit& emit, Ground& ground) {
                                 restore(bench, emit, ground, spinning);
                               }));
  }
  suite.tasks.push_back(task("pages", pages));
  suite.tasks.push_back(task("save", save));
  suite.tasks.push_back(task("fork", fork));
  for (Task& stored : snapshot_store_tasks())
    suite.tasks.push_back(std::move(stored));
  return suite;
}

}  // namespace bench
