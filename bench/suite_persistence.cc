// bench/suite_persistence.cc - a database in a folder beside servers whose clusters lie on the same
// disk: commits that wait for it, tables that pass through it, opens after a close and after a
// kill.
#include "bench/ground.h"
#include "bench/pgbench.h"
#include "bench/servers.h"
#include "bench/suites.h"
#include "bench/trial.h"
#include <filesystem>
#include <fmt/core.h>
#include <stdexcept>

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr double kCommitBound = 1.3;  // ratio
constexpr double kTableBound = 2;     // ratio
constexpr double kReopenBound = 40;   // ms
constexpr double kRecoveryBound = 2;  // ratio
constexpr int kLogMegabytes = 50;

// The three on one disk. What is set for the machines of other suites has here the value that this
// one has without, on all sides.
class Shop {
 public:
  explicit Shop(Bench& bench)
      : database_(snowglobe::Database::open(path_of(bench), plain_options(bench))) {
    Plan plan = bench.plan();
    plan.folder = plan.disk;
    Client own(database_.conninfo());
    for (auto& [name, setting] : plan.settings)
      setting = own.run(fmt::format("select current_setting('{}', true)", name));
    servers_ = own_servers(plan);
  }

  static fs::path path_of(const Bench& bench) { return bench.plan().disk / "shop.globe"; }
  static Shop& of(Bench& bench) {
    static Shop shop(bench);  // of the worker's process
    return shop;
  }

  std::string conninfo(Side side) {
    return side == Side::snowglobe ? database_.conninfo() : servers_[side]->conninfo();
  }
  std::string address(Side side) {
    if (side != Side::snowglobe) return servers_[side]->conninfo();
    return database_.expose({.user = "postgres"}).uri() + "?sslmode=disable";
  }

 private:
  snowglobe::Database database_;
  NativeServers servers_;
};

Sides<std::unique_ptr<Client>> clients_of(Bench& bench) {
  Sides<std::unique_ptr<Client>> clients;
  for (const Side side : bench.sides())
    clients[side] = std::make_unique<Client>(Shop::of(bench).conninfo(side));
  return clients;
}

void commits(Bench& bench, const Emit& emit) {
  const int rows = bench.scaled(10'000);
  const auto clients = clients_of(bench);
  const auto once = [&](Side side) {
    clients[side]->run("drop table if exists t; create table t(id int primary key, word text)");
    return milliseconds([&] {
      for (int i = 1; i <= rows; ++i)
        clients[side]->run(fmt::format("insert into t values ({}, 'a word')", i));
    });
  };
  Sides<Series> series;
  for (int round = 0; round <= bench.choose(3, 3); ++round) {
    for (const Side side : bench.sides()) {
      const double figure = once(side);
      if (round == 0) series[side].first = figure;
      if (round != 0) series[side].warm.add(figure);
    }
  }
  Row row =
      row_of(bench, fmt::format("{} single INSERTs, each committed, on disk", rows), "ms", series);
  row.bound = kCommitBound;
  emit(row);
}

void tpc_b(Bench& bench, const Emit& emit) {
  Pgbench pgbench([](Bench& of, Side side) { return Shop::of(of).address(side); });
  for (const int clients : {1, 4}) {
    Sides<Series> series;
    for (int round = 0; round <= bench.choose(3, 2); ++round) {
      for (const Side side : bench.sides()) {
        const double figure = pgbench.rate(bench, side, {}, clients);
        if (round == 0) series[side].first = figure;
        if (round != 0) series[side].warm.add(figure);
      }
    }
    Row row = row_of(bench, fmt::format("pgbench TPC-B, {} client(s), on disk", clients), "tps",
                     series, Ratio::of_rates);
    row.bound = kCommitBound;
    emit(row);
  }
}

void tables(Bench& bench, const Emit& emit) {
  const int rows = bench.scaled(1'000'000);  // of a KB each
  const auto clients = clients_of(bench);
  Sides<Series> writing, reading;
  for (int round = 0; round <= bench.choose(2, 2); ++round) {
    if (round > 1 && bench.time_is_over()) break;  // the first one says nothing of warm ones
    for (const Side side : bench.sides()) {
      clients[side]->run(
          "drop table if exists big; create table big(id int, word text); checkpoint");
      const double wrote = milliseconds([&] {
        clients[side]->run(fmt::format(
            "insert into big select i, repeat('x', 1000) from generate_series(1, {}) i", rows));
        clients[side]->run("checkpoint");
      });
      clients[side]->run("vacuum (freeze) big");  // or the first scan writes it all again
      const double read =
          milliseconds([&] { clients[side]->run("select count(*), sum(length(word)) from big"); });
      for (auto& [series, figure] : {std::pair(&writing, wrote), std::pair(&reading, read)}) {
        if (round == 0) (*series)[side].first = figure;
        if (round != 0) (*series)[side].warm.add(figure);
      }
    }
  }
  const std::string size = fmt::format("a table of {} MB", rows / 1000);
  Row wrote = row_of(bench, size + " written, and a checkpoint", "ms", writing);
  wrote.bound = kTableBound;
  emit(wrote);
  Row read = row_of(bench, size + " read from end to end", "ms", reading);
  read.bound = kTableBound;
  emit(read);
  for (const Side side : bench.sides())
    clients[side]->run("drop table big");
}

void open_after_close(Bench& bench, const Emit& emit) {
  const std::string path = (bench.plan().disk / "closed.globe").string();
  const Trial trial{.name = "open", .path = path};
  run_trial(bench, trial);  // makes it
  Samples all, open;
  for (int round = 0; round < bench.choose(15, 5); ++round) {
    const TrialResult result = run_trial(bench, trial);
    all.add(result.opens.at(0).all);
    open.add(result.opens.at(0).open);
  }
  emit(own_row("open after a clean close to the first answer, new process", "ms",
               typical(bench, all), kReopenBound,
               fmt::format("open() {:.1f} ms", typical(bench, open))));
  fs::remove_all(path);
}

void open_after_kill(Bench& bench, const Emit& emit) {
  const std::string path = (bench.plan().disk / "killed.globe").string();
  Plan plan = bench.plan();
  plan.folder = plan.disk;
  const NativeServers servers = own_servers(plan);
  Sides<Series> series;
  for (int round = 0; round <= bench.choose(3, 2); ++round) {
    for (const Side side : {Side::native, Side::twin}) {
      if (!servers[side]) continue;
      {
        Client client(servers[side]->conninfo());
        client.run(kLogTable);
        client.run(log_statement(kLogMegabytes));
      }
      const double ms = servers[side]->restart_after_kill() * 1e3;
      if (round == 0) series[side].first = ms;
      if (round != 0) series[side].warm.add(ms);
    }
    run_until_killed(bench, {.name = "log", .count = kLogMegabytes, .path = path});
    const double ms = run_trial(bench, {.name = "open", .path = path}).opens.at(0).all;
    if (round == 0) series[Side::snowglobe].first = ms;
    if (round != 0) series[Side::snowglobe].warm.add(ms);
  }
  Row row =
      row_of(bench, fmt::format("open after a kill, with {} MB of log to replay", kLogMegabytes),
             "ms", series);
  row.bound = kRecoveryBound;
  row.remark = "native and twin: from exec of a server to its first answer";
  emit(row);
  fs::remove_all(path);
}

}  // namespace

Suite persistence_suite() {
  return {.name = "persistence",
          .remark = "databases in a folder; all clusters on one disk",
          .tasks = {{"commits on disk", commits},
                    {"pgbench TPC-B on disk", tpc_b},
                    {"large tables", tables},
                    {"open after a close", open_after_close},
                    {"open after a kill", open_after_kill}}};
}

}  // namespace bench
