// bench/suite_snapshot_store.cc - the part of the suite `snapshots` that writes files.
#include "bench/ground.h"
#include "bench/suites.h"
#include <filesystem>
#include <fmt/core.h>
#include <stdexcept>

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr double kChangedMegabytes = 5;

double megabytes(std::uint64_t bytes) {
  return static_cast<double>(bytes) / 1e6;
}

// A folder of this task alone.
fs::path folder_of(const Bench& bench, const std::string& name) {
  const fs::path folder = bench.plan().disk / name;
  fs::remove_all(folder);
  return folder;
}

void put(Bench& bench, const Emit& emit) {
  Ground ground(bench);
  auto store = snowglobe::SnapshotStore::open(folder_of(bench, "put"));
  snowglobe::SnapshotSizes whole;
  const double first = milliseconds([&] { whole = store.put(ground.empty()).sizes(); });
  const int rows = ground.large_rows_for(kChangedMegabytes);
  Samples times, added;
  for (int round = 0; round < bench.choose(7, 3) && !bench.time_is_over(); ++round) {
    ground.database().restore(ground.empty());
    ground.write_large(rows);
    const snowglobe::Snapshot after = ground.database().save();
    times.add(milliseconds([&] { added.add(megabytes(store.put(after).sizes().added)); }));
  }
  emit(own_row("put into a store, whole state", "ms", first, std::nullopt,
               fmt::format("{:.1f} MB stored; the store is on a disk", megabytes(whole.added))));
  emit(own_row("put into a store, 5 MB changed", "ms", typical(bench, times), std::nullopt,
               fmt::format("the store grows by {:.2f} MB", added.median())));
}

void fill(Ground& ground, int size) {
  ground.database().script(fmt::format(
      "create table big as select i, md5(i::text) || md5((i + 1)::text) || md5((i + 2)::text) || "
      "md5((i + 3)::text) as words from generate_series(1, {} * 1000000 / 160) i; checkpoint",
      size));
}

std::string rate(double megabytes, double ms) {
  return fmt::format("{:.0f} MB/s of the file", megabytes / ms * 1e3);
}

void portable(Bench& bench, const Emit& emit) {
  const int size = bench.choose(50, 10);
  const std::string with = fmt::format(" a snapshot with {} MB of data", size);
  Ground ground(bench);
  fill(ground, size);
  const auto rows = ground.database().one<std::int64_t>("select count(*) from big");
  const double real =
      megabytes(ground.database().one<std::uint64_t>("select pg_total_relation_size('big')"));
  const snowglobe::Snapshot snapshot = ground.database().save("big");

  auto store = snowglobe::SnapshotStore::open(folder_of(bench, "exports"));
  std::optional<snowglobe::Snapshot> stored;
  const double put_ms = milliseconds([&] { stored = store.put(snapshot); });
  const fs::path file = folder_of(bench, "big.snap");
  const double export_ms = milliseconds([&] { store.export_to(*stored, file); });
  const double bytes = megabytes(fs::file_size(file));

  auto elsewhere = snowglobe::SnapshotStore::open(folder_of(bench, "imports"));
  std::optional<snowglobe::Snapshot> imported;
  const double import_ms = milliseconds([&] { imported = elsewhere.import_from(file); });
  snowglobe::Options options = plain_options(bench);
  options.from = imported;
  const double open_ms = milliseconds([&] {
    auto database = snowglobe::Database::open_in_memory(options);
    if (database.one<std::int64_t>("select count(*) from big") != rows) {
      throw std::runtime_error("an imported database does not have its rows");
    }
  });

  emit(own_row(
      "put into a store" + with, "ms", put_ms, std::nullopt,
      fmt::format("table of {:.1f} MB; {:.1f} MB stored", real, megabytes(stored->sizes().added))));
  emit(own_row("export" + with, "ms", export_ms, std::nullopt, rate(bytes, export_ms)));
  emit(own_row("file of" + with, "MB", bytes));
  emit(own_row("import" + with, "ms", import_ms, std::nullopt, rate(bytes, import_ms)));
  emit(own_row("open it and count its rows", "ms", open_ms));
}

}  // namespace

std::vector<Task> snapshot_store_tasks() {
  return {{"store", put}, {"export and import", portable}};
}

}  // namespace bench
