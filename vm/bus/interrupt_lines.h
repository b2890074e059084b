// vm/bus/interrupt_lines.h - the 16 interrupt request lines of a PC, each shared by several
// devices.
#pragma once

#include "vm/types.h"

#include <array>

namespace snowglobe::vm {

/// The end of the request lines: the interrupt controller. Machine's thread.
class InterruptSink {
 public:
  virtual ~InterruptSink() = default;
  virtual void set_level(u8 irq, bool asserted) = 0;
};

/// One device's say on a line. The line is asserted while any of its devices asserts it (wired OR).
class InterruptLine {
 public:
  /// The devices that assert each line; one for the whole machine.
  using Counts = std::array<u8, 16>;

  /// `sink` and `counts` are not owned; `irq` is 0-15.
  InterruptLine(InterruptSink& sink, Counts& counts, u8 irq)
      : sink_(sink), count_(counts[irq]), irq_(irq) {}
  InterruptLine(const InterruptLine&) = delete;
  InterruptLine& operator=(const InterruptLine&) = delete;

  [[nodiscard]] u8 irq() const { return irq_; }
  [[nodiscard]] bool asserted() const { return asserted_; }
  void set(bool asserted) {
    if (asserted == asserted_) return;
    asserted_ = asserted;
    count_ = static_cast<u8>(asserted ? count_ + 1 : count_ - 1);
    if (count_ == (asserted ? 1 : 0)) sink_.set_level(irq_, asserted);
  }

 private:
  InterruptSink& sink_;
  u8& count_;
  u8 irq_;
  bool asserted_ = false;
};

}  // namespace snowglobe::vm
