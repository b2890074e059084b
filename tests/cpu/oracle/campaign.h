// tests/cpu/oracle/campaign.h - many cases, one batch after the other: generate, run on the host
// and in the executor under test, compare, count.
#pragma once

#include "base/error.h"
#include "tests/cpu/oracle/case.h"
#include "tests/cpu/oracle/compare.h"
#include "tests/cpu/oracle/generator.h"
#include "tests/cpu/oracle/host_executor.h"

#include <functional>
#include <map>
#include <string>

namespace snowglobe::oracle {

struct Mismatch {
  u64 index = 0;
  std::string name;     ///< mnemonic
  std::string summary;  ///< fields that differ
  std::string text;     ///< the reproducer
};

struct Tally {
  u64 cases = 0;
  u64 trapped = 0;
  u64 mismatches = 0;
  u64 arena_mismatches = 0;  ///< batches after which a byte outside of all windows differed
  std::map<std::string, u64, std::less<>> by_name;

  void add(const Tally& other);
};

class Campaign {
 public:
  /// `under_test` null: the host against itself, which shows that cases are deterministic.
  Campaign(const Generator& generator, u64 seed, HostExecutor& host, Executor* under_test)
      : generator_(generator), seed_(seed), host_(host), under_test_(under_test) {}

  /// Runs batch number `batch` (cases batch * ORACLE_BATCH and on, at most `limit`).
  void run_batch(u64 batch, u64 limit, const std::function<void(const Mismatch&)>& report);
  /// Runs one case alone.
  void run_case(u64 index, const std::function<void(const Mismatch&)>& report);
  [[nodiscard]] const Tally& tally() const { return tally_; }

 private:
  void run(std::span<Case> batch, const std::function<void(const Mismatch&)>& report);
  void check(const Case& test, const Outcome& expected, const Outcome& actual,
             const std::function<void(const Mismatch&)>& report);
  void check_arena(const std::function<void(const Mismatch&)>& report, u64 first);

  const Generator& generator_;
  u64 seed_;
  HostExecutor& host_;
  Executor* under_test_;
  std::vector<Case> cases_ = std::vector<Case>(ORACLE_BATCH);
  std::vector<Outcome> expected_ = std::vector<Outcome>(ORACLE_BATCH);
  std::vector<Outcome> actual_ = std::vector<Outcome>(ORACLE_BATCH);
  std::vector<OracleWindow> spoilt_;  ///< windows of the batch in which memory differed
  Tally tally_;
};

}  // namespace snowglobe::oracle
