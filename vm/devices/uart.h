// vm/devices/uart.h - a 16550A serial port whose wire is infinitely fast.
#pragma once

#include "base/bytes.h"
#include "vm/bus/interrupt_lines.h"
#include "vm/bus/port_map.h"
#include "vm/types.h"

#include <functional>
#include <vector>

namespace snowglobe::vm {

/// PC16550D data sheet, "Registers".
struct UartState {
  u8 interrupt_enable = 0;
  u8 fifo_control = 0;
  u8 line_control = 0;
  u8 modem_control = 0;
  u8 scratch = 0;
  u8 divisor_low = 12;  ///< 9600 baud; without effect
  u8 divisor_high = 0;
  bool transmitter_empty_pending = false;  ///< the interrupt "transmitter holding register empty"
  std::vector<u8> received;                ///< not yet read by the guest

  bool operator==(const UartState&) const = default;
};

template <class Archive>
void describe(Archive& archive, UartState& state) {
  archive(state.interrupt_enable, state.fifo_control, state.line_control, state.modem_control,
          state.scratch, state.divisor_low, state.divisor_high, state.transmitter_empty_pending,
          state.received);
}
[[nodiscard]] bool is_valid(const UartState& state);
/// True if a serial port in this state asserts its interrupt line.
[[nodiscard]] bool asserts_interrupt(const UartState& state);

/// Thread rule: machine's thread.
class Uart final : public PortDevice {
 public:
  /// `output` gets the bytes that the guest writes: whole lines, or what there is at flush().
  Uart(u16 base_port, InterruptLine& line, std::function<void(base::ConstBytes)> output);

  /// Claims eight ports.
  void attach(PortMap& ports);

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

  /// Types `data` to the guest. Returns how many bytes were taken.
  std::size_t receive(base::ConstBytes data);
  /// Hands over the part of a line that was written so far.
  void flush();

  /// What the guest wrote is the host's already: it is not part of the state.
  [[nodiscard]] const UartState& state() const { return state_; }
  /// Hands over what was written so far, and goes on from `state`.
  void restore(const UartState& state);

 private:
  [[nodiscard]] bool loopback() const { return (state_.modem_control & 0x10) != 0; }
  u8 read_interrupt_identification();
  u8 read_receiver();
  [[nodiscard]] u8 modem_status() const;
  void write_transmitter(u8 value);
  void update();

  u16 base_port_;
  InterruptLine& line_;
  std::function<void(base::ConstBytes)> output_;
  std::vector<u8> written_;  ///< not yet handed to output_
  UartState state_;
};

}  // namespace snowglobe::vm
