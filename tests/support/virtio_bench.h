// tests/support/virtio_bench.h - a virtio device on a bench: RAM, ports, an interrupt line that can
// be read, and the mock driver. No processor.
#pragma once

#include "tests/support/mock_driver.h"
#include "vm/bus/interrupt_lines.h"
#include "vm/bus/port_map.h"
#include "vm/devices/virtio/device.h"
#include "vm/devices/virtio/pci.h"
#include "vm/memory/ram.h"

#include <memory>
#include <string>
#include <vector>

namespace snowglobe::vm::test {

class VirtioBench {
 public:
  static constexpr u16 kBar = 0xC000;
  static constexpr u32 kHeap = 1u << 20;
  static constexpr u32 kMemory = 16u << 20;

  VirtioBench() : ram(GuestRam::create(kMemory).value()), line(sink, counts, 5) {}

  /// Plugs the device in; it must live as long as the bench is used.
  void plug(VirtioDevice& device) {
    slot = std::make_unique<VirtioPci>(device);
    slot->assign(ports, slot.get(), VirtioPci::kBarSize, kBar, 5);
    device.set_broken_listener([this](const std::string& reason) { broken.push_back(reason); });
  }

  /// True once for each time the line rose since the last call; acknowledges like a driver.
  bool take_interrupt() { return driver.take_interrupt() != 0; }

  std::unique_ptr<GuestRam> ram;
  PortMap ports;
  struct Sink final : InterruptSink {
    void set_level(u8, bool asserted) override { level = asserted; }
    bool level = false;
  } sink;
  InterruptLine::Counts counts{};
  InterruptLine line;
  MockDriver driver{*ram, ports, kBar, kHeap};
  std::unique_ptr<VirtioPci> slot;
  std::vector<std::string> broken;
};

}  // namespace snowglobe::vm::test
