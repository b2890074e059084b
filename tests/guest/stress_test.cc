// tests/guest/stress_test.cc - PostgreSQL on a translator for which rare things are common: tiny
// blocks, a tiny code memory, dropped pages, evicted windows, safepoints at random.
#include "api/src/database_state.h"
#include "api/src/instance.h"
#include "vm/cpu/translator/options.h"
#include <snowglobe/snowglobe.hpp>

#include <gtest/gtest.h>
#include <string>

namespace snowglobe {
namespace {

struct Case {
  const char* name;
  vm::TranslatorOptions options;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

class StressTest : public ::testing::TestWithParam<Case> {};

void check_arithmetic(Database& db) {
  EXPECT_EQ(db.one<std::string>("select md5(string_agg(md5(i::text), ',' order by i)) "
                                "from generate_series(1, 2000) i"),
            db.one<std::string>("select md5(string_agg(t, ',' order by i desc)) from (select -i as "
                                "i, md5(i::text) as t from generate_series(1, 2000) i) s"));
  EXPECT_EQ(db.one<std::int64_t>("select sum(i) from generate_series(1, 20000) i"), 200'010'000);
  EXPECT_EQ(db.one<std::string>("select (sum(1.5::numeric * i) / 3)::numeric(20, 4)::text "
                                "from generate_series(1, 3000) i"),
            "2250750.0000");
  EXPECT_EQ(db.one<double>("select sum(sqrt(i::float8 * i)) from generate_series(1, 3000) i"),
            4'501'500.0);
}

void check_tables(Database& db) {
  db.script(
      "create table t(id int primary key, name text); "
      "insert into t select i, md5(i::text) from generate_series(1, 3000) i; "
      "create index on t(name); analyze t; "
      "update t set name = upper(name) where id % 3 = 0; delete from t where id % 5 = 0");
  EXPECT_EQ(db.one<std::int64_t>("select count(*) from t"), 2400);
  EXPECT_EQ(db.one<std::int64_t>("select count(*) from t a join t b using (name)"), 2400);
  EXPECT_EQ(db.one<std::int64_t>("select count(*) from t where name ~ '[A-F]'"), 800);
  db.script(
      "do $$ declare n int := 0; begin for i in 1..3000 loop begin n := n + i; if i % 500 = 0 then "
      "raise exception 'x'; end if; exception when others then n := n - i; end; end loop; "
      "if n <> 4501500 - 10500 then raise 'n is %', n; end if; end $$");
}

TEST_P(StressTest, ADatabaseWorks) {
  Options options;
  options.executor = Executor::translator;
  options.boot_limit = std::chrono::minutes(5);
  const auto instance = detail::Instance::boot(options, &GetParam().options);
  Database db(std::make_shared<detail::DatabaseState>(instance, options));
  check_arithmetic(db);
  check_tables(db);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(db.session().one<int>("select $1::int", i), i);
  const TranslatorStats stats = db.stats().translator;
  RecordProperty("blocks", std::to_string(stats.blocks));
  RecordProperty("code_flushes", std::to_string(stats.code_flushes));
  RecordProperty("window_drops", std::to_string(stats.window_drops));
}

constexpr std::size_t kTinyCode = std::size_t{1} << 20;

INSTANTIATE_TEST_SUITE_P(
    , StressTest,
    ::testing::Values(
        Case{"BlocksOfOneInstruction", {.max_insns = 1}},
        Case{"BlocksOfThreeInstructions", {.cold_runs = 0, .max_insns = 3}},
        Case{"TinyCodeMemory", {.code_bytes = kTinyCode, .cold_runs = 0}},
        Case{"ExactCounts", {.count_instructions = true}},
        Case{"NeverLinked", {.count_instructions = true, .unchained = true}},
        Case{"RareEvents", {.stress_period = 5000, .stress_seed = 7}},
        Case{"AllTogether",
             {.code_bytes = 2 * kTinyCode, .cold_runs = 1, .max_insns = 2, .stress_period = 5000}}),
    name_of);

}  // namespace
}  // namespace snowglobe
