// vm/bus/port_map.h - the I/O port space: which device answers at which port.
#pragma once

#include "vm/cpu/environment.h"
#include "vm/types.h"

#include <array>
#include <vector>

namespace snowglobe::vm {

/// A device with registers in port space. Machine's thread.
class PortDevice {
 public:
  virtual ~PortDevice() = default;
  /// `port` is absolute; `size` is 1, 2 or 4 and never wider than what the device claimed.
  virtual u32 in(u16 port, unsigned size) = 0;
  virtual void out(u16 port, unsigned size, u32 value) = 0;
};

/// Routes accesses by one table look-up. An access that is wider than its device takes, or that
/// crosses a border between devices, is split into bytes, as an ISA bus does.
///
/// Thread rule: machine's thread.
class PortMap final : public PortBus {
 public:
  PortMap();

  /// Gives the ports [first, first + count) to `device` (not owned), for accesses of up to `width`
  /// bytes. False, and nothing claimed, if one of them is taken or out of range: a guest that moves
  /// a PCI BAR over the interrupt controller must not win.
  [[nodiscard]] bool claim(u16 first, u32 count, unsigned width, PortDevice* device);
  /// Takes back all ports of `device` in [first, first + count).
  void release(u16 first, u32 count, PortDevice* device);
  /// Whose port that is, or null.
  [[nodiscard]] const PortDevice* owner(u16 port) const { return slots_[owner_[port]].device; }

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

 private:
  struct Slot {
    PortDevice* device = nullptr;
    unsigned width = 0;
    u32 ranges = 0;  ///< ranges that use this slot; at 0 it is free
  };
  /// The slot that takes the access whole, or null.
  [[nodiscard]] const Slot* whole(u16 port, unsigned size) const;
  u8 slot_for(unsigned width, PortDevice* device);

  std::vector<u8> owner_;  ///< a slot number for each of the 65,536 ports; 0: unclaimed
  std::array<Slot, 256> slots_{};
};

}  // namespace snowglobe::vm
