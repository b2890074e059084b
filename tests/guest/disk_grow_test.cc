// tests/guest/disk_grow_test.cc - a data disk that becomes larger: under a running database, and
// from one open to the next; beyond what the image has.
#include "tests/guest/persist_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snowglobe {
namespace {

namespace fs = std::filesystem;
using testing::PersistTest;

constexpr const char* kMount = "/var/lib/postgresql";

/// What users of the guest's data disk have, in MiB: used and available together.
long size_mb(Database& db) {
  const ExecResult said = db.guest().exec(
      {"sh", "-c", std::string("df -Pm ") + kMount + " | awk 'NR == 2 {print $3 + $4}'"});
  EXPECT_EQ(said.exit_code, 0) << said.err;
  return std::stol(said.out);
}

/// As a limit says it: the guest rounds to blocks, and df to megabytes.
void expect_size(Database& db, long megabytes) {
  EXPECT_NEAR(static_cast<double>(size_mb(db)), static_cast<double>(megabytes), 3)
      << db.info().started;
}

/// Takes almost all of it, and writes what must lie at its end.
void use_the_end(Database& db) {
  const auto run = [&](const std::string& command) {
    const ExecResult said = db.guest().exec({"sh", "-ec", command}, {.directory = kMount});
    EXPECT_EQ(said.exit_code, 0) << command << ": " << said.err;
    return said.out;
  };
  run("fallocate -l $(($(df -Pm . | awk 'NR == 2 {print $4}') - 60))M taken");
  const std::string sum = run("head -c 30000000 /dev/urandom > end; sync; md5sum end");
  EXPECT_EQ(run("echo 3 > /proc/sys/vm/drop_caches; md5sum end"), sum);
  run("rm taken end");
}

TEST(DiskGrows, UnderARunningDatabaseThatIsFull) {
  Database db = Database::open_in_memory({.disk_limit_mb = 128});
  expect_size(db, 128);
  db.script("create table big(t text)");
  const auto fill = [&](Database& full) {
    full.execute(
        "insert into big select repeat(md5(i::text), 30) from generate_series(1, 150000) i");
  };
  EXPECT_THROW(fill(db), SqlError);
  const Snapshot small = db.save();
  Session waits = db.session();
  waits.execute("set application_name = 'waits'");
  db.set_disk_limit(6144);
  expect_size(db, 6144);
  fill(db);
  use_the_end(db);
  EXPECT_EQ(waits.one<std::string>("show application_name"), "waits");

  Database fork = db.fork();
  expect_size(fork, 6144);
  db.restore(small);
  expect_size(db, 6144);
  EXPECT_EQ(db.one<int>("select count(*)::int from big"), 0);
  fill(db);
  db.set_disk_limit(128);
  EXPECT_THROW(fill(db), SqlError);
  EXPECT_EQ(db.one<int>("select count(*)::int from big"), 150000);
  EXPECT_EQ(fork.one<int>("select count(*)::int from big"), 150000);
}

TEST(DiskGrows, ToNoMoreThanThereCanBe) {
  EXPECT_THROW((void)Database::open_in_memory({.disk_limit_mb = 60'000}), InvalidArgument);
  Database db = Database::open_in_memory();
  EXPECT_THROW(db.set_disk_limit(32), InvalidArgument);
  EXPECT_THROW(db.set_disk_limit(60'000), InvalidArgument);
  expect_size(db, size_mb(db));
  EXPECT_GE(size_mb(db), 4096);
  db.set_disk_limit(57'344);
  expect_size(db, 57'344);
  use_the_end(db);
}

TEST(DiskGrows, WithASnapshotOfALargerOne) {
  Database large = Database::open_in_memory({.disk_limit_mb = 6144});
  large.execute("create table here as select 42 as n");
  expect_size(large, 6144);
  const Snapshot saved = large.save();
  Database small = Database::open_in_memory();
  small.restore(saved);
  EXPECT_EQ(small.one<int>("select n from here"), 42);
  EXPECT_GE(size_mb(small), 6144) << "no limit was asked for";
  const Database from = Database::open_in_memory({.disk_limit_mb = 8192, .from = saved});
  Database narrow = Database::open_in_memory({.disk_limit_mb = 200, .from = saved});
  expect_size(narrow, 200);
}

TEST_F(PersistTest, ALargerLimitThanBeforeIsHad) {
  {
    Database db = Database::open(path());
    db.execute("create table here as select 42 as n");
    EXPECT_LT(size_mb(db), 5000);
    db.save("small");
  }
  {
    Database db = Database::open(path(), {.disk_limit_mb = 6144});
    EXPECT_EQ(db.info().started, "resumed") << db.info().why_cold;
    expect_size(db, 6144);
    use_the_end(db);
    EXPECT_EQ(db.one<int>("select n from here"), 42);
    EXPECT_TRUE(db.check().problems.empty());
  }
  EXPECT_GT(Database::inspect(path()).capacity, std::uint64_t{6144} << 20);
  EXPECT_LT(Database::inspect(path()).disk_bytes, std::uint64_t{1024} << 20) << "it has holes";
  {
    Database db = Database::open(path(), {.disk_limit_mb = 128});
    EXPECT_EQ(db.info().started, "resumed") << db.info().why_cold;
    expect_size(db, 128);
  }
  {
    Database db = Database::open(path());
    EXPECT_GE(size_mb(db), 6144) << "what it has, if nothing else is said";
    db.save("large");
    db.restore("small");
    EXPECT_GE(size_mb(db), 6144);
    use_the_end(db);
    db.restore("large");
    EXPECT_EQ(db.one<int>("select n from here"), 42);
    EXPECT_TRUE(db.check().problems.empty());
  }
}

TEST_F(PersistTest, AfterAKillALargerLimitThanBeforeIsHad) {
  const int status = testing::in_child([&] {
    Database db = Database::open(path(), {.disk_limit_mb = 300});
    db.execute("create table here as select 42 as n");
    db.set_disk_limit(6144);
    expect_size(db, 6144);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
    return 0;
  });
  ASSERT_EQ(status, 0);
  Database db = Database::open(path(), {.disk_limit_mb = 8192});
  EXPECT_EQ(db.info().started, "recovered") << db.info().why_cold;
  expect_size(db, 8192);
  EXPECT_EQ(db.one<int>("select n from here"), 42);
  use_the_end(db);
}

/// What is written to memory in place of the folder must not come upon a bound of its own: that
/// would be an I/O error of the guest's.
TEST_F(PersistTest, ReadOnlyALimitIsNoBoundOfTheMemoryBelow) {
  {
    Database db = Database::open(path());
    db.execute(
        "create table big as select repeat(md5(i::text), 30) from generate_series(1, 150000) i");
  }
  Database db = Database::open(path(), {.disk_limit_mb = 128, .read_only = true});
  EXPECT_EQ(db.one<int>("select count(*)::int from big"), 150000);
  // More is on it already than the limit allows: PostgreSQL says so, and its log goes on.
  Session session = db.session();
  session.execute("set default_transaction_read_only = off");
  for (int i = 0; i < 150; ++i)
    (void)session.query("select pg_logical_emit_message(true, 'log', repeat('x', 1000000))");
  try {
    session.execute("create table more as select * from big");
    ADD_FAILURE() << "there is no room";
  } catch (const SqlError& full) {
    EXPECT_EQ(full.sqlstate(), "53100") << full.what();
  }
  session.execute("drop table big");
  session.execute("create table less as select * from generate_series(1, 1000)");
  for (const std::string& line : db.guest().console())
    EXPECT_EQ(line.find("I/O error"), std::string::npos) << line;
}

}  // namespace
}  // namespace snowglobe
