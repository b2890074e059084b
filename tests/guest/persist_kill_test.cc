// tests/guest/persist_kill_test.cc - a process is killed at random points, again and again, on the
// same database: no acknowledged commit is lost, nothing appears in half, the indexes are sound.
//
// SNOWGLOBE_KILLS: kills of each kind (2), SNOWGLOBE_SEED: of the random choices,
// SNOWGLOBE_KILL_EXECUTOR: who runs the guest that is killed ("interpreter").
//
// The victim is a forked child. What it was told is kept outside of it: in memory that both share.
#include "tests/guest/persist_fixture.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <random>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr int kWorkers = 4;
constexpr int kAccounts = 20;
constexpr int kBalance = 1000;

/// What each worker was about to commit, and what it was told is committed; written by the victim,
/// read by who killed it.
struct Outside {
  std::array<std::atomic<int>, kWorkers> begun{}, acknowledged{};
  /// What a restore under way goes back to; -1: none was begun.
  std::array<std::atomic<int>, kWorkers> restoring_to{};
  std::atomic<bool> at_it = false;  ///< the kind of work that is to be hit has begun
};

int number_from(const char* name, int otherwise) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text != nullptr ? std::atoi(text) : otherwise;
}

Options victim_options() {
  Options options;
  const char* const executor = std::getenv("SNOWGLOBE_KILL_EXECUTOR");  // NOLINT
  if (executor != nullptr) options.executor = Executor::interpreter;
  return options;
}

class KillTest : public testing::PersistTest {
 protected:
  void SetUp() override {
    PersistTest::SetUp();
    void* const shared =
        ::mmap(nullptr, sizeof(Outside), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    outside_ = new (shared) Outside;
    const auto seed = static_cast<unsigned>(number_from("SNOWGLOBE_SEED", 0));
    random_.seed(seed != 0 ? seed : std::random_device{}());
  }
  void TearDown() override {
    ::munmap(outside_, sizeof(Outside));
    PersistTest::TearDown();
  }

  void make_bank() const {
    Database db = Database::open(path());
    db.script(R"(
      create table accounts(id int primary key, n int not null check (n >= -1000000));
      create table ledger(worker int, seq int, source int, target int, amount int,
                          primary key (worker, seq));
      create index on ledger(source, target))");
    db.execute("insert into accounts select i, $1 from generate_series(0, $2 - 1) i", kBalance,
               kAccounts);
  }

  /// One transfer; the ledger has it as well.
  void transfer(Session& session, int worker, std::minstd_rand& random) const {
    const int seq = outside_->begun[worker] + 1;
    const int source = static_cast<int>(random() % kAccounts);
    const int target = static_cast<int>(random() % kAccounts);
    const int amount = static_cast<int>(random() % 100);
    session.transact([&](Transaction& tx) {
      // In the order of their ids: workers that wait for each other take PostgreSQL a second.
      tx.execute("update accounts set n = n + $1 where id = $2", source < target ? -amount : amount,
                 std::min(source, target));
      tx.execute("update accounts set n = n + $1 where id = $2", source < target ? amount : -amount,
                 std::max(source, target));
      tx.execute("insert into ledger values ($1, $2, $3, $4, $5)", worker, seq, source, target,
                 amount);
      outside_->begun[worker] = seq;  // it may be committed from here on
    });
    outside_->acknowledged[worker] = seq;
  }

  void work(Database& db, int worker, const std::function<bool()>& go_on) const {
    std::minstd_rand random(static_cast<unsigned>(::getpid() * 10 + worker));
    Session session = db.session();
    while (go_on())
      transfer(session, worker, random);
  }

  /// All workers at once, each in a thread, for as long as `go_on` or for `count` transfers.
  void work_all(Database& db, int count, const std::function<void()>& beside = {}) const {
    std::vector<std::thread> threads;
    for (int worker = 0; worker < kWorkers; ++worker) {
      threads.emplace_back([this, &db, worker, count] {
        int left = count;
        work(db, worker, [&left] { return left-- > 0; });
      });
    }
    if (beside) beside();
    for (std::thread& thread : threads)
      thread.join();
  }

  /// Runs `victim` in a child and kills it some time after it is at it.
  void kill_in(const std::function<void()>& victim, std::chrono::milliseconds at_most) {
    outside_->at_it = false;
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        victim();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "the victim: %s\n", error.what());
        ::_exit(3);
      }
      ::_exit(0);
    }
    const auto limit = std::chrono::steady_clock::now() + 60s;
    while (!outside_->at_it && std::chrono::steady_clock::now() < limit)
      std::this_thread::sleep_for(100us);
    const auto most = std::chrono::microseconds(at_most).count();
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % most));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << WEXITSTATUS(status);
  }

  void check() { check_database(path()); }
  void check_database(const fs::path& path) {
    Database db = Database::open(path);
    started_[db.info().started]++;
    std::array<int, kWorkers> have{};
    for (auto [worker, rows, last] : db.query<int, int, int>(
             "select worker, count(*)::int, max(seq) from ledger group by worker")) {
      EXPECT_EQ(rows, last) << "worker " << worker << " has holes";
      have[worker] = last;
    }
    check_counts(have);
    EXPECT_EQ(db.one<int>("select sum(n)::int from accounts"), kAccounts * kBalance);
    EXPECT_EQ(db.one<int>(R"(
        select count(*)::int from accounts a where n <> $1 +
          (select coalesce(sum(amount), 0) from ledger where target = a.id) -
          (select coalesce(sum(amount), 0) from ledger where source = a.id))",
                          kBalance),
              0);
    db.script("create extension if not exists amcheck");
    static_cast<void>(db.query(R"(
        select bt_index_check(c.oid, true) from pg_class c join pg_index i on i.indexrelid = c.oid
        where c.relam = 403 and c.relpersistence = 'p' and i.indisvalid)"));
    EXPECT_EQ(db.one<int>("select count(*)::int from verify_heapam('ledger')"), 0);
    EXPECT_EQ(db.one<int>("select count(*)::int from verify_heapam('accounts')"), 0);
    for (int worker = 0; worker < kWorkers; ++worker) {
      outside_->begun[worker] = outside_->acknowledged[worker] = have[worker];
      outside_->restoring_to[worker] = -1;
    }
  }

  void check_counts(const std::array<int, kWorkers>& have) const {
    bool restored = true;
    for (int worker = 0; worker < kWorkers; ++worker)
      restored = restored && have[worker] == outside_->restoring_to[worker];
    if (restored) return;
    for (int worker = 0; worker < kWorkers; ++worker) {
      EXPECT_GE(have[worker], outside_->acknowledged[worker]) << "a commit was lost";
      EXPECT_LE(have[worker], outside_->begun[worker]) << "what nobody committed is there";
    }
  }

  void report() const {
    std::printf("the killed were");
    for (const auto& [how, count] : started_)
      std::printf(" %s: %d", how.c_str(), count);
    std::printf("\n");
  }

  static int kills() { return number_from("SNOWGLOBE_KILLS", 2); }

  Outside* outside_ = nullptr;
  std::minstd_rand random_;
  std::map<std::string, int> started_;
};

TEST_F(KillTest, UnderWork) {
  make_bank();
  for (int i = 0; i < 2 * kills(); ++i) {
    kill_in(
        [this] {
          Database db = Database::open(path(), victim_options());
          work_all(db, 1'000'000, [this] { outside_->at_it = true; });
        },
        600ms);
    check();
    ASSERT_FALSE(HasFailure()) << "kill " << i;
  }
  report();
}

TEST_F(KillTest, InOpenAndClose) {
  make_bank();
  for (int i = 0; i < 2 * kills(); ++i) {
    kill_in(
        [this] {
          outside_->at_it = true;
          for (;;) {
            Database db = Database::open(path(), victim_options());
            work_all(db, 2);
          }
        },
        900ms);
    check();
    ASSERT_FALSE(HasFailure()) << "kill " << i;
  }
  report();
}

TEST_F(KillTest, InCreation) {
  for (int i = 0; i < kills(); ++i) {
    const fs::path fresh = folder() / std::to_string(i);
    kill_in(
        [&] {
          outside_->at_it = true;
          Database db = Database::open(fresh, victim_options());
          ::pause();
        },
        150ms);
    Database db = Database::open(fresh);
    EXPECT_EQ(db.one<int>("select count(*)::int from pg_class where relname = 'accounts'"), 0);
    db.script("create table accounts(n int)");
  }
}

TEST_F(KillTest, InSave) {
  make_bank();
  for (int i = 0; i < kills(); ++i) {
    kill_in(
        [this] {
          Database db = Database::open(path(), victim_options());
          work_all(db, 1'000'000, [&] {
            outside_->at_it = true;
            for (int n = 0;; ++n)
              db.save(n % 2 == 0 ? "one" : "two");
          });
        },
        1500ms);
    check();
    ASSERT_FALSE(HasFailure()) << "kill " << i;
    Database db = Database::open(path());
    for (const Snapshot& kept : db.snapshots()) {
      Database fork = db.fork(kept);
      EXPECT_EQ(fork.one<int>("select sum(n)::int from accounts"), kAccounts * kBalance);
    }
  }
  report();
}

TEST_F(KillTest, InCompact) {
  make_bank();
  for (int i = 0; i < kills(); ++i) {
    kill_in(
        [this] {
          Database db = Database::open(path(), victim_options());
          work_all(db, 1'000'000, [&] {
            outside_->at_it = true;
            for (;;)
              db.compact({.full = true});
          });
        },
        900ms);
    check();
    ASSERT_FALSE(HasFailure()) << "kill " << i;
  }
  report();
}

TEST_F(KillTest, InBackup) {
  make_bank();
  // In turn, so that one is whole once the first was made.
  const std::array<fs::path, 2> copies = {folder() / "a.globe", folder() / "b.globe"};
  for (int i = 0; i < kills(); ++i) {
    kill_in(
        [&] {
          Database db = Database::open(path(), victim_options());
          work_all(db, 1'000'000, [&] {
            for (int n = 0;; ++n) {
              fs::remove_all(copies[n % 2]);
              outside_->at_it = true;
              static_cast<void>(db.backup_to(copies[n % 2]));
            }
          });
        },
        1500ms);
    check();
    ASSERT_FALSE(HasFailure()) << "kill " << i;
    Options there;
    there.create = Create::never;
    for (const fs::path& copy : copies) {
      try {
        Database backup = Database::open(copy, there);
        EXPECT_EQ(backup.one<int>("select sum(n)::int from accounts"), kAccounts * kBalance);
        ++started_["copies"];
      } catch (const DatabaseNotFound&) {
        ++started_["no copies"];
      }
    }
  }
  report();
}

TEST_F(KillTest, InRestore) {
  make_bank();
  for (int i = 0; i < 2 * kills(); ++i) {
    kill_in(
        [this] {
          Database db = Database::open(path(), victim_options());
          for (;;) {
            const Snapshot before = db.save();
            std::array<int, kWorkers> then{};
            for (int worker = 0; worker < kWorkers; ++worker)
              then[worker] = outside_->acknowledged[worker];
            work_all(db, 10);
            for (int worker = 0; worker < kWorkers; ++worker)
              outside_->restoring_to[worker] = then[worker];
            outside_->at_it = true;
            db.restore(before);
            for (int worker = 0; worker < kWorkers; ++worker) {
              outside_->begun[worker] = outside_->acknowledged[worker] = then[worker];
              outside_->restoring_to[worker] = -1;
            }
          }
        },
        300ms);
    check();
    ASSERT_FALSE(HasFailure()) << "kill " << i;
  }
  report();
}

}  // namespace
}  // namespace snowglobe
