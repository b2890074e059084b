// tests/guest/trouble_test.cc - what goes wrong on a real machine: each time a clear typed error in
// bounded time, and the process goes on.
#include "tests/guest/machine_fixture.h"

#include <atomic>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::MachineTest;

using TroubleTest = MachineTest;

/// Runs what is to end within a bound.
template <class Fn>
void within(std::chrono::milliseconds bound, const Fn& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  EXPECT_LT(std::chrono::steady_clock::now() - start, bound);
}

TEST_F(TroubleTest, WrongSqlLeavesTheSessionAsItWas) {
  Session session = db().session();
  EXPECT_THROW(session.execute("selec 1"), SyntaxError);
  EXPECT_THROW(session.execute("select * from nowhere"), UndefinedTable);
  EXPECT_THROW(session.execute("select 1/0"), DivisionByZero);
  EXPECT_THROW(session.execute("select $1::text", "a\0b"s), InvalidArgument);
  EXPECT_THROW(session.execute("select $1::int", 1, 2), SqlError);
  EXPECT_THROW(session.execute("select $1::int + $2::int", 1), SqlError);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(TroubleTest, ATerminatedBackendIsAConnectionLostWhileItsQueryRuns) {
  Session session = db().session();
  const int pid = session.backend_pid();
  std::thread killer([&] {
    while (!db().one<bool>("select state = 'active' from pg_stat_activity where pid = $1", pid)) {
    }
    db().execute("select pg_terminate_backend($1)", pid);
  });
  within(60s, [&] {
    try {
      (void)session.query("select count(*) from generate_series(1, 2000000000)");
      ADD_FAILURE() << "the query went on";
    } catch (const ConnectionLost& error) {
      EXPECT_EQ(error.sqlstate(), "57P01");
    }
  });
  killer.join();
  EXPECT_THROW(session.execute("select 1"), ConnectionLost);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(TroubleTest, AKilledBackendTakesTheOthersWithItAndTheServerComesBack) {
  Session bystander = db().session();
  Session victim = db().session();
  db().guest().exec({"kill", "-9", std::to_string(victim.backend_pid())});
  within(60s, [&] { EXPECT_THROW((void)victim.query("select 1"), ConnectionLost); });
  within(60s, [&] {
    // PostgreSQL restarts all backends after a crash of one.
    EXPECT_THROW((void)bystander.query("select pg_sleep(10)"), ConnectionLost);
  });
  for (int attempt = 0; attempt < 100; ++attempt) {
    try {
      EXPECT_EQ(db().one<int>("select 1"), 1);
      return;
    } catch (const Error&) {
      std::this_thread::sleep_for(100ms);
    }
  }
  FAIL() << "the server did not come back";
}

TEST_F(TroubleTest, AStatementBeyondItsLimitIsCancelled) {
  Session session = db().session({.statement_limit = 300ms});
  within(60s, [&] {
    EXPECT_THROW((void)session.query("select count(*) from generate_series(1, 2000000000)"),
                 TimeoutError);
  });
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(TroubleTest, MemoryThatDoesNotSufficeForAQueryIsItsErrorAlone) {
  EXPECT_THROW(db().execute("select length(repeat('x', 1000000000))"), Error);
  for (int attempt = 0;; ++attempt) {
    try {
      EXPECT_EQ(db().one<int>("select 1"), 1);
      return;
    } catch (const Error&) {
      ASSERT_LT(attempt, 100);
      std::this_thread::sleep_for(100ms);
    }
  }
}

TEST_F(TroubleTest, AForkedChildsCopyDoesNothing) {
  Session session = db().session();
  session.execute("create temporary table mine(i int)");
  const pid_t child = fork();
  if (child == 0) {
    int status = 1;
    try {
      db().execute("select 1");
    } catch (const ConnectionLost&) {
      status = 0;
    }
    {
      const Session dropped = std::move(session);
      const Database gone = std::move(db());
    }
    _exit(status);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(session.one<int>("select count(*) from mine"), 0);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(TroubleTest, AStatementThatWantsMoreMemoryThanThereIsFailsAndNothingElseDoes) {
  Session beside = db().session();
  beside.execute("create temporary table mine(i int)");
  Session session = db().session();
  EXPECT_THROW((void)session.query("select length(array_agg(repeat('x', 1000) || i)::text) "
                                   "from generate_series(1, 400000) i"),
               OutOfMemory);
  EXPECT_EQ(session.one<int>("select 1"), 1);
  EXPECT_EQ(beside.one<int>("select count(*) from mine"), 0);
}

// What autovacuum does by itself: it samples 30,000 rows, with values of up to 1 kB twice, in 65
// MB. A machine of 128 MiB has not so much.
TEST_F(TroubleTest, ATableOfWideRowsCanBeAnalyzed) {
  Session session = db().session();
  session.script(
      "create table wide as select repeat('x', 1000) as word from generate_series(1, 32000);"
      "analyze wide");
  EXPECT_GT(session.one<double>("select reltuples from pg_class where relname = 'wide'"), 30'000);
}

TEST(Trouble, SettingsReachTheServerAndAWrongOneIsSaid) {
  Database db =
      Database::open_in_memory({.settings = {{"work_mem", "3MB"}, {"application_name", "a b"}}});
  EXPECT_EQ(db.one<std::string>("show work_mem"), "3MB");
  db.close();
  EXPECT_THROW((void)Database::open_in_memory({.settings = {{"no such", "x"}}}), InvalidArgument);
  try {
    (void)Database::open_in_memory({.settings = {{"work_mem", "a lot"}}});
    FAIL() << "the server took it";
  } catch (const GuestCrashed& error) {
    EXPECT_NE(std::string(error.what()).find("invalid value for parameter \"work_mem\""),
              std::string::npos)
        << error.what();
  }
}

TEST(Trouble, TheSmallestMachineWorksAndASmallerOneIsRefused) {
  EXPECT_THROW((void)Database::open_in_memory({.memory_mb = 47}), InvalidArgument);
  EXPECT_THROW((void)Database::open_in_memory({.memory_mb = 1025}), InvalidArgument);
  Database db = Database::open_in_memory({.memory_mb = 48});
  EXPECT_EQ(db.one<std::int64_t>("select sum(i) from generate_series(1, 1000) i"), 500500);
}

TEST(Trouble, ABootHasALimitAndCanBeCancelled) {
  Options options;
  options.start = Start::cold;
  options.boot_limit = 50ms;
  within(30s, [&] { EXPECT_THROW((void)Database::open_in_memory(options), TimeoutError); });
  options.boot_limit = 30s;
  std::stop_source stop;
  options.stop = stop.get_token();
  std::vector<Progress> seen;
  options.on_progress = [&](const Progress& progress) {
    seen.push_back(progress);
    if (progress.step == 2) stop.request_stop();
  };
  within(30s, [&] { EXPECT_THROW((void)Database::open_in_memory(options), Cancelled); });
  ASSERT_GE(seen.size(), 2U);
  EXPECT_EQ(seen[0].step, 1);
  EXPECT_EQ(seen[0].steps, 5);
}

TEST(Trouble, AGuestThatPanicsIsAGuestCrashedWithItsConsole) {
  Database db = Database::open_in_memory();
  Session session = db.session();
  std::thread query([&] {
    within(60s, [&] {
      EXPECT_THROW((void)session.query("select count(*) from generate_series(1, 2000000000)"),
                   GuestCrashed);
    });
  });
  std::this_thread::sleep_for(300ms);
  try {
    db.guest().exec({"sh", "-c", "kill -SEGV 1; echo c > /proc/sysrq-trigger; reboot -f; sleep 5"},
                    {.limit = 60s});
    ADD_FAILURE() << "the guest went on";
  } catch (const GuestCrashed&) {
  }
  query.join();
  EXPECT_FALSE(db.is_open());
  try {
    db.execute("select 1");
    ADD_FAILURE() << "there is still somebody";
  } catch (const GuestCrashed& error) {
    EXPECT_FALSE(error.console().empty());
  }
  db.close();
}

TEST(Trouble, APostmasterThatDiesIsAGuestCrashed) {
  Database db = Database::open_in_memory();
  Session session = db.session();
  db.guest().exec({"sh", "-c", "kill -9 $(head -1 /var/lib/postgresql/data/postmaster.pid)"});
  within(60s, [&] {
    EXPECT_THROW(for (int i = 0; i < 1000; ++i) session.execute("select pg_sleep(0.1)"),
                 GuestCrashed);
  });
}

TEST(Trouble, ClosingWhileAQueryRunsEndsItAtOnce) {
  Database db = Database::open_in_memory();
  Session session = db.session();
  std::thread query([&] {
    within(30s, [&] { EXPECT_THROW((void)session.query("select pg_sleep(60)"), ConnectionLost); });
  });
  std::this_thread::sleep_for(500ms);
  within(15s, [&] { db.close(); });
  query.join();
  EXPECT_THROW(db.execute("select 1"), ConnectionLost);
  EXPECT_THROW((void)db.guest().exec({"true"}), ConnectionLost);
}

TEST(Trouble, ASessionKeepsTheMachine) {
  Session session = Database::open_in_memory().session();
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST(Trouble, TwoDatabasesAreStrangers) {
  Database one = Database::open_in_memory();
  Database two = Database::open_in_memory();
  one.script("create table t(i int); insert into t values (1)");
  EXPECT_THROW(two.execute("select * from t"), UndefinedTable);
  EXPECT_NE(one.conninfo(), two.conninfo());
}

}  // namespace
}  // namespace snowglobe
