// vm/cpu/interpreter.h - the reference executor: runs cached blocks of decoded instructions.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/decoder.h"

#include <memory>

namespace snowglobe::vm {

enum class StopReason : u8 {
  kBudget,       ///< the instructions asked for were run
  kAttention,    ///< somebody called request_attention()
  kHalted,       ///< HLT, and no interrupt is deliverable
  kTripleFault,  ///< the guest asked for a reset, or died
};

/// Thread rule: confined to the machine's thread.
class Interpreter {
 public:
  explicit Interpreter(Cpu& cpu);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// Runs at most `budget` instructions and a block more; delivers interrupts and exceptions on the
  /// way.
  StopReason run(u64 budget);
  /// Runs exactly one instruction (or delivers one exception or interrupt). For lockstep and tests:
  /// `deliver` false leaves an exception pending in the Cpu instead of entering its handler.
  StopReason step(bool deliver = true);

  /// Runs exactly `count` instructions more, unless there is another reason to stop. For lockstep.
  StopReason run_exactly(u64 count);

  // For the translator, which shares its loop with this executor:
  /// Takes what stands between two blocks: attention, an interrupt, a halt. A reason to stop, or
  /// nullopt. Call it when Cpu::has_events().
  std::optional<StopReason> handle_events();
  /// Runs one block and delivers its exception, if any; not in slow mode. Only kTripleFault stops.
  std::optional<StopReason> run_block();

  struct Statistics {
    u64 blocks_decoded = 0;
    u64 instructions_decoded = 0;
    u64 pages_invalidated = 0;
  };
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }

 private:
  struct Impl;
  Statistics statistics_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowglobe::vm
