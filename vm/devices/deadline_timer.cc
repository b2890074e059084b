// vm/devices/deadline_timer.cc - see the header.
#include "vm/devices/deadline_timer.h"

#include "base/check.h"

namespace snowglobe::vm {

void DeadlineTimer::attach(PortMap& ports) {
  SG_ASSERT(ports.claim(kPort, 4, 4, this), "the deadline timer's port is taken");
}

u32 DeadlineTimer::in(u16 port, unsigned size) {
  const u32 shifted = kSignature >> (8 * (port - kPort));
  return size == 4 ? shifted : shifted & ((1u << (8 * size)) - 1);
}

void DeadlineTimer::out(u16 port, unsigned size, u32 value) {
  if (port != kPort || size != 4) return;  // bytes of a deadline make none
  state_.deadline = value == 0 ? kNever : clock_.ticks() + value;
}

void DeadlineTimer::fire() {
  state_.deadline = kNever;
  irq0_.set(true);
  irq0_.set(false);  // IRQ 0 is edge-triggered: the PIC has latched it
}

}  // namespace snowglobe::vm
