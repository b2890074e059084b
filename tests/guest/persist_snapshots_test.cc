// tests/guest/persist_snapshots_test.cc - snapshots of databases in a folder: kept with it, put
// back, forked.
#include "tests/guest/persist_fixture.h"

namespace snowglobe {
namespace {

using testing::PersistTest;

TEST_F(PersistTest, SnapshotsAreKeptInTheFolder) {
  {
    Database db = Database::open(path());
    db.script("create table t(n int); insert into t values (1)");
    const Snapshot first = db.save("one", {.note = "a note", .tags = {"tag"}});
    EXPECT_TRUE(first.stored());
    db.execute("insert into t values (2)");
    const Snapshot second = db.save("two");
    EXPECT_EQ(second.parent(), first.id());
    EXPECT_LT(second.sizes().added, first.sizes().added / 2);
    db.execute("insert into t values (3)");
    db.restore("one");
    EXPECT_EQ(db.one<int>("select count(*) from t"), 1);
    db.restore(second);
    EXPECT_EQ(db.one<int>("select count(*) from t"), 2);
    EXPECT_FALSE(db.save().stored());
  }
  Database db = Database::open(path());
  ASSERT_EQ(db.snapshots().size(), 2u);
  EXPECT_EQ(db.snapshots()[0].note(), "a note");
  EXPECT_EQ(db.one<int>("select count(*) from t"), 2);
  const Snapshot third = db.save("three");
  EXPECT_EQ(third.parent(), db.snapshots()[1].id());  // where it was restored to before
  EXPECT_LT(third.sizes().added, db.snapshots()[0].sizes().added);
  Database fork = db.fork(db.snapshots()[0]);
  EXPECT_EQ(fork.one<int>("select count(*) from t"), 1);
  fork.execute("insert into t select * from generate_series(1, 1000)");
  db.restore("tag");
  EXPECT_EQ(db.one<int>("select count(*) from t"), 1);
  EXPECT_EQ(fork.one<int>("select count(*) from t"), 1001);
  db.forget(third);
  EXPECT_EQ(db.snapshots().size(), 2u);
  EXPECT_THROW(db.restore("three"), SnapshotNotFound);
}

/// Those in memory are not there to descend from, nor to be compared with.
TEST_F(PersistTest, ASnapshotInMemoryComesNotBetweenTwoInTheFolder) {
  std::string one;
  {
    Database db = Database::open(path());
    db.script("create table t(n int); insert into t values (1)");
    const Snapshot first = db.save("one");
    one = first.id();
    const Snapshot memory = db.save();
    EXPECT_EQ(memory.parent(), one);
    const Snapshot second = db.save("two");
    EXPECT_EQ(second.parent(), one);
    EXPECT_LT(second.sizes().added, first.sizes().added / 2);
    db.restore(memory);
    EXPECT_EQ(Database::inspect(path()).origin, one);
    EXPECT_EQ(db.save("three").parent(), one);
    db.restore(memory);
    (void)db.save();
  }
  Database db = Database::open(path());
  EXPECT_EQ(db.save("four").parent(), one);
}

TEST_F(PersistTest, OneWhoseNameIsTakenStaysAndSaysHowItWasCalled) {
  Database db = Database::open(path());
  const Snapshot first = db.save("daily");
  db.save("other");
  const Snapshot second = db.save("daily");
  const auto all = db.snapshots();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].id(), first.id());
  EXPECT_EQ(all[0].name(), "");
  EXPECT_EQ(all[0].former_name(), "daily");
  EXPECT_EQ(all[2].former_name(), "");
  SnapshotStore store = SnapshotStore::open(path() / "snapshots");
  const PruneReport pruned = store.prune({.named = true});
  ASSERT_EQ(pruned.removed.size(), 1u);
  EXPECT_EQ(pruned.removed[0].id(), first.id());
  db.restore("daily");
  EXPECT_EQ(db.snapshots().size(), 2u);
}

TEST_F(PersistTest, ARestoreIsThereAfterACrash) {
  testing::in_child([&] {
    Database* db = new Database(Database::open(path()));
    db->script("create table t(n int); insert into t values (1)");
    const Snapshot before = db->save();
    db->script("insert into t select * from generate_series(1, 10000)");
    db->restore(before);
    db->execute("insert into t values (2)");
    ::kill(::getpid(), SIGKILL);
    return 1;
  });
  Database db = Database::open(path());
  EXPECT_EQ(db.one<int>("select sum(n)::int from t"), 3);
}

TEST_F(PersistTest, AForkOutlivesItsParentAndWritesToItself) {
  Database db = Database::open(path());
  db.script("create table t(n int); insert into t values (1)");
  Database fork = db.fork();
  db.execute("insert into t values (2)");
  db.close();
  EXPECT_EQ(fork.one<int>("select count(*) from t"), 1);
  fork.script("insert into t select * from generate_series(1, 10000)");
  Database again = Database::open(path());
  again.script("vacuum full t");
  EXPECT_EQ(again.one<int>("select count(*) from t"), 2);
  EXPECT_EQ(fork.one<int>("select count(*) from t"), 10001);
}

TEST_F(PersistTest, ASnapshotInMemoryLeavesTheFolderAsItIs) {
  Database db = Database::open(path());
  db.script("create table t(n int)");
  const Snapshot before = db.save();
  db.script("insert into t select * from generate_series(1, 10000)");
  db.restore(before);
  EXPECT_EQ(db.one<int>("select count(*) from t"), 0);
  EXPECT_FALSE(std::filesystem::exists(path() / "snapshots"));
  // It is good for other databases as well.
  Options options;
  options.from = before;
  Database memory = Database::open_in_memory(options);
  EXPECT_EQ(memory.one<int>("select count(*) from t"), 0);
  Database other = Database::open(folder() / "other.globe", options);
  EXPECT_EQ(other.one<int>("select count(*) from t"), 0);
}

}  // namespace
}  // namespace snowglobe
