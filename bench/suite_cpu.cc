// bench/suite_cpu.cc - eleven statements that only compute.
#include "bench/suites.h"
#include <array>
#include <fmt/core.h>

namespace bench {
namespace {

struct Statement {
  const char* name;
  const char* sql;  // {n}: the size
  int size;
};

// 500k rows in three narrow tables: each fits into a quarter of the shared buffers, beyond which
// PostgreSQL would read it from the kernel each time. {n}: rows of the large ones, {m}: of the
// small.
constexpr const char* kTables = R"(
  drop table if exists words, lines, lines8, parts;
  create unlogged table words as select md5(i::text) as word from generate_series(1, {n}) i;
  create unlogged table lines as
    select (i % 7)::int as kind, (i % 50)::numeric as quantity,
           (i * 37::bigint % 10007)::numeric / 100 as price, (i % 11)::numeric / 100 as discount
    from generate_series(1, {n}) i;
  create unlogged table lines8 as
    select kind, quantity::float8, price::float8, discount::float8 from lines;
  create unlogged table parts as
    select i as id, ((i * 7919::bigint) % {m} + 1)::int as other, i % 1000 as brand
    from generate_series(1, {m}) i;
  vacuum analyze words; vacuum analyze lines; vacuum analyze lines8; vacuum analyze parts;
  select count(*) from words; select count(*) from lines; select count(*) from lines8)";

// TPC-H Q1's aggregates.
#define SNOWGLOBE_BENCH_Q1(table)                                                            \
  "select kind, sum(quantity), sum(price), sum(price * (1 - discount)), "                    \
  "sum(price * (1 - discount) * (1 + discount)), avg(quantity), avg(price), avg(discount), " \
  "count(*) from " table " group by kind order by kind"

constexpr std::array kStatements = {
    Statement{"sum over generate_series", "select sum(i) from generate_series(1, {n}) i",
              1'000'000},
    Statement{"sort of md5 texts",
              "select count(*) from (select word from words order by word offset 0) s", 500'000},
    Statement{"hash join and group by",
              "select count(*) from (select b.brand, count(*), sum(a.id) from parts a join parts b "
              "on a.other = b.id group by b.brand) s",
              200'000},
    Statement{"numeric aggregates, TPC-H Q1", SNOWGLOBE_BENCH_Q1("lines"), 500'000},
    Statement{"float8 aggregates, TPC-H Q1", SNOWGLOBE_BENCH_Q1("lines8"), 500'000},
    Statement{"recursive CTE",
              "with recursive r(n) as (select 1 union all select n + 1 from r where n < {n}) "
              "select sum(n) from r",
              500'000},
    Statement{"jsonb build and extract",
              "select sum((jsonb_build_object('id', i, 'word', 'w' || i, 'list', "
              "jsonb_build_array(i, i + 1))->'list'->>1)::int) from generate_series(1, {n}) i",
              100'000},
    Statement{"PL/pgSQL loop",
              "do $$ declare s bigint := 0; begin for i in 1..{n} loop s := s + i % 7; end loop; "
              "end $$",
              1'000'000},
    Statement{"create index on md5 texts", "create index on words(word)", 500'000},
    Statement{"LIKE scan", "select count(*) from words where word like '%abc%'", 500'000},
    Statement{"regular expression scan", "select count(*) from words where word ~ 'a[0-9]+b[c-f]'",
              500'000},
};

#undef SNOWGLOBE_BENCH_Q1

std::string replaced(std::string text, const std::string& key, int value) {
  for (std::size_t at = text.find(key); at != text.npos; at = text.find(key, at))
    text.replace(at, key.size(), std::to_string(value));
  return text;
}

// One connection a side, with the tables; lives as long as the worker.
class Tables {
 public:
  Sides<std::unique_ptr<Client>>& clients(Bench& bench) {
    if (clients_[Side::snowglobe]) return clients_;
    Sides<std::unique_ptr<Client>> clients = connect_all(bench);
    const std::string sql =
        replaced(replaced(kTables, "{n}", bench.scaled(500'000)), "{m}", bench.scaled(200'000));
    for (const Side side : bench.sides())
      run_each(*clients[side], sql);
    clients_ = std::move(clients);
    return clients_;
  }

 private:
  // VACUUM wants to be a statement of its own.
  static void run_each(Client& client, const std::string& sql) {
    for (std::size_t at = 0; at < sql.size();) {
      const std::size_t end = std::min(sql.find(';', at), sql.size());
      client.run(sql.substr(at, end - at));
      at = end + 1;
    }
  }

  Sides<std::unique_ptr<Client>> clients_;
};

void measure(Bench& bench, const Emit& emit, Tables& tables, const Statement& statement) {
  const int size = bench.scaled(statement.size);
  const std::string sql = replaced(statement.sql, "{n}", size);
  Sides<std::unique_ptr<Client>>& clients = tables.clients(bench);
  const auto once = [&](Side side) {
    const double took = milliseconds([&] { clients[side]->run(sql); });
    clients[side]->run("drop index if exists words_word_idx");
    return took;
  };
  Row row = row_of(bench, fmt::format("{}: {}", statement.name, size), "ms",
                   alternate_one(bench, bench.choose(5, 3), once));
  row.bound = 2.5;
  row.in_geomean = true;
  emit(row);
}

}  // namespace

Suite cpu_suite() {
  Suite suite{.name = "cpu",
              .remark = "CPU-bound statements; medians of alternating runs in one session a side",
              .tasks = {}};
  const auto tables = std::make_shared<Tables>();
  for (const Statement& statement : kStatements) {
    suite.tasks.push_back({statement.name, [tables, &statement](Bench& bench, const Emit& emit) {
                             measure(bench, emit, *tables, statement);
                           }});
  }
  return suite;
}

}  // namespace bench
