// vm/devices/deadline_timer.h - a one-shot timer for guests that know it: one port write arms it,
// for up to 4.29 s. The 8254 needs two and reaches 27 ms, which would wake an idle guest 36 times a
// second.
#pragma once

#include "vm/bus/interrupt_lines.h"
#include "vm/bus/port_map.h"
#include "vm/cpu/environment.h"
#include "vm/types.h"

#include <limits>

namespace snowglobe::vm {

struct DeadlineTimerState {
  static constexpr u64 kNever = std::numeric_limits<u64>::max();
  u64 deadline = kNever;  ///< guest time in nanoseconds

  bool operator==(const DeadlineTimerState&) const = default;
};

template <class Archive>
void describe(Archive& archive, DeadlineTimerState& state) {
  archive(state.deadline);
}
/// True if the timer could be in this state at guest time `now`.
inline bool is_valid(const DeadlineTimerState& state, u64 now) {
  constexpr u64 kLongest = u64{1} << 32;
  return state.deadline == DeadlineTimerState::kNever || state.deadline <= now + kLongest;
}

/// Registers (32 bits each, little-endian):
///   0x5A0  read: kSignature, so that a kernel can tell that the timer is there
///          write: arms the timer for that many nanoseconds from now; 0 disarms it
/// The interrupt is an edge on IRQ 0. guest/patches/linux-deadline-timer.patch is the driver.
///
/// Thread rule: machine's thread.
class DeadlineTimer final : public PortDevice {
 public:
  static constexpr u16 kPort = 0x5A0;
  static constexpr u32 kSignature = 0x574F4E53;  ///< "SNOW"
  static constexpr u64 kNever = DeadlineTimerState::kNever;

  /// `clock` gives nanoseconds of guest time. `irq0` is pulsed.
  DeadlineTimer(TscSource& clock, InterruptLine& irq0) : clock_(clock), irq0_(irq0) {}

  void attach(PortMap& ports);

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

  [[nodiscard]] u64 next_deadline() const { return state_.deadline; }
  /// Gives the interrupt that is due at guest time `now`, if one is.
  void update(u64 now) {
    if (now >= state_.deadline) [[unlikely]]
      fire();
  }

  [[nodiscard]] const DeadlineTimerState& state() const { return state_; }
  void restore(const DeadlineTimerState& state) { state_ = state; }

 private:
  void fire();

  TscSource& clock_;
  InterruptLine& irq0_;
  DeadlineTimerState state_;
};

}  // namespace snowglobe::vm
