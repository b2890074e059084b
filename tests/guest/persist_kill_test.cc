// tests/guest/persist_kill_test.cc - a process is killed at random points, again and again, on the
// same database: no acknowledged commit is lost, nothing appears in half, the indexes are sound.
//
// SNOWGLOBE_KILLS: kills inside of each kind of call (2), and thrice as many under work;
// SNOWGLOBE_SEED: of the random choices; SNOWGLOBE_KILL_EXECUTOR: who runs the guest that is killed
// ("interpreter").
//
// The victim is a forked child. A kill counts for what it was to hit only if the victim was at that
// when it died; others are made as well, and checked after, but not counted.
#include "tests/guest/persist_bank.h"
#include "tests/guest/persist_fixture.h"

#include <csignal>
#include <cstdlib>
#include <optional>
#include <random>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::Bank;
using testing::Phase;
namespace fs = std::filesystem;

constexpr int kEndless = 1'000'000;

int number_from(const char* name, int otherwise) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text != nullptr ? std::atoi(text) : otherwise;
}

bool on_interpreter() {
  return std::getenv("SNOWGLOBE_KILL_EXECUTOR") != nullptr;  // NOLINT(concurrency-mt-unsafe)
}

Options victim_options() {
  Options options;
  if (on_interpreter()) options.executor = Executor::interpreter;
  return options;
}

class KillTest : public testing::PersistTest {
 protected:
  using Action = std::function<void()>;
  using Micros = std::chrono::microseconds;

  void SetUp() override {
    PersistTest::SetUp();
    const auto seed = static_cast<unsigned>(number_from("SNOWGLOBE_SEED", 0));
    random_.seed(seed != 0 ? seed : std::random_device{}());
  }

  void make_bank() const {
    Database db = Database::open(path());
    bank_.found(db);
  }
  /// In the victim.
  [[nodiscard]] Database open() const { return Database::open(path(), victim_options()); }
  /// And ends there.
  void open_only(const fs::path& where) const {
    std::optional<Database> db;
    bank_.during(Phase::open, [&] { db = Database::open(where, victim_options()); });
    ::_exit(0);
  }
  testing::Ledger& ledger() const { return bank_.ledger(); }

  /// Kills at random moments inside of `phase`, which `victim` comes to, until `count` have hit it.
  /// `after` looks at what is left. The first time the victim may come to its end, which says how
  /// long the phase takes; `at_most` says it instead, of a phase without one.
  void campaign(Phase phase, int count, const Action& victim, const Action& after,
                Micros at_most = {}) {
    if (at_most == Micros{}) {
      run(victim, phase, [] { return false; });
      after();
    }
    int tries = 0;
    for (int hits = 0; hits < count; ++tries) {
      ASSERT_LT(tries, 4 * count + 10) << "the victim is hardly ever where it is to be hit";
      const Micros took{ledger().took[static_cast<int>(phase)].load()};
      const Micros most = at_most == Micros{} ? took + took / 8 + 1ms : at_most;
      const bool killed = run(victim, phase, [&] {
        std::this_thread::sleep_for(Micros(random_() % static_cast<unsigned>(most.count())));
        return true;
      });
      hits += killed && ledger().phase == phase ? 1 : 0;
      if (hits % 10 == 0) std::fprintf(stderr, "%d kills of %d\n", hits, count);
      after();
      ASSERT_FALSE(HasFailure()) << "kill " << tries;
    }
    std::printf("%d kills inside of it, %d beside it; it takes %.1f s; the database came up", count,
                tries - count, static_cast<double>(ledger().took[static_cast<int>(phase)]) / 1e6);
    for (const auto& [how, times] : seen_)
      std::printf(" %s: %d", how.c_str(), times);
    std::printf("\n");
  }

  /// The database has what was acknowledged.
  void check() {
    Database db = Database::open(path());
    ++seen_[db.info().started];
    bank_.check(db);
  }

  static int kills() { return number_from("SNOWGLOBE_KILLS", 2); }

  Bank bank_;
  std::map<std::string, int> seen_;

 private:
  /// Runs `victim` in a child until it is at `phase` and `wait` returns true, and kills it; to its
  /// end if `wait` returns false. True if it was killed.
  bool run(const Action& victim, Phase phase, const std::function<bool()>& wait) {
    ledger().phase = Phase::none;
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
    int status = 0;
    bool ended = false;
    const auto limit = std::chrono::steady_clock::now() + 300s;
    while (ledger().phase != phase && !ended && std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(100us);
      ended = ::waitpid(child, &status, WNOHANG) == child;
    }
    if (!ended) {
      if (wait()) ::kill(child, SIGKILL);
      EXPECT_EQ(::waitpid(child, &status, 0), child);
    }
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    EXPECT_TRUE(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << status;
    return killed;
  }

  std::minstd_rand random_;
};

TEST_F(KillTest, UnderWork) {
  make_bank();
  campaign(
      Phase::work, 3 * kills(),
      [this] {
        Database db = open();
        bank_.work(db, kEndless, [this] {
          const auto before = bank_.acknowledged();
          while (bank_.acknowledged() == before)
            std::this_thread::sleep_for(1ms);
          ledger().phase = Phase::work;
        });
      },
      [this] { check(); }, on_interpreter() ? 1500ms : 600ms);
}

TEST_F(KillTest, InOpenThatResumes) {
  make_bank();
  campaign(
      Phase::open, (kills() + 1) / 2, [this] { open_only(path()); }, [this] { check(); });
}

TEST_F(KillTest, InOpenThatRecovers) {
  make_bank();
  const auto crash = [this] {
    const int code = testing::in_child([this] {
      Database db = Database::open(path());
      bank_.work(db, 5);
      ::_exit(0);
      return 0;
    });
    EXPECT_EQ(code, 0);
  };
  crash();
  campaign(
      Phase::open, (kills() + 1) / 2, [this] { open_only(path()); },
      [&] {
        check();
        crash();
      });
}

TEST_F(KillTest, InClose) {
  make_bank();
  campaign(
      Phase::close, kills(),
      [this] {
        Database db = open();
        bank_.work(db, on_interpreter() ? 1 : 5);
        bank_.during(Phase::close, [&db] { db.close(); });
      },
      [this] { check(); });
}

TEST_F(KillTest, InCreation) {
  int number = 0;
  const auto fresh = [&] { return folder() / std::to_string(number); };
  campaign(
      Phase::open, kills(), [&] { open_only(fresh()); },
      [&] {
        {
          Database db = Database::open(fresh());
          EXPECT_EQ(db.one<int>("select count(*)::int from pg_class where relname = 'a'"), 0);
          db.script("create table a(n int)");
        }
        fs::remove_all(fresh());
        ++number;
      });
}

TEST_F(KillTest, InSave) {
  make_bank();
  campaign(
      Phase::save, kills(),
      [this] {
        Database db = open();
        bank_.work(db, kEndless, [&] {
          for (int n = 0; n < 4; ++n)
            bank_.during(Phase::save, [&] { db.save(n % 2 == 0 ? "one" : "two"); });
          ::_exit(0);
        });
      },
      [this] {
        check();
        {
          Database db = Database::open(path());
          for (const Snapshot& kept : db.snapshots()) {
            Database fork = db.fork(kept);
            Bank::check_copy(fork);
            ++seen_["snapshots"];
          }
        }
        // Some stay, so that there are snapshots with and without a parent in the store.
        Database db = Database::open(path());
        const auto all = db.snapshots();
        for (std::size_t i = all.size(); i-- > 2;)
          db.forget(all[i]);
      });
}

TEST_F(KillTest, InRestore) {
  make_bank();
  campaign(
      Phase::restore, kills(),
      [this] {
        Database db = open();
        const Snapshot before = db.save();
        const auto then = bank_.acknowledged();
        bank_.work(db, on_interpreter() ? 2 : 10);
        bank_.restore(db, before, then);
      },
      [this] { check(); });
}

TEST_F(KillTest, InCompact) {
  make_bank();
  // Four clients that never rest leave a fifth of the guest's processor to it: on the interpreter
  // it would take 20 s, and a full one a minute.
  const auto pause = on_interpreter() ? 500ms : 0ms;
  for (const bool full : {false, true}) {
    const int count = full ? kills() / 4 : kills() - kills() / 4;
    campaign(
        Phase::compact, count,
        [this, full, pause] {
          Database db = open();
          bank_.work(
              db, kEndless,
              [&] {
                bank_.during(Phase::compact, [&] { db.compact({.full = full}); });
                ::_exit(0);
              },
              pause);
        },
        [this] { check(); });
  }
}

TEST_F(KillTest, InGrowth) {
  make_bank();
  // Each time by two groups of the guest's blocks: from 4 GiB on 150 times fit in, and what the
  // file system takes for itself (disk_size.h).
  const auto wanted = [this] {
    const std::uint64_t capacity = Database::inspect(path()).capacity >> 20;
    return static_cast<unsigned>((capacity - 1024) * 64 / 65 + 230);
  };
  campaign(
      Phase::growth, kills(),
      [&] {
        Database db = open();
        bank_.work(db, kEndless, [&] {
          const unsigned limit = wanted();
          bank_.during(Phase::growth, [&] { db.set_disk_limit(limit); });
          ::_exit(0);
        });
      },
      [this] { check(); });
}

TEST_F(KillTest, InBackup) {
  make_bank();
  Database::open(path()).save("kept");
  // In turn, so that one is whole once the first was made.
  const std::array<fs::path, 2> copies = {folder() / "a.globe", folder() / "b.globe"};
  campaign(
      Phase::backup, kills(),
      [&] {
        Database db = open();
        bank_.work(db, kEndless, [&] {
          for (int n = 0; n < 3; ++n) {
            fs::remove_all(copies[n % 2]);
            bank_.during(Phase::backup, [&] { static_cast<void>(db.backup_to(copies[n % 2])); });
          }
          ::_exit(0);
        });
      },
      [&] {
        check();
        Options there;
        there.create = Create::never;
        for (const fs::path& copy : copies) {
          try {
            Database backup = Database::open(copy, there);
            Bank::check_copy(backup);
            Database fork = backup.fork(backup.snapshots().at(0));
            Bank::check_copy(fork);
            ++seen_["copies"];
          } catch (const DatabaseNotFound&) {
            ++seen_["no copies"];
          }
        }
      });
}

}  // namespace
}  // namespace snowglobe
