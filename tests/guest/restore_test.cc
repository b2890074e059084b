// tests/guest/restore_test.cc - the machine put back to where it was: what goes on, what ends, and
// each way in which a session only seems to be idle.
#include "tests/guest/machine_fixture.h"

#include <atomic>
#include <libpq-fe.h>
#include <set>
#include <thread>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::MachineTest;

constexpr std::string_view kLastWords = "FATAL:  57P01: terminating connection";

class RestoreTest : public MachineTest {
 protected:
  using PgConnection = std::unique_ptr<PGconn, void (*)(PGconn*)>;

  /// As another library in this process would.
  static PgConnection outside(const std::string& more = {}) {
    PgConnection connection(PQconnectdb((db().conninfo() + " " + more).c_str()), PQfinish);
    EXPECT_EQ(PQstatus(connection.get()), CONNECTION_OK) << PQerrorMessage(connection.get());
    PQsetErrorVerbosity(connection.get(), PQERRORS_VERBOSE);
    return connection;
  }
  /// What the next statement gave; of a connection that was ended, the server's last words.
  static std::string ask(const PgConnection& connection, const char* sql) {
    const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(connection.get(), sql),
                                                                PQclear);
    if (PQresultStatus(result.get()) == PGRES_TUPLES_OK) return PQgetvalue(result.get(), 0, 0);
    return PQerrorMessage(connection.get());
  }
};

TEST_F(RestoreTest, RowsAreAsTheyWereAndTheSameBackendGoesOn) {
  Session session = db().session();
  session.script("create table restored(n int)");
  session.execute("insert into restored values (1)");
  const int backend = session.one<int>("select pg_backend_pid()");
  const Snapshot before = db().save("rows");
  for (int round = 0; round < 20; ++round) {
    session.execute("insert into restored select generate_series(1, 100)");
    db().execute("delete from restored where n = 1");
    db().restore(before);
    ASSERT_EQ(session.one<int>("select count(*) from restored"), 1);
    ASSERT_EQ(session.one<int>("select pg_backend_pid()"), backend);
    ASSERT_EQ(session.backend_pid(), backend);
    ASSERT_EQ(db().one<int>("select n from restored"), 1);
  }
  session.script("drop table restored");
}

TEST_F(RestoreTest, SnapshotsHaveNamesDescentAndSizes) {
  const Snapshot first = db().save("first", {.note = "a note", .tags = {"red"}});
  const Snapshot second = db().save("second");
  EXPECT_EQ(second.parent(), first.id());
  EXPECT_EQ(first.name(), "first");
  EXPECT_EQ(first.note(), "a note");
  EXPECT_EQ(first.tags(), std::vector<std::string>{"red"});
  EXPECT_EQ(first.id().size(), 32U);
  EXPECT_GE(first.sizes().memory, 48U << 20);
  EXPECT_FALSE(first.stored());
  EXPECT_LT(std::chrono::system_clock::now() - first.time(), 1min);
  db().restore("red");
  EXPECT_EQ(db().save().parent(), first.id());
  EXPECT_THROW(db().restore("nothing"), SnapshotNotFound);
  const Snapshot again = db().save("first");
  int named = 0;
  for (const Snapshot& kept : db().snapshots())
    named += kept.name() == "first" ? 1 : 0;
  EXPECT_EQ(named, 1);
  db().forget(again);
  EXPECT_THROW(db().restore("first"), SnapshotNotFound);
  db().restore(first);  // a value: whoever holds it can use it
}

TEST_F(RestoreTest, PreparedStatementsGoBackWithTheSession) {
  Session session = db().session();
  Statement old = session.prepare("select $1::int + 1");
  std::optional<Statement> dropped(session.prepare("select 'dropped'"));
  const Snapshot before = db().save();
  dropped.reset();
  for (int i = 0; i < 40; ++i)  // so that the names are given back to the server
    (void)session.prepare("select " + std::to_string(i));
  Statement later = session.prepare("select $1::int + 2");
  EXPECT_EQ(later.one<int>(1), 3);
  db().restore(before);
  EXPECT_EQ(old.one<int>(1), 2);
  EXPECT_EQ(later.one<int>(1), 3);  // prepared once more
  EXPECT_EQ(later.one<int>(2), 4);
  for (int i = 0; i < 40; ++i)
    EXPECT_EQ(session.prepare("select " + std::to_string(i)).one<int>(), i);
}

TEST_F(RestoreTest, AStatementWhoseTableIsUndoneSaysSo) {
  Session session = db().session();
  const Snapshot before = db().save();
  session.script("create table undone(n int)");
  Statement later = session.prepare("select * from undone");
  EXPECT_TRUE(later.query().empty());
  db().restore(before);
  EXPECT_THROW((void)later.query(), UndefinedTable);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(RestoreTest, ReportedSettingsAreTheSnapshotsOnBothEnds) {
  Session session = db().session();
  session.script("set timezone = 'Europe/Paris'");
  const Snapshot before = db().save();
  session.script(
      "set client_encoding = 'LATIN1'; set timezone = 'Asia/Tokyo'; set work_mem = '7MB'");
  db().restore(before);
  EXPECT_EQ(session.one<std::string>("show client_encoding"), "UTF8");
  EXPECT_EQ(session.one<std::string>("show timezone"), "Europe/Paris");
  EXPECT_NE(session.one<std::string>("show work_mem"), "7MB");
  EXPECT_EQ(session.one<std::string>("select $1", "\xC3\xA9"), "\xC3\xA9");
  EXPECT_EQ(session.one<int>("select length($1)", "\xC3\xA9"), 1);
}

TEST_F(RestoreTest, ListensAndNotificationsAreTheSnapshots) {
  Session session = db().session();
  session.listen("before");
  db().execute("notify before, 'waits'");
  ASSERT_TRUE(session.wait_notification(5s));
  db().execute("notify before, 'unread'");
  (void)session.query("select 1");
  const Snapshot snapshot = db().save();
  session.unlisten("before");
  session.listen("since");
  db().execute("notify since, 'undone'");
  (void)session.query("select 1");
  db().restore(snapshot);
  const auto unread = session.wait_notification(5s);
  ASSERT_TRUE(unread);
  EXPECT_EQ(unread->payload, "unread");
  db().execute("notify since, 'not heard'");
  db().execute("notify before, 'heard'");
  const auto heard = session.wait_notification(5s);
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->payload, "heard");
}

TEST_F(RestoreTest, ASessionThatWaitsForNotificationsLivesOn) {
  Session session = db().session();
  session.listen("patience");
  const Snapshot before = db().save();
  std::atomic<bool> waits = false;
  std::optional<Notification> heard;
  std::thread waiter([&] {
    waits = true;
    heard = session.wait_notification(20s);
  });
  while (!waits)
    std::this_thread::yield();
  std::this_thread::sleep_for(20ms);
  db().restore(before);
  db().execute("notify patience, 'now'");
  waiter.join();
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->payload, "now");
}

// --- who ends

TEST_F(RestoreTest, ASessionOpenedSinceIsStale) {
  const Snapshot before = db().save();
  Session since = db().session();
  EXPECT_EQ(since.one<int>("select 1"), 1);
  db().restore(before);
  EXPECT_FALSE(since.usable());
  EXPECT_THROW((void)since.query("select 1"), StaleSession);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(RestoreTest, ATransactionOfNowIsStaleAndNothingOfItStays) {
  Session session = db().session();
  session.script("create table transacted(n int)");
  const Snapshot before = db().save();
  Transaction live = session.begin();
  live.execute("insert into transacted values (1)");
  db().restore(before);
  EXPECT_THROW(live.execute("insert into transacted values (2)"), StaleSession);
  EXPECT_THROW((void)session.query("select 1"), StaleSession);
  EXPECT_EQ(db().one<int>("select count(*) from transacted"), 0);
  db().script("drop table transacted");
}

TEST_F(RestoreTest, ATransactionOfTheSaveIsStaleAlthoughItWasCommittedSince) {
  Session session = db().session();
  session.script("create table committed(n int)");
  Transaction open = session.begin();
  open.execute("insert into committed values (1)");
  const Snapshot amid = db().save();
  open.commit();
  EXPECT_EQ(session.one<int>("select count(*) from committed"), 1);
  db().restore(amid);
  EXPECT_THROW((void)session.query("select 1"), StaleSession);
  EXPECT_EQ(db().one<int>("select count(*) from committed"), 0);
  // The backend of the save has noticed that its client is gone: its locks are free.
  db().script("set lock_timeout = '5s'; drop table committed; reset lock_timeout");
}

TEST_F(RestoreTest, AStatementUnderWayEndsAtOnce) {
  Session session = db().session();
  const Snapshot before = db().save();
  std::atomic<bool> stale = false;
  std::thread runner([&] {
    try {
      (void)session.query("select pg_sleep(100)");
    } catch (const StaleSession& error) {
      stale = true;
      EXPECT_EQ(error.sqlstate(), "57P01");
    }
  });
  const int pid = session.backend_pid();
  while (
      !db().one<bool>("select exists(select from pg_stat_activity where pid = $1 and state = "
                      "'active')",
                      pid)) {
  }
  const auto start = std::chrono::steady_clock::now();
  db().restore(before);
  runner.join();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
  EXPECT_TRUE(stale);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(RestoreTest, ACopyUnderWayIsStaleInBothDirections) {
  Session in = db().session();
  Session out = db().session();
  in.script("create table streamed(n int)");
  const Snapshot before = db().save();
  CopyWriter writer = in.copy_in("copy streamed from stdin");
  writer.row(1);
  CopyReader reader = out.copy_out("copy (select generate_series(1, 1000000)) to stdout");
  ASSERT_TRUE(reader.raw());
  const Snapshot amid = db().save();
  db().restore(before);
  EXPECT_THROW(writer.finish(), StaleSession);
  EXPECT_THROW(
      {
        while (reader.raw()) {
        }
      },
      StaleSession);
  db().restore(amid);
  EXPECT_EQ(db().one<int>("select count(*) from streamed"), 0);
  db().script("drop table streamed");
}

TEST_F(RestoreTest, AQueryThatRanAtTheSaveIsGoneAfterTheRestore) {
  Session session = db().session();
  std::jthread runner([&] { (void)session.query("select pg_sleep(2)"); });
  const int pid = session.backend_pid();
  const auto active = [&] {
    return db().one<bool>(
        "select exists(select from pg_stat_activity where pid = $1 and state = 'active')", pid);
  };
  const auto until = std::chrono::steady_clock::now() + 20s;
  bool seen = false;
  while (!(seen = active()) && std::chrono::steady_clock::now() < until) {
  }
  ASSERT_TRUE(seen);
  const Snapshot amid = db().save();
  runner.join();
  EXPECT_EQ(session.one<int>("select 1"), 1);
  db().restore(amid);
  EXPECT_THROW((void)session.query("select 1"), StaleSession);
  // Its backend has the reset of its connection before it; it sees it when it has slept.
  const auto limit = std::chrono::steady_clock::now() + 10s;
  while (db().one<bool>("select exists(select from pg_stat_activity where pid = $1)", pid) &&
         std::chrono::steady_clock::now() < limit) {
  }
  EXPECT_LT(std::chrono::steady_clock::now(), limit);
}

TEST_F(RestoreTest, ASessionClosedSinceDoesNotComeBack) {
  std::optional<Session> session(db().session());
  const int pid = session->backend_pid();
  const Snapshot before = db().save();
  session.reset();
  Session other = db().session();
  EXPECT_EQ(other.one<int>("select 1"), 1);
  db().restore(before);
  EXPECT_THROW((void)other.query("select 1"), StaleSession);
  const auto limit = std::chrono::steady_clock::now() + 10s;
  while (db().one<bool>("select exists(select from pg_stat_activity where pid = $1)", pid) &&
         std::chrono::steady_clock::now() < limit) {
  }
  EXPECT_LT(std::chrono::steady_clock::now(), limit);
}

TEST_F(RestoreTest, OtherLibrariesAreToldWhyTheirConnectionEnds) {
  const PgConnection idle = outside();
  EXPECT_EQ(ask(idle, "select 1"), "1");
  const Snapshot before = db().save();
  EXPECT_EQ(ask(idle, "select 2"), "2");
  db().restore(before);
  EXPECT_EQ(ask(idle, "select 3").substr(0, kLastWords.size()), kLastWords);
  EXPECT_EQ(PQstatus(idle.get()), CONNECTION_BAD);
}

TEST_F(RestoreTest, AnExposedClientIsToldAndMayComeAgainWithThePassword) {
  const Snapshot before = db().save();
  const Endpoint endpoint = db().expose();
  PgConnection client(PQconnectdb(endpoint.uri().c_str()), PQfinish);
  ASSERT_EQ(ask(client, "select 1"), "1") << PQerrorMessage(client.get());
  db().restore(before);  // to before the password was set
  PQsetErrorVerbosity(client.get(), PQERRORS_VERBOSE);
  EXPECT_EQ(ask(client, "select 1").substr(0, kLastWords.size()), kLastWords);
  PgConnection again(PQconnectdb(endpoint.uri().c_str()), PQfinish);
  EXPECT_EQ(ask(again, "select 1"), "1") << PQerrorMessage(again.get());
  db().hide();
}

TEST_F(RestoreTest, AReplicationConnectionEnds) {
  const PgConnection walsender = outside("replication=database");
  const Snapshot before = db().save();
  EXPECT_EQ(ask(walsender, "identify_system").find("FATAL"), std::string::npos);
  db().restore(before);
  EXPECT_EQ(ask(walsender, "identify_system").substr(0, kLastWords.size()), kLastWords);
}

TEST_F(RestoreTest, ASnapshotOfAnotherSizeChangesNothing) {
  Session session = db().session();
  Database small = Database::open_in_memory({.memory_mb = 64});
  const Snapshot other = small.save();
  EXPECT_THROW(db().restore(other), SnapshotIncompatible);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(RestoreTest, TheClockIsTheHostsAtOnce) {
  Session session = db().session();
  const Snapshot before = db().save();
  std::this_thread::sleep_for(300ms);
  db().restore(before);
  const auto guest = session.one<double>("select extract(epoch from clock_timestamp())::float8");
  const double host =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(guest, host, 0.15);
}

TEST_F(RestoreTest, RandomnessIsNewEachTimeAlsoInTheSessionThatWaited) {
  Session session = db().session();
  (void)session.query("select gen_random_uuid(), random()");
  const Snapshot before = db().save();
  std::set<std::string> uuids;
  std::set<std::string> numbers;
  for (int i = 0; i < 5; ++i) {
    db().restore(before);
    uuids.insert(session.one<std::string>("select gen_random_uuid()::text"));
    numbers.insert(session.one<std::string>("select random()::text"));
  }
  EXPECT_EQ(uuids.size(), 5U);
  EXPECT_EQ(numbers.size(), 5U);
}

TEST_F(RestoreTest, ASessionThatWentOnCanBeCancelled) {
  Session session = db().session();
  const Snapshot before = db().save();
  db().restore(before);
  std::thread canceller([&] {
    const int pid = session.backend_pid();
    while (
        !db().one<bool>("select exists(select from pg_stat_activity where pid = $1 and state = "
                        "'active')",
                        pid)) {
    }
    session.cancel();
  });
  EXPECT_THROW((void)session.query("select pg_sleep(60)"), QueryCanceled);
  canceller.join();
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(RestoreTest, StatementsOfOtherThreadsEndOrGoOnButNeverHang) {
  db().script("create table busy(n int)");
  const Snapshot before = db().save();
  std::atomic<bool> done = false;
  std::atomic<int> statements = 0;
  std::atomic<int> stale = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      std::optional<Session> session;
      while (!done) {
        try {
          if (!session) session.emplace(db().session());
          session->execute("insert into busy values ($1)", 1);
          ++statements;
        } catch (const StaleSession&) {
          ++stale;
          session.reset();
        }
      }
    });
  }
  for (int i = 0; i < 30; ++i) {
    std::this_thread::sleep_for(10ms);
    db().restore(before);
    // Of the rows that were ever inserted, some are there: those since this restore.
    const int rows = db().one<int>("select count(*) from busy");
    EXPECT_LE(rows, statements + 3);
  }
  done = true;
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_GT(statements, 0);
  EXPECT_GT(stale, 0);
  db().restore(before);
  EXPECT_EQ(db().one<int>("select count(*) from busy"), 0);
  db().script("drop table busy");
}

}  // namespace
}  // namespace snowglobe
