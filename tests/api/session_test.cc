// tests/api/session_test.cc - statements, values, transactions, sessions, notifications, cancel,
// time limits.
#include "tests/api/native_server.h"

#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <limits>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;

class SessionTest : public testing::NativeTest {};

TEST_F(SessionTest, ValuesOfEveryKindComeBackAsTheyWent) {
  auto row = db().query(
      "select $1 as i, $2 as l, $3 as u, $4 as d, $5 as b, $6::text as t, $7 as y, $8::int as n",
      -7, std::int64_t{1} << 40, std::numeric_limits<std::uint64_t>::max(), 0.1, true, "text",
      Bytes{std::byte{0}, std::byte{255}}, std::nullopt)[0];
  EXPECT_EQ(row["i"].as<int>(), -7);
  EXPECT_EQ(row["l"].as<std::int64_t>(), std::int64_t{1} << 40);
  EXPECT_EQ(row["u"].as<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(row["d"].as<double>(), 0.1);
  EXPECT_TRUE(row["b"].as<bool>());
  EXPECT_EQ(row["t"].as<std::string>(), "text");
  EXPECT_EQ(row["y"].as<Bytes>(), (Bytes{std::byte{0}, std::byte{255}}));
  EXPECT_EQ(row["n"].as<std::optional<int>>(), std::nullopt);
  EXPECT_TRUE(row["n"].is_null());
  EXPECT_THROW((void)row["missing"], InvalidArgument);
}

TEST_F(SessionTest, TextTakesTheTypeThatTheStatementGivesIt) {
  EXPECT_EQ(db().one<std::string>("select date '2024-05-01' + 1 = $1", "2024-05-02"), "t");
  EXPECT_EQ(db().one<std::string>("select $1::numeric(10,2) * 2", std::string("1.10")), "2.20");
  EXPECT_EQ(db().one<int>("select ($1::jsonb ->> 'a')::int", std::string_view("{\"a\": 5}")), 5);
}

TEST_F(SessionTest, FloatingPointKeepsEveryBit) {
  for (const double value : {0.1, 1e-320, 1.7976931348623157e308, -0.0, std::nextafter(1.0, 2.0)}) {
    const auto back = db().one<double>("select $1", value);
    EXPECT_EQ(std::signbit(back), std::signbit(value));
    EXPECT_EQ(back, value);
  }
  EXPECT_TRUE(std::isnan(db().one<double>("select $1", std::nan(""))));
  EXPECT_EQ(db().one<double>("select '-infinity'::float8"), -HUGE_VAL);
}

TEST_F(SessionTest, TypedRowsBindToNamesAndOutliveTheSession) {
  auto rows = [&] {
    Session session = db().session();
    return session.query<int, std::optional<std::string>>(
        "select i, case when i = 2 then null else 'row ' || i end from generate_series(1, 3) i");
  }();
  int sum = 0;
  std::string names;
  for (const auto& [id, name] : rows) {
    sum += id;
    names += name.value_or("-") + ";";
  }
  EXPECT_EQ(sum, 6);
  EXPECT_EQ(names, "row 1;-;row 3;");
  const auto numbers = db().query("select generate_series(1, 4)").into<int>();
  EXPECT_EQ(numbers, (std::vector<int>{1, 2, 3, 4}));
  const auto pair = db().one<int, std::string>("select 1, 'one'");
  EXPECT_EQ(pair, std::make_tuple(1, std::string("one")));
}

TEST_F(SessionTest, AWrongCountOfRowsOrColumnsIsSaid) {
  EXPECT_EQ(db().maybe<int>("select 1 where false"), std::nullopt);
  EXPECT_THROW((void)db().one<int>("select 1 where false"), InvalidArgument);
  EXPECT_THROW((void)db().maybe<int>("select generate_series(1, 2)"), InvalidArgument);
  EXPECT_THROW((void)db().one<int>("select 1, 2"), InvalidArgument);
  EXPECT_THROW((void)db().query<int>("select 1, 2"), InvalidArgument);
}

TEST_F(SessionTest, AValueThatDoesNotFitItsTypeIsSaid) {
  EXPECT_THROW((void)db().one<int>("select null::int"), ConversionError);
  EXPECT_THROW((void)db().one<int>("select 'abc'"), ConversionError);
  EXPECT_THROW((void)db().one<int>("select 3000000000"), ConversionError);
  EXPECT_THROW((void)db().one<unsigned>("select -1"), ConversionError);
  EXPECT_THROW((void)db().one<Bytes>("select 'text'"), ConversionError);
  EXPECT_THROW((void)db().one<bool>("select 5"), ConversionError);
}

TEST_F(SessionTest, ExecuteCountsRowsAndScriptTakesManyStatements) {
  db().script("drop table if exists counted; create table counted(i int); select 1;");
  EXPECT_EQ(db().execute("insert into counted select generate_series(1, $1)", 10), 10U);
  EXPECT_EQ(db().execute("delete from counted where i > $1", 7), 3U);
  EXPECT_THROW(db().script("insert into counted values (100); select 1/0"), DivisionByZero);
  EXPECT_EQ(db().one<int>("select count(*) from counted"), 7);
}

TEST_F(SessionTest, ATransactionTakesBackUnlessItIsCommitted) {
  db().script("drop table if exists kept; create table kept(i int)");
  Session session = db().session();
  {
    Transaction transaction = session.begin();
    transaction.execute("insert into kept values (1)");
  }
  EXPECT_EQ(session.one<int>("select count(*) from kept"), 0);
  Transaction transaction = session.begin({.isolation = Isolation::serializable});
  transaction.execute("insert into kept values (2)");
  {
    Savepoint savepoint = transaction.savepoint();
    EXPECT_THROW(transaction.execute("insert into kept values (1/0)"), DivisionByZero);
  }
  Savepoint released = transaction.savepoint();
  transaction.execute("insert into kept values (3)");
  released.release();
  EXPECT_THROW((void)session.begin(), InvalidArgument);
  transaction.commit();
  EXPECT_FALSE(transaction.active());
  EXPECT_THROW(transaction.commit(), InvalidArgument);
  EXPECT_EQ(session.one<int>("select sum(i) from kept"), 5);
}

TEST_F(SessionTest, CommittingAFailedTransactionIsAnError) {
  Session session = db().session();
  Transaction transaction = session.begin();
  EXPECT_THROW(transaction.execute("select 1/0"), DivisionByZero);
  EXPECT_THROW(transaction.commit(), InFailedTransaction);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(SessionTest, TransactRunsAgainAfterASerializationFailure) {
  db().script(
      "drop table if exists counter; create table counter(n int); insert into counter values (0)");
  const auto add = [&] {
    for (int i = 0; i < 20; ++i) {
      const int seen = db().transact(
          [](Transaction& tx) {
            const int n = tx.one<int>("select n from counter");
            tx.execute("update counter set n = $1", n + 1);
            return n;
          },
          {.isolation = Isolation::serializable, .retries = 1000});
      EXPECT_GE(seen, 0);
    }
  };
  std::thread other(add);
  add();
  other.join();
  EXPECT_EQ(db().one<int>("select n from counter"), 40);
}

TEST_F(SessionTest, ThePoolRefusesATransactionThatIsLeftOpen) {
  EXPECT_THROW(db().execute("begin"), InvalidArgument);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(SessionTest, PreparedStatementsRunManyTimes) {
  Session session = db().session();
  Statement statement = session.prepare("select $1::int + $2::int");
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(statement.one<int>(i, 1), i + 1);
  for (int i = 0; i < 40; ++i)
    (void)session.prepare("select 1");
  EXPECT_LE(session.one<int>("select count(*) from pg_prepared_statements"), 18);
}

TEST_F(SessionTest, NotificationsReachTheOtherSession) {
  Session listener = db().session();
  listener.listen("My Channel");
  EXPECT_EQ(listener.wait_notification(0ms), std::nullopt);
  Session sender = db().session();
  sender.notify("My Channel", "hello");
  const auto notification = listener.wait_notification(5s);
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->channel, "My Channel");
  EXPECT_EQ(notification->payload, "hello");
  EXPECT_EQ(notification->backend_pid, sender.backend_pid());
  listener.unlisten("My Channel");
  sender.notify("My Channel");
  EXPECT_EQ(listener.wait_notification(100ms), std::nullopt);
}

TEST_F(SessionTest, CancelFromAnotherThreadEndsTheStatement) {
  Session session = db().session();
  std::thread canceller([&] {
    // The statement must be running: the activity view says so.
    while (db().one<int>(
               "select count(*) from pg_stat_activity where query like 'select pg_sleep(30)%' "
               "and state = 'active'") == 0) {
    }
    session.cancel();
  });
  EXPECT_THROW((void)session.query("select pg_sleep(30)"), QueryCanceled);
  canceller.join();
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(SessionTest, AStatementBeyondItsLimitIsCancelled) {
  Session session = db().session({.statement_limit = 200ms});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW((void)session.query("select pg_sleep(30)"), TimeoutError);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(SessionTest, ATerminatedBackendIsAConnectionLost) {
  Session session = db().session();
  std::thread killer([&] {
    while (
        !db().one<bool>("select bool_or(pg_terminate_backend(pid)) is true from pg_stat_activity "
                        "where pid = $1 and state = 'active'",
                        session.backend_pid())) {
    }
  });
  try {
    (void)session.query("select pg_sleep(30)");
    ADD_FAILURE() << "the statement went on";
  } catch (const ConnectionLost& error) {
    EXPECT_EQ(error.sqlstate(), "57P01");
  }
  killer.join();
  EXPECT_FALSE(session.usable());
  EXPECT_THROW((void)session.query("select 1"), ConnectionLost);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(SessionTest, LargeValuesGoBothWays) {
  Bytes big(3'000'000);
  for (std::size_t i = 0; i < big.size(); ++i)
    big[i] = static_cast<std::byte>(i * 31);
  EXPECT_EQ(db().one<Bytes>("select $1::bytea", big), big);
}

TEST_F(SessionTest, ManyThreadsShareTheDatabase) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 20; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i)
        EXPECT_EQ(db().one<int>("select $1::int", t * 100 + i), t * 100 + i);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
}

TEST_F(SessionTest, ClosingTheDatabaseEndsItsSessions) {
  Session session = db().session();
  db().close();
  db().close();
  EXPECT_FALSE(db().is_open());
  EXPECT_THROW(db().execute("select 1"), ConnectionLost);
  EXPECT_THROW((void)db().session(), ConnectionLost);
}

TEST_F(SessionTest, AForkedChildsCopiesDoNothing) {
  Session session = db().session();
  Transaction transaction = session.begin();
  transaction.execute("create temporary table mine(i int)");
  const pid_t child = fork();
  if (child == 0) {
    int status = 1;
    try {
      (void)session.query("select 1");
    } catch (const ConnectionLost&) {
      status = 0;
    }
    {
      const Transaction dropped_transaction = std::move(transaction);
      const Session dropped_session = std::move(session);
      const Database dropped_database = std::move(*db_);
    }
    _exit(status);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(transaction.one<int>("select count(*) from mine"), 0);
  transaction.commit();
}

TEST_F(SessionTest, TheUsersEnvironmentIsNotForOurChannel) {
  const std::vector<std::pair<const char*, const char*>> variables{
      {"PGHOST", "127.0.0.9"},        {"PGHOSTADDR", "127.0.0.9"},  {"PGPORT", "9"},
      {"PGUSER", "nobody"},           {"PGDATABASE", "nowhere"},    {"PGOPTIONS", "-c bogus=1"},
      {"PGSSLMODE", "verify-full"},   {"PGTZ", "Asia/Tokyo"},       {"PGDATESTYLE", "German"},
      {"PGCLIENTENCODING", "LATIN1"}, {"PGREQUIREPEER", "somebody"}};
  for (const auto& [name, value] : variables)
    setenv(name, value, 1);
  // The native server runs as another user than the test: only the pipe's peer is ourselves.
  unsetenv("PGREQUIREPEER");
  Session session = db().session();
  EXPECT_EQ(session.one<std::string>("select current_user::text"), "postgres");
  EXPECT_EQ(session.one<std::string>("show timezone"), "UTC");
  EXPECT_EQ(session.one<std::string>("select date '2024-05-01'::text"), "2024-05-01");
  for (const auto& variable : variables)
    unsetenv(variable.first);
}

TEST_F(SessionTest, NoticesGoToTheLog) {
  std::vector<std::string> lines;
  Options options;
  options.on_log = [&](const LogLine& line) { lines.push_back(line.text); };
  auto logged = testing::open_native(options);
  logged->execute("do $$ begin raise notice 'look here'; end $$");
  EXPECT_EQ(lines, std::vector<std::string>{"look here"});
}

}  // namespace
}  // namespace snowglobe
