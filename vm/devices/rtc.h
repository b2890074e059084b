// vm/devices/rtc.h - the CMOS clock (MC146818): tells the time of the host's wall clock, once, at
// boot.
#pragma once

#include "base/clock.h"
#include "vm/bus/port_map.h"
#include "vm/types.h"

#include <array>

namespace snowglobe::vm {

struct RtcState {
  u8 index = 0;
  std::array<u8, 128> memory{};  ///< registers that are not the clock

  bool operator==(const RtcState&) const = default;
};

template <class Archive>
void describe(Archive& archive, RtcState& state) {
  archive(state.index, state.memory);
}
inline bool is_valid(const RtcState& state) {
  return state.index < state.memory.size();
}

/// Read-only as a clock: the time always is the host's, in UTC, BCD and 24-hour form; so a restored
/// machine reads the present time there. The update-in-progress bit is never set, so that nobody
/// polls for it. No alarm, no periodic interrupt. Thread rule: machine's thread.
class Rtc final : public PortDevice {
 public:
  explicit Rtc(const base::Clock& clock);

  /// Claims 0x70 and 0x71.
  void attach(PortMap& ports);

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

  [[nodiscard]] const RtcState& state() const { return state_; }
  void restore(const RtcState& state) { state_ = state; }

 private:
  [[nodiscard]] u8 read(u8 index) const;

  const base::Clock& clock_;
  RtcState state_;
};

}  // namespace snowglobe::vm
