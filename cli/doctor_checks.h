// cli/doctor_checks.h - what `doctor` looks at beside a machine: the host, and the image's files.
#pragma once

#include <snowglobe/database.hpp>

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

/// The files that `info` says a machine came from: all of them read and compared with their hashes.
[[nodiscard]] Finding image_files(const Info& info);
/// The states beside the image from which starts and recoveries begin.
[[nodiscard]] Finding ready_states(const Info& info);

}  // namespace snowglobe::cli
