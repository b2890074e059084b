// bench/bench.h - what a task measures with: the three servers, how often, and for how long.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include "bench/measure.h"
#include "bench/plan.h"
#include "bench/row.h"
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace bench {

/// Keeps a second core of this process busy: dropping and protecting pages then has to interrupt
/// it.
class Spinner {
 public:
  explicit Spinner(bool wanted);

 private:
  std::jthread thread_;
};

/// ", a thread spins", or nothing: for the names of rows.
std::string beside(bool spinning);

/// Lives in a worker process. One thread.
class Bench {
 public:
  explicit Bench(const Plan& plan) : plan_(plan) {}

  [[nodiscard]] const Plan& plan() const { return plan_; }
  /// A tenth of it in a quick run.
  [[nodiscard]] int scaled(int full) const { return plan_.quick ? full / 10 : full; }
  [[nodiscard]] int choose(int full, int quick) const { return plan_.quick ? quick : full; }
  /// The sides that are there.
  [[nodiscard]] std::vector<Side> sides() const;
  [[nodiscard]] std::string conninfo(Side side);
  /// Opened at the first use, and kept until the worker's end.
  snowglobe::Database& snowglobe();
  /// Whether the machine was opened and is dead.
  [[nodiscard]] bool machine_is_dead() const { return snowglobe_ && !snowglobe_->is_open(); }

  /// What the machine has done so far, by name.
  std::map<std::string, double> counts();

  /// To be called at each task's begin; measuring ends early after `time`.
  void begin(std::chrono::seconds time);
  [[nodiscard]] bool time_is_over() const { return std::chrono::steady_clock::now() >= until_; }

 private:
  const Plan& plan_;
  std::optional<snowglobe::Database> snowglobe_;
  std::chrono::steady_clock::time_point until_;
};

/// What a side's rounds gave.
struct Series {
  std::optional<double> first;
  Samples warm;
  std::map<std::string, double> counts;  ///< of the machine, a round
};

/// Takes figures on one side and adds them.
using Batch = std::function<void(Side side, Samples& samples)>;

/// Runs a batch on each side in turn: a first round whose first figure is kept apart, and then
/// `rounds` others; fewer when the time is over.
Sides<Series> alternate(Bench& bench, int rounds, const Batch& batch);
/// The same with one figure a batch.
Sides<Series> alternate_one(Bench& bench, int rounds, const std::function<double(Side)>& once);

/// A row of first figures and of medians, or with Plan::best of the best of the later ones.
Row row_of(const Bench& bench, const std::string& name, const std::string& unit,
           const Sides<Series>& series, Ratio ratio = Ratio::of_times);

/// A connection to each side that is there.
Sides<std::unique_ptr<Client>> connect_all(Bench& bench);

}  // namespace bench
