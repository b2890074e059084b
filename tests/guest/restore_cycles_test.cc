// tests/guest/restore_cycles_test.cc - many saves and restores of a random workload, checked by a
// model kept outside. SNOWGLOBE_CYCLES and SNOWGLOBE_SEED set how many, and which.
#include "tests/guest/machine_fixture.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>

namespace snowglobe {
namespace {

using Clock = std::chrono::steady_clock;
using Model = std::map<int, std::string>;  ///< the table, outside

unsigned from_environment(const char* name, unsigned otherwise) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text == nullptr ? otherwise : static_cast<unsigned>(std::atoi(text));
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

class Workload {
 public:
  Workload(Database& database, unsigned seed)
      : session_(database.session()), pool_(database), random_(seed) {
    session_.script("create table model(k int primary key, v text)");
  }

  void step() {
    const int key = below(200);
    switch (below(6)) {
      case 0:
      case 1: {
        std::string value = std::to_string(below(1'000'000));
        session_.execute("insert into model values ($1, $2) on conflict (k) do update set v = $2",
                         key, value);
        model_[key] = value;
        break;
      }
      case 2:
        pool_.execute("delete from model where k = $1", key);
        model_.erase(key);
        break;
      case 3: {
        Transaction undone = session_.begin();
        undone.execute("delete from model");
        break;
      }
      case 4:
        session_.transact([&](Transaction& tx) {
          tx.execute("update model set v = v || 'x' where k < $1", key);
        });
        for (auto& [k, v] : model_) {
          if (k < key) v += 'x';
        }
        break;
      default:
        pool_.script(
            "create temporary table if not exists scratch as select "
            "generate_series(1, 500) as n; truncate scratch");
        break;
    }
  }

  void check() {
    Model found;
    for (const auto& [key, value] : session_.query<int, std::string>("select k, v from model"))
      found[key] = value;
    ASSERT_EQ(found, model_);
  }

  [[nodiscard]] const Model& model() const { return model_; }
  void set_model(Model model) { model_ = std::move(model); }
  int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }

 private:
  Session session_;
  Database& pool_;
  std::mt19937 random_;
  Model model_;
};

TEST(RestoreCycles, ARandomWorkloadIsWhatTheModelSaysAfterEachRestore) {
  const unsigned cycles = from_environment("SNOWGLOBE_CYCLES", 100);
  const unsigned seed = from_environment("SNOWGLOBE_SEED", std::random_device{}());
  std::printf("SNOWGLOBE_SEED=%u\n", seed);
  Database database = Database::open_in_memory({.memory_mb = 64});
  Workload workload(database, seed);
  constexpr std::size_t kKept = 5;
  std::vector<std::pair<Snapshot, Model>> saved{{database.save(), workload.model()}};
  std::vector<double> saves;
  std::vector<double> restores;
  for (unsigned cycle = 0; cycle < cycles; ++cycle) {
    for (int steps = workload.below(8); steps >= 0; --steps)
      workload.step();
    if (workload.below(3) == 0) {
      const auto start = Clock::now();
      saved.emplace_back(database.save(), workload.model());
      saves.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
      if (saved.size() > kKept) saved.erase(saved.begin() + workload.below(kKept));
    } else {
      const auto& [snapshot, model] =
          saved[static_cast<std::size_t>(workload.below(static_cast<int>(saved.size())))];
      const auto start = Clock::now();
      database.restore(snapshot);
      ASSERT_EQ(database.one<int>("select 1"), 1);
      restores.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
      workload.set_model(model);
    }
    ASSERT_NO_FATAL_FAILURE(workload.check()) << "cycle " << cycle << ", seed " << seed;
  }
  std::printf("%zu saves, median %.2f ms; %zu restores to the next answer, median %.2f ms\n",
              saves.size(), median(saves), restores.size(), median(restores));
}

TEST(RestoreCycles, AHundredRowsAndBackAgain) {
  Database database = Database::open_in_memory();
  Session session = database.session();
  session.script("create table rows(n int primary key, t text)");
  const Snapshot before = database.save();
  std::vector<double> restores;
  std::vector<double> calls;
  for (unsigned i = 0; i < from_environment("SNOWGLOBE_CYCLES", 100); ++i) {
    session.execute("insert into rows select g, 'row ' || g from generate_series(1, 100) g");
    const auto start = Clock::now();
    database.restore(before);
    calls.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    ASSERT_EQ(session.one<int>("select count(*) from rows"), 0);
    restores.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::printf("restore() %.2f ms, with the next answer %.2f ms (medians)\n", median(calls),
              median(restores));
}

}  // namespace
}  // namespace snowglobe
