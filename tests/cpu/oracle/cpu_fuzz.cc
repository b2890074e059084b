// tests/cpu/oracle/cpu_fuzz.cc - `./dev fuzz cpu`: runs instruction cases against the real
// processor for as long as it is told, and prints what disagrees with a way to repeat it.
#include "tests/cpu/oracle/campaign.h"
#include "tests/cpu/oracle/emulated_executor.h"
#include "vm/cpu/translator/host_support.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <fmt/format.h>
#include <mutex>
#include <thread>

namespace snowglobe::oracle {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  u64 seed = 1;
  u64 cases = 0;
  double seconds = 10;
  unsigned jobs = 1;
  std::vector<std::string> only;
  std::string one_case;
  std::string executor = "interpreter";
  unsigned show = 2;
  bool coverage = false;
  std::string harness = SNOWGLOBE_ORACLE_HARNESS;
};

/// Prints the first reproducers of each kind of mismatch, and counts all.
class Reporter {
 public:
  explicit Reporter(unsigned show) : show_(show) {}

  void operator()(const Mismatch& mismatch) {
    const std::lock_guard lock(mutex_);
    const u64 seen = counts_[mismatch.name + ":" + mismatch.summary]++;
    if (seen < show_) fmt::print("{}\n", mismatch.text);
  }
  void print_summary() const {
    for (const auto& [kind, count] : counts_)
      fmt::print("  {:>10}  {}\n", count, kind);
  }

 private:
  unsigned show_;
  std::mutex mutex_;
  std::map<std::string, u64> counts_;
};

struct Worker {
  std::unique_ptr<HostExecutor> host;
  std::unique_ptr<Executor> under_test;
};

std::unique_ptr<Executor> make_executor(const std::string& name) {
  if (name == "host") return nullptr;
  if (name == "translator") return make_emulated_executor(ExecutorPath::kTranslated);
  return make_emulated_executor(name == "step" ? ExecutorPath::kStep : ExecutorPath::kBlocks);
}

void print_coverage(const Tally& tally, const Generator& generator) {
  std::vector<std::pair<u64, std::string>> rows;
  for (const auto& [name, count] : tally.by_name)
    rows.emplace_back(count, name);
  for (const auto& [mnemonic, forms] : generator.table().by_mnemonic()) {
    const std::string name =
        mnemonic == ZYDIS_MNEMONIC_INVALID ? "(refused)" : ZydisMnemonicGetString(mnemonic);
    if (tally.by_name.find(name) == tally.by_name.end()) rows.emplace_back(0, name);
  }
  std::sort(rows.begin(), rows.end());
  unsigned column = 0;
  for (const auto& [count, name] : rows) {
    fmt::print("{:>9} {:<14}{}", count, name, ++column % 5 == 0 ? "\n" : "");
  }
  fmt::print("\n");
}

int run_one(const Options& options) {
  const std::size_t colon = options.one_case.find(':');
  if (colon == std::string::npos) {
    fmt::print(stderr, "cpu_fuzz: --case wants SEED:INDEX\n");
    return 2;
  }
  const u64 seed = std::stoull(options.one_case.substr(0, colon));
  const u64 index = std::stoull(options.one_case.substr(colon + 1));
  const Generator generator(seed, options.only);
  auto host = HostExecutor::create(options.harness);
  if (!host.ok()) {
    fmt::print(stderr, "cpu_fuzz: {}\n", host.error().message);
    return 2;
  }
  const auto under_test = make_executor(options.executor);
  Campaign campaign(generator, seed, *host.value(), under_test.get());
  campaign.run_case(index, [](const Mismatch& mismatch) { fmt::print("{}", mismatch.text); });
  if (campaign.tally().mismatches == 0) {
    Case test;
    generator.make(index, test);
    fmt::print("{}  no difference\n", describe(seed, test, {}));
  }
  return campaign.tally().mismatches == 0 ? 0 : 1;
}

int run_many(const Options& options) {
  const Generator generator(options.seed, options.only);
  if (!generator.has_choices()) {
    fmt::print(stderr, "cpu_fuzz: --only names no instruction that there is\n");
    return 2;
  }
  std::vector<Worker> workers(std::max(1u, options.jobs));
  for (Worker& worker : workers) {
    auto host = HostExecutor::create(options.harness);
    if (!host.ok()) {
      fmt::print(stderr, "cpu_fuzz: {}\n", host.error().message);
      return 2;
    }
    worker.host = std::move(host).value();
    worker.under_test = make_executor(options.executor);
  }
  Reporter reporter(options.show);
  Tally total;
  std::mutex mutex;
  std::atomic<u64> next{0};
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const auto work = [&](Worker& worker) {
    Campaign campaign(generator, options.seed, *worker.host, worker.under_test.get());
    for (;;) {
      const u64 batch = next++;
      const u64 done = batch * ORACLE_BATCH;
      if (options.cases != 0 ? done >= options.cases : elapsed() > options.seconds) break;
      const u64 left = options.cases != 0 ? options.cases - done : u64{ORACLE_BATCH};
      campaign.run_batch(batch, left, [&](const Mismatch& mismatch) { reporter(mismatch); });
    }
    const std::lock_guard lock(mutex);
    total.add(campaign.tally());
  };
  std::vector<std::thread> threads;
  for (Worker& worker : workers)
    threads.emplace_back([&] { work(worker); });
  for (std::thread& thread : threads)
    thread.join();

  const double seconds = elapsed();
  if (options.coverage) print_coverage(total, generator);
  reporter.print_summary();
  u64 least = ~u64{0};
  for (const auto& [name, count] : total.by_name)
    least = std::min(least, count);
  fmt::print(
      "seed {}: {} cases in {:.1f} s ({:.0f} a second), {} trapped, {} mnemonics, each at "
      "least {} times, {} mismatches, {} arenas differ\n",
      options.seed, total.cases, seconds, static_cast<double>(total.cases) / seconds, total.trapped,
      total.by_name.size(), least, total.mismatches, total.arena_mismatches);
  return total.mismatches + total.arena_mismatches == 0 ? 0 : 1;
}

int main_program(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Compares the emulated processor with the one of this machine, instruction by "
      "instruction."};
  app.add_option("--seed", options.seed, "cases are a function of it (1)");
  app.add_option("--seconds", options.seconds, "how long to run (10)");
  app.add_option("--cases", options.cases, "how many to run, instead of --seconds");
  app.add_option("--jobs", options.jobs, "threads (1)");
  app.add_option("--only", options.only, "mnemonics, e.g. add, or (refused)")->delimiter(',');
  app.add_option("--case", options.one_case, "SEED:INDEX, runs one case (with the same --only)");
  app.add_option("--executor", options.executor,
                 "interpreter, step (its single steps), translator, or host (against itself)")
      ->check(CLI::IsMember({"interpreter", "step", "translator", "host"}));
  app.add_option("--show", options.show, "reproducers to print of each kind of mismatch (2)");
  app.add_flag("--coverage", options.coverage, "print how often each mnemonic ran");
  app.add_option("--harness", options.harness, "the 32-bit program");
  CLI11_PARSE(app, argc, argv);
  if (const auto& host = vm::translator_support();
      options.executor == "translator" && !host.usable) {
    fmt::print(stderr, "cpu_fuzz: {}\n", host.why_not);
    return 2;
  }
  return options.one_case.empty() ? run_many(options) : run_one(options);
}

}  // namespace
}  // namespace snowglobe::oracle

int main(int argc, char** argv) {
  return snowglobe::oracle::main_program(argc, argv);
}
