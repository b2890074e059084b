// vm/machine_core.h - processor, memory and board joined, and the loop that shares one thread
// between guest code, devices and the host's events.
#pragma once

#include "vm/attention_ticker.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/interpreter.h"
#include "vm/cpu/translator/translator.h"
#include "vm/machine.h"
#include "vm/machine_board.h"
#include "vm/machine_clock.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace snowglobe::vm {

struct MachineState;

/// Thread rule: run() and whatever it calls on the machine's thread; ask_*(), wait_until_paused()
/// and statistics() on any.
class MachineCore {
 public:
  static base::Result<std::unique_ptr<MachineCore>> create(const MachineConfig& config);
  ~MachineCore();
  MachineCore(const MachineCore&) = delete;
  MachineCore& operator=(const MachineCore&) = delete;

  /// Runs until the end.
  MachineEnd run();

  void ask_stop();
  void ask_pause();
  void ask_resume();
  /// Returns when the guest stands still: paused, or at its end.
  void wait_until_paused();

  [[nodiscard]] Board& board() { return board_; }
  [[nodiscard]] const Board& board() const { return board_; }
  [[nodiscard]] MachineStatistics statistics() const;

  /// While the guest stands between two slices.
  base::Result<MachineImage> capture();
  base::Result<void> restore(const MachineImage& image);

  // On the machine's thread, or while it is paused; for developers' tools as well:
  [[nodiscard]] Cpu& cpu() { return cpu_; }
  /// Null on the interpreter.
  [[nodiscard]] Translator* translator() { return translator_.get(); }

 private:
  MachineCore(const MachineConfig& config, std::unique_ptr<GuestRam> ram);

  base::Result<void> begin_boot(const MachineConfig& config);
  base::Result<void> begin_from(const MachineImage& image);
  base::Result<void> choose_executor(const MachineConfig& config);
  base::Result<void> drain();
  void take_over(const MachineState& state);
  std::optional<MachineEnd> turn();
  StopReason run_slice();
  StopReason run_translated(u64 now);
  [[nodiscard]] u64 slice_budget(u64 now);
  void measure(u64 instructions, u64 nanoseconds);
  void poll_events();
  void idle();
  void idle_by_instructions();
  void stay_paused();
  void set_standing(bool standing);
  void interrupt_run();
  void publish_statistics();

  EventLoop& loop_;
  std::unique_ptr<GuestRam> ram_;
  std::vector<u32> hot_pages_;  ///< as in MachineImage, of the last capture or restore
  GuestClock clock_;
  Board board_;
  Cpu cpu_;
  Interpreter interpreter_;
  std::unique_ptr<Translator> translator_;   ///< null: the interpreter runs everything
  std::unique_ptr<AttentionTicker> ticker_;  ///< of the translator

  std::optional<SystemRequest> request_;  ///< of the guest, to be met at the end of the slice
  double instructions_per_ns_ = 0.1;      ///< measured; chooses the length of slices
  u64 last_poll_ = 0;
  u64 restores_ = 0;  ///< how often state and time were replaced
  u64 idle_ns_ = 0;
  u64 interrupts_ = 0;

  enum Request : u32 { kStopAsked = 1, kPauseAsked = 2 };
  std::atomic<u32> asked_{0};  ///< of Request
  std::mutex mutex_;
  std::condition_variable changed_;
  bool standing_ = false;  ///< guarded by mutex_: the guest does not run and will not by itself

  mutable std::mutex statistics_mutex_;
  MachineStatistics published_;  ///< guarded by statistics_mutex_
};

}  // namespace snowglobe::vm
