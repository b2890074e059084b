// vm/devices/virtio/entropy.h - random bytes for the guest (virtio 1.1, 5.4).
#pragma once

#include "base/random.h"
#include "vm/devices/virtio/device.h"

namespace snowglobe::vm {

/// Machine's thread.
class VirtioEntropy final : public VirtioDevice {
 public:
  /// `random` is not owned.
  VirtioEntropy(GuestRam& ram, InterruptLine& line, base::RandomSource& random);

 private:
  void on_notify(std::size_t index) override;
  void on_poll() override { on_notify(0); }

  base::RandomSource& random_;
  Chain chain_;
};

}  // namespace snowglobe::vm
