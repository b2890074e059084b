// bench/runner.cc - a worker for a suite, and another one after each failure.
#include "bench/runner.h"

#include "bench/worker.h"
#include <nlohmann/json.hpp>

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

// A task stops measuring after the first and is given up after the second; boots and tables are
// made in between.
constexpr std::chrono::seconds kMeasuringTime{150};
constexpr std::chrono::seconds kTaskLimit{540};
constexpr std::chrono::seconds kQuickMeasuringTime{30};
constexpr std::chrono::seconds kQuickTaskLimit{120};

std::string last_lines(const std::vector<std::string>& console) {
  std::string text;
  const std::size_t count = std::min<std::size_t>(console.size(), 3);
  for (std::size_t i = console.size() - count; i < console.size(); ++i)
    text += " | " + console[i];
  return text;
}

// In the worker: tells {"task": n} ahead of each, {"row": ...} for its rows, {"done": n} behind it.
void work(const Suite& suite, std::size_t from, const Plan& plan, const Worker::Tell& tell) {
  Bench bench(plan);
  for (std::size_t i = from; i < suite.tasks.size(); ++i) {
    tell({{"task", i}});
    bench.begin(plan.quick ? kQuickMeasuringTime : kMeasuringTime);
    try {
      suite.tasks[i].run(bench, [&tell](const Row& row) { tell({{"row", row}}); });
    } catch (const std::exception& error) {
      if (!bench.machine_is_dead()) throw;
      throw std::runtime_error(std::string(error.what()) + "; the machine is dead" +
                               last_lines(bench.snowglobe().guest().console()));
    }
    tell({{"done", i}});
  }
}

// Runs tasks until one fails. Returns the index of the one that failed, or of the end, with the
// reason.
std::size_t run_some(const Suite& suite, std::size_t from, const Plan& plan, Report& report,
                     std::string& why) {
  const auto limit = plan.quick ? kQuickTaskLimit : kTaskLimit;
  std::size_t current = from;
  auto until = std::chrono::steady_clock::now() + limit;
  Worker worker([&](const Worker::Tell& tell) { work(suite, from, plan, tell); });
  while (const std::optional<Json> told = worker.next(until)) {
    if (told->contains("row")) report.add(told->at("row").get<Row>());
    if (told->contains("error")) why = told->at("error").get<std::string>();
    if (told->contains("done")) current = told->at("done").get<std::size_t>() + 1;
    if (told->contains("task")) until = std::chrono::steady_clock::now() + limit;
  }
  const std::string end = worker.end();
  if (why.empty()) why = end;
  return current;
}

}  // namespace

int run_suite(const Suite& suite, const Plan& plan, Report& report) {
  report.begin_suite(suite.name, suite.remark);
  int failures = 0;
  for (std::size_t next = 0; next < suite.tasks.size();) {
    std::string why;
    next = run_some(suite, next, plan, report, why);
    if (next == suite.tasks.size()) break;
    Row failed{.name = suite.tasks[next].name};
    failed.error = why;
    report.add(failed);
    ++failures;
    ++next;
  }
  report.end_suite();
  return failures;
}

}  // namespace bench
