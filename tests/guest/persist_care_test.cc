// tests/guest/persist_care_test.cc - looking after databases in a folder: backups, dumps, checks,
// space given back, machines that crash and come back.
#include "tests/guest/persist_fixture.h"

#include <atomic>
#include <memory>
#include <thread>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::PersistTest;

TEST_F(PersistTest, ABackupIsTheDatabaseAtOneMoment) {
  Database db = Database::open(path());
  db.script("create table t(n int primary key); insert into t values (0)");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int n = 1; !stop; ++n)
      db.execute("insert into t values ($1)", n);
  });
  const BackupResult result = db.backup_to(folder() / "backup.globe");
  stop = true;
  writer.join();
  EXPECT_GT(result.bytes, 1u << 20);
  EXPECT_THROW((void)db.backup_to(folder() / "backup.globe"), DatabaseExists);
  EXPECT_THROW((void)db.backup_to(path() / "backup.globe"), InvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(path() / "backup.globe"));
  Database copy = Database::open(folder() / "backup.globe");
  EXPECT_EQ(copy.info().started, "resumed") << copy.info().why_cold;
  const auto [count, last] = copy.one<int, int>("select count(*)::int, max(n) from t");
  EXPECT_EQ(count, last + 1);
  copy.execute("insert into t values (-1)");
  EXPECT_LE(count, db.one<int>("select count(*)::int from t"));
  EXPECT_EQ(db.one<int>("select min(n) from t"), 0);
  // Of a database in memory as well.
  Database memory = Database::open_in_memory();
  memory.script("create table m(n int)");
  static_cast<void>(memory.backup_to(folder() / "memory.globe"));
  EXPECT_EQ(Database::open(folder() / "memory.globe").one<int>("select count(*) from m"), 0);
}

TEST_F(PersistTest, ABackupHasTheSnapshotsUnlessTheyAreNotWanted) {
  Database db = Database::open(path());
  db.script("create table t(n int primary key); insert into t values (0)");
  db.save("first");
  db.execute("insert into t values (1)");
  db.save("second");
  db.execute("insert into t values (2)");
  static_cast<void>(db.backup_to(folder() / "whole.globe"));
  static_cast<void>(db.backup_to(folder() / "bare.globe", {.snapshots = false}));
  db.close();
  EXPECT_TRUE(Database::open(folder() / "bare.globe").snapshots().empty());
  Database copy = Database::open(folder() / "whole.globe");
  EXPECT_EQ(copy.info().started, "resumed") << copy.info().why_cold;
  EXPECT_EQ(copy.one<int>("select count(*)::int from t"), 3);
  const auto all = copy.snapshots();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].name(), "second");
  EXPECT_EQ(copy.save("third").parent(), all[1].id());
  copy.restore(all[0]);
  EXPECT_EQ(copy.one<int>("select count(*)::int from t"), 1);
}

TEST_F(PersistTest, AClosedDatabaseCanBeCopiedAndMoved) {
  namespace fs = std::filesystem;
  {
    Database db = Database::open(path());
    db.script("create table t(n int); insert into t values (4)");
    db.save("kept");
  }
  fs::create_directory(folder() / "copy.globe");
  for (const auto& entry : fs::recursive_directory_iterator(path())) {
    const fs::path to = folder() / "copy.globe" / fs::relative(entry.path(), path());
    if (entry.is_directory()) fs::create_directory(to);
    if (entry.is_regular_file()) testing::copy_over(entry.path(), to);
  }
  fs::rename(path(), folder() / "moved.globe");
  for (const char* name : {"copy.globe", "moved.globe"}) {
    Database db = Database::open(folder() / name);
    EXPECT_EQ(db.info().started, "resumed") << name << db.info().why_cold;
    EXPECT_EQ(db.one<int>("select n from t"), 4);
    db.execute("insert into t values (5)");
    db.restore("kept");
    EXPECT_EQ(db.one<int>("select count(*) from t"), 1);
  }
}

TEST_F(PersistTest, ADumpIsLoadedIntoAnother) {
  Database db = Database::open(path());
  db.script(R"(create table t(n int primary key, text text);
               insert into t select i, repeat(md5(i::text), 20) from generate_series(1, 2000) i)");
  db.dump(folder() / "t.dump");
  EXPECT_THROW(db.dump(folder() / "t.dump"), InvalidArgument);
  EXPECT_THROW(db.dump(folder() / "u.dump", {.database = "absent"}), Error);
  EXPECT_FALSE(std::filesystem::exists(folder() / "u.dump"));
  Database other = Database::open_in_memory();
  other.load(folder() / "t.dump");
  EXPECT_EQ(other.one<std::string>("select md5(string_agg(text, '' order by n)) from t"),
            db.one<std::string>("select md5(string_agg(text, '' order by n)) from t"));
  EXPECT_THROW(other.load(folder() / "t.dump"), Error);  // it is there already
  other.load(folder() / "t.dump", {.clean = true});
  EXPECT_EQ(other.one<int>("select count(*) from t"), 2000);
  EXPECT_FALSE(std::filesystem::exists(folder() / "u.dump.new"));
}

// Several times what goes to a program at once, and rows that do not become smaller.
TEST_F(PersistTest, ADumpIsAStreamInBothDirections) {
  Options options;
  options.disk_limit_mb = 96;
  Database db = Database::open(path(), options);
  db.script(R"(create table t(n int primary key, text text);
               insert into t select i, gen_random_uuid()::text from generate_series(1, 80000) i)");
  const auto digest = [](Database& of) {
    return of.one<std::string>("select md5(string_agg(text, '' order by n)) from t");
  };
  db.dump(folder() / "t.dump");
  EXPECT_GT(std::filesystem::file_size(folder() / "t.dump"), 3u << 19);
  std::filesystem::create_symlink(folder() / "t.dump", folder() / "link.dump");
  Database other = Database::open_in_memory(options);
  other.load(folder() / "link.dump");
  EXPECT_EQ(digest(other), digest(db));
  std::filesystem::resize_file(folder() / "t.dump", 1 << 20);
  EXPECT_THROW(other.load(folder() / "t.dump", {.clean = true}), Error);
  EXPECT_EQ(digest(other), digest(db)) << "what could not be loaded changed something";
  EXPECT_THROW(db.dump(folder() / "none" / "t.dump"), Error);
  EXPECT_THROW(db.load(folder() / "none.dump"), Error);
  other.close();
  EXPECT_THROW(other.load(folder() / "t.dump"), Error);
}

TEST_F(PersistTest, ACheckFindsWhatIsDamaged) {
  std::string file;
  {
    Options options;
    options.hibernate = false;
    Database db = Database::open(path(), options);
    db.script(R"(create table t(n int primary key, text text);
                 insert into t select i, md5(i::text) from generate_series(1, 5000) i; checkpoint)");
    const CheckReport report = db.check();
    EXPECT_TRUE(report.clean()) << report.problems.front();
    EXPECT_GT(report.relations, 200u);
    EXPECT_EQ(db.one<int>("select count(*) from pg_extension where extname = 'amcheck'"), 0);
    EXPECT_EQ(db.one<int>("select count(*) from pg_namespace where nspname like 'snow%'"), 0);
    db.script("checkpoint");  // what looking at rows has noted in them
    file = "/var/lib/postgresql/data/" + db.one<std::string>("select pg_relation_filepath('t')");
    const ExecResult damage =
        db.guest().exec({"sh", "-c",
                         "printf x | dd of=" + file +
                             " bs=1 seek=12345 conv=notrunc && sync && echo 3 > "
                             "/proc/sys/vm/drop_caches"});
    EXPECT_EQ(damage.exit_code, 0) << damage.err;
  }
  Database db = Database::open(path());
  const CheckReport report = db.check();
  ASSERT_FALSE(report.clean());
  EXPECT_NE(report.problems.front().find("t: "), std::string::npos) << report.problems.front();
}

TEST_F(PersistTest, SpaceIsGivenBack) {
  Database db = Database::open(path());
  db.script(R"(create table big(n int, text text);
               insert into big select i, repeat(md5(i::text), 30) from generate_series(1, 30000) i)");
  db.execute("checkpoint");
  db.script("truncate big");
  const CompactReport report = db.compact({.full = false});
  EXPECT_LT(report.after + (20u << 20), report.before) << report.before << " to " << report.after;
}

TEST_F(PersistTest, ACrashIsReportedAndRepairedIfAskedFor) {
  Options options;
  options.restart = Restart::automatic;
  Database db = Database::open(path(), options);
  db.script("create table t(n int); insert into t values (1)");
  const std::vector<std::vector<std::string>> ways = {
      {"sh", "-c", "kill -9 $(head -1 /var/lib/postgresql/data/postmaster.pid)"},
      {"sh", "-c", "reboot -f || echo b > /proc/sysrq-trigger"},
  };
  int rows = 1;
  for (const auto& way : ways) {
    Session session = db.session();
    try {
      static_cast<void>(db.guest().exec(way));
    } catch (const Error&) {
      // The machine went away under it.
    }
    try {
      session.execute("select pg_sleep(10)");
      ADD_FAILURE() << "the session goes on";
    } catch (const GuestCrashed& crash) {
      EXPECT_FALSE(crash.console().empty());
    }
    EXPECT_EQ(db.one<int>("select count(*) from t"), rows);
    db.execute("insert into t values (2)");
    ++rows;
  }
  db.close();
  EXPECT_EQ(Database::open(path()).one<int>("select count(*) from t"), rows);
}

TEST_F(PersistTest, WithoutRestartACrashIsReportedUntilItIsOpenedAgain) {
  Database db = Database::open(path());
  db.script("create table t(n int); insert into t values (1)");
  try {
    static_cast<void>(db.guest().exec(
        {"sh", "-c", "kill -9 $(head -1 /var/lib/postgresql/data/postmaster.pid)"}));
  } catch (const Error&) {
    // It may be gone before it answers.
  }
  EXPECT_THROW(db.execute("select pg_sleep(10)"), GuestCrashed);
  EXPECT_THROW(db.execute("select 1"), GuestCrashed);
  db.close();
  EXPECT_EQ(Database::open(path()).one<int>("select n from t"), 1);
}

TEST_F(PersistTest, RelaxedIsASettingOfTheDatabaseUntilItIsOpenedInFull) {
  Options options;
  options.durability = Durability::relaxed;
  options.relaxed_window = 150ms;
  const auto settings = [](Database& db) {
    return db.one<std::string>(
        "select current_setting('synchronous_commit') || ' ' || "
        "current_setting('wal_writer_delay')");
  };
  // From the first statement on: what is acknowledged in an open in full must be durable.
  for (int i = 0; i < 3; ++i) {
    for (int again = 0; again < 2; ++again)
      EXPECT_EQ(settings(*std::make_unique<Database>(Database::open(path(), options))), "off 50ms");
    Database db = Database::open(path());
    EXPECT_EQ(settings(db), "on 1s");
    Session other = db.session();
    EXPECT_EQ(other.one<std::string>("show synchronous_commit"), "on");
  }
}

TEST_F(PersistTest, AFolderTellsWhatItIs) {
  EXPECT_THROW((void)Database::inspect(path()), DatabaseNotFound);
  Database db = Database::open(path());
  DatabaseInfo info = Database::inspect(path());
  EXPECT_TRUE(info.open);
  EXPECT_EQ(info.pid, ::getpid());
  EXPECT_EQ(info.state, "running");
  EXPECT_EQ(info.image_id, db.info().image_id);
  EXPECT_THROW((void)Database::open(path()), DatabaseLocked);  // looking did not unlock it
  db.close();
  info = Database::inspect(path());
  EXPECT_FALSE(info.open);
  EXPECT_EQ(info.state, "hibernated");
  EXPECT_GT(info.machine_bytes, 0u);
}

}  // namespace
}  // namespace snowglobe
