// tests/suites/postgres_suite.h - a machine that PostgreSQL's own suites are run against: their
// drivers and psql on the host, by TCP; the files that the server reads, in the guest.
#pragma once

#include "tests/support/temporary_folder.h"
#include <snowglobe/snowglobe.hpp>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace snowglobe::testing {

/// What a driver of a suite printed.
struct SuiteResult {
  int status = -1;
  std::vector<std::string> passed;
  std::vector<std::string> failed;
  std::string output;
  std::string differences;  ///< the beginning of regression.diffs
};

class PostgresSuite {
 public:
  /// Boots. Keeps the folder of results after a failure. Throws as Database::open_in_memory, and
  /// std::runtime_error.
  PostgresSuite();
  PostgresSuite(const PostgresSuite&) = delete;
  PostgresSuite& operator=(const PostgresSuite&) = delete;

  /// False if the image was built without the suites' files.
  static bool available();

  /// pg_regress with the tests of a schedule; an empty one: the suite's own.
  SuiteResult regress(const std::filesystem::path& schedule, std::chrono::seconds limit);
  /// pg_isolation_regress, likewise.
  SuiteResult isolation(const std::filesystem::path& schedule, std::chrono::seconds limit);

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] Database& database() { return database_; }

 private:
  void put_server_files();
  SuiteResult run(const std::string& driver, const std::string& input,
                  const std::filesystem::path& schedule, const std::vector<std::string>& more,
                  std::chrono::seconds limit);

  Database database_;
  Endpoint endpoint_;
  std::filesystem::path testing_;  ///< of the image
  // In /tmp, which the guest has too, under the same name, and may write to.
  test::TemporaryFolder temporary_{"/tmp"};
  const std::filesystem::path folder_ = temporary_.path();
};

}  // namespace snowglobe::testing
