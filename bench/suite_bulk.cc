// bench/suite_bulk.cc - data on its way in: COPY, and one statement a row.
#include "bench/suites.h"
#include <fmt/core.h>

namespace bench {
namespace {

constexpr double kBulkBound = 2.5;
constexpr const char* kTable =
    "drop table if exists loaded; "
    "create table loaded(id int primary key, kind int, price numeric, word text)";

std::string copy_text(int rows) {
  std::string text;
  for (int i = 1; i <= rows; ++i)
    text += fmt::format("{}\t{}\t{}.{:02}\tword number {}\n", i, i % 7, i * 37 % 10007, i % 100, i);
  return text;
}

void copy(Bench& bench, const Emit& emit) {
  const int rows = bench.scaled(200'000);
  const std::string text = copy_text(rows);
  const Sides<std::unique_ptr<Client>> clients = connect_all(bench);
  const auto once = [&](Side side) {
    clients[side]->run(kTable);
    return milliseconds([&] { clients[side]->copy_in("copy loaded from stdin", text); });
  };
  Row row = row_of(bench, fmt::format("COPY in of {} rows", rows), "ms",
                   alternate_one(bench, bench.choose(5, 2), once));
  row.bound = kBulkBound;
  emit(row);
}

void inserts(Bench& bench, const Emit& emit) {
  const int rows = bench.scaled(10'000);
  const Sides<std::unique_ptr<Client>> clients = connect_all(bench);
  const auto once = [&](Side side) {
    clients[side]->run(kTable);
    return milliseconds([&] {
      for (int i = 1; i <= rows; ++i)
        clients[side]->run(fmt::format("insert into loaded values ({}, 1, 2.50, 'a word')", i));
    });
  };
  Row row = row_of(bench, fmt::format("{} single INSERTs, each committed", rows), "ms",
                   alternate_one(bench, bench.choose(5, 2), once));
  row.bound = kBulkBound;
  emit(row);
}

}  // namespace

Suite bulk_suite() {
  return {.name = "bulk",
          .remark = "into a logged table with a primary key",
          .tasks = {{"COPY in", copy}, {"single INSERTs", inserts}}};
}

}  // namespace bench
