// bench/report.cc - the table and the JSON lines.
#include "bench/report.h"

#include <algorithm>
#include <cmath>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace bench {
namespace {

// What is aimed at over all CPU-bound statements, and in any one.
constexpr double kGeomeanBound = 1.8;
constexpr double kWorstBound = 2.5;

std::string cell(std::optional<double> value) {
  if (!value) return "-";
  if (*value >= 1000) return fmt::format("{:.0f}", *value);
  if (*value >= 10) return fmt::format("{:.1f}", *value);
  return fmt::format("{:.3f}", *value);
}

std::string ratio_cell(std::optional<double> ratio) {
  return ratio ? fmt::format("{:.2f}", *ratio) : "-";
}

std::string bound_cell(const Row& row) {
  if (!row.bound) return "";
  const std::optional<bool> within = row.within_bound();
  const char* verdict = !within ? "" : *within ? " ok" : " ABOVE";
  return fmt::format("{:g}{}", *row.bound, verdict);
}

double geometric_mean(const std::vector<double>& ratios) {
  double logs = 0;
  for (const double ratio : ratios)
    logs += std::log(ratio);
  return std::exp(logs / static_cast<double>(ratios.size()));
}

// A row of nothing but ratios: the twin is 1.
Row ratio_row(const std::string& name, double warm, std::optional<double> first, double bound) {
  Row row{.name = name, .unit = "x", .bound = bound};
  row.warm[Side::twin] = 1.0;
  row.warm[Side::snowglobe] = warm;
  if (first) row.first[Side::twin] = 1.0;
  row.first[Side::snowglobe] = first;
  return row;
}

void print_line(const std::string& name, const std::string& unit,
                const std::array<std::string, 7>& cells, const std::string& bound) {
  fmt::print("{:<56} {:>4} {:>9} {:>9} {:>9} {:>7} | {:>9} {:>9} {:>7} | {}\n", name, unit,
             cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6], bound);
  std::fflush(stdout);
}

void print_counts(const Row& row) {
  std::string text;
  for (const auto& [name, count] : row.counts) {
    if (count > 0) text += fmt::format("{}{} {:.0f}", text.empty() ? "" : ", ", name, count);
  }
  if (!text.empty()) fmt::print("    a round: {}\n", text);
}

}  // namespace

Report::Report(const std::string& json_path, bool why) : why_(why) {
  if (json_path.empty()) return;
  json_.open(json_path);
  if (!json_) throw std::runtime_error("can not write '" + json_path + "'");
}

void Report::write(const nlohmann::ordered_json& line) {
  if (json_.is_open()) json_ << line.dump() << '\n' << std::flush;
}

void Report::head(const std::string& key, const std::string& value) {
  fmt::print("{:<10} {}\n", key, value);
  std::fflush(stdout);
  write({{"head", key}, {"value", value}});
}

void Report::begin_suite(const std::string& suite, const std::string& remark) {
  suite_ = suite;
  ratios_.clear();
  first_ratios_.clear();
  fmt::print("\n{}: {}\n", suite, remark);
  print_line("", "unit", {"native", "twin", "snowglobe", "ratio", "1st twin", "1st snow", "ratio"},
             "bound");
}

void Report::add(const Row& row) {
  nlohmann::ordered_json line = {{"suite", suite_}};
  line.update(nlohmann::ordered_json(row));
  write(line);
  if (!row.error.empty()) {
    fmt::print("{:<56} FAILED: {}\n", row.name, row.error);
    std::fflush(stdout);
    return;
  }
  const std::optional<double> ratio = row.warm_ratio();
  const std::optional<double> first = row.first_ratio();
  if (row.in_geomean && ratio) ratios_.push_back(*ratio);
  if (row.in_geomean && first) first_ratios_.push_back(*first);
  print_line(row.name, row.unit,
             {cell(row.warm[Side::native]), cell(row.warm[Side::twin]),
              cell(row.warm[Side::snowglobe]), ratio_cell(ratio), cell(row.first[Side::twin]),
              cell(row.first[Side::snowglobe]), ratio_cell(first)},
             bound_cell(row));
  if (!row.remark.empty()) fmt::print("    {}\n", row.remark);
  if (why_) print_counts(row);
}

void Report::end_suite() {
  if (ratios_.empty()) return;
  const std::vector<double> warm = ratios_;
  const std::vector<double> first = first_ratios_;
  const auto of_first = [&](double figure) {
    return first.empty() ? std::nullopt : std::optional(figure);
  };
  add(ratio_row(fmt::format("geometric mean of {} statements", warm.size()), geometric_mean(warm),
                of_first(geometric_mean(first)), kGeomeanBound));
  add(ratio_row(
      "worst", *std::max_element(warm.begin(), warm.end()),
      first.empty() ? std::nullopt : std::optional(*std::max_element(first.begin(), first.end())),
      kWorstBound));
}

}  // namespace bench
