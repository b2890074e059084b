// bench/report.h - the rows of a benchmark, as a table on stdout and as JSON lines in a file.
#pragma once

#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace bench {

/// One measured thing. `twin` is the image's own i686 PostgreSQL run natively, `native` an x86-64
/// one of the host. A missing figure is a column without a counterpart.
struct Row {
  std::string name;
  std::string unit;
  std::optional<double> snowglobe;
  std::optional<double> twin;
  std::optional<double> native;
  bool in_geomean = false;  ///< enters the suite's geometric mean of ratios
};

/// Collects and prints. The ratio is snowglobe / twin.
class Report {
 public:
  /// Throws std::runtime_error if `json_path` (empty: none) can not be written.
  explicit Report(const std::string& json_path);
  void begin_suite(const std::string& suite, const std::string& remark);
  void add(const Row& row);
  /// Prints the geometric mean of the suite's ratios if it has any.
  void end_suite();

 private:
  void write_json(const Row& row, std::optional<double> ratio);

  std::ofstream json_;
  std::string suite_;
  std::vector<double> ratios_;
};

}  // namespace bench
