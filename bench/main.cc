// bench/main.cc - snowglobe_bench [SUITE...] [--only TEXT] [--quick] [--json FILE]: the machine
// beside native servers, in one run (docs/bench.md).
#include "bench/interruption.h"
#include "bench/runner.h"
#include "bench/servers.h"
#include "bench/suites.h"
#include "bench/trial.h"
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <map>

namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::vector<std::string> suites;
  std::string only;
  std::string json;
  std::map<std::string, std::string> settings;
  unsigned memory_mb = 512;
  snowglobe::Executor executor = snowglobe::Executor::automatic;
  bool quick = false;
  bool best = false;
  bool why = false;
};

// A machine of 512 MiB, as an administrator would set it: tables stay in the buffers, sorts in
// memory.
const bench::Settings kSettings = {{"shared_buffers", "192MB"},
                                   {"work_mem", "64MB"},
                                   {"maintenance_work_mem", "64MB"},
                                   {"jit", "off"}};

const std::map<std::string, snowglobe::Executor> kExecutors = {
    {"automatic", snowglobe::Executor::automatic},
    {"translator", snowglobe::Executor::translator},
    {"interpreter", snowglobe::Executor::interpreter}};

std::vector<bench::Suite> all_suites() {
  return {bench::machine_suite(),  bench::cpu_suite(),       bench::session_suite(),
          bench::memory_suite(),   bench::bulk_suite(),      bench::pgbench_suite(),
          bench::machines_suite(), bench::snapshots_suite(), bench::persistence_suite()};
}

// Of the wanted suites the tasks whose suite and name contain `only`.
std::vector<bench::Suite> selected(const Arguments& arguments) {
  std::vector<bench::Suite> chosen;
  for (bench::Suite& suite : all_suites()) {
    const auto& wanted = arguments.suites;
    const bool in =
        wanted.empty() || std::find(wanted.begin(), wanted.end(), suite.name) != wanted.end();
    if (!in) continue;
    std::erase_if(suite.tasks, [&](const bench::Task& task) {
      return (suite.name + " " + task.name).find(arguments.only) == std::string::npos;
    });
    if (!suite.tasks.empty()) chosen.push_back(std::move(suite));
  }
  return chosen;
}

/// Takes the clusters and files of the run along when it ends.
class Folder {
 public:
  explicit Folder(const fs::path& parent) {
    std::string pattern = (parent / "snowglobe-bench-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
    fs::permissions(path_, fs::perms(0755));
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// In memory if there is room: the machine's disk is.
fs::path place_for_clusters() {
  std::error_code ignored;
  constexpr std::uintmax_t kRoom = std::uintmax_t{2} << 30;
  const auto space = fs::space("/dev/shm", ignored);
  return !ignored && space.available >= kRoom ? fs::path("/dev/shm") : fs::temp_directory_path();
}

// Snapshots are kept where files outlive the machine's memory.
fs::path place_for_stores() {
  std::error_code ignored;
  return fs::is_directory("/var/tmp", ignored) ? fs::path("/var/tmp") : fs::temp_directory_path();
}

int run(const Arguments& arguments) {
  const std::vector<bench::Suite> suites = selected(arguments);
  if (suites.empty()) {
    throw std::runtime_error("no task's suite and name contain '" + arguments.only + "'");
  }
  bench::catch_interruptions();
  bench::Report report(arguments.json, arguments.why);
  const Folder folder(place_for_clusters());
  const Folder disk(place_for_stores());
  bench::Plan plan;
  plan.quick = arguments.quick;
  plan.best = arguments.best;
  plan.folder = folder.path();
  plan.disk = disk.path();
  plan.options.memory_mb = arguments.memory_mb;
  plan.options.executor = arguments.executor;
  plan.options.start = snowglobe::Start::cold;  // settings ask for it in any case
  plan.options.settings = kSettings;
  for (const auto& [name, value] : arguments.settings)
    plan.options.settings[name] = value;
  const bench::NativeServers servers = bench::start_servers(plan, report);
  if (plan.quick) report.head("quick", "a tenth of the rows, and few rounds");
  if (plan.best) report.head("best", "the best of each row's figures in place of the median");
  int failures = 0;
  for (const bench::Suite& suite : suites)
    failures += bench::run_suite(suite, plan, report);
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto started = std::chrono::steady_clock::now();
  if (argc > 1 && std::string_view(argv[1]) == bench::kTrialArgument) {
    return bench::trial_main({argv + 2, argv + argc}, started);
  }
  CLI::App app("Snowglobe beside native PostgreSQL. ratio: how many times worse than the twin.");
  Arguments arguments;
  std::vector<std::string> names;
  for (const bench::Suite& suite : all_suites())
    names.push_back(suite.name);
  std::vector<std::string> settings;
  app.add_option("suite", arguments.suites, "suites to run; all when none is named")
      ->check(CLI::IsMember(names));
  app.add_option("--only", arguments.only, "only tasks whose suite and name contain this text");
  app.add_option("--json", arguments.json, "write a line a row to this file");
  app.add_option("--memory", arguments.memory_mb, "MiB of the machine's RAM");
  app.add_option("--executor", arguments.executor, "automatic, translator or interpreter")
      ->transform(CLI::CheckedTransformer(kExecutors));
  app.add_option("--set", settings, "NAME=VALUE: a setting of PostgreSQL, on all sides");
  app.add_flag("--quick", arguments.quick, "a tenth of the rows, and few rounds");
  app.add_flag("--best", arguments.best,
               "the best of a row's figures in place of the median: for a host that is not quiet");
  app.add_flag("--why", arguments.why, "below each row, what the machine did for it");
  CLI11_PARSE(app, argc, argv);
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos) throw std::runtime_error("--set wants NAME=VALUE");
    arguments.settings[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  return run(arguments);
} catch (const std::exception& error) {
  fmt::print(stderr, "snowglobe_bench: {}\n", error.what());
  return 2;
}
