// bench/row.h - a line of the table: what was measured on which side, and what is aimed at.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace bench {

/// Who runs the work: an x86-64 server of the host, the image's own i686 programs on the host, or
/// the machine.
enum class Side : std::uint8_t { native, twin, snowglobe };
constexpr std::array kSides = {Side::native, Side::twin, Side::snowglobe};
const char* name_of(Side side);

/// A thing for each side.
template <class T>
class Sides {
 public:
  T& operator[](Side side) { return things_[static_cast<std::size_t>(side)]; }
  const T& operator[](Side side) const { return things_[static_cast<std::size_t>(side)]; }

 private:
  std::array<T, kSides.size()> things_{};
};

using Figures = Sides<std::optional<double>>;

/// How two sides' figures make a ratio: how many times worse Snowglobe is than the twin.
enum class Ratio : std::uint8_t { none, of_times, of_rates };

struct Row {
  std::string name = {};
  std::string unit = {};
  Ratio ratio = Ratio::of_times;
  Figures first = {};  ///< the first execution
  Figures warm = {};   ///< the median of the later ones
  /// At most this: the ratio, or Snowglobe's figure where there is none.
  std::optional<double> bound = {};
  bool in_geomean = false;  ///< enters the suite's geometric mean of ratios
  int rounds = 0;           ///< that the median is of
  /// What the machine did in one of the later rounds, by name: why a ratio is what it is.
  std::map<std::string, double> counts = {};
  std::string remark = {};  ///< printed below the row: what others take, what else was seen
  std::string error = {};   ///< why there are no figures

  [[nodiscard]] std::optional<double> warm_ratio() const { return ratio_of(warm); }
  [[nodiscard]] std::optional<double> first_ratio() const { return ratio_of(first); }
  /// Nothing if there is no bound, or nothing to hold against it.
  [[nodiscard]] std::optional<bool> within_bound() const;

 private:
  [[nodiscard]] std::optional<double> ratio_of(const Figures& figures) const;
};

void to_json(nlohmann::ordered_json& json, const Row& row);
void from_json(const nlohmann::ordered_json& json, Row& row);

}  // namespace bench
