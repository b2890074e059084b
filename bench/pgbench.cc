// bench/pgbench.cc - runs pgbench and reads what it says.
#include "bench/pgbench.h"

#include "bench/child.h"
#include <algorithm>
#include <filesystem>
#include <stdexcept>

namespace bench {

namespace fs = std::filesystem;

double Pgbench::rate(Bench& bench, Side side, const std::vector<std::string>& options,
                     int clients) {
  prepare(bench, side);
  const int seconds = bench.choose(5, 2);
  std::vector<std::string> words = options;
  for (const std::string& word :
       {std::string("-n"), "-c" + std::to_string(clients),
        "-j" + std::to_string(std::min(clients, 2)), "-T" + std::to_string(seconds)})
    words.push_back(word);
  const std::string output = run(bench, side, words, std::chrono::seconds(seconds + 60));
  const std::size_t at = output.find("tps = ");
  if (at == output.npos) throw std::runtime_error("pgbench said: " + output);
  return std::stod(output.substr(at + 6));
}

void Pgbench::prepare(Bench& bench, Side side) {
  if (!addresses_[side].empty()) return;
  addresses_[side] = address_(bench, side);
  run(bench, side, {"-i", "-q", "-s1"}, std::chrono::minutes(2));
}

std::string Pgbench::run(Bench& bench, Side side, const std::vector<std::string>& options,
                         std::chrono::milliseconds limit) {
  const fs::path testing = bench.plan().image / "testing";
  std::vector<std::string> command = {(testing / "bin/pgbench").string()};
  ChildOptions child{.environment = {{"LD_LIBRARY_PATH", (testing / "lib").string()}}};
  if (!fs::exists(command[0])) {
    command[0] = (bench.plan().host_bin / "pgbench").string();
    child.environment.clear();
  }
  if (!fs::exists(command[0]))
    throw std::runtime_error("there is no pgbench: ./dev guest --testing");
  command.insert(command.end(), options.begin(), options.end());
  command.push_back(addresses_[side]);
  return run_program(command, child, bench.plan().folder, limit);
}

}  // namespace bench
