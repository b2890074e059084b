// cli/doctor_checks.h - what `doctor` looks at beside a machine: the host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace snowglobe::cli {

enum class Verdict : std::uint8_t { ok, warning, failure };

struct Finding {
  Verdict verdict = Verdict::ok;
  std::string text;         ///< what is there, and what it means if that is not plain
  std::string advice = {};  ///< what to do
};

struct Check {
  const char* name;
  std::function<Finding()> look;
};

/// Processor, kernel, memory, folders, sockets, clock. `database`: the folder of the one that was
/// named, or empty.
[[nodiscard]] std::vector<Check> host_checks(const std::filesystem::path& database);

}  // namespace snowglobe::cli
