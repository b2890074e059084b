// bench/footprint.cc - proc(5): smaps_rollup for private memory, fd for memory files, status for
// page tables and threads, maps for mappings.
#include "bench/footprint.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <sys/stat.h>

namespace bench {
namespace {

namespace fs = std::filesystem;

// sizeof(struct vm_area_struct) and its share of a node of the maple tree.
constexpr std::int64_t kMappingBytes = 200;
// Linux on x86-64: a stack of 16 KiB, and task_struct with the registers' save area.
constexpr std::int64_t kThreadBytes = (16 + 8) * 1024;

// The number behind "NAME:" in a file of such lines.
std::int64_t number_in(const char* file, const std::string& name) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(name + ":"))
      return std::strtoll(line.c_str() + name.size() + 1, nullptr, 10);
  }
  return 0;
}

std::int64_t count_of_lines(const char* file) {
  std::int64_t lines = 0;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);)
    ++lines;
  return lines;
}

}  // namespace

// By the files themselves: a page of one that is mapped in two windows counts as shared in smaps,
// one that is mapped nowhere not at all.
std::int64_t memory_file_bytes() {
  std::int64_t blocks = 0;
  std::set<ino_t> seen;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd", ignored)) {
    const std::string target = fs::read_symlink(entry.path(), ignored).string();
    struct stat information {};
    if (!target.starts_with("/memfd:") || ::stat(entry.path().c_str(), &information) != 0) continue;
    if (seen.insert(information.st_ino).second) blocks += information.st_blocks;
  }
  return blocks * 512;
}

Footprint operator-(const Footprint& a, const Footprint& b) {
  return {.anonymous = a.anonymous - b.anonymous,
          .memory_files = a.memory_files - b.memory_files,
          .page_tables = a.page_tables - b.page_tables,
          .mappings = a.mappings - b.mappings,
          .threads = a.threads - b.threads};
}

Footprint footprint() {
  return {.anonymous = number_in("/proc/self/smaps_rollup", "Anonymous") * 1024,
          .memory_files = memory_file_bytes(),
          .page_tables = number_in("/proc/self/status", "VmPTE") * 1024,
          .mappings = count_of_lines("/proc/self/maps") * kMappingBytes,
          .threads = number_in("/proc/self/status", "Threads") * kThreadBytes};
}

}  // namespace bench
