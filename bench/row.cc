// bench/row.cc - ratios, and a row as JSON: a line of --json, and how a worker hands it over.
#include "bench/row.h"

#include <nlohmann/json.hpp>

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

Json number(std::optional<double> value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<double> number_in(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  return found->get<double>();
}

Json figures_json(const Figures& figures) {
  Json json = Json::object();
  for (const Side side : kSides)
    json[name_of(side)] = number(figures[side]);
  return json;
}

Figures figures_in(const Json& json) {
  Figures figures;
  for (const Side side : kSides)
    figures[side] = number_in(json, name_of(side));
  return figures;
}

}  // namespace

const char* name_of(Side side) {
  constexpr std::array kNames = {"native", "twin", "snowglobe"};
  return kNames.at(static_cast<std::size_t>(side));
}

std::optional<double> Row::ratio_of(const Figures& figures) const {
  const std::optional<double> ours = figures[Side::snowglobe];
  const std::optional<double> theirs = figures[Side::twin];
  if (ratio == Ratio::none || !ours || !theirs || *ours <= 0 || *theirs <= 0) return std::nullopt;
  return ratio == Ratio::of_times ? *ours / *theirs : *theirs / *ours;
}

std::optional<bool> Row::within_bound() const {
  const std::optional<double> figure = ratio == Ratio::none ? warm[Side::snowglobe] : warm_ratio();
  if (!bound || !figure) return std::nullopt;
  return *figure <= *bound;
}

void to_json(Json& json, const Row& row) {
  json = Json{{"row", row.name},
              {"unit", row.unit},
              {"kind", static_cast<int>(row.ratio)},
              {"warm", figures_json(row.warm)},
              {"ratio", number(row.warm_ratio())},
              {"first", figures_json(row.first)},
              {"first_ratio", number(row.first_ratio())},
              {"bound", number(row.bound)},
              {"rounds", row.rounds},
              {"in_geomean", row.in_geomean},
              {"counts", row.counts},
              {"remark", row.remark},
              {"error", row.error}};
}

void from_json(const Json& json, Row& row) {
  row.name = json.at("row").get<std::string>();
  row.unit = json.at("unit").get<std::string>();
  row.ratio = static_cast<Ratio>(json.at("kind").get<int>());
  row.warm = figures_in(json.at("warm"));
  row.first = figures_in(json.at("first"));
  row.bound = number_in(json, "bound");
  row.rounds = json.at("rounds").get<int>();
  row.in_geomean = json.at("in_geomean").get<bool>();
  row.counts = json.at("counts").get<std::map<std::string, double>>();
  row.remark = json.at("remark").get<std::string>();
  row.error = json.at("error").get<std::string>();
}

}  // namespace bench
