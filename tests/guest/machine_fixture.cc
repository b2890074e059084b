// tests/guest/machine_fixture.cc - the booted database, and what the process holds.
#include "tests/guest/machine_fixture.h"

#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

namespace snowglobe::testing {

std::unique_ptr<Database> MachineTest::database_;

void MachineTest::SetUpTestSuite() {
  Options options;
  options.statement_limit = std::chrono::minutes(2);
  database_ = std::make_unique<Database>(Database::open_in_memory(options));
}

void MachineTest::TearDownTestSuite() {
  database_.reset();
}

Database& MachineTest::db() {
  return *database_;
}

Holdings holdings() {
  const auto count = [](const char* folder) {
    const std::filesystem::directory_iterator entries(folder);
    return static_cast<int>(std::distance(begin(entries), end(entries)));
  };
  Holdings held;
  std::ifstream statm("/proc/self/statm");
  long size = 0;
  long resident = 0;
  statm >> size >> resident;
  held.resident_kib = resident * (sysconf(_SC_PAGESIZE) / 1024);
  held.threads = count("/proc/self/task");
  held.descriptors = count("/proc/self/fd");
  return held;
}

std::chrono::nanoseconds processor_time() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto nanoseconds = [](const timeval& t) {
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
  };
  return nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime);
}

}  // namespace snowglobe::testing
