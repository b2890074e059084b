// tests/guest/disk_full_test.cc - a data disk that is full: PostgreSQL's own error, nothing broken,
// and deleting helps, again and again.
#include <snowglobe/snowglobe.hpp>

#include <chrono>
#include <gtest/gtest.h>
#include <thread>

namespace snowglobe {
namespace {

constexpr unsigned kLimitMb = 128;

/// Inserts until an error comes; gives its SQLSTATE.
std::string fill(Database& db) {
  try {
    for (int i = 0; i < 1000; ++i)
      db.execute("insert into big select repeat(md5(i::text), 30) from generate_series(1, 2000) i");
  } catch (const SqlError& full) {
    EXPECT_NE(std::string(full.what()).find("No space left on device"), std::string::npos)
        << full.what();
    return std::string(full.sqlstate());
  }
  return "none";
}

void fills_and_goes_on(Database& db) {
  db.script(
      "create table if not exists big(t text); create table if not exists small(n int);"
      "insert into small values (1)");
  // A disk that is full has room for what makes some: the maps that VACUUM writes, the new files of
  // TRUNCATE.
  const char* const ways[] = {"delete from big", "truncate big", "drop table big"};
  for (int round = 0; round < 4; ++round) {
    EXPECT_EQ(fill(db), "53100") << "round " << round;
    // What is there can be read, small changes can be made as long as pages have room.
    const auto rows = db.one<std::int64_t>("select count(*) from big");
    EXPECT_GT(rows, 10000) << "round " << round;
    db.execute("update small set n = n + 1");
    if (round == 3) break;
    db.execute(ways[round]);
    db.execute(round == 2 ? "create table big(t text)" : "vacuum big");
  }
  EXPECT_EQ(db.one<int>("select n from small"), 5);
}

TEST(DiskFull, IsAnErrorOfStatementsAndDeletingHelps) {
  Database db = Database::open_in_memory({.disk_limit_mb = kLimitMb});
  EXPECT_EQ(db.info().started, "warm");
  fills_and_goes_on(db);
  EXPECT_LE(db.stats().disk_bytes, std::uint64_t{kLimitMb + 256} << 20);
}

TEST(DiskFull, LeavesRoomForTheLog) {
  Database db = Database::open_in_memory({.disk_limit_mb = kLimitMb});
  db.script("create table big(t text)");
  EXPECT_EQ(fill(db), "53100");
  // 300 MB of log, and nothing but log: more than the disk has, and more than max_wal_size.
  for (int i = 0; i < 300; ++i)
    (void)db.query("select pg_logical_emit_message(true, 'log', repeat('x', 1000000))");
  EXPECT_EQ(db.one<int>("select 1"), 1);
  db.execute("drop table big");
  db.execute("create table after_all as select * from generate_series(1, 100000)");
}

TEST(DiskFull, ASlotThatNobodyReadsIsLostBeforeTheLogHasNoRoom) {
  Database db = Database::open_in_memory({.disk_limit_mb = kLimitMb});
  // With the reserve of 1 GiB the rest is for max_wal_size and the books.
  EXPECT_EQ(db.one<std::string>("show max_slot_wal_keep_size"), "512MB");
  db.execute("alter system set max_slot_wal_keep_size = '64MB'");  // for a shorter test
  (void)db.query("select pg_reload_conf()");
  db.script("create table big(t text)");
  Session session = db.session();
  (void)session.query("select pg_create_physical_replication_slot('forgotten', true)");
  (void)session.query("select pg_create_physical_replication_slot('for_now', true, true)");
  EXPECT_EQ(fill(db), "53100");
  for (int i = 0; i < 400; ++i)
    (void)db.query("select pg_logical_emit_message(true, 'log', repeat('x', 1000000))");
  db.execute("checkpoint");
  EXPECT_LT(db.one<std::int64_t>("select sum(size)::bigint from pg_ls_waldir()"), 220 << 20);
  EXPECT_EQ(
      db.one<std::string>(
          "select string_agg(slot_name || ' ' || wal_status, ', ') from pg_replication_slots"),
      "forgotten lost");
  EXPECT_THROW((void)session.query("select 1"), Error) << "a temporary one goes with its session";
  db.execute("drop table big");
}

TEST(DiskFull, SurvivesACrashOfTheServer) {
  Database db = Database::open_in_memory({.disk_limit_mb = kLimitMb});
  db.script("create table big(t text)");
  EXPECT_EQ(fill(db), "53100");
  const auto rows = db.one<std::int64_t>("select count(*) from big");
  // A backend that dies has the postmaster start over, with recovery.
  try {
    db.execute("select pg_backend_pid()");
    (void)db.guest().exec(
        {"sh", "-c", "kill -9 $(pidof postgres | tr ' ' '\\n' | sort -n | tail -1)"});
  } catch (const Error&) {
  }
  for (int i = 0; i < 200; ++i) {
    try {
      if (db.one<std::int64_t>("select count(*) from big") == rows) break;
    } catch (const Error&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  EXPECT_EQ(db.one<std::int64_t>("select count(*) from big"), rows);
  db.execute("drop table big");
  db.execute("create table after_all as select * from generate_series(1, 100000)");
}

TEST(DiskFull, ALimitGoesWithTheDatabaseAndNotWithTheSnapshot) {
  Database wide = Database::open_in_memory();
  wide.script("create table big(t text)");
  const Snapshot before = wide.save();
  Database narrow = Database::open_in_memory({.disk_limit_mb = kLimitMb, .from = before});
  EXPECT_EQ(fill(narrow), "53100");
  const Snapshot full = narrow.save();
  wide.restore(full);
  wide.execute("create table more as select * from big");
  narrow.restore(before);
  EXPECT_EQ(fill(narrow), "53100");
  EXPECT_THROW((void)Database::open_in_memory({.disk_limit_mb = 32}), InvalidArgument);
}

}  // namespace
}  // namespace snowglobe
