// vm/devices/virtio/entropy.cc - fills whatever the driver offers.
#include "vm/devices/virtio/entropy.h"

namespace snowglobe::vm {

namespace {

constexpr u32 kMaxRequest = 64 << 10;
constexpr u32 kTurn = 256 << 10;  // random bytes are dearer than copied ones

}  // namespace

VirtioEntropy::VirtioEntropy(GuestRam& ram, InterruptLine& line, base::RandomSource& random)
    : VirtioDevice(ram, line, VirtioType::kEntropy, 0, {{.size = 64, .chain_bytes = kMaxRequest}}),
      random_(random) {}

void VirtioEntropy::on_notify(std::size_t) {
  u32 made = 0;
  do {
    while (made < kTurn && queue(0).pop(chain_)) {
      for (const base::Bytes part : chain_.writable)
        random_.fill(part);
      made += chain_.writable_bytes + 1;
      queue(0).push(chain_.head, chain_.writable_bytes);
    }
    if (made >= kTurn) {
      ask_for_poll(Pending::kBusy);
      break;
    }
  } while (queue(0).enable_notifications());
  signal(0);
}

}  // namespace snowglobe::vm
