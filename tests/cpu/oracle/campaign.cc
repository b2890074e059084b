// tests/cpu/oracle/campaign.cc - the loop of the oracle.
#include "tests/cpu/oracle/campaign.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace snowglobe::oracle {

void Tally::add(const Tally& other) {
  cases += other.cases;
  trapped += other.trapped;
  mismatches += other.mismatches;
  arena_mismatches += other.arena_mismatches;
  for (const auto& [name, count] : other.by_name)
    by_name[name] += count;
}

void Campaign::run_batch(u64 batch, u64 limit, const std::function<void(const Mismatch&)>& report) {
  const auto count = static_cast<std::size_t>(std::min<u64>(ORACLE_BATCH, limit));
  for (std::size_t i = 0; i < count; ++i)
    generator_.make(batch * ORACLE_BATCH + i, cases_[i]);
  run({cases_.data(), count}, report);
}

void Campaign::run_case(u64 index, const std::function<void(const Mismatch&)>& report) {
  generator_.make(index, cases_[0]);
  run({cases_.data(), 1}, report);
}

void Campaign::run(std::span<Case> batch, const std::function<void(const Mismatch&)>& report) {
  spoilt_.clear();
  host_.start(batch);
  if (under_test_ != nullptr) {
    under_test_->load(batch);
    for (std::size_t i = 0; i < batch.size(); ++i)
      under_test_->run(batch[i], actual_[i]);
  }
  host_.finish(expected_);
  if (under_test_ == nullptr) {
    actual_.swap(expected_);
    host_.start(batch);
    host_.finish(expected_);
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Case& test = batch[i];
    if (test.kind == CaseKind::kCompare) {
      check(test, expected_[i], actual_[i], report);
    } else if (under_test_ != nullptr) {
      check(test, refusal(test), actual_[i], report);
    }
  }
  if (under_test_ != nullptr && host_.arena_valid()) check_arena(report, batch[0].index);
}

void Campaign::check(const Case& test, const Outcome& expected, const Outcome& actual,
                     const std::function<void(const Mismatch&)>& report) {
  ++tally_.cases;
  if (expected.trapped()) ++tally_.trapped;
  const std::string_view name = case_name(test);
  const auto counted = tally_.by_name.find(name);
  if (counted == tally_.by_name.end()) {
    tally_.by_name.emplace(name, 1);
  } else {
    ++counted->second;
  }
  const std::vector<Difference> differences = compare(test, expected, actual);
  if (test.kind == CaseKind::kCompare && memory_differs(test, expected, actual)) {
    for (u32 w = 0; w < test.input.window_count; ++w)
      spoilt_.push_back(test.input.windows[w]);
  }
  if (differences.empty()) return;
  ++tally_.mismatches;
  std::string summary;
  for (const Difference& difference : differences) {
    const bool memory = difference.field.front() == '[';
    const std::string field = memory ? "memory" : difference.field;
    if (summary.find(field) == std::string::npos) summary += " " + field;
  }
  report({test.index, std::string(name), summary, describe(seed_, test, differences)});
}

void Campaign::check_arena(const std::function<void(const Mismatch&)>& report, u64 first) {
  std::vector<u8> arena(ORACLE_ARENA_SIZE);
  under_test_->read_arena(arena);
  const base::ConstBytes expected = host_.arena();
  for (const OracleWindow& window : spoilt_) {
    std::copy_n(&expected[window.address - ORACLE_ARENA], window.size,
                &arena[window.address - ORACLE_ARENA]);
  }
  if (std::equal(arena.begin(), arena.end(), expected.begin())) return;
  const auto differ = std::mismatch(arena.begin(), arena.end(), expected.begin());
  ++tally_.arena_mismatches;
  const auto at = static_cast<u32>(differ.first - arena.begin());
  report({first, "(arena)", " memory",
          fmt::format("batch from case {}:{}: the arena differs at {:08x} afterwards\n", seed_,
                      first, ORACLE_ARENA + at)});
}

}  // namespace snowglobe::oracle
