// tests/guest/persist_errors_test.cc - the n-th call to the host's files under a database fails, or
// all from the n-th on: a typed error, or what was asked for is done all the same; and the next
// open is right.
//
// SNOWGLOBE_IO_ERRORS: the last n; every one from 1 on is tried, and every tenth in the other way.
// Without it: a few.
#include "api/src/database_state.h"
#include "tests/guest/persist_fixture.h"
#include "tests/snapshots/fault_vfs.h"
#include "tests/support/faulty_files.h"

#include <chrono>
#include <cstdlib>
#include <optional>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

namespace fs = std::filesystem;
using Kind = test::Fault::Kind;

/// SQLite's writes to the catalogue of snapshots.
class CatalogueGuard final : public snapshots::testing_world::VfsGuard {
 public:
  explicit CatalogueGuard(test::Fault& fault) : fault_(fault) {
    snapshots::testing_world::register_fault_vfs(this, true);
  }
  ~CatalogueGuard() override { snapshots::testing_world::register_fault_vfs(nullptr, true); }
  Outcome operation(std::uint64_t) override {
    return fault_.now() ? Outcome::kError : Outcome::kDone;
  }

 private:
  test::Fault& fault_;
};

class ErrorsTest : public testing::PersistTest {
 protected:
  using Action = std::function<void(Database&)>;

  Database open(const fs::path& where) {
    return Database(detail::DatabaseState::open(where, {}, files_));
  }
  void make_table() {
    Database db = Database::open(path());
    db.script("create extension amcheck; create table t(n int primary key)");
  }
  void insert(Database& db) {
    begun_ = acknowledged_ + 1;
    db.execute("insert into t values ($1)", begun_);
    acknowledged_ = begun_;
  }

  /// Runs `action` on an open database with each fault in turn; `after` says what must be true once
  /// it is closed: its argument is whether the action said that it was done.
  void try_all(const Action& action, const std::function<void(bool done)>& after = {},
               const Action& before = {}) {
    try_each([&](int n, Kind kind) {
      Database db = open(path());
      if (before) before(db);
      fault_.arm(n, kind);
      const bool done = says_it_is_done([&] { action(db); });
      const bool struck = fault_.struck();
      if (kind == Kind::kOne) {
        fault_.disarm();
        says_it_is_done([&] { insert(db); });  // it goes on, or says that it does not
      }
      db.close();
      fault_.disarm();
      if (after) after(done);
      check();
      return struck;
    });
  }

  void try_open(const std::function<void()>& before) {
    try_each([&](int n, Kind kind) {
      before();
      fault_.arm(n, kind);
      bool struck = false;
      says_it_is_done([&] {
        Database db = open(path());
        struck = fault_.struck();
        fault_.disarm();
        insert(db);
      });
      struck = struck || fault_.struck();
      fault_.disarm();
      check();
      return struck;
    });
  }

  /// Calls `trial` with each fault; it returns false when there were less calls than that.
  void try_each(const std::function<bool(int n, Kind kind)>& trial) {
    const char* const text = std::getenv("SNOWGLOBE_IO_ERRORS");  // NOLINT(concurrency-mt-unsafe)
    const int last = text != nullptr ? std::atoi(text) : 0;
    const auto start = std::chrono::steady_clock::now();
    for (const Kind kind : {Kind::kOne, Kind::kAllFrom}) {
      int tried = 0;
      const auto go_on = [&](int n) {
        if (!trial(n, kind)) return false;
        ++tried;
        if (HasFailure()) ADD_FAILURE() << "n = " << n << ", kind " << static_cast<int>(kind);
        return !HasFailure();
      };
      const int step = kind == Kind::kOne ? 1 : 10;
      if (last != 0) {
        for (int n = 1; n <= last && go_on(n);)
          n += step;
      } else if (kind == Kind::kAllFrom) {
        go_on(9);
      } else if (go_on(2)) {
        go_on(17);
      }
      std::printf("%s: %d faults\n", kind == Kind::kOne ? "one call" : "all calls from", tried);
      if (HasFailure()) return;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%d of them met a caller; %.1f s\n", reported_, took.count());
  }

  /// What it throws must be ours, and come in time.
  bool says_it_is_done(const std::function<void()>& what) {
    const auto start = std::chrono::steady_clock::now();
    bool done = false;
    try {
      what();
      done = true;
    } catch (const snowglobe::Error& error) {
      ++reported_;
      EXPECT_NE(std::string(error.what()), "");
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
    return done;
  }

  /// The next open has what was acknowledged, and nothing that nobody asked for.
  void check() {
    Database db = Database::open(path());
    const int have = check_rows(db);
    if (have != restoring_to_) {
      EXPECT_GE(have, acknowledged_);
      EXPECT_LE(have, begun_);
    }
    acknowledged_ = begun_ = have;
    restoring_to_ = -1;
  }
  /// Without holes; returns how many.
  static int check_rows(Database& db) {
    const int have = db.one<int>("select coalesce(max(n), 0) from t");
    EXPECT_EQ(db.one<int>("select count(*)::int from t"), have);
    EXPECT_EQ(db.one<int>("select count(*)::int from verify_heapam('t')"), 0);
    db.execute("select bt_index_check('t_pkey', true)");
    return have;
  }

  test::Fault fault_;
  test::FaultyFiles files_{fault_};
  CatalogueGuard catalogue_{fault_};
  int begun_ = 0, acknowledged_ = 0, restoring_to_ = -1, reported_ = 0;
};

TEST_F(ErrorsTest, InOpenThatResumes) {
  make_table();
  try_open([] {});
}

TEST_F(ErrorsTest, InOpenThatRecovers) {
  make_table();
  try_open([this] {
    const int code = testing::in_child([&] {
      Database db = Database::open(path());
      insert(db);
      ::_exit(0);
      return 0;
    });
    EXPECT_EQ(code, 0);
    begun_ = ++acknowledged_;
  });
}

TEST_F(ErrorsTest, InCreation) {
  try_each([&](int n, Kind kind) {
    fault_.arm(n, kind);
    const bool done = says_it_is_done([&] { open(path()); });
    const bool struck = fault_.struck();
    fault_.disarm();
    if (!done && n <= 3) {
      EXPECT_FALSE(fs::exists(path()));
    }
    Database db = Database::open(path());
    EXPECT_EQ(db.one<int>("select count(*)::int from pg_class where relname = 't'"), 0);
    db.close();
    fs::remove_all(path());
    return struck;
  });
}

/// The n-th rename, or the n-th sync of a folder, fails.
class FailingNames final : public test::ForwardingFileSystem {
 public:
  base::Result<void> rename(const Path& from, const Path& to) override {
    if (--rename_in == 0) return test::Fault::error("rename");
    return ForwardingFileSystem::rename(from, to);
  }
  base::Result<void> sync_directory(const Path& path) override {
    if (--sync_in == 0) return test::Fault::error("sync of the folder");
    return ForwardingFileSystem::sync_directory(path);
  }
  int rename_in = 0, sync_in = 0;
};

TEST_F(ErrorsTest, ACreationThatFailsAtItsEndLeavesNothingThatIsInTheWay) {
  FailingNames files;
  for (int FailingNames::*const which : {&FailingNames::rename_in, &FailingNames::sync_in}) {
    int failed = 0;
    for (int n = 1;; ++n) {
      files.*which = n;
      if (says_it_is_done([&] { detail::DatabaseState::open(path(), {}, files); })) break;
      ++failed;
      EXPECT_FALSE(fs::exists(path())) << n;
      Database::open(path()).close();
      fs::remove_all(path());
      ASSERT_FALSE(HasFailure()) << n;
    }
    EXPECT_GE(failed, 3);
    Database::open(path()).close();
    fs::remove_all(path());
  }
}

TEST_F(ErrorsTest, InCommits) {
  make_table();
  try_all([&](Database& db) {
    for (int i = 0; i < 10; ++i)
      insert(db);
    db.execute("checkpoint");
    for (;;) {  // until a fault comes
      insert(db);
      if (fault_.struck()) return;
    }
  });
}

TEST_F(ErrorsTest, InClose) {
  make_table();
  try_all([](Database& db) { db.close(); }, {}, [&](Database& db) { insert(db); });
}

TEST_F(ErrorsTest, InSave) {
  make_table();
  int saved = 0;
  try_all(
      [&](Database& db) {
        saved = acknowledged_;
        db.save("kept");
      },
      [&](bool done) {
        Database db = Database::open(path());
        const auto all = db.snapshots();
        EXPECT_TRUE(!done || !all.empty());
        for (const Snapshot& kept : all) {
          if (kept.name() != "kept") continue;
          Database fork = db.fork(kept);
          const int rows = check_rows(fork);
          EXPECT_TRUE(done ? rows == saved : rows <= saved) << rows << " of " << saved;
        }
        // The next one makes the store as well, or goes on with it.
        if (saved % 2 == 0) {
          db.close();
          fs::remove_all(path() / "snapshots");
        }
      },
      [&](Database& db) { insert(db); });
}

TEST_F(ErrorsTest, InRestore) {
  make_table();
  std::optional<Snapshot> before;
  try_all(
      [&](Database& db) {
        restoring_to_ = acknowledged_ - 3;
        db.restore(*before);
        begun_ = acknowledged_ = restoring_to_;
        restoring_to_ = -1;
      },
      [&](bool) { before.reset(); },
      [&](Database& db) {
        before = db.save();
        for (int i = 0; i < 3; ++i)
          insert(db);
      });
}

TEST_F(ErrorsTest, InBackup) {
  make_table();
  Database::open(path()).save("kept");
  const fs::path copy = folder() / "copy.globe";
  int saved = 0;
  try_all(
      [&](Database& db) {
        saved = acknowledged_;
        static_cast<void>(db.backup_to(copy));
      },
      [&](bool done) {
        Options there;
        there.create = Create::never;
        try {
          Database backup = Database::open(copy, there);
          EXPECT_EQ(check_rows(backup), saved);
          EXPECT_EQ(backup.snapshots().size(), 1u);
        } catch (const DatabaseNotFound&) {
          EXPECT_FALSE(done);
        }
        fs::remove_all(copy);
      },
      [&](Database& db) { insert(db); });
}

TEST_F(ErrorsTest, InCompact) {
  make_table();
  try_all([](Database& db) { static_cast<void>(db.compact()); }, {},
          [&](Database& db) { insert(db); });
}

/// What users of the guest's data disk have, in MiB: used and available together.
long size_mb(Database& db) {
  const ExecResult said =
      db.guest().exec({"sh", "-c", "df -Pm /var/lib/postgresql | awk 'NR == 2 {print $3 + $4}'"});
  EXPECT_EQ(said.exit_code, 0) << said.err;
  return std::stol(said.out);
}

/// Each time on a disk of its own: none becomes smaller.
TEST_F(ErrorsTest, InGrowth) {
  constexpr unsigned kLarge = 6144, kLarger = 8192;
  try_each([&](int n, Kind kind) {
    begun_ = acknowledged_ = 0;
    make_table();
    Database db = open(path());
    insert(db);
    fault_.arm(n, kind);
    const bool done = says_it_is_done([&] {
      db.set_disk_limit(kLarge);
      insert(db);
      db.execute("checkpoint");
    });
    const bool struck = fault_.struck();
    fault_.disarm();
    if (done) {
      EXPECT_NEAR(static_cast<double>(size_mb(db)), kLarge, 3);
    }
    db.close();
    check();
    {
      // What was cut off is done now, or was done.
      Options larger;
      larger.disk_limit_mb = kLarge;
      Database again = Database::open(path(), larger);
      EXPECT_NEAR(static_cast<double>(size_mb(again)), kLarge, 3) << again.info().started;
      // The guest's kernel knows how many groups of blocks there are.
      again.set_disk_limit(kLarger);
      EXPECT_NEAR(static_cast<double>(size_mb(again)), kLarger, 3);
      check_rows(again);
    }
    fs::remove_all(path());
    return struck;
  });
}

TEST_F(ErrorsTest, InOpenThatGrows) {
  Options larger;
  try_each([&](int n, Kind kind) {
    fs::remove_all(path());
    begun_ = acknowledged_ = 0;
    make_table();
    larger.disk_limit_mb = 6144;
    fault_.arm(n, kind);
    const bool done = says_it_is_done([&] {
      Database db(detail::DatabaseState::open(path(), larger, files_));
      insert(db);
    });
    const bool struck = fault_.struck();
    fault_.disarm();
    check();
    Database db = Database::open(path(), larger);
    EXPECT_NEAR(static_cast<double>(size_mb(db)), 6144, 3) << done << db.info().started;
    check_rows(db);
    return struck;
  });
}

/// The database's disk cannot be read for a while.
class UnreadableFiles final : public test::ForwardingFileSystem {
 public:
  base::Result<std::unique_ptr<base::File>> open(const Path& path, Access access) override {
    auto file = ForwardingFileSystem::open(path, access);
    if (!file || path.filename() != "disk") return file;
    return std::unique_ptr<base::File>(
        std::make_unique<Unreadable>(std::move(file).value(), unreadable));
  }
  std::atomic<bool> unreadable = false;

 private:
  class Unreadable final : public test::ForwardingFile {
   public:
    Unreadable(std::unique_ptr<base::File> file, const std::atomic<bool>& now)
        : ForwardingFile(std::move(file)), now_(now) {}
    base::Result<bool> read(std::uint64_t offset, std::span<const base::Bytes> parts,
                            Wait wait) override {
      if (now_) return test::Fault::error("read");
      return ForwardingFile::read(offset, parts, wait);
    }

   private:
    const std::atomic<bool>& now_;
  };
};

/// The machine that is put down has a file system that is smaller than its disk, and must not take
/// it for done.
TEST_F(ErrorsTest, AGrowthThatTheGuestCouldNotFinishIsFinishedByTheNextOpen) {
  Options larger;
  larger.disk_limit_mb = 6144;
  make_table();
  {
    UnreadableFiles files;
    Database db(detail::DatabaseState::open(path(), {}, files));
    static_cast<void>(db.guest().exec({"sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches"}));
    files.unreadable = true;
    EXPECT_THROW(db.set_disk_limit(larger.disk_limit_mb), snowglobe::Error);
    files.unreadable = false;
    insert(db);
    EXPECT_LT(size_mb(db), 5000);
  }
  Database db = Database::open(path(), larger);
  EXPECT_EQ(db.info().started, "resumed") << db.info().why_cold;
  EXPECT_NEAR(static_cast<double>(size_mb(db)), 6144, 3);
  EXPECT_EQ(check_rows(db), acknowledged_);
}

/// The process ends after the n-th sync of the database's disk.
class DyingFiles final : public test::ForwardingFileSystem {
 public:
  base::Result<std::unique_ptr<base::File>> open(const Path& path, Access access) override {
    auto file = ForwardingFileSystem::open(path, access);
    if (!file || path.filename() != "disk") return file;
    return std::unique_ptr<base::File>(std::make_unique<Dying>(std::move(file).value(), dies_in));
  }
  std::atomic<int> dies_in = 0;

 private:
  class Dying final : public test::ForwardingFile {
   public:
    Dying(std::unique_ptr<base::File> file, std::atomic<int>& in)
        : ForwardingFile(std::move(file)), in_(in) {}
    base::Result<void> sync() override {
      auto done = ForwardingFile::sync();
      if (--in_ == 0) ::_exit(0);
      return done;
    }

   private:
    std::atomic<int>& in_;
  };
};

/// Also between the commit of the guest's journal that says how large its file system is and the
/// file system that is as large: Linux counts its groups before it replays that.
TEST_F(ErrorsTest, AGrowthThatIsCutOffAfterAnySyncIsGoneOnWith) {
  make_table();
  unsigned limit = 4096;
  for (int n = 1; n <= 6; ++n) {
    limit += 1024;
    const int code = testing::in_child([&] {
      DyingFiles files;
      Database db(detail::DatabaseState::open(path(), {}, files));
      files.dies_in = n;
      db.set_disk_limit(limit);
      ::_exit(0);
      return 0;
    });
    EXPECT_EQ(code, 0);
    Database db = Database::open(path());
    EXPECT_EQ(db.info().started, "recovered") << n;
    limit += 1024;
    db.set_disk_limit(limit);
    EXPECT_NEAR(static_cast<double>(size_mb(db)), limit, 3);
    insert(db);
    check_rows(db);
    ASSERT_FALSE(HasFailure()) << n;
  }
}

/// A disk that, opened while it is slow, answers no read sooner than after a while.
class SlowFiles final : public test::ForwardingFileSystem {
 public:
  base::Result<std::unique_ptr<base::File>> open(const Path& path, Access access) override {
    auto file = ForwardingFileSystem::open(path, access);
    if (!file || path.filename() != "disk" || !slow) return file;
    return std::unique_ptr<base::File>(std::make_unique<Slow>(std::move(file).value(), *this));
  }
  std::atomic<bool> slow = false;
  std::atomic<int> slow_reads = 0;

 private:
  class Slow final : public test::ForwardingFile {
   public:
    Slow(std::unique_ptr<base::File> file, SlowFiles& files)
        : ForwardingFile(std::move(file)), files_(files) {}
    base::Result<bool> read(std::uint64_t offset, std::span<const base::Bytes> parts,
                            Wait wait) override {
      if (files_.slow && wait == Wait::kNo) return false;
      if (files_.slow) {
        ++files_.slow_reads;
        std::this_thread::sleep_for(std::chrono::seconds(1));
      }
      return ForwardingFile::read(offset, parts, wait);
    }

   private:
    SlowFiles& files_;
  };
};

/// Asks until the database is closed, whatever becomes of its machine meanwhile.
void ask_until_closed(Database& db) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < limit) {
    try {
      db.execute("select 1");
    } catch (const GuestCrashed&) {
      continue;
    } catch (const ConnectionLost& lost) {
      if (std::string_view(lost.what()).find("the database") != std::string_view::npos) return;
    }
  }
  ADD_FAILURE() << "the close was not heard of";
}

TEST_F(ErrorsTest, ACloseDoesNotWaitForARestartThatHangs) {
  SlowFiles files;
  Options options;
  options.restart = Restart::automatic;
  Database db(detail::DatabaseState::open(path(), options, files));
  db.script("create table t(n int)");
  files.slow = true;  // for a restart, which opens the disk again
  try {
    static_cast<void>(db.guest().exec(
        {"sh", "-c", "kill -9 $(head -1 /var/lib/postgresql/data/postmaster.pid)"}));
  } catch (const Error&) {
    // It may be gone before it answers.
  }
  std::thread caller([&] { ask_until_closed(db); });
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (files.slow_reads < 2 && std::chrono::steady_clock::now() < limit)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GE(files.slow_reads, 2) << "no restart began";
  const auto start = std::chrono::steady_clock::now();
  db.close();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
  caller.join();
  files.slow = false;
  EXPECT_EQ(Database::open(path()).one<int>("select count(*) from t"), 0);
}

TEST_F(ErrorsTest, ADiskThatFailedSaysSoUntilItIsOpenedAgain) {
  Database db = open(path());
  db.script("create table t(n int)");
  fault_.arm(1, Kind::kOne, true);
  EXPECT_THROW(db.script("insert into t values (1)"), snowglobe::Error);
  EXPECT_THROW(db.script("insert into t values (2)"), DiskFailed);
  EXPECT_THROW((void)db.session(), DiskFailed);
  db.close();
  EXPECT_EQ(Database::open(path()).one<int>("select count(*) from t where n = 2"), 0);
}

}  // namespace
}  // namespace snowglobe
