// vm/devices/virtio/pci.h - the legacy PCI transport of virtio: all registers in one I/O BAR.
//
//   0  device features   4  driver features   8  queue address / 4096   12 queue size (16 bits)
//   14 queue select      16 queue notify      18 status (8 bits)        19 interrupt status (8
//   bits) 20 the device's own configuration (there is no MSI-X)               (virtio 1.1, 4.1.4.8)
//
// The legacy form is chosen because it is all port I/O: a kick and an acknowledgement are one `out`
// and one `in`, which an executor turns into a call.
#pragma once

#include "vm/devices/pci.h"
#include "vm/devices/virtio/device.h"

namespace snowglobe::vm {

/// Thread rule: machine's thread.
class VirtioPci final : public PciFunction, public PortDevice {
 public:
  static constexpr u32 kBarSize = 128;

  /// `device` is not owned.
  explicit VirtioPci(VirtioDevice& device);

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

 private:
  VirtioDevice& device_;
};

}  // namespace snowglobe::vm
