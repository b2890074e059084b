// bench/trial.cc - both ends of a trial: arguments go in, a line of JSON comes out.
#include "bench/trial.h"

#include "bench/child.h"
#include "bench/footprint.h"
#include <filesystem>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <signal.h>
#include <stdexcept>
#include <thread>
#include <unistd.h>

namespace bench {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes kLimit{2};

double milliseconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// Of the clock that all processes share.
double now_ms() {
  return milliseconds_between(Clock::time_point{}, Clock::now());
}

struct Opened {
  snowglobe::Database database;
  Json json;
};

snowglobe::Database open_at(const std::string& path, const snowglobe::Options& options) {
  return path.empty() ? snowglobe::Database::open_in_memory(options)
                      : snowglobe::Database::open(path, options);
}

Opened open_and_ask(const std::string& path, const snowglobe::Options& options,
                    Clock::time_point from) {
  const auto begin = Clock::now();
  auto database = open_at(path, options);
  const auto opened = Clock::now();
  if (database.one<int>("select 1") != 1) throw std::runtime_error("1 is not 1");
  const auto answered = Clock::now();
  return {std::move(database),
          {{"open", milliseconds_between(begin, opened)},
           {"query", milliseconds_between(opened, answered)},
           {"all", milliseconds_between(from, answered)}}};
}

Json open_trial(const std::string& path, const snowglobe::Options& options, int count,
                Clock::time_point started) {
  Json told;
  std::optional<Opened> last = open_and_ask(path, options, started);
  told["answered_at"] = now_ms();
  told["started"] = last->database.info().started;
  told["why_cold"] = last->database.info().why_cold;
  told["opens"].push_back(last->json);
  if (count > 1) {
    last.reset();
    last = open_and_ask(path, options, Clock::now());
    told["opens"].push_back(last->json);
  }
  if (count > 2) told["opens"].push_back(open_and_ask(path, options, Clock::now()).json);
  return told;
}

Json megabytes_each(const Footprint& all, int count) {
  const auto each = [count](std::int64_t bytes) {
    return static_cast<double>(bytes) / 1e6 / count;
  };
  return {{"sum", each(all.sum())},
          {"heap and stacks", each(all.anonymous)},
          {"guest memory", each(all.memory_files)},
          {"page tables", each(all.page_tables)},
          {"kernel's mappings", each(all.mappings)},
          {"kernel's threads", each(all.threads)}};
}

// All are alive at once, have answered, and have had time to come to rest.
Json forks_trial(const snowglobe::Options& options, int count) {
  constexpr std::chrono::seconds kRest{2};
  auto parent = snowglobe::Database::open_in_memory(options);
  parent.script("create table t(n int); insert into t select generate_series(1, 1000)");
  const snowglobe::Snapshot snapshot = parent.save();
  const auto make = [&] {
    auto fork = parent.fork(snapshot);
    if (fork.one<int>("select count(*) from t") != 1000)
      throw std::runtime_error("not the parent's");
    return fork;
  };
  make();  // what the first one needs is not the others'
  std::this_thread::sleep_for(kRest);
  const Footprint before = footprint();
  std::vector<snowglobe::Database> forks;
  for (int i = 0; i < count; ++i)
    forks.push_back(make());
  std::this_thread::sleep_for(kRest);
  const Footprint own = footprint() - before;
  for (auto& fork : forks)
    if (fork.one<int>("select count(*) from t") != 1000) throw std::runtime_error("a fork is ill");
  return {{"started", parent.info().started},
          {"why_cold", parent.info().why_cold},
          {"figures", megabytes_each(own, count)}};
}

}  // namespace

std::string log_statement(int megabytes) {
  // A row of 1,000 bytes takes some 1,070 of log.
  return fmt::format("insert into logged select i, repeat('x', 1000) from generate_series(1, {}) i",
                     megabytes * 950);
}

namespace {

std::vector<std::string> words_of(const Plan& plan, const Trial& trial) {
  return {std::filesystem::read_symlink("/proc/self/exe").string(),
          kTrialArgument,
          trial.name,
          plan.image.string(),
          std::to_string(static_cast<int>(plan.options.executor)),
          std::to_string(static_cast<int>(trial.start)),
          std::to_string(trial.count),
          trial.path};
}

[[noreturn]] void log_trial(const std::string& path, const snowglobe::Options& options, int count) {
  auto database = snowglobe::Database::open(path, options);
  database.script(kLogTable);
  database.execute(log_statement(count));
  ::kill(::getpid(), SIGKILL);
  throw std::runtime_error("it outlived SIGKILL");
}

}  // namespace

void run_until_killed(const Bench& bench, const Trial& trial) {
  const std::filesystem::path output = bench.plan().folder / "log.output";
  const int status =
      wait_child(start_child(words_of(bench.plan(), trial), {.output = output}), kLimit);
  if (status != 128 + SIGKILL) {
    throw std::runtime_error(
        fmt::format("the trial ended with {}, see {}", status, output.string()));
  }
}

TrialResult run_trial(const Bench& bench, const Trial& trial) {
  const Plan& plan = bench.plan();
  const std::vector<std::string> words = words_of(plan, trial);
  const double began = now_ms();
  const Json told =
      Json::parse(run_program(words, {.environment = trial.environment}, plan.folder, kLimit));
  TrialResult result;
  result.started = told.at("started");
  result.why_cold = told.at("why_cold");
  for (const Json& open : told.value("opens", Json::array()))
    result.opens.push_back(
        {.open = open.at("open"), .query = open.at("query"), .all = open.at("all")});
  if (told.contains("answered_at")) result.from_exec = told.at("answered_at").get<double>() - began;
  if (told.contains("figures")) {
    result.figures = told.at("figures").get<std::map<std::string, double>>();
  }
  return result;
}

int trial_main(const std::vector<std::string>& arguments, Clock::time_point started) {
  if (arguments.size() != 6) throw std::runtime_error("a trial is not started by people");
  snowglobe::Options options;
  options.image = arguments[1];
  options.executor = static_cast<snowglobe::Executor>(std::stoi(arguments[2]));
  options.start = static_cast<snowglobe::Start>(std::stoi(arguments[3]));
  const int count = std::stoi(arguments[4]);
  const std::string& path = arguments[5];
  if (arguments[0] == "log") log_trial(path, options, count);
  const Json told = arguments[0] == "forks" ? forks_trial(options, count)
                                            : open_trial(path, options, count, started);
  fmt::print("{}\n", told.dump());
  return 0;
}

}  // namespace bench
