// bench/pgbench.h - pgbench of the image's own build, run on the host.
#pragma once

#include "bench/bench.h"
#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace bench {

/// The program, and where it finds each server; the tables are made at a side's first use.
class Pgbench {
 public:
  using Address = std::function<std::string(Bench& bench, Side side)>;
  /// `address` is asked once a side.
  explicit Pgbench(Address address) : address_(std::move(address)) {}

  /// Transactions a second. Throws std::runtime_error.
  double rate(Bench& bench, Side side, const std::vector<std::string>& options, int clients);

 private:
  void prepare(Bench& bench, Side side);
  std::string run(Bench& bench, Side side, const std::vector<std::string>& options,
                  std::chrono::milliseconds limit);

  Address address_;
  Sides<std::string> addresses_;
};

}  // namespace bench
