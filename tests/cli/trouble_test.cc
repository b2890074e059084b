// tests/cli/trouble_test.cc - Ctrl-C, and what else comes at a bad moment.
#include "tests/cli/command.h"

#include <chrono>
#include <csignal>
#include <gtest/gtest.h>

namespace snowglobe::testing {
namespace {

using Clock = std::chrono::steady_clock;

TEST(CtrlC, TheFirstCancelsTheStatement) {
  Started sql(Started::On::pipe, {"sql", "\\warn up", "select pg_sleep(60)", "\\warn not reached"});
  sql.wait_for("up");
  usleep(200'000);
  const auto start = Clock::now();
  sql.signal(SIGINT);
  EXPECT_EQ(sql.wait(), 130);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
}

TEST(CtrlC, TheSecondClosesTheThirdExitsAtOnce) {
  Started sql(Started::On::pipe,
              {"sql",
               "create function f() returns void language plpgsql as $$ begin loop begin "
               "perform pg_sleep(1); exception when query_canceled then raise warning 'again'; "
               "end; end loop; end $$",
               "\\warn up", "select f()"});
  sql.wait_for("up");
  usleep(300'000);
  sql.signal(SIGINT);
  usleep(300'000);
  sql.signal(SIGINT);
  EXPECT_EQ(sql.wait(), 130);
  Started third(Started::On::pipe, {"sql", "\\warn up", "select pg_sleep(60)"});
  third.wait_for("up");
  for (int i = 0; i < 3; ++i) {
    third.signal(SIGINT);
    usleep(20'000);
  }
  EXPECT_EQ(third.wait(), 130);
}

TEST(CtrlC, TermClosesAndEndsWith143) {
  Started sql(Started::On::pipe, {"sql", "\\warn up", "select pg_sleep(60)"});
  sql.wait_for("up");
  usleep(100'000);
  sql.signal(SIGTERM);
  EXPECT_EQ(sql.wait(), 143);
}

TEST(CtrlC, EndsAStartThatIsUnderWay) {
  Started cold(Started::On::pipe, {"--cold", "sql", "select 1"});
  usleep(150'000);
  cold.signal(SIGINT);
  EXPECT_EQ(cold.wait(), 130);
}

TEST(Trouble, AReaderThatHasGoneDoesNotHangIt) {
  const Ran ran = run_program(
      {"sh", "-c",
       std::string(SNOWGLOBE_COMMAND) +
           " sql -At 'select repeat(i::text, 100) from generate_series(1, 20000) i' | head -n 1"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out.size(), 101u);
}

TEST(Trouble, WhatWasNotKeptIsGone) {
  EXPECT_EQ(snowglobe({"sql", "create table kept()"}).code, 0);
  EXPECT_EQ(snowglobe({"sql", "select * from kept"}).code, 3);
}

TEST(Trouble, ADatabaseErrorInTheMiddleOfAFileNamesItsLine) {
  const Ran ran =
      snowglobe({"sql"}, {.input = "select 1;\nselect 2,\n  nonsense\n  from nowhere;\n"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_NE(ran.err.find("LINE 3:   from nowhere"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace snowglobe::testing
