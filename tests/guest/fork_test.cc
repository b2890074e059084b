// tests/guest/fork_test.cc - machines made of one: what they share and what they must not, a
// hundred of them, and snapshots that outlive their database.
#include "tests/guest/machine_fixture.h"
#include "tests/support/temporary_folder.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::MachineTest;

using ForkTest = MachineTest;

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

TEST_F(ForkTest, AForkGoesOnFromNowAndNeitherSeesTheOther) {
  db().script("create table shared(n int); insert into shared values (1)");
  const auto start = std::chrono::steady_clock::now();
  Database fork = db().fork();
  EXPECT_EQ(fork.one<int>("select n from shared"), 1);
  std::printf("fork to first query: %.1f ms\n", milliseconds_since(start));
  EXPECT_EQ(fork.info().started, "fork");
  fork.execute("update shared set n = 2");
  db().execute("update shared set n = 3");
  EXPECT_EQ(fork.one<int>("select n from shared"), 2);
  EXPECT_EQ(db().one<int>("select n from shared"), 3);
  fork.close();
  EXPECT_EQ(db().one<int>("select n from shared"), 3);
  db().script("drop table shared");
}

TEST_F(ForkTest, AForkOfASnapshotLeavesTheParentWhereItIs) {
  db().script("create table past(n int); insert into past values (1)");
  const Snapshot before = db().save();
  db().execute("insert into past values (2)");
  Session session = db().session();
  Database fork = db().fork(before);
  EXPECT_EQ(fork.one<int>("select count(*) from past"), 1);
  EXPECT_EQ(session.one<int>("select count(*) from past"), 2);
  Database of_fork = fork.fork();
  EXPECT_EQ(of_fork.one<int>("select count(*) from past"), 1);
  EXPECT_EQ(of_fork.save().parent(), before.id());
  db().script("drop table past");
}

TEST_F(ForkTest, SessionsThatWaitedAndEndedAreNotMissed) {
  Database parent = db().fork();
  auto other = std::async(std::launch::async, [&] { (void)parent.query("select pg_sleep(0.3)"); });
  (void)parent.query("select pg_sleep(0.3)");
  other.get();  // two sessions of the pool are idle now, and will wait in the fork
  Database fork = parent.fork();
  fork.execute(
      "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
      "where backend_type = 'client backend' and pid <> pg_backend_pid()");
  const Snapshot after = fork.save();
  fork.restore(after);
  EXPECT_EQ(fork.one<int>("select 1"), 1);
  EXPECT_EQ(fork.fork(after).one<int>("select 2"), 2);
}

TEST_F(ForkTest, SessionsOfTheParentAreNotThereAndTheirLocksAreFree) {
  db().script("create table locked(n int)");
  Session session = db().session();
  Transaction transaction = session.begin();
  transaction.execute("lock table locked");
  Database fork = db().fork();
  fork.script("set lock_timeout = '10s'; drop table locked; reset lock_timeout");
  const int backends =
      fork.one<int>("select count(*) from pg_stat_activity where backend_type = 'client backend'");
  EXPECT_LE(backends, 2);
  EXPECT_TRUE(transaction.active());
  transaction.execute("insert into locked values (1)");
  transaction.commit();
  db().script("drop table locked");
}

TEST_F(ForkTest, TheFirstSessionOfAForkIsOneThatWaited) {
  const int waiting = db().one<int>("select pg_backend_pid()");
  Database fork = db().fork();
  EXPECT_EQ(fork.one<int>("select pg_backend_pid()"), waiting);
  Session own = fork.session();  // nothing of what the pool did is in it
  EXPECT_NE(own.backend_pid(), waiting);
  EXPECT_EQ(own.one<int>("select 1"), 1);
}

TEST_F(ForkTest, ForksDifferInAllThatIsToBeRandom) {
  (void)db().query("select random(), gen_random_uuid()");
  std::set<std::string> uuids;
  std::set<std::string> numbers;
  const Snapshot before = db().save();
  for (int i = 0; i < 3; ++i) {
    Database fork = db().fork(before);
    uuids.insert(fork.one<std::string>("select gen_random_uuid()::text"));
    numbers.insert(fork.one<std::string>("select random()::text"));
  }
  uuids.insert(db().one<std::string>("select gen_random_uuid()::text"));
  numbers.insert(db().one<std::string>("select random()::text"));
  EXPECT_EQ(uuids.size(), 4U);
  EXPECT_EQ(numbers.size(), 4U);
}

TEST_F(ForkTest, EachHasAHardwareAddressOfItsOwn) {
  const auto address = [](Database& database) {
    return database.guest().exec({"cat", "/sys/class/net/eth0/address"}).out;
  };
  const std::string own = address(db());
  const Snapshot before = db().save();
  Database one = db().fork(before);
  Database other = db().fork(before);
  Database opened = Database::open_in_memory({.from = before});
  std::set<std::string> all = {own, address(one), address(other), address(opened)};
  EXPECT_EQ(all.size(), 4U);
  for (Database* fork : {&one, &other, &opened}) {
    // Frames find their way in both directions at once: nobody waits for a retransmission.
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(fork->one<int>("select 1"), 1);
    EXPECT_LT(milliseconds_since(start), 2000);
  }
  const Snapshot of_fork = one.save();
  db().restore(of_fork);
  EXPECT_EQ(address(db()), own) << "it is the machine's, not the snapshot's";
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(ForkTest, ForksUnderLoadKeepTheirSumsApart) {
  db().script("create table sums(n int); insert into sums values (0)");
  const Snapshot before = db().save();
  std::vector<std::thread> threads;
  for (int i = 1; i <= 4; ++i) {
    threads.emplace_back([&, i] {
      Database fork = db().fork(before);
      for (int round = 0; round < 20; ++round) {
        fork.execute("update sums set n = n + $1", i);
        fork.script("create table filler" + std::to_string(round) +
                    " as select generate_series(1, 1000) as n");
      }
      EXPECT_EQ(fork.one<int>("select n from sums"), 20 * i);
      EXPECT_EQ(fork.one<int>("select sum(n) from filler7"), 500500);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(db().one<int>("select n from sums"), 0);
  db().script("drop table sums");
}

TEST_F(ForkTest, NowStandsStillWhereItIsAskedTo) {
  const auto then = std::chrono::system_clock::time_point(std::chrono::seconds(1'000'000'000));
  Database fork = db().fork({.frozen_time = then});
  const std::string expected = "2001-09-09 01:46:40+00";
  EXPECT_EQ(fork.one<std::string>("select now()::text"), expected);
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(fork.one<std::string>("select now()::text"), expected);
  const Snapshot before = fork.save();
  fork.restore(before);
  EXPECT_EQ(fork.one<std::string>("select now()::text"), expected);
}

/// SNOWGLOBE_FORKS: how many; a hundred in the slow tests.
TEST_F(ForkTest, ManyForksAreAliveAtOnce) {
  const char* const wanted = std::getenv("SNOWGLOBE_FORKS");  // NOLINT(concurrency-mt-unsafe)
  const int count = wanted == nullptr ? 10 : std::atoi(wanted);
  db().script("create table many(n int)");
  (void)db().query("select 1");
  const Snapshot before = db().save();
  const testing::Holdings held = testing::holdings();
  std::vector<Database> forks;
  forks.reserve(static_cast<std::size_t>(count));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    forks.push_back(db().fork(before));
    forks.back().execute("insert into many values ($1)", i);
  }
  std::printf("%d forks in %.0f ms; ", count, milliseconds_since(start));
  std::printf("%ld KiB resident more for each\n",
              (testing::holdings().resident_kib - held.resident_kib) / count);
  for (int i = 0; i < count; ++i)
    ASSERT_EQ(forks[static_cast<std::size_t>(i)].one<int>("select n from many"), i);
  forks.clear();
  EXPECT_LE(testing::holdings().threads, held.threads);
  EXPECT_LE(testing::holdings().descriptors, held.descriptors);
  db().script("drop table many");
}

TEST_F(ForkTest, AStoredSnapshotOpensRestoresAndTravels) {
  const test::TemporaryFolder folder;
  SnapshotStore store = SnapshotStore::open(folder.path() / "store");
  db().script("create table kept(n int); insert into kept values (7)");
  const Snapshot in_memory = db().save("first", {.note = "seven"});
  const Snapshot first = store.put(in_memory);
  EXPECT_EQ(first, in_memory);
  EXPECT_EQ(SnapshotStore::open(folder.path() / "store").put(in_memory), first);
  EXPECT_EQ(store.list().size(), 1u);
  db().execute("insert into kept values (8)");
  const Snapshot second = store.put(db().save("second"));
  EXPECT_TRUE(second.stored());
  EXPECT_EQ(second.parent(), first.id());
  EXPECT_LT(second.sizes().added, first.sizes().added / 2);
  EXPECT_EQ(store.list().size(), 2U);
  EXPECT_EQ(store.branches()[1].depth, 1U);
  EXPECT_GT(store.diff(first, second).changed_bytes, 0U);
  EXPECT_TRUE(store.verify().clean());
  store.tag(first, "good");
  EXPECT_EQ(store.find("good").name(), "first");
  EXPECT_THROW((void)store.find("nowhere"), SnapshotNotFound);
  EXPECT_THROW(store.remove(first), InvalidArgument);

  const auto file = folder.path() / "second.snap";
  store.export_to(second, file);
  {
    SnapshotStore elsewhere = SnapshotStore::open(folder.path() / "elsewhere");
    const Snapshot travelled = elsewhere.import_from(file);
    EXPECT_EQ(travelled.id(), second.id());
    Database opened = Database::open_in_memory({.from = travelled});
    EXPECT_EQ(opened.one<int>("select sum(n) from kept"), 15);
    EXPECT_EQ(opened.info().started, "snapshot");
  }
  // Another handle has nothing in memory and reads what is there.
  const Snapshot read = SnapshotStore::open(folder.path() / "store").find("first");
  db().restore(read);
  EXPECT_EQ(db().one<int>("select sum(n) from kept"), 7);
  EXPECT_EQ(store.remove(first, Children::remove_too).size(), 2U);
  db().script("drop table kept");
}

TEST_F(ForkTest, ADamagedSnapshotIsNotRestored) {
  const test::TemporaryFolder folder;
  SnapshotStore::open(folder.path()).put(db().save("whole"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path())) {
    if (!entry.is_regular_file() || entry.path().string().find("pack") == std::string::npos) {
      continue;
    }
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    file.write("damaged", 7);
  }
  Session session = db().session();
  const Snapshot damaged = SnapshotStore::open(folder.path()).find("whole");
  EXPECT_THROW(db().restore(damaged), SnapshotDamaged);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

}  // namespace
}  // namespace snowglobe
