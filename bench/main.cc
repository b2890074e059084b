// bench/main.cc - snowglobe_bench [SUITE...] [--json FILE] [--quick]: ratios side by side in one
// run.
#include "bench/suites.h"
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <map>

namespace {

using Suite = void (*)(bench::Servers&, bench::Report&, bool);

const std::map<std::string, Suite> kSuites = {
    {"boot", bench::run_boot_suite},
    {"cpu", bench::run_cpu_suite},
    {"latency", bench::run_latency_suite},
};

bench::Servers start_servers() {
  bench::Servers servers;
  servers.snowglobe = std::make_unique<snowglobe::Database>(snowglobe::Database::open_in_memory());
  std::string why;
  servers.twin = bench::NativeServer::twin(servers.snowglobe->info().image, why);
  if (!servers.twin) fmt::print(stderr, "no native twin: {}\n", why);
  servers.native = bench::NativeServer::host(why);
  if (!servers.native) fmt::print(stderr, "no x86-64 server to compare with: {}\n", why);
  return servers;
}

void print_head(bench::Servers& servers) {
  const snowglobe::Info info = servers.snowglobe->info();
  fmt::print("snowglobe  {} MiB, executor {}: {}\n", info.memory_mb, info.executor,
             servers.snowglobe->version());
  if (servers.twin) {
    fmt::print("twin       {}\n", bench::Client(servers.twin_conninfo()).run("select version()"));
  }
  if (servers.native) {
    fmt::print("native     {}\n", bench::Client(servers.native_conninfo()).run("select version()"));
  }
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("Benchmarks of Snowglobe beside native PostgreSQL. ratio = snowglobe / twin.");
  std::vector<std::string> wanted;
  std::string json;
  bool quick = false;
  std::vector<std::string> names;
  for (const auto& [name, suite] : kSuites)
    names.push_back(name);
  app.add_option("suite", wanted, "suites to run; all when none is named")
      ->check(CLI::IsMember(names));
  app.add_option("--json", json, "write a line a row to this file");
  app.add_flag("--quick", quick, "fewer repetitions");
  CLI11_PARSE(app, argc, argv);
  if (wanted.empty()) wanted = names;

  bench::Report report(json);
  bench::Servers servers = start_servers();
  print_head(servers);
  for (const std::string& name : wanted)
    kSuites.at(name)(servers, report, quick);
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "snowglobe_bench: {}\n", error.what());
  return 1;
}
