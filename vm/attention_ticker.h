// vm/attention_ticker.h - calls running machines to attention when a deadline has passed:
// translated code does not count instructions, it polls a flag.
#pragma once

#include "vm/types.h"

#include <atomic>
#include <memory>

namespace snowglobe::vm {

/// One thread for all machines of the process. It sleeps as long as no deadline is set; while one
/// is, it looks every 0.2 to 0.3 ms.
class AttentionTicker {
 public:
  /// Registers a flag to be set to 1. Not owned; outlives this object. Thread rule: arm() and
  /// disarm() on one thread.
  explicit AttentionTicker(std::atomic<u8>& attention);
  ~AttentionTicker();
  AttentionTicker(const AttentionTicker&) = delete;
  AttentionTicker& operator=(const AttentionTicker&) = delete;

  /// Sets the flag `nanoseconds` from now, or a little later; replaces an earlier deadline.
  void arm(u64 nanoseconds);
  void disarm();

 private:
  class Process;
  struct Slot;
  std::shared_ptr<Process> process_;
  std::shared_ptr<Slot> slot_;
};

}  // namespace snowglobe::vm
