// tests/inspect/sampler.h - interrupts the machine's thread again and again and notes where it is.
#pragma once

#include "vm/machine_core.h"

#include <cstdint>
#include <ctime>
#include <map>
#include <utility>

namespace snowglobe::inspect {

/// Where the thread was, in words of three levels.
struct Places {
  std::uint64_t samples = 0;
  std::uint64_t lost = 0;                            ///< more than there was room for
  std::map<std::uint32_t, std::uint64_t> user;       ///< translated code, by the guest's EIP
  std::map<std::uint32_t, std::uint64_t> kernel;     ///< of ring 0
  std::uint64_t unknown = 0;                         ///< stubs, and translations dropped since
  std::map<std::uint64_t, std::uint64_t> host_user;  ///< C++ for user code, by host address
  std::map<std::uint64_t, std::uint64_t> host_kernel;
};

/// A timer of the host's monotonic clock sends SIGPROF to the machine's thread, whose handler notes
/// the host's RIP: so nothing depends on where the guest polls. Only one at a time in a process.
/// Thread rule: all on the machine's thread.
class Sampler {
 public:
  Sampler(vm::MachineCore& core, long period_ns);
  ~Sampler();
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  /// Turns what was noted into places while the translations are still known.
  void collect(Places& places);

 private:
  vm::MachineCore& core_;
  timer_t timer_{};
};

}  // namespace snowglobe::inspect
