// tests/suites/postgres_suite.cc - boots the machine, gives it the suites' files, runs the drivers.
#include "tests/suites/postgres_suite.h"

#include "tests/suites/child.h"

#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace snowglobe::testing {
namespace {

namespace fs = std::filesystem;

/// The expected files hold for PostgreSQL's defaults; the image's settings make other plans.
Options suite_options() {
  Options options;
  options.memory_mb = 384;
  options.settings = {{"shared_buffers", "128MB"},
                      {"max_connections", "40"},
                      {"random_page_cost", "4"},
                      {"effective_cache_size", "4GB"},
                      {"maintenance_work_mem", "64MB"},
                      {"max_parallel_workers_per_gather", "2"},
                      {"max_parallel_maintenance_workers", "2"},
                      {"autovacuum_max_workers", "3"},
                      {"max_prepared_transactions", "2"}};
  return options;
}

fs::path image_folder() {
  const char* named = std::getenv("SNOWGLOBE_IMAGE");  // NOLINT(concurrency-mt-unsafe): tests
  return named != nullptr ? fs::path(named) : fs::path(SNOWGLOBE_BUILD_TREE_IMAGE);
}

/// "ok 3     + boolean      120 ms" and "not ok 4 ..."; with an issue in its comment a failure is
/// still one.
void read_report(SuiteResult& result) {
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    std::string number;
    std::string mark;
    std::string name;
    if (!(words >> word)) continue;
    const bool failed = word == "not";
    if (failed) words >> word;
    if (word == "ok" && words >> number >> mark >> name) {
      (failed ? result.failed : result.passed).push_back(name);
    }
  }
}

}  // namespace

bool PostgresSuite::available() {
  return fs::exists(image_folder() / "testing/bin/pg_regress");
}

PostgresSuite::PostgresSuite()
    : database_(Database::open_in_memory(suite_options())),
      endpoint_(database_.expose()),
      testing_(image_folder() / "testing") {
  fs::permissions(folder_, fs::perms(0755));
  for (const char* input : {"regress", "isolation"}) {
    fs::create_directory_symlink(fs::canonical(testing_ / input), folder_ / input);
  }
  put_server_files();
}

void PostgresSuite::put_server_files() {
  Guest guest = database_.guest();
  const std::string top = folder_.string();
  const std::string results = top + "/regress-output/results";
  guest.exec({"mkdir", "-p", top + "/regress/data", top + "/lib", results});
  guest.exec({"chmod", "0777", results});  // COPY ... TO and lo_export() write there as the server
  for (const auto& entry : fs::directory_iterator(testing_ / "regress/data")) {
    guest.put(top + "/regress/data/" + entry.path().filename().string(), read_file(entry.path()));
  }
  for (const auto& entry : fs::directory_iterator(testing_ / "server")) {
    guest.put(top + "/lib/" + entry.path().filename().string(), read_file(entry.path()), 0755);
  }
}

SuiteResult PostgresSuite::regress(const fs::path& schedule, std::chrono::seconds limit) {
  return run("pg_regress", "regress",
             schedule.empty() ? testing_ / "regress/parallel_schedule" : schedule,
             {"--dlpath=" + (folder_ / "lib").string(), "--max-connections=4"}, limit);
}

SuiteResult PostgresSuite::isolation(const fs::path& schedule, std::chrono::seconds limit) {
  return run("pg_isolation_regress", "isolation",
             schedule.empty() ? testing_ / "isolation/isolation_schedule" : schedule, {}, limit);
}

SuiteResult PostgresSuite::run(const std::string& driver, const std::string& input,
                               const fs::path& schedule, const std::vector<std::string>& more,
                               std::chrono::seconds limit) {
  const fs::path output = folder_ / (input + "-output");
  fs::create_directories(output);
  std::vector<std::string> arguments = {(testing_ / "bin" / driver).string(),
                                        "--bindir=" + (testing_ / "bin").string(),
                                        "--inputdir=" + (folder_ / input).string(),
                                        "--expecteddir=" + (folder_ / input).string(),
                                        "--outputdir=" + output.string(),
                                        "--host=" + endpoint_.host(),
                                        "--port=" + std::to_string(endpoint_.port()),
                                        "--user=" + endpoint_.user(),
                                        "--schedule=" + schedule.string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  ChildOptions options;
  options.environment = {{"PGPASSWORD", endpoint_.password()},
                         {"LD_LIBRARY_PATH", (testing_ / "lib").string()}};
  options.output = output / "report";
  options.limit = limit;
  SuiteResult result;
  result.status = run_child(arguments, options);
  result.output = read_file(options.output);
  constexpr std::size_t kShown = 20'000;
  result.differences = read_file(output / "regression.diffs").substr(0, kShown);
  read_report(result);
  if (result.status != 0) temporary_.keep();
  return result;
}

}  // namespace snowglobe::testing
