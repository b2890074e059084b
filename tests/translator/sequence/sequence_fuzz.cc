// tests/translator/sequence/sequence_fuzz.cc - random programs, interpreter against translator, for
// as long as it is told.
#include "tests/translator/sequence/campaign.h"
#include "vm/cpu/translator/host_support.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <fmt/format.h>

int main(int argc, char** argv) {
  using namespace snowglobe;
  using Clock = std::chrono::steady_clock;
  vm::u64 seed = 1, first = 0, programs = 0;
  double seconds = 10;
  unsigned show = 5;
  CLI::App app{"Runs random programs in the interpreter and in the translator and compares."};
  app.add_option("--seed", seed, "programs are a function of it (1)");
  app.add_option("--first", first, "index of the first program (0)");
  app.add_option("--programs", programs, "how many to run, instead of --seconds");
  app.add_option("--seconds", seconds, "how long to run (10)");
  app.add_option("--show", show, "differences to print (5)");
  CLI11_PARSE(app, argc, argv);
  if (const vm::HostSupport& host = vm::translator_support(); !host.usable) {
    fmt::print(stderr, "sequence_fuzz: {}\n", host.why_not);
    return 2;
  }
  sequence::Campaign campaign;
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  for (vm::u64 i = 0; programs != 0 ? i < programs : elapsed() < seconds; ++i) {
    campaign.run(seed, first + i, [&](const std::string& text) {
      if (show == 0) return;
      --show;
      fmt::print("{}\n", text);
    });
  }
  const sequence::Tally& tally = campaign.tally();
  for (const auto& [vector, count] : tally.by_vector)
    fmt::print("  {:>8} ended by vector {:#x}\n", count, vector);
  fmt::print("seed {}: {} programs in {:.1f} s, {} too long, {} differences\n", seed,
             tally.programs, elapsed(), tally.abandoned, tally.different);
  return tally.different == 0 ? 0 : 1;
}
