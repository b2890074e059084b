// bench/processes.cc - proc(5): stat names the parent, schedstat counts nanoseconds.
#include "bench/processes.h"

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>

namespace bench {
namespace {

namespace fs = std::filesystem;

double cpu_seconds(const fs::path& process) {
  std::uint64_t nanoseconds = 0;
  std::ifstream(process / "schedstat") >> nanoseconds;
  return static_cast<double>(nanoseconds) * 1e-9;
}

pid_t parent_of(const fs::path& process) {
  std::ifstream file(process / "stat");
  std::string text;
  std::getline(file, text);
  // "pid (name) state parent ..."; the name may hold anything.
  const std::size_t end = text.rfind(')');
  if (end == text.npos || end + 4 > text.size()) return -1;
  return static_cast<pid_t>(std::strtol(text.c_str() + end + 4, nullptr, 10));
}

}  // namespace

double own_cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double tree_cpu_seconds(pid_t root) {
  double sum = cpu_seconds("/proc/" + std::to_string(root));
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    const bool is_process = name.find_first_not_of("0123456789") == name.npos;
    if (is_process && parent_of(entry.path()) == root) sum += cpu_seconds(entry.path());
  }
  return sum;
}

}  // namespace bench
