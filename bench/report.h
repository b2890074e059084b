// bench/report.h - the rows of a benchmark, as a table on stdout and as JSON lines in a file.
#pragma once

#include "bench/row.h"
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bench {

class Report {
 public:
  /// With `why`, a line below each row says what the machine did for it. Throws
  /// std::runtime_error if `json_path` (empty: none) can not be written.
  Report(const std::string& json_path, bool why);
  /// What the figures hold for: one line of the table's head, and of the file.
  void head(const std::string& key, const std::string& value);
  void begin_suite(const std::string& suite, const std::string& remark);
  void add(const Row& row);
  /// Prints the geometric mean and the worst of the suite's ratios if it has any.
  void end_suite();

 private:
  void write(const nlohmann::ordered_json& line);

  const bool why_;
  std::ofstream json_;
  std::string suite_;
  std::vector<double> ratios_;
  std::vector<double> first_ratios_;
};

}  // namespace bench
