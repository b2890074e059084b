// bench/report.cc - the table and the JSON lines.
#include "bench/report.h"

#include <cmath>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace bench {
namespace {

std::string cell(std::optional<double> value) {
  if (!value) return "-";
  if (*value >= 1000) return fmt::format("{:.0f}", *value);
  if (*value >= 10) return fmt::format("{:.1f}", *value);
  return fmt::format("{:.3f}", *value);
}

}  // namespace

Report::Report(const std::string& json_path) {
  if (json_path.empty()) return;
  json_.open(json_path);
  if (!json_) throw std::runtime_error("can not write '" + json_path + "'");
}

void Report::begin_suite(const std::string& suite, const std::string& remark) {
  suite_ = suite;
  ratios_.clear();
  fmt::print("\n{}: {}\n", suite, remark);
  fmt::print("{:<46} {:>12} {:>12} {:>12} {:>12} {:>8}\n", "row", "unit", "snowglobe", "twin",
             "native", "ratio");
}

void Report::add(const Row& row) {
  std::optional<double> ratio;
  if (row.snowglobe && row.twin && *row.twin > 0) ratio = *row.snowglobe / *row.twin;
  if (ratio && row.in_geomean) ratios_.push_back(*ratio);
  fmt::print("{:<46} {:>12} {:>12} {:>12} {:>12} {:>8}\n", row.name, row.unit, cell(row.snowglobe),
             cell(row.twin), cell(row.native), ratio ? fmt::format("{:.2f}", *ratio) : "-");
  std::fflush(stdout);
  write_json(row, ratio);
}

void Report::end_suite() {
  if (ratios_.empty()) return;
  double logs = 0;
  for (const double ratio : ratios_)
    logs += std::log(ratio);
  const double mean = std::exp(logs / static_cast<double>(ratios_.size()));
  const Row row{.name = "geomean",
                .unit = "ratio",
                .snowglobe = mean,
                .twin = 1.0,
                .native = std::nullopt,
                .in_geomean = false};
  add(row);
}

void Report::write_json(const Row& row, std::optional<double> ratio) {
  if (!json_.is_open()) return;
  const auto number = [](std::optional<double> value) {
    return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
  };
  const nlohmann::ordered_json line = {
      {"suite", suite_},          {"row", row.name},
      {"unit", row.unit},         {"snowglobe", number(row.snowglobe)},
      {"twin", number(row.twin)}, {"native", number(row.native)},
      {"ratio", number(ratio)}};
  json_ << line.dump() << '\n' << std::flush;
}

}  // namespace bench
