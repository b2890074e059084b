// vm/machine_board.cc - building and wiring the devices.
#include "vm/machine_board.h"

#include <string>

namespace snowglobe::vm {

namespace {

enum Irq : u8 {
  kIrqTimer = 0,
  kIrqNetwork = 3,
  kIrqUart = 4,
  kIrqDisk = 5,
  kIrqConsole = 6,
  kIrqEntropy = 7,
};
constexpr u8 kLevelTriggered =
    1 << kIrqNetwork | 1 << kIrqDisk | 1 << kIrqConsole | 1 << kIrqEntropy;

constexpr u16 kUartPort = 0x3F8;
constexpr u16 kFirstBar = 0xC000;

}  // namespace

Board::Board(GuestRam& ram, TscSource& clock, const MachineConfig& config, const Wiring& wiring)
    : pic_(wiring.interrupt),
      pit_(clock, new_line(kIrqTimer)),
      deadline_timer_(clock, new_line(kIrqTimer)),
      rtc_(*config.clock),
      uart_(kUartPort, new_line(kIrqUart), config.serial_output),
      system_ports_(wiring.on_request),
      pci_([request = wiring.on_request] { request(SystemRequest::kReset); }) {
  pic_.attach(ports_);
  pit_.attach(ports_);
  deadline_timer_.attach(ports_);
  rtc_.attach(ports_);
  uart_.attach(ports_);
  system_ports_.attach(ports_);
  pci_.attach(ports_);
  ports_.out(0x4D0, 1, kLevelTriggered);  // as firmware would have left the ELCR

  for (const DiskConfig& disk : config.disks) {
    disks_.push_back(
        std::make_unique<VirtioBlock>(ram, new_line(kIrqDisk), *disk.backend, disk.serial));
    plug(*disks_.back(), kIrqDisk, "disk " + std::to_string(disks_.size()), config.log);
  }
  if (config.network != nullptr) {
    network_ = std::make_unique<VirtioNet>(ram, new_line(kIrqNetwork), config.mac, *config.network);
    plug(*network_, kIrqNetwork, "network card", config.log);
  }
  if (!config.ports.empty()) {
    std::vector<VirtioConsole::Port> ports;
    for (const PortConfig& port : config.ports)
      ports.push_back({port.name, port.backend});
    console_ = std::make_unique<VirtioConsole>(ram, new_line(kIrqConsole), std::move(ports));
    plug(*console_, kIrqConsole, "console", config.log);
  }
  entropy_ = std::make_unique<VirtioEntropy>(ram, new_line(kIrqEntropy), *config.random);
  plug(*entropy_, kIrqEntropy, "entropy device", config.log);
}

InterruptLine& Board::new_line(u8 irq) {
  lines_.push_back(std::make_unique<InterruptLine>(pic_, line_counts_, irq));
  return *lines_.back();
}

void Board::plug(VirtioDevice& device, u8 irq, const std::string& name, const base::LogSink& log) {
  const auto bar = static_cast<u16>(kFirstBar + slots_.size() * VirtioPci::kBarSize);
  slots_.push_back(std::make_unique<VirtioPci>(device));
  slots_.back()->assign(ports_, slots_.back().get(), VirtioPci::kBarSize, bar, irq);
  pci_.add(slots_.back().get());
  virtio_.push_back(&device);
  device.set_broken_listener([log, name](const std::string& reason) {
    if (!log) return;
    log({base::LogLevel::kWarning, base::LogSource::kMachine,
         "the guest's driver of the " + name + " broke the rules (" + reason +
             "); the device stops until the driver resets it"});
  });
}

bool Board::poll() {
  bool busy = false;
  for (VirtioDevice* device : virtio_)
    busy |= device->poll();
  return busy;
}

}  // namespace snowglobe::vm
