// vm/cpu/environment.h - the few things that the processor sees of the machine around it.
#pragma once

#include "vm/types.h"

namespace snowglobe::vm {

/// The I/O port space. Unclaimed ports read as all ones and ignore writes.
class PortBus {
 public:
  virtual ~PortBus() = default;
  /// `size` is 1, 2 or 4 bytes; the result is in the low bits.
  virtual u32 in(u16 port, unsigned size) = 0;
  virtual void out(u16 port, unsigned size, u32 value) = 0;
};

/// The interrupt controller's INTA cycle.
class InterruptController {
 public:
  virtual ~InterruptController() = default;
  /// Acknowledges the highest request and returns its vector.
  virtual u8 acknowledge() = 0;
};

/// The clock behind RDTSC: ticks of exactly 1 GHz, so nanoseconds of the machine's running time.
class TscSource {
 public:
  virtual ~TscSource() = default;
  virtual u64 ticks() = 0;
};

}  // namespace snowglobe::vm
