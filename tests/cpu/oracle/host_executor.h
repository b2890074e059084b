// tests/cpu/oracle/host_executor.h - runs batches of cases on the real processor, through the
// harness.
#pragma once

#include "base/error.h"
#include "tests/cpu/oracle/case.h"

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace snowglobe::oracle {

/// Owns the harness process and the memory shared with it. Thread rule: confined to one thread.
class HostExecutor {
 public:
  /// Starts the harness. Errors: kUnsupported where 32-bit code can not run.
  static base::Result<std::unique_ptr<HostExecutor>> create(const std::string& harness_path);
  ~HostExecutor();
  HostExecutor(const HostExecutor&) = delete;
  HostExecutor& operator=(const HostExecutor&) = delete;

  /// Hands a batch (at most ORACLE_BATCH cases) to the harness and returns while it runs. Cases of
  /// kind kRefused are left out.
  void start(std::span<const Case> batch);
  /// Waits for the batch. A case that killed the harness, or hung it for half a minute, is marked
  /// lost.
  void finish(std::span<Outcome> outcomes);
  /// The arena as the harness's cases left it; meaningless after a lost case.
  [[nodiscard]] base::ConstBytes arena() const { return shared_->arena; }
  [[nodiscard]] bool arena_valid() const { return !lost_; }

 private:
  HostExecutor() = default;
  base::Result<void> spawn();
  void end_process();
  /// True when the harness answered.
  [[nodiscard]] bool await_answer();
  void send_from(std::size_t first);
  void collect(const Case& test, const OracleOutput& output, Outcome& outcome) const;

  std::string harness_path_;
  int memory_file_ = -1;
  int command_ = -1;
  pid_t process_ = -1;
  OracleShared* shared_ = nullptr;
  std::span<const Case> batch_;
  std::vector<u32> sent_;  ///< index in batch_ of each case in the shared memory
  bool lost_ = false;
};

}  // namespace snowglobe::oracle
