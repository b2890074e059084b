// bench/bench.cc - the alternation of the sides.
#include "bench/bench.h"

#include <algorithm>
#include <atomic>

namespace bench {

Spinner::Spinner(bool wanted) {
  if (!wanted) return;
  thread_ = std::jthread([](const std::stop_token& stop) {
    while (!stop.stop_requested())
      std::atomic_signal_fence(std::memory_order_seq_cst);
  });
}

std::vector<Side> Bench::sides() const {
  std::vector<Side> there;
  for (const Side side : {Side::native, Side::twin}) {
    if (!plan_.conninfo[side].empty()) there.push_back(side);
  }
  there.push_back(Side::snowglobe);
  return there;
}

std::string Bench::conninfo(Side side) {
  return side == Side::snowglobe ? snowglobe().conninfo() : plan_.conninfo[side];
}

snowglobe::Database& Bench::snowglobe() {
  if (!snowglobe_) snowglobe_.emplace(snowglobe::Database::open_in_memory(plan_.options));
  return *snowglobe_;
}

void Bench::begin(std::chrono::seconds time) {
  until_ = std::chrono::steady_clock::now() + time;
}

std::map<std::string, double> Bench::counts() {
  const snowglobe::Stats stats = snowglobe().stats();
  const snowglobe::TranslatorStats& translator = stats.translator;
  const auto number = [](std::uint64_t count) { return static_cast<double>(count); };
  return {{"interrupts", number(stats.interrupts)},
          {"interpreted", number(stats.instructions - translator.handled)},
          {"handled", number(translator.handled)},
          {"blocks translated", number(translator.blocks)},
          {"faults", number(translator.faults)},
          {"page faults", number(translator.page_faults)},
          {"emulated accesses", number(translator.emulated_accesses)},
          {"window fills", number(translator.window_fills)},
          {"window drops", number(translator.window_drops)},
          {"window evictions", number(translator.window_evictions)}};
}

namespace {

// Runs a batch and adds what the machine did meanwhile.
void counted(Bench& bench, const std::function<void()>& batch,
             std::map<std::string, double>& counts) {
  const std::map<std::string, double> before = bench.counts();
  batch();
  for (const auto& [name, count] : bench.counts())
    counts[name] += count - before.at(name);
}

}  // namespace

Sides<Series> alternate(Bench& bench, int rounds, const Batch& batch) {
  Sides<Series> series;
  int done = 0;
  for (int round = 0; round <= rounds; ++round) {
    if (round > 1 && bench.time_is_over()) break;
    for (const Side side : bench.sides()) {
      Samples before;
      Series& own = series[side];
      const auto run = [&] { batch(side, round == 0 ? before : own.warm); };
      if (round > 0 && side == Side::snowglobe) {
        counted(bench, run, own.counts);
        ++done;
      } else {
        run();
      }
      if (round == 0) own.first = before.first();
    }
  }
  for (auto& [name, count] : series[Side::snowglobe].counts)
    count /= std::max(done, 1);
  return series;
}

Sides<Series> alternate_one(Bench& bench, int rounds, const std::function<double(Side)>& once) {
  return alternate(bench, rounds,
                   [&once](Side side, Samples& samples) { samples.add(once(side)); });
}

Row row_of(const Bench& bench, const std::string& name, const std::string& unit,
           const Sides<Series>& series, Ratio ratio) {
  const double best = ratio == Ratio::of_rates ? 1.0 : 0.0;
  Row row{.name = name, .unit = unit, .ratio = ratio};
  for (const Side side : kSides) {
    const Samples& warm = series[side].warm;
    if (warm.empty()) continue;
    row.first[side] = series[side].first;
    row.warm[side] = bench.plan().best ? warm.percentile(best) : warm.median();
  }
  row.counts = series[Side::snowglobe].counts;
  row.rounds = static_cast<int>(series[Side::snowglobe].warm.count());
  return row;
}

std::string beside(bool spinning) {
  return spinning ? ", a thread spins" : "";
}

Sides<std::unique_ptr<Client>> connect_all(Bench& bench) {
  Sides<std::unique_ptr<Client>> clients;
  for (const Side side : bench.sides())
    clients[side] = std::make_unique<Client>(bench.conninfo(side));
  return clients;
}

}  // namespace bench
