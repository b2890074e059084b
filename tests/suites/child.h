// tests/suites/child.h - a program of the host, run to its end or to a time limit.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace snowglobe::testing {

struct ChildOptions {
  std::map<std::string, std::string> environment = {};  ///< beside ours, without its PG* words
  std::filesystem::path output = {};                    ///< takes stdout
  std::filesystem::path errors = {};  ///< takes stderr; empty: goes where stdout goes
  std::filesystem::path directory = "/";
  std::chrono::seconds limit = std::chrono::minutes(1);
};

/// The exit status, 128 + N after signal N, 127 if it could not be started. At the limit it and
/// what it started are killed: 137.
int run_child(const std::vector<std::string>& arguments, const ChildOptions& options);

std::string read_file(const std::filesystem::path& path);

}  // namespace snowglobe::testing
