// bench/suite_cpu.cc - statements that only compute, and the rate at which the guest executes.
#include "bench/suites.h"
#include <array>

namespace bench {
namespace {

struct Statement {
  const char* name;
  const char* sql;
};

constexpr const char* kSetup =
    "create temp table lineitem as select i as id, i % 7 as kind, (i * 37 % 10007)::numeric / 100 "
    "as "
    "price, (i * 37 % 10007)::float8 / 100 as price8, md5(i::text) as word "
    "from generate_series(1, 100000) i; analyze lineitem";

constexpr std::array kStatements = {
    Statement{"sum over generate_series, 1M",
              "select count(*), sum(i) from generate_series(1, 1000000) i"},
    Statement{"sort of 100k md5 texts",
              "select count(*) from (select word from lineitem order by word offset 0) s"},
    Statement{"hash join and group by, 100k",
              "select count(*) from (select a.kind, b.id, count(*) from lineitem a join lineitem b "
              "on a.id = b.id * 2 group by 1, 2) s"},
    Statement{"numeric aggregates, 100k",
              "select sum(price), avg(price), sum(price * (1 - price / 1000)) from lineitem"},
    Statement{"float8 aggregates, 100k",
              "select sum(price8), avg(price8), stddev(price8), sum(sqrt(price8)) from lineitem"},
    Statement{"recursive CTE, 200k",
              "with recursive r(n) as (select 1 union all select n + 1 from r where n < 200000) "
              "select sum(n) from r"},
    Statement{"jsonb build and extract, 50k",
              "select sum((jsonb_build_object('a', id, 'b', word)->>'a')::int) from lineitem "
              "where id <= 50000"},
    Statement{
        "PL/pgSQL loop, 500k",
        "do $$ declare s bigint := 0; begin for i in 1..500000 loop s := s + i % 7; end loop; "
        "end $$"},
    Statement{"create index on 100k texts",
              "create index word_index on lineitem(word); drop index word_index"},
    Statement{"LIKE over 100k", "select count(*) from lineitem where word like '%abc%'"},
    Statement{"regular expression over 100k",
              "select count(*) from lineitem where word ~ 'a[0-9]+b[c-f]'"},
};

// One connection a server, all set up alike.
std::unique_ptr<Client> prepare(const std::string& conninfo) {
  if (conninfo.empty()) return nullptr;
  auto client = std::make_unique<Client>(conninfo);
  client->run(kSetup);
  return client;
}

}  // namespace

void run_cpu_suite(Servers& servers, Report& report, bool quick) {
  report.begin_suite("cpu", "CPU-bound statements; median of alternating runs after one warm-up");
  const auto ours = prepare(servers.snowglobe_conninfo());
  const auto twin = prepare(servers.twin_conninfo());
  const auto native = prepare(servers.native_conninfo());
  const int rounds = quick ? 1 : 3;
  double instructions = 0;
  double seconds = 0;
  for (const Statement& statement : kStatements) {
    Timings timings[3];
    for (int round = 0; round <= rounds; ++round) {
      Client* const clients[3] = {ours.get(), twin.get(), native.get()};
      for (int i = 0; i < 3; ++i) {
        if (clients[i] == nullptr) continue;
        const auto before = servers.snowglobe->stats().instructions;
        const Seconds took = time([&] { clients[i]->run(statement.sql); });
        if (round == 0) continue;
        timings[i].add(took);
        if (i != 0) continue;
        instructions += static_cast<double>(servers.snowglobe->stats().instructions - before);
        seconds += took.count();
      }
    }
    const auto median = [&](int i, bool there) {
      return there ? std::optional(timings[i].median().count() * 1e3) : std::nullopt;
    };
    report.add({.name = statement.name,
                .unit = "ms",
                .snowglobe = median(0, true),
                .twin = median(1, twin != nullptr),
                .native = median(2, native != nullptr),
                .in_geomean = true});
  }
  report.end_suite();
  report.add({.name = "guest instructions, all statements",
              .unit = "M/s",
              .snowglobe = instructions / seconds / 1e6,
              .twin = std::nullopt,
              .native = std::nullopt});
}

}  // namespace bench
