// vm/devices/pit.h - the 8254 interval timer and port 0x61, counted from the guest's clock.
#pragma once

#include "vm/bus/interrupt_lines.h"
#include "vm/bus/port_map.h"
#include "vm/cpu/environment.h"
#include "vm/types.h"

#include <array>
#include <limits>

namespace snowglobe::vm {

/// One counter (Intel 8254 data sheet, order number 231164). Times are in ticks of 1.193182 MHz
/// since the guest's clock was zero.
struct PitChannelState {
  static constexpr u64 kNever = std::numeric_limits<u64>::max();

  u8 mode = 0;    ///< 0-5
  u8 access = 3;  ///< which bytes are written and read: 1 low, 2 high, 3 low then high
  bool bcd = false;
  bool gate = true;
  bool loaded = false;  ///< a count was written since the control word
  bool counting = false;
  bool low_written = false;  ///< access 3: the low byte is in `low`, the high byte comes next
  bool low_read = false;     ///< access 3: the next read is the high byte
  bool count_latched = false;
  bool status_latched = false;
  u8 low = 0;
  u8 status = 0;
  u16 latch = 0;
  u32 period = 0x10000;    ///< the count, with 0 taken as the maximum
  u64 start = 0;           ///< when counting began, if counting
  u64 held = 0;            ///< ticks counted, if not
  u64 next_edge = kNever;  ///< next rising edge of the output

  bool operator==(const PitChannelState&) const = default;
};

template <class Archive>
void describe(Archive& archive, PitChannelState& state) {
  archive(state.mode, state.access, state.bcd, state.gate, state.loaded, state.counting,
          state.low_written, state.low_read, state.count_latched, state.status_latched, state.low,
          state.status, state.latch, state.period, state.start, state.held, state.next_edge);
}

struct PitState {
  std::array<PitChannelState, 3> channel;
  bool speaker = false;

  bool operator==(const PitState&) const = default;
};

template <class Archive>
void describe(Archive& archive, PitState& state) {
  archive(state.channel, state.speaker);
}
/// True if the timer could be in this state at guest time `now` (nanoseconds).
[[nodiscard]] bool is_valid(const PitState& state, u64 now);

/// Thread rule: machine's thread.
class Pit final : public PortDevice {
 public:
  static constexpr u64 kFrequency = 1193182;  ///< Hz
  static constexpr u64 kNever = PitChannelState::kNever;

  /// `clock` gives nanoseconds of guest time. `irq0` is pulsed.
  Pit(TscSource& clock, InterruptLine& irq0);

  /// Claims 0x40-0x43 and 0x61.
  void attach(PortMap& ports);

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

  /// Guest time in nanoseconds of channel 0's next interrupt, or kNever.
  [[nodiscard]] u64 next_deadline() const { return deadline_; }
  /// Gives the interrupt that is due at guest time `now`, if one is. Edges missed meanwhile are
  /// one.
  void update(u64 now) {
    if (now >= deadline_) [[unlikely]]
      fire(now);
  }

  [[nodiscard]] const PitState& state() const { return state_; }
  void restore(const PitState& state);

 private:
  [[nodiscard]] u64 now();
  void fire(u64 now);
  void write_control(u8 value);
  void write_counter(PitChannelState& channel, u8 value);
  void load(PitChannelState& channel, u16 count);
  void schedule(PitChannelState& channel);
  void set_gate(PitChannelState& channel, bool gate);
  u8 read_counter(PitChannelState& channel);
  void latch_count(PitChannelState& channel);
  u8 read_port61();

  TscSource& clock_;
  InterruptLine& irq0_;
  PitState state_;
  u64 deadline_ = kNever;
};

}  // namespace snowglobe::vm
