// vm/devices/system_ports.h - the odd ports of a PC: reset, power-off, and delays.
#pragma once

#include "vm/bus/port_map.h"
#include "vm/types.h"

#include <functional>

namespace snowglobe::vm {

/// What the guest asked the machine for.
enum class SystemRequest : u8 { kReset, kPowerOff };

/// Ports (all a byte wide):
///   0x64   8042 command: 0xFE pulses the reset line; reads as an idle controller without a
///   keyboard 0x92   bit 0: fast reset 0xF4   any write: power off. The way out for a guest that
///   has port access; others halt with
///          interrupts disabled, which the machine takes for the same wish.
///   0x80, 0xED, 0xF0, 0xF1   delays and the FPU's interrupt latch: nothing to do
/// The third reset, port 0xCF9, lies among the PCI bus's ports and is found there.
/// Thread rule: machine's thread.
class SystemPorts final : public PortDevice {
 public:
  static constexpr u16 kPowerOffPort = 0xF4;

  explicit SystemPorts(std::function<void(SystemRequest)> request) : request_(std::move(request)) {}

  void attach(PortMap& ports);

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

 private:
  std::function<void(SystemRequest)> request_;
};

}  // namespace snowglobe::vm
