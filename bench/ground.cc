// bench/ground.cc - writing, going back, and looking whether it was.
#include "bench/ground.h"

#include "bench/footprint.h"
#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace bench {

snowglobe::Options plain_options(const Bench& bench) {
  snowglobe::Options options;
  options.image = bench.plan().image;
  options.executor = bench.plan().options.executor;
  return options;
}

Ground::Ground(const Bench& bench)
    : database_(snowglobe::Database::open_in_memory(plain_options(bench))),
      session_(database_.session()) {
  session_.script("create table t(id int primary key, word text)");
  write_small(1000);
  expect_rows(1000);
  session_.script("truncate t; checkpoint");
  empty_ = database_.save("empty");
}

void Ground::write_small(int rows) {
  session_.execute("insert into t select i, 'word ' || i from generate_series(1, $1) i", rows);
}

void Ground::write_large(int rows) {
  session_.execute("insert into t select i, repeat(md5(i::text), 32) from generate_series(1, $1) i",
                   rows);
}

void Ground::expect_rows(int rows) {
  if (session_.one<int>("select count(*) from t") != rows) {
    throw std::runtime_error("the table does not have the rows that it should have");
  }
}

// What was written since the last one is copied into files of the process's arena of pages, and
// nothing else makes memory files grow within a millisecond.
Ground::Saved Ground::save() {
  const std::int64_t before = memory_file_bytes();
  std::optional<snowglobe::Snapshot> snapshot;
  const double ms = milliseconds([&] { snapshot = database_.save(); });
  const std::int64_t copied = memory_file_bytes() - before;
  return {*snapshot, ms, static_cast<double>(std::max<std::int64_t>(copied, 0)) / 1e6};
}

void Ground::clean() {
  database_.restore(*empty_);
  expect_rows(0);
  save();
}

double Ground::dirty_by_large(int rows) {
  clean();
  write_large(rows);
  return save().megabytes;
}

int Ground::large_rows_for(double megabytes) {
  // What a statement writes beside its rows does not grow with them.
  constexpr int kFew = 200;
  constexpr int kMany = 1000;
  const double few = dirty_by_large(kFew);
  const double many = dirty_by_large(kMany);
  constexpr double kRow = 1e-3;  // MB; a figure that says less is one of something else
  const double each = std::max((many - few) / (kMany - kFew), kRow);
  const auto first =
      static_cast<int>(std::lround(std::clamp(kFew + (megabytes - few) / each, 1.0, 1e5)));
  // Larger statements write over more that was written before.
  return static_cast<int>(std::lround(first * megabytes / std::max(dirty_by_large(first), 0.1)));
}

double typical(const Bench& bench, const Samples& samples) {
  return bench.plan().best ? samples.percentile(0) : samples.median();
}

Row own_row(const std::string& name, const std::string& unit, double figure,
            std::optional<double> bound, const std::string& remark) {
  Row row{.name = name, .unit = unit, .ratio = Ratio::none, .bound = bound};
  row.warm[Side::snowglobe] = figure;
  row.remark = remark;
  return row;
}

}  // namespace bench
