// tests/guest/row_diff_test.cc - what diff_rows() says of two snapshots.
#include "tests/guest/machine_fixture.h"
#include <snowglobe/diff.hpp>

#include <map>

namespace snowglobe {
namespace {

using RowDiffTest = testing::MachineTest;

std::map<std::string, TableDiff> by_name(const std::vector<TableDiff>& diffs) {
  std::map<std::string, TableDiff> all;
  for (const TableDiff& diff : diffs)
    all[diff.name()] = diff;
  return all;
}

TEST_F(RowDiffTest, CountsInsertedUpdatedAndDeletedRowsByTable) {
  Database db = RowDiffTest::db().fork();
  db.script(R"(
    create table keyed(a int, b text, v int, primary key (b, a));
    insert into keyed select i, 'key ' || i % 7, i from generate_series(1, 12000) i;
    create table bare(v int); insert into bare values (1), (1), (2), (null);
    create table "Odd Name.x"(id int primary key, at timestamptz default now());
    insert into "Odd Name.x" values (1);
    create table untouched(id int primary key); insert into untouched values (1);
    create table goes(v int); insert into goes values (1), (2);
    create table parted(id int primary key) partition by range (id);
    create table part partition of parted for values from (0) to (10))");
  db.execute("create database other");
  const Snapshot before = db.save();
  db.script(R"(
    update keyed set v = -1 where a <= 3;
    delete from keyed where a between 11001 and 11005;
    insert into keyed values (99999, 'new', 0);
    delete from bare where ctid in (select ctid from bare where v = 1 limit 1);
    insert into bare values (null), (7);
    update "Odd Name.x" set at = at + interval '1 s';
    alter role postgres set datestyle to german;
    insert into parted values (5);
    drop table goes;
    create table comes(v int); insert into comes values (1), (2), (3);
    create table empty(v int))");
  SessionOptions elsewhere;
  elsewhere.database = "other";
  db.session(elsewhere).script("create table t(v int); insert into t values (1)");
  const auto found = by_name(diff_rows(before, db.save()));

  const auto expect = [&](const std::string& name, TableDiff::Kind kind, int inserted, int updated,
                          int deleted) {
    ASSERT_TRUE(found.contains(name)) << name;
    const TableDiff& diff = found.at(name);
    EXPECT_EQ(diff.kind, kind) << name;
    EXPECT_EQ(diff.inserted, static_cast<std::uint64_t>(inserted)) << name;
    EXPECT_EQ(diff.updated, static_cast<std::uint64_t>(updated)) << name;
    EXPECT_EQ(diff.deleted, static_cast<std::uint64_t>(deleted)) << name;
  };
  using Kind = TableDiff::Kind;
  expect("postgres.public.keyed", Kind::changed, 1, 3, 5);
  expect("postgres.public.bare", Kind::changed, 2, 0, 1);
  expect("postgres.public.Odd Name.x", Kind::changed, 0, 1, 0);
  expect("postgres.public.part", Kind::changed, 1, 0, 0);
  expect("postgres.public.goes", Kind::dropped, 0, 0, 2);
  expect("postgres.public.comes", Kind::created, 3, 0, 0);
  expect("postgres.public.empty", Kind::created, 0, 0, 0);
  expect("other.public.t", Kind::created, 1, 0, 0);
  EXPECT_EQ(found.size(), 8u);
}

TEST_F(RowDiffTest, FindsNothingBetweenASnapshotAndItself) {
  const Snapshot now = db().save();
  EXPECT_TRUE(diff_rows(now, now).empty());
}

}  // namespace
}  // namespace snowglobe
