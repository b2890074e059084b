// vm/cpu/translator/host_faults.h - SIGSEGV, SIGBUS, SIGFPE and SIGILL of translated code become
// guest events; those of anybody else go where they would have gone without us.
#pragma once

#include "base/error.h"
#include "vm/types.h"

#include <memory>

namespace snowglobe::vm {

/// What the handler leaves for the translator. Plain memory, written on the faulting thread only.
struct HostFault {
  u64 instruction = 0;  ///< host address of the faulting instruction
  u64 address = 0;      ///< host address that was accessed (SIGSEGV, SIGBUS)
  int signal = 0;
  bool write = false;  ///< the access was a write (SIGSEGV; x86 page-fault error code, bit 1)
};

/// A stretch of executable memory whose faults are ours, for the life of the object. When an
/// instruction inside faults, the handler fills `*fault`, changes nothing but RIP, to `landing`,
/// and returns: all other registers, flags and vector state reach the landing code as they were.
/// Handlers are installed with the first region of the process and chained: a fault outside of all
/// regions runs the former handler with its own mask and flags (SA_SIGINFO, SA_NODEFER,
/// SA_RESETHAND), or, if there was none, dies as it would have. They stay installed when the last
/// region goes. Destroy it before the memory goes: another thread may map its own code at the same
/// address. Thread rule: create and destroy on any thread; the handler takes no lock.
class FaultRegion {
 public:
  /// Errors: kResourceExhausted (too many regions), kIo (sigaction).
  static base::Result<std::unique_ptr<FaultRegion>> create(const u8* begin, const u8* end,
                                                           const u8* landing, HostFault* fault);
  ~FaultRegion();
  FaultRegion(const FaultRegion&) = delete;
  FaultRegion& operator=(const FaultRegion&) = delete;

 private:
  explicit FaultRegion(std::size_t slot);
  std::size_t slot_;
};

/// False if somebody replaced our handler of SIGSEGV after we installed it (and does not seem to be
/// chaining to us: that can not be known, so any other handler counts). Costs one system call.
[[nodiscard]] bool fault_handlers_in_place();

/// An alternate signal stack for the calling thread, big enough for the host's vector state
/// (AT_MINSIGSTKSZ), unless it has one that is. Restores the former one at the end.
class SignalStack {
 public:
  static base::Result<std::unique_ptr<SignalStack>> create();
  ~SignalStack();
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  SignalStack();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowglobe::vm
