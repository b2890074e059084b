// vm/devices/system_ports.cc - see the header: which write means what.
#include "vm/devices/system_ports.h"

#include "base/check.h"

namespace snowglobe::vm {

namespace {

enum Port : u16 { kKeyboardCommand = 0x64, kPortA = 0x92 };

}  // namespace

void SystemPorts::attach(PortMap& ports) {
  const bool claimed = ports.claim(kKeyboardCommand, 1, 1, this) &&
                       ports.claim(kPortA, 1, 1, this) && ports.claim(kPowerOffPort, 1, 1, this);
  SG_ASSERT(claimed, "system ports are taken");
}

u32 SystemPorts::in(u16 port, unsigned) {
  switch (port) {
    case kKeyboardCommand:
      return 0;  // both buffers empty: whoever wants to write a command need not wait
    case kPortA:
      return 2;  // A20 is enabled
    default:
      return 0xFF;
  }
}

void SystemPorts::out(u16 port, unsigned, u32 value) {
  switch (port) {
    case kKeyboardCommand:
      if (value == 0xFE) request_(SystemRequest::kReset);
      break;
    case kPortA:
      if ((value & 1) != 0) request_(SystemRequest::kReset);
      break;
    default:
      request_(SystemRequest::kPowerOff);
  }
}

}  // namespace snowglobe::vm
