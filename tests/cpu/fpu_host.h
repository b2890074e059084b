// tests/cpu/fpu_host.h - runs one x87, MMX or SSE instruction on the host's processor, in this
// process: register forms and operands at (%esi) are encoded alike in 32-bit and 64-bit mode.
#pragma once

#include "base/bytes.h"
#include "vm/types.h"

#include <array>
#include <memory>

namespace snowglobe::vm::test {

/// What the instruction sees and changes. The first member is an FXSAVE image in 32-bit format.
struct alignas(64) HostState {
  std::array<u8, 512> fx{};
  u64 eflags = 0;
  u64 rax = 0, rcx = 0, rdx = 0;
  alignas(64) std::array<u8, 512> memory{};
};

/// Owns a page of executable memory and, while alive, the handlers of SIGFPE and SIGSEGV.
/// One at a time, and only on the thread that made it.
class HostProcessor {
 public:
  HostProcessor();
  ~HostProcessor();
  HostProcessor(const HostProcessor&) = delete;
  HostProcessor& operator=(const HostProcessor&) = delete;

  /// Makes `instruction` the one that run() executes. ESI and EDI point at the memory.
  void load(base::ConstBytes instruction);
  /// Executes it; returns the exception's vector, with nothing else done, or -1.
  int run(HostState& state);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowglobe::vm::test
