// bench/child.h - programs of the host that the benchmark runs beside itself.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace bench {

/// The user that servers run as when the benchmark is root, as PostgreSQL insists.
constexpr uid_t kNobody = 65534;

struct ChildOptions {
  std::map<std::string, std::string> environment = {};  ///< beside ours
  std::filesystem::path output = "/dev/null";           ///< stdout and stderr are appended to it
  bool unprivileged = false;                            ///< as kNobody, if we are root
};

/// Starts a program; it ends with the thread that started it. Throws std::runtime_error.
pid_t start_child(const std::vector<std::string>& argv, const ChildOptions& options);

/// The exit status, or 128 + N after signal N. At the limit the child is killed.
int wait_child(pid_t child, std::chrono::milliseconds limit);

/// Runs a program to its end and returns its output. Throws std::runtime_error with the output if
/// it fails.
std::string run_program(const std::vector<std::string>& argv, ChildOptions options,
                        const std::filesystem::path& folder, std::chrono::milliseconds limit);

}  // namespace bench
