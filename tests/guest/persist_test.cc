// tests/guest/persist_test.cc - databases in a folder: opened, closed, opened again, shared with
// nobody, and refused when they are none.
#include "tests/guest/persist_fixture.h"

#include <fcntl.h>
#include <future>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::PersistTest;
using testing::tree_of;

TEST_F(PersistTest, WhatWasCommittedIsThereAfterAClose) {
  {
    Database db = Database::open(path());
    EXPECT_EQ(db.info().path, std::filesystem::canonical(path()));
    db.script("create table t(id int primary key, name text)");
    db.execute("insert into t values ($1, $2)", 1, "Ada");
  }
  EXPECT_TRUE(std::filesystem::exists(path() / "machine"));
  Database db = Database::open(path());
  EXPECT_EQ(db.info().started, "resumed") << db.info().why_cold;
  EXPECT_FALSE(std::filesystem::exists(path() / "machine"));
  EXPECT_EQ(db.one<std::string>("select name from t where id = 1"), "Ada");
  db.execute("insert into t values (2, 'Grace')");
  db.close();
  db.close();
  EXPECT_FALSE(db.is_open());
  EXPECT_THROW(db.execute("select 1"), ConnectionLost);
  Database again = Database::open(path());
  EXPECT_EQ(again.one<int>("select count(*) from t"), 2);
}

TEST_F(PersistTest, ManyClosesAndOpensKeepEverything) {
  for (int i = 0; i < 5; ++i) {
    Database db = Database::open(path());
    if (i == 0) db.script("create table t(n int)");
    EXPECT_EQ(db.one<int>("select count(*) from t"), i);
    db.execute("insert into t values ($1)", i);
    const std::string started = db.info().started;
    EXPECT_EQ(started, i == 0 ? "warm" : "resumed") << i << ": " << db.info().why_cold;
  }
}

TEST_F(PersistTest, AClosedDatabaseKeepsNoLargePageCache) {
  {
    Database db = Database::open(path());
    db.script(
        "create table large as select repeat('x', 1000) as word from generate_series(1, 100000)");
  }
  struct stat machine {};
  ASSERT_EQ(::stat((path() / "machine").c_str(), &machine), 0);
  constexpr int kBlock = 512;
  EXPECT_LT(machine.st_blocks * kBlock, std::int64_t{90} << 20);
  EXPECT_EQ(Database::open(path()).one<int>("select count(*)::int from large"), 100'000);
}

TEST_F(PersistTest, WithoutHibernationItIsShutDownAndComesUpAgain) {
  Options options;
  options.hibernate = false;
  {
    Database db = Database::open(path(), options);
    db.script("create table t(n int); insert into t values (7)");
  }
  EXPECT_FALSE(std::filesystem::exists(path() / "machine"));
  Database db = Database::open(path(), options);
  EXPECT_EQ(db.one<int>("select n from t"), 7);
  EXPECT_NE(db.info().why_cold.find("shut down"), std::string::npos) << db.info().why_cold;
}

TEST_F(PersistTest, AMachineThatCannotBeUsedIsNotMissed) {
  {
    Database db = Database::open(path());
    db.script("create table t(n int); insert into t values (1)");
  }
  const std::filesystem::path machine = path() / "machine";
  const auto whole = std::filesystem::file_size(machine);
  struct Case {
    const char* what;
    std::function<void()> damage;
  };
  const std::vector<Case> cases = {
      {"missing", [&] { std::filesystem::remove(machine); }},
      {"cut short", [&] { std::filesystem::resize_file(machine, whole / 2); }},
      {"its index changed",
       [&] { testing::flip_byte(machine, std::filesystem::file_size(machine) - 100); }},
      {"empty", [&] { std::filesystem::resize_file(machine, 0); }},
      {"of an earlier close", [&] { testing::copy_over(path() / "old-machine", machine); }},
  };
  for (const Case& each : cases) {
    if (std::filesystem::exists(machine)) {
      testing::copy_over(machine, path() / "old-machine");  // of this close; the next is another
    }
    Database::open(path()).close();
    ASSERT_TRUE(std::filesystem::exists(machine));
    each.damage();
    Database db = Database::open(path());
    EXPECT_NE(db.info().started, "resumed") << each.what;
    EXPECT_EQ(db.one<int>("select n from t"), 1) << each.what;
  }
}

TEST_F(PersistTest, SessionsOfThePastAreOver) {
  Database db = Database::open(path());
  db.script("create table t(n int)");
  Session session = db.session();
  Transaction open = session.begin();
  open.execute("insert into t values (1)");
  Session idle = db.session();
  idle.execute("set work_mem = '5MB'");
  std::thread closer([&] { db.close(); });
  db.close();
  closer.join();
  EXPECT_THROW(open.execute("insert into t values (2)"), ConnectionLost);
  EXPECT_THROW(idle.execute("select 1"), ConnectionLost);
  Database again = Database::open(path());
  EXPECT_EQ(again.one<int>("select count(*) from t"), 0);
  EXPECT_EQ(again.one<int>("select count(*) from pg_locks where locktype = 'transactionid'"), 0);
  again.execute("alter table t add m int");  // nobody holds a lock on it
}

TEST_F(PersistTest, ThePoolsSessionsComeBackFresh) {
  {
    Database db = Database::open(path());
    db.execute("set work_mem = '5MB'");
    db.script("create temporary table of_the_past(n int)");
  }
  Database db = Database::open(path());
  EXPECT_EQ(db.one<std::string>("show work_mem"), "4MB");
  EXPECT_THROW((void)db.query("select * from of_the_past"), UndefinedTable);
}

TEST_F(PersistTest, OnlyOneHasIt) {
  Database db = Database::open(path());
  try {
    (void)Database::open(path());
    ADD_FAILURE() << "it was opened twice";
  } catch (const DatabaseLocked& locked) {
    EXPECT_EQ(locked.pid(), ::getpid());
    EXPECT_NE(std::string(locked.what()).find("in this process"), std::string::npos);
  }
  const int status = testing::in_child([&] {
    try {
      (void)Database::open(path());
      return 1;
    } catch (const DatabaseLocked& locked) {
      const bool told =
          locked.pid() == ::getppid() && !locked.program().empty() && locked.since().size() == 20;
      return told ? 0 : 2;
    }
  });
  EXPECT_EQ(status, 0);
  db.close();
  EXPECT_NO_THROW((void)Database::open(path()));
}

TEST_F(PersistTest, AForkedChildNeitherHoldsNorReleasesIt) {
  Database db = Database::open(path());
  EXPECT_EQ(testing::in_child([&] {
              Database copy = std::move(db);  // its destructor runs in the child
              return 0;
            }),
            0);
  EXPECT_THROW((void)Database::open(path()), DatabaseLocked);
  EXPECT_EQ(testing::in_child([&] {
              try {
                (void)Database::open(path());
              } catch (const DatabaseLocked&) {
                return 0;
              }
              return 1;
            }),
            0);
  // A child that lives on does not keep it from the next one.
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte;
    ::close(pipes[1]);
    ::_exit(static_cast<int>(::read(pipes[0], &byte, 1)));
  }
  db.close();
  EXPECT_NO_THROW((void)Database::open(path()));
  ::close(pipes[1]);
  ::waitpid(child, nullptr, 0);
  ::close(pipes[0]);
}

TEST_F(PersistTest, TheLockOfADeadProcessIsNoObstacle) {
  EXPECT_EQ(testing::in_child([&] {
              Database* db = new Database(Database::open(path()));
              db->script("create table t(n int); insert into t values (5)");
              ::kill(::getpid(), SIGKILL);
              return 1;
            }),
            128 + SIGKILL);
  Database db = Database::open(path());
  EXPECT_NE(db.info().started, "resumed");
  EXPECT_EQ(db.one<int>("select n from t"), 5);
}

TEST_F(PersistTest, ReadOnlyChangesNothingAndIsForMany) {
  {
    Database db = Database::open(path());
    db.script("create table t(n int); insert into t values (1)");
  }
  const auto before = tree_of(path());
  Options options;
  options.read_only = true;
  {
    Database one = Database::open(path(), options);
    EXPECT_EQ(one.info().started, "resumed") << one.info().why_cold;
    Database two = Database::open(path(), options);
    EXPECT_EQ(one.one<int>("select n from t"), 1);
    EXPECT_EQ(two.one<int>("select n from t"), 1);
    EXPECT_THROW(one.execute("insert into t values (2)"), ReadOnlyTransaction);
    Session session = one.session();  // who insists may, for as long as it is open
    session.script("set default_transaction_read_only = off");
    session.script("insert into t values (2)");
    EXPECT_EQ(session.one<int>("select count(*) from t"), 2);
    EXPECT_THROW((void)Database::open(path()), DatabaseLocked);
  }
  EXPECT_EQ(tree_of(path()), before);
  EXPECT_EQ(Database::open(path()).one<int>("select count(*) from t"), 1);
}

TEST_F(PersistTest, ReadOnlyAfterACrashRecoversInMemory) {
  testing::in_child([&] {
    Database* db = new Database(Database::open(path()));
    db->script("create table t(n int); insert into t values (5)");
    ::kill(::getpid(), SIGKILL);
    return 1;
  });
  const auto before = tree_of(path());
  Options options;
  options.read_only = true;
  EXPECT_EQ(Database::open(path(), options).one<int>("select n from t"), 5);
  EXPECT_EQ(tree_of(path()), before);
}

TEST_F(PersistTest, PathsWithSpacesAndUtf8AndOneThatIsRelative) {
  const std::filesystem::path odd = folder() / "Läden & Märkte 商店 'x'.globe";
  { Database::open(odd).script("create table t(n int)"); }
  EXPECT_EQ(Database::open(odd / "").one<int>("select count(*) from t"), 0);
  const std::filesystem::path here = std::filesystem::current_path();
  std::filesystem::current_path(folder());
  {
    Database db = Database::open("relative.globe");
    std::filesystem::current_path(here);
    db.script("create table t(n int)");
  }
  EXPECT_EQ(Database::open(folder() / "relative.globe").one<int>("select count(*) from t"), 0);
}

TEST_F(PersistTest, ADatabaseBeginsWithASnapshot) {
  Database source = Database::open_in_memory();
  source.script("create table t(n int); insert into t values (3)");
  Options options;
  options.from = source.save();
  { EXPECT_EQ(Database::open(path(), options).one<int>("select n from t"), 3); }
  EXPECT_THROW((void)Database::open(path(), options), DatabaseExists);
  options.from.reset();
  EXPECT_EQ(Database::open(path(), options).one<int>("select n from t"), 3);
}

// --- what is refused, and changes nothing

TEST_F(PersistTest, FoldersThatAreNoDatabaseAreLeftAlone) {
  namespace fs = std::filesystem;
  fs::create_directory(path());
  testing::write(path() / "important.txt", "mine");
  const auto before = tree_of(path());
  EXPECT_THROW((void)Database::open(path()), NotADatabase);
  EXPECT_EQ(tree_of(path()), before);
  testing::write(folder() / "file", "not a folder");
  EXPECT_THROW((void)Database::open(folder() / "file"), NotADatabase);
  EXPECT_THROW((void)Database::open(folder() / "no/parent"), DatabaseNotFound);
  EXPECT_THROW((void)Database::open(""), InvalidArgument);
  Options options;
  options.create = Create::never;
  EXPECT_THROW((void)Database::open(folder() / "absent", options), DatabaseNotFound);
  options = {};
  options.read_only = true;
  EXPECT_THROW((void)Database::open(folder() / "absent", options), DatabaseNotFound);
  EXPECT_FALSE(fs::exists(folder() / "absent"));
  options = {};
  options.image = folder() / "no image";
  EXPECT_THROW((void)Database::open(folder() / "absent", options), ImageError);
  EXPECT_FALSE(fs::exists(folder() / "absent"));
}

TEST_F(PersistTest, ADatabaseThatDoesNotCheckOutIsLeftAlone) {
  {
    Database db = Database::open(path());
    db.script("create table t(n int)");
  }
  Options create;
  create.create = Create::always;
  EXPECT_THROW((void)Database::open(path(), create), DatabaseExists);
  const std::string json = testing::read(path() / "database.json");
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string text = json;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    testing::write(path() / "database.json", text);
  };
  const auto refused = [&](const char* what) {
    const auto before = tree_of(path());
    try {
      (void)Database::open(path());
      ADD_FAILURE() << what << ": it was opened";
    } catch (const DatabaseError& error) {
      std::printf("%s: %s\n", what, error.what());
    }
    EXPECT_EQ(tree_of(path()), before) << what;
  };
  with("\"format\": 1", "\"format\": 2");
  EXPECT_THROW((void)Database::open(path()), DatabaseIncompatible);
  refused("a newer format");
  with("\"postgresql\": \"17", "\"postgresql\": \"16");
  EXPECT_THROW((void)Database::open(path()), DatabaseIncompatible);
  refused("another major");
  with("\"id\": \"", "\"id\": \"0000000000000000");
  refused("an id that cannot be");
  with("{", "[");
  refused("no json");
  // Of another database: what a swapped file would say.
  const std::size_t id = json.find("\"id\": \"") + 7;
  std::string other = json;
  other.replace(id, 32, std::string(32, 'a'));
  testing::write(path() / "database.json", other);
  refused("another database's description");
  testing::write(path() / "database.json", json);
  const auto disk = std::filesystem::file_size(path() / "disk");
  testing::copy_over(path() / "disk", folder() / "disk");
  std::filesystem::resize_file(path() / "disk", disk / 1000);
  refused("a truncated disk");
  std::filesystem::remove(path() / "disk");
  refused("no disk");
  testing::copy_over(folder() / "disk", path() / "disk");
  std::filesystem::remove(path() / "database.json");
  refused("no description");
  testing::write(path() / "database.json", json);
  EXPECT_NO_THROW((void)Database::open(path()));
}

}  // namespace
}  // namespace snowglobe
