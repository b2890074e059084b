// tests/guest/sessions_test.cc - the whole machine under several sessions: locks, notifications,
// cancelling, deadlocks, large values, COPY, and an idle guest that costs nothing.
#include "tests/guest/machine_fixture.h"

#include <atomic>
#include <libpq-fe.h>
#include <thread>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::MachineTest;

using SessionsTest = MachineTest;

TEST_F(SessionsTest, TheServerIsA32BitPostgresOnI686) {
  const std::string version = db().version();
  EXPECT_NE(version.find("PostgreSQL 17"), std::string::npos) << version;
  EXPECT_NE(version.find("i686"), std::string::npos) << version;
  EXPECT_NE(version.find("32-bit"), std::string::npos) << version;
  EXPECT_EQ(db().one<std::string>("show server_encoding"), "UTF8");
  EXPECT_EQ(db().one<std::string>("show timezone"), "UTC");
}

TEST_F(SessionsTest, TwentyWorkersShareAQueueWithSkipLocked) {
  constexpr int kWorkers = 20;
  constexpr int kJobs = 200;
  db().script("create table jobs(id int primary key, worker int)");
  db().execute("insert into jobs select generate_series(1, $1)", kJobs);
  std::vector<int> done(kWorkers);
  std::vector<std::thread> threads;
  for (int worker = 0; worker < kWorkers; ++worker) {
    threads.emplace_back([&, worker] {
      Session session = db().session();
      for (;;) {
        const bool more = session.transact([&](Transaction& tx) {
          const auto job = tx.maybe<int>(
              "select id from jobs where worker is null order by id limit 1 "
              "for update skip locked");
          if (job) tx.execute("update jobs set worker = $1 where id = $2", worker, *job);
          return job.has_value();
        });
        if (!more) break;
        ++done[static_cast<std::size_t>(worker)];
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  int sum = 0;
  for (int worker = 0; worker < kWorkers; ++worker) {
    const int count = done[static_cast<std::size_t>(worker)];
    EXPECT_EQ(db().one<int>("select count(*) from jobs where worker = $1", worker), count);
    sum += count;
  }
  EXPECT_EQ(sum, kJobs);
}

TEST_F(SessionsTest, TenMegabytesOfByteaComeBackAsTheyWent) {
  Bytes big(10'000'000);
  std::uint32_t state = 1;
  for (std::byte& byte : big) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>(state >> 24);
  }
  db().script("create table blobs(data bytea)");
  db().execute("insert into blobs values ($1)", big);
  EXPECT_EQ(db().one<int>("select length(data) from blobs"), 10'000'000);
  EXPECT_TRUE(db().one<Bytes>("select data from blobs") == big);
  db().script("drop table blobs");
}

TEST_F(SessionsTest, AHundredThousandRowsCopyInAndOut) {
  Session session = db().session();
  session.script("create table copied(i int primary key, t text)");
  CopyWriter writer = session.copy_in("copy copied from stdin");
  for (int i = 0; i < 100'000; ++i)
    writer.row(i, "row number " + std::to_string(i));
  EXPECT_EQ(writer.finish(), 100'000U);
  EXPECT_EQ(session.one<std::int64_t>("select sum(i) from copied"), 4'999'950'000);
  CopyReader reader = session.copy_out("copy (select * from copied order by i) to stdout");
  int expected = 0;
  for (const auto& [i, text] : reader.rows<int, std::string>()) {
    ASSERT_EQ(i, expected);
    ASSERT_EQ(text, "row number " + std::to_string(i));
    ++expected;
  }
  EXPECT_EQ(expected, 100'000);
  session.script("drop table copied");
}

TEST_F(SessionsTest, NotificationsPassBetweenSessions) {
  Session listener = db().session();
  listener.listen("news");
  Session sender = db().session();
  for (int i = 0; i < 10; ++i)
    sender.notify("news", "item " + std::to_string(i));
  for (int i = 0; i < 10; ++i) {
    const auto notification = listener.wait_notification(10s);
    ASSERT_TRUE(notification);
    EXPECT_EQ(notification->payload, "item " + std::to_string(i));
    EXPECT_EQ(notification->backend_pid, sender.backend_pid());
  }
  EXPECT_EQ(listener.wait_notification(50ms), std::nullopt);
}

TEST_F(SessionsTest, ALongQueryIsCancelledFromAnotherThread) {
  Session session = db().session();
  const int pid = session.backend_pid();
  std::thread canceller([&] {
    while (!db().one<bool>("select state = 'active' from pg_stat_activity where pid = $1", pid)) {
    }
    session.cancel();
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW((void)session.query("select count(*) from generate_series(1, 2000000000)"),
               QueryCanceled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 20s);
  canceller.join();
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(SessionsTest, ADeadlockIsReportedToOneOfTheTwo) {
  db().script(
      "create table pairs(id int primary key, n int); insert into pairs values (1, 0), (2, 0)");
  Session first = db().session();
  Session second = db().session();
  Transaction one = first.begin();
  Transaction two = second.begin();
  one.execute("update pairs set n = 1 where id = 1");
  two.execute("update pairs set n = 2 where id = 2");
  std::atomic<int> deadlocks = 0;
  const auto cross = [&deadlocks](Transaction& transaction, int id) {
    try {
      transaction.execute("update pairs set n = n + 1 where id = $1", id);
      transaction.commit();
    } catch (const DeadlockDetected& error) {
      EXPECT_EQ(error.sqlstate(), "40P01");
      EXPECT_NE(error.detail().find("waits for"), std::string_view::npos);
      ++deadlocks;
      transaction.rollback();
    }
  };
  std::thread other([&] { cross(two, 1); });
  cross(one, 2);
  other.join();
  EXPECT_EQ(deadlocks, 1);
}

TEST_F(SessionsTest, TransactGoesOnThroughSerializationFailures) {
  db().script("create table counters(n int); insert into counters values (0)");
  const auto add = [&] {
    for (int i = 0; i < 10; ++i) {
      db().transact(
          [](Transaction& tx) {
            const int n = tx.one<int>("select n from counters");
            tx.execute("update counters set n = $1", n + 1);
          },
          {.isolation = Isolation::serializable, .retries = 1000});
    }
  };
  std::thread other(add);
  add();
  other.join();
  EXPECT_EQ(db().one<int>("select n from counters"), 20);
}

TEST_F(SessionsTest, AnotherLibrarysConnectionGetsInByConninfo) {
  const std::unique_ptr<PGconn, void (*)(PGconn*)> other(PQconnectdb(db().conninfo().c_str()),
                                                         PQfinish);
  ASSERT_EQ(PQstatus(other.get()), CONNECTION_OK) << PQerrorMessage(other.get());
  const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(other.get(), "select 6 * 7"),
                                                              PQclear);
  EXPECT_STREQ(PQgetvalue(result.get(), 0, 0), "42");
  EXPECT_EQ(db().conninfo().substr(0, 7), "host='@");
}

TEST_F(SessionsTest, TheServerSeesWhoASessionIs) {
  Session session = db().session({.application_name = "the test"});
  EXPECT_EQ(session.one<std::string>("select application_name from pg_stat_activity where pid = "
                                     "pg_backend_pid()"),
            "the test");
  EXPECT_EQ(session.one<std::string>("select host(inet_client_addr())"), "10.5.0.2");
}

TEST_F(SessionsTest, ProgramsAndFilesOfTheGuestAreReachable) {
  Guest guest = db().guest();
  const ExecResult result = guest.exec({"uname", "-sm"});
  EXPECT_EQ(result.out, "Linux i686\n");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(guest.exec({"sh", "-c", "echo oops >&2; exit 3"}).exit_code, 3);
  EXPECT_EQ(guest.exec({"sh", "-c", "echo oops >&2; exit 3"}).err, "oops\n");
  EXPECT_EQ(guest.exec({"sh", "-c", "kill -9 $$"}).exit_code, 128 + 9);
  EXPECT_THROW(guest.exec({"no-such-program"}), InvalidArgument);
  EXPECT_THROW(guest.exec({"sleep", "30"}, {.limit = 300ms}), TimeoutError);
  std::string contents(300'000, '\0');
  for (std::size_t i = 0; i < contents.size(); ++i)
    contents[i] = static_cast<char>(i * 7);
  guest.put("/tmp/file", contents);
  EXPECT_TRUE(guest.get("/tmp/file") == contents);
  EXPECT_THROW((void)guest.get("/tmp/nothing"), InvalidArgument);
}

TEST_F(SessionsTest, TheGuestsClockIsTheHosts) {
  const auto guest = db().one<double>("select extract(epoch from clock_timestamp())::float8");
  const std::chrono::duration<double> host = std::chrono::system_clock::now().time_since_epoch();
  EXPECT_NEAR(guest, host.count(), 1.0);
}

TEST_F(SessionsTest, StatisticsAndInfoSayWhatIsThere) {
  Session session = db().session();
  const Stats before = db().stats();
  session.execute("select 1");
  // The machine says what it has done when it is done: a moment behind the answer.
  Stats after = db().stats();
  for (int i = 0; i < 1000 && after.instructions == before.instructions; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    after = db().stats();
  }
  EXPECT_GT(after.instructions, before.instructions);
  EXPECT_GE(after.sessions, 1U);
  EXPECT_GT(after.disk_bytes, 0U);
  const Info info = db().info();
  EXPECT_EQ(info.memory_mb, 256U);
  EXPECT_EQ(info.postgres_version.substr(0, 3), "17.");
  EXPECT_FALSE(info.image_id.empty());
}

TEST_F(SessionsTest, InfoAndStatisticsSayWhoRunsTheGuest) {
  const Info info = db().info();
  const TranslatorStats stats = db().stats().translator;
  if (info.executor == "interpreter") {
    EXPECT_NE(info.why_interpreted, "");  // by default it is the second choice
    EXPECT_EQ(stats.blocks, 0U);
    EXPECT_EQ(stats.mappings, 0U);
  } else {
    EXPECT_EQ(info.executor, "translator");
    EXPECT_EQ(info.why_interpreted, "");
    EXPECT_GT(stats.blocks, 1000U);
    EXPECT_GT(stats.mappings, 0U);
  }
  Options cold;  // so that there are instructions to count
  cold.start = Start::cold;
  cold.executor = Executor::interpreter;
  Database other = Database::open_in_memory(cold);
  EXPECT_EQ(other.info().executor, "interpreter");
  EXPECT_EQ(other.info().why_interpreted, "");  // it was asked for
  EXPECT_EQ(other.stats().translator.blocks, 0U);
  EXPECT_GT(other.stats().instructions, 10'000'000U);
}

}  // namespace
}  // namespace snowglobe
