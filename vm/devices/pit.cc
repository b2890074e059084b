// vm/devices/pit.cc - counting modes of the 8254, worked out from the time of loading when asked.
#include "vm/devices/pit.h"

#include "base/check.h"

namespace snowglobe::vm {

namespace {

constexpr u64 kSecond = 1'000'000'000;
constexpr u64 kRefreshHalfPeriod = 15'085;  // ns: port 0x61 bit 4 toggles with each refresh request

constexpr bool is_periodic(u8 mode) {
  return mode == 2 || mode == 3;
}
constexpr bool is_gate_triggered(u8 mode) {
  return mode == 1 || mode == 5;
}

constexpr u32 from_bcd(u32 value) {
  return (value >> 12 & 15) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 +
         (value & 15);
}

constexpr u32 to_bcd(u32 value) {
  return value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10;
}

u64 elapsed(const PitChannelState& channel, u64 now) {
  return channel.counting ? now - channel.start : channel.held;
}

u16 current_count(const PitChannelState& channel, u64 now) {
  const u64 ticks = elapsed(channel, now);
  const u64 period = channel.period;
  const u64 modulus = channel.bcd ? 10'000 : 0x10000;
  u64 count = 0;
  if (channel.mode == 2) {
    count = period - ticks % period;
  } else if (channel.mode == 3) {
    count = period - 2 * ticks % period;  // counts down by two, twice a period
  } else {
    count = period + modulus - ticks % modulus;  // goes on past zero
  }
  count %= modulus;
  return static_cast<u16>(channel.bcd ? to_bcd(static_cast<u32>(count)) : count);
}

bool output(const PitChannelState& channel, u64 now) {
  if (!channel.loaded) return channel.mode != 0;
  const u64 ticks = elapsed(channel, now);
  switch (channel.mode) {
    case 0:
      return ticks >= channel.period;
    case 1:
      return !channel.counting || ticks >= channel.period;
    case 2:
      return ticks % channel.period != channel.period - 1;
    case 3:
      return ticks % channel.period < (channel.period + 1) / 2;
    default:
      return ticks != channel.period;
  }
}

// Whole seconds apart from the rest, so that no product overflows for centuries of running time.
u64 to_ticks(u64 nanoseconds) {
  return nanoseconds / kSecond * Pit::kFrequency +
         nanoseconds % kSecond * Pit::kFrequency / kSecond;
}

u64 to_nanoseconds(u64 ticks) {
  if (ticks == Pit::kNever) return Pit::kNever;
  const u64 rest = ticks % Pit::kFrequency * kSecond;
  return ticks / Pit::kFrequency * kSecond + (rest + Pit::kFrequency - 1) / Pit::kFrequency;
}

bool is_valid_channel(const PitChannelState& channel, u64 now, bool interrupts) {
  constexpr u32 kLongest = 0x10000;
  const bool in_range = channel.mode <= 5 && channel.access >= 1 && channel.access <= 3 &&
                        channel.period >= 1 && channel.period <= kLongest;
  const bool in_time = channel.start <= now && channel.held <= now;
  if (channel.next_edge == Pit::kNever) return in_range && in_time;
  return in_range && in_time && interrupts && channel.counting &&
         channel.next_edge > channel.start && channel.next_edge <= now + kLongest + 1;
}

}  // namespace

bool is_valid(const PitState& state, u64 now) {
  const u64 ticks = to_ticks(now);
  for (std::size_t i = 0; i < state.channel.size(); ++i) {
    if (!is_valid_channel(state.channel[i], ticks, i == 0)) return false;
  }
  return true;
}

Pit::Pit(TscSource& clock, InterruptLine& irq0) : clock_(clock), irq0_(irq0) {
  state_.channel[2].gate = false;
}

void Pit::attach(PortMap& ports) {
  const bool claimed = ports.claim(0x40, 4, 1, this) && ports.claim(0x61, 1, 1, this);
  SG_ASSERT(claimed, "ports of the PIT are taken");
}

void Pit::restore(const PitState& state) {
  state_ = state;
  deadline_ = to_nanoseconds(state_.channel[0].next_edge);
}

u64 Pit::now() {
  return to_ticks(clock_.ticks());
}

void Pit::fire(u64 now_ns) {
  PitChannelState& channel = state_.channel[0];
  if (is_periodic(channel.mode) && channel.counting) {
    const u64 periods = (to_ticks(now_ns) - channel.start) / channel.period;
    channel.next_edge = channel.start + (periods + 1) * channel.period;
  } else {
    channel.next_edge = kNever;
  }
  deadline_ = to_nanoseconds(channel.next_edge);
  irq0_.set(true);
  irq0_.set(false);  // IRQ 0 is edge-triggered: the PIC has latched it
}

/// Works out the next rising edge of the output after a change.
void Pit::schedule(PitChannelState& channel) {
  if (&channel != &state_.channel[0]) return;
  if (!channel.loaded || !channel.counting) {
    channel.next_edge = kNever;
  } else {
    // The strobe of modes 4 and 5 is low for one tick; its end is the edge.
    const bool strobe = channel.mode == 4 || channel.mode == 5;
    channel.next_edge = channel.start + channel.period + (strobe ? 1 : 0);
  }
  deadline_ = to_nanoseconds(channel.next_edge);
}

void Pit::load(PitChannelState& channel, u16 count) {
  const u32 value = channel.bcd ? from_bcd(count) : count;
  channel.period = value != 0 ? value : (channel.bcd ? 10'000 : 0x10000);
  channel.loaded = true;
  channel.held = 0;
  // The data sheet lets a running period of modes 2 and 3 end first; nobody can tell, as Linux
  // writes a control word before each count.
  channel.counting = channel.gate && !is_gate_triggered(channel.mode);
  channel.start = now();
  schedule(channel);
}

void Pit::set_gate(PitChannelState& channel, bool gate) {
  if (gate == channel.gate) return;
  const u64 time = now();
  channel.gate = gate;
  if (!channel.loaded) return;
  const bool pauses = channel.mode == 0 || channel.mode == 4;  // others start anew with the gate
  if (!gate) {
    if (is_gate_triggered(channel.mode)) return;
    channel.held = pauses ? elapsed(channel, time) : 0;
    channel.counting = false;
  } else {
    channel.start = pauses ? time - channel.held : time;
    channel.counting = true;
  }
  schedule(channel);
}

void Pit::latch_count(PitChannelState& channel) {
  if (channel.count_latched) return;
  channel.latch = current_count(channel, now());
  channel.count_latched = true;
}

void Pit::write_control(u8 value) {
  const unsigned select = value >> 6;
  if (select == 3) {  // read-back command
    for (unsigned i = 0; i < 3; ++i) {
      PitChannelState& channel = state_.channel[i];
      if ((value >> (i + 1) & 1) == 0) continue;
      if ((value & 0x20) == 0) latch_count(channel);
      if ((value & 0x10) == 0 && !channel.status_latched) {
        channel.status =
            static_cast<u8>((output(channel, now()) ? 0x80 : 0) | (channel.loaded ? 0 : 0x40) |
                            channel.access << 4 | channel.mode << 1 | (channel.bcd ? 1 : 0));
        channel.status_latched = true;
      }
    }
    return;
  }
  PitChannelState& channel = state_.channel[select];
  const u8 access = value >> 4 & 3;
  if (access == 0) return latch_count(channel);
  const bool gate = channel.gate;
  channel = {};
  channel.gate = gate;
  channel.access = access;
  channel.mode = value >> 1 & 7;
  if (channel.mode > 5) channel.mode = static_cast<u8>(channel.mode - 4);  // 6, 7 are 2, 3
  channel.bcd = (value & 1) != 0;
  schedule(channel);
}

void Pit::write_counter(PitChannelState& channel, u8 value) {
  switch (channel.access) {
    case 1:
      return load(channel, value);
    case 2:
      return load(channel, static_cast<u16>(value << 8));
    default:
      if (!channel.low_written) {
        channel.low = value;
        channel.low_written = true;
        return;
      }
      channel.low_written = false;
      load(channel, static_cast<u16>(value << 8 | channel.low));
  }
}

u8 Pit::read_counter(PitChannelState& channel) {
  if (channel.status_latched) {
    channel.status_latched = false;
    return channel.status;
  }
  const u16 count = channel.count_latched ? channel.latch : current_count(channel, now());
  if (channel.access == 3 && !channel.low_read) {
    channel.low_read = true;
    return static_cast<u8>(count);
  }
  channel.low_read = false;
  channel.count_latched = false;
  return static_cast<u8>(channel.access == 1 ? count : count >> 8);
}

u8 Pit::read_port61() {
  const PitChannelState& channel = state_.channel[2];
  const u64 time = clock_.ticks();
  const bool refresh = (time / kRefreshHalfPeriod & 1) != 0;
  return static_cast<u8>((channel.gate ? 1 : 0) | (state_.speaker ? 2 : 0) | (refresh ? 0x10 : 0) |
                         (output(channel, to_ticks(time)) ? 0x20 : 0));
}

u32 Pit::in(u16 port, unsigned) {
  if (port == 0x61) return read_port61();
  if (port == 0x43) return 0xFF;  // the control word can not be read
  return read_counter(state_.channel[port - 0x40]);
}

void Pit::out(u16 port, unsigned, u32 value) {
  const auto byte = static_cast<u8>(value);
  if (port == 0x61) {
    state_.speaker = (byte & 2) != 0;
    set_gate(state_.channel[2], (byte & 1) != 0);
  } else if (port == 0x43) {
    write_control(byte);
  } else {
    write_counter(state_.channel[port - 0x40], byte);
  }
}

}  // namespace snowglobe::vm
