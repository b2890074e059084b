// tests/guest/persist_places_test.cc - databases where the host does not let them: on a full disk,
// on one that is read-only, with files that somebody put there.
#include "tests/guest/persist_fixture.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace snowglobe {
namespace {

namespace fs = std::filesystem;
using testing::PersistTest;
using testing::tree_of;

constexpr int kNoMounts = 77;

/// A mount namespace of this process's own, as root there. False: the host allows none.
bool enter_own_mounts() {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (user == 0 && ::unshare(CLONE_NEWNS) == 0) {
    return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  }
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  testing::write("/proc/self/setgroups", "deny");
  testing::write("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
  testing::write("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

class PlacesTest : public PersistTest {
 protected:
  /// Runs `work` in a child with mounts of its own; skips the test where there can be none.
  void with_own_mounts(const std::function<void()>& work) {
    const int code = testing::in_child([&] {
      if (!enter_own_mounts()) return kNoMounts;
      work();
      return HasFailure() ? 1 : 0;
    });
    if (code == kNoMounts) GTEST_SKIP() << "this host lets us have no mounts of our own";
    EXPECT_EQ(code, 0);
  }

  /// A file system of that size, as the folder mounted().
  void mount_small(int megabytes) {
    fs::create_directories(mounted());
    const std::string size = "size=" + std::to_string(megabytes) + "m";
    ASSERT_EQ(::mount("none", mounted().c_str(), "tmpfs", 0, size.c_str()), 0) << errno;
  }
  void resize(int megabytes) {
    const std::string size = "size=" + std::to_string(megabytes) + "m";
    ASSERT_EQ(::mount("none", mounted().c_str(), "tmpfs", MS_REMOUNT, size.c_str()), 0) << errno;
  }
  /// What is left of it.
  void fill_up() {
    const int file = ::open((mounted() / "filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(file, 0);
    const std::string bytes(1 << 16, 'x');
    while (::write(file, bytes.data(), bytes.size()) > 0) {
    }
    ::close(file);
  }
  void make_room() { fs::remove(mounted() / "filler"); }
  [[nodiscard]] fs::path mounted() const { return folder() / "mounted"; }
  [[nodiscard]] fs::path shop() const { return mounted() / "shop.globe"; }

  static void expect_sound(Database& db, int rows) {
    EXPECT_EQ(db.one<int>("select count(*)::int from t"), rows);
    EXPECT_EQ(db.one<int>("select coalesce(max(n), 0) from t"), rows);
    const CheckReport report = db.check();
    EXPECT_TRUE(report.problems.empty()) << report.problems.front();
  }
};

TEST_F(PlacesTest, AFullHostLosesNothing) {
  with_own_mounts([this] {
    mount_small(512);
    int acknowledged = 0;
    {
      Database db = Database::open(shop());
      db.script("create table t(n int primary key, filler text)");
      fill_up();
      try {
        for (int n = 1; n < 100'000; ++n) {
          db.execute(
              "insert into t select $1, string_agg(md5(random()::text), '') "
              "from generate_series(1, 2000)",
              n);
          acknowledged = n;
        }
        ADD_FAILURE() << "a full disk took everything";
      } catch (const snowglobe::Error& error) {
        std::printf("after %d rows: %s\n", acknowledged, error.what());
      }
      EXPECT_THROW(db.execute("insert into t values (0)"), DiskFailed);
    }
    // Still full: it says so, in whatever is the first to need room, and nothing is lost.
    try {
      Database db = Database::open(shop());
      std::printf("a full disk has room for a recovery\n");
    } catch (const snowglobe::Error& error) {
      std::printf("while it is full: %s\n", error.what());
    }
    make_room();
    Database db = Database::open(shop());
    EXPECT_GE(db.one<int>("select count(*)::int from t"), acknowledged);
    EXPECT_LE(db.one<int>("select count(*)::int from t"), acknowledged + 1);
    acknowledged = db.one<int>("select count(*)::int from t");
    expect_sound(db, acknowledged);
    db.execute("insert into t values ($1, '')", acknowledged + 1);
  });
}

TEST_F(PlacesTest, WhatDoesNotFitIsRefusedAndTheDatabaseGoesOn) {
  with_own_mounts([this] {
    mount_small(512);
    {
      Database db = Database::open(shop());
      db.script("create table t(n int primary key); insert into t values (1)");
      db.execute("checkpoint");
      fill_up();
      EXPECT_THROW((void)Database::open(mounted() / "another.globe"), snowglobe::Error);
      EXPECT_THROW((void)db.backup_to(mounted() / "copy.globe"), snowglobe::Error);
      EXPECT_THROW((void)db.save("kept"), snowglobe::Error);
      EXPECT_THROW(db.dump(mounted() / "dump"), snowglobe::Error);
      EXPECT_FALSE(fs::exists(mounted() / "another.globe"));
      EXPECT_FALSE(fs::exists(mounted() / "copy.globe"));
      EXPECT_FALSE(fs::exists(mounted() / "dump"));
      EXPECT_EQ(db.one<int>("select n from t"), 1);
      make_room();
      db.execute("insert into t values (2)");
      EXPECT_NO_THROW((void)db.save("kept"));
      EXPECT_EQ(db.snapshots().size(), 1u);
      EXPECT_NO_THROW((void)db.backup_to(mounted() / "copy.globe"));
      fs::remove_all(mounted() / "copy.globe");
      db.execute("checkpoint");
      fill_up();
    }
    // The machine did not fit beside the disk.
    EXPECT_FALSE(fs::exists(shop() / "machine"));
    make_room();
    Database db = Database::open(shop());
    EXPECT_NE(db.info().started, "resumed");
    expect_sound(db, 2);
  });
}

TEST_F(PlacesTest, OnAReadOnlyMountItIsRefusedAndCanBeRead) {
  {
    Database db = Database::open(path());
    db.script("create table t(n int primary key); insert into t values (1)");
    db.save("kept");
  }
  with_own_mounts([this] {
    const char* const place = folder().c_str();
    ASSERT_EQ(::mount(place, place, nullptr, MS_BIND, nullptr), 0) << errno;
    ASSERT_EQ(::mount("none", place, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0)
        << errno;
    const auto before = tree_of(path());
    try {
      (void)Database::open(path());
      ADD_FAILURE() << "it was opened to be written";
    } catch (const DatabaseError& error) {
      EXPECT_NE(std::string(error.what()).find("read_only"), std::string::npos) << error.what();
    }
    EXPECT_THROW((void)Database::open(folder() / "fresh.globe"), snowglobe::Error);
    Options options;
    options.read_only = true;
    {
      Database db = Database::open(path(), options);
      EXPECT_EQ(db.info().started, "resumed");
      expect_sound(db, 1);
      EXPECT_THROW((void)db.save("another"), InvalidArgument);
      const auto all = db.snapshots();
      ASSERT_EQ(all.size(), 1u);
      EXPECT_EQ(all.front().name(), "kept");
      EXPECT_THROW(db.forget(all.front()), InvalidArgument);
      Database fork = db.fork(all.front());
      expect_sound(fork, 1);
      db.restore(all.front());
      expect_sound(db, 1);
    }
    SnapshotStore store = SnapshotStore::open(path() / "snapshots");
    const Snapshot kept = store.find("kept");
    EXPECT_TRUE(store.verify().clean());
    Database from = Database::open_in_memory({.from = kept});
    expect_sound(from, 1);
    EXPECT_THROW(store.tag(kept, "seen"), InvalidArgument);
    EXPECT_THROW((void)store.put(from.save("mine")), InvalidArgument);
    EXPECT_THROW((void)store.remove(kept), InvalidArgument);
    EXPECT_THROW((void)store.prune({.last = 1}), InvalidArgument);
    EXPECT_EQ(Database::inspect(path()).state, "hibernated");
    EXPECT_EQ(tree_of(path()), before);
  });
}

TEST_F(PlacesTest, ACatalogueThatIsNotTheStoresOwnIsRefused) {
  const auto make = [](const fs::path& where) {
    Database db = Database::open(where);
    db.script("create table t(n int primary key); insert into t values (1)");
    db.save("kept");
  };
  make(path());
  make(folder() / "other.globe");
  const fs::path store = path() / "snapshots";
  testing::copy_over(store / "catalogue.sqlite", folder() / "original");
  struct Case {
    const char* what;
    std::function<void()> damage;
  };
  const std::vector<Case> cases = {
      {"another store's",
       [&] {
         testing::copy_over(folder() / "other.globe/snapshots/catalogue.sqlite",
                            store / "catalogue.sqlite");
       }},
      {"missing", [&] { fs::remove(store / "catalogue.sqlite"); }},
      {"no database", [&] { testing::write(store / "catalogue.sqlite", std::string(8192, 'x')); }},
      {"cut short", [&] { fs::resize_file(store / "catalogue.sqlite", 1000); }},
  };
  for (const Case& each : cases) {
    each.damage();
    const auto before = tree_of(store / "packs");
    {
      Database db = Database::open(path());  // the data are not concerned
      expect_sound(db, 1);
      try {
        const auto all = db.snapshots();
        ASSERT_EQ(all.size(), 1u) << each.what;
        (void)db.fork(all.front());
        ADD_FAILURE() << each.what << ": it was believed";
      } catch (const SnapshotError& error) {
        std::printf("%s: %s\n", each.what, error.what());
      }
    }
    EXPECT_EQ(tree_of(store / "packs"), before) << each.what;
    testing::copy_over(folder() / "original", store / "catalogue.sqlite");
  }
  Database db = Database::open(path());
  ASSERT_EQ(db.snapshots().size(), 1u);
  Database fork = db.fork(db.snapshots().front());
  expect_sound(fork, 1);
}

TEST_F(PlacesTest, ALockThatIsALinkIsNotFollowed) {
  Database::open(path()).close();
  testing::write(folder() / "precious", "mine");
  fs::remove(path() / "lock");
  fs::create_symlink(folder() / "precious", path() / "lock");
  EXPECT_THROW((void)Database::open(path()), snowglobe::Error);
  EXPECT_EQ(testing::read(folder() / "precious"), "mine");
  fs::remove(path() / "lock");
  testing::write(path() / "lock", "pid 1\nprogram init\nsince 2001-01-01T00:00:00Z\n");
  EXPECT_EQ(Database::open(path()).info().started, "resumed");
}

}  // namespace
}  // namespace snowglobe
