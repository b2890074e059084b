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
  shape_.memory_bytes = ram.size();

  // The disks come first in the shape: their numbers are the same there and in disks_.
  for (const DiskConfig& disk : config.disks) {
    disks_.push_back(std::make_unique<VirtioBlock>(ram, new_line(kIrqDisk), *disk.backend,
                                                   disk.serial, wiring.wake));
    shape_.devices.push_back({.type = VirtioType::kBlock,
                              .capacity = disk.backend->capacity(),
                              .read_only = disk.backend->read_only()});
    plug(*disks_.back(), kIrqDisk, "disk " + std::to_string(disks_.size()), config.log);
  }
  if (config.network != nullptr) {
    shape_.devices.push_back({.type = VirtioType::kNetwork});
    network_ = std::make_unique<VirtioNet>(ram, new_line(kIrqNetwork), config.mac, *config.network);
    plug(*network_, kIrqNetwork, "network card", config.log);
  }
  if (!config.ports.empty()) {
    std::vector<VirtioConsole::Port> ports;
    shape_.devices.push_back({.type = VirtioType::kConsole});
    for (const PortConfig& port : config.ports) {
      ports.push_back({port.name, port.backend});
      shape_.devices.back().ports.push_back(port.name);
    }
    console_ = std::make_unique<VirtioConsole>(ram, new_line(kIrqConsole), std::move(ports));
    plug(*console_, kIrqConsole, "console", config.log);
  }
  shape_.devices.push_back({.type = VirtioType::kEntropy});
  entropy_ = std::make_unique<VirtioEntropy>(ram, new_line(kIrqEntropy), *config.random);
  plug(*entropy_, kIrqEntropy, "entropy device", config.log);
}

InterruptLine& Board::new_line(u8 irq) {
  lines_.push_back(std::make_unique<InterruptLine>(pic_, line_counts_, irq));
  return *lines_.back();
}

void Board::plug(VirtioDevice& device, u8 irq, const std::string& name, const base::LogSink& log) {
  const auto bar = static_cast<u16>(kFirstBar + slots_.size() * VirtioPci::kBarSize);
  slots_.push_back({&device, irq, name, std::make_unique<VirtioPci>(device)});
  VirtioPci* const function = slots_.back().function.get();
  function->assign(ports_, function, VirtioPci::kBarSize, bar, irq);
  pci_.add(function);
  device.set_broken_listener([log, name](const std::string& reason) {
    if (!log) return;
    log({base::LogLevel::kWarning, base::LogSource::kMachine,
         "the guest's driver of the " + name + " broke the rules (" + reason +
             "); the device stops until the driver resets it"});
  });
}

void Board::let_sleep() {
  for (const auto& disk : disks_)
    disk->let_sleep();
}

bool Board::drain(base::Nanoseconds limit) {
  return std::ranges::all_of(disks_, [limit](const auto& disk) { return disk->drain(limit); });
}

bool Board::poll() {
  bool busy = false;
  for (const auto& disk : disks_)
    disk->take_completions();
  for (const Slot& slot : slots_)
    busy |= slot.device->poll();
  return busy;
}

BoardState Board::state() const {
  BoardState state{.pic = pic_.state(),
                   .pit = pit_.state(),
                   .deadline_timer = deadline_timer_.state(),
                   .rtc = rtc_.state(),
                   .uart = uart_.state(),
                   .pci = pci_.state(),
                   .virtio = {},
                   .console = {}};
  for (const Slot& slot : slots_)
    state.virtio.push_back(slot.device->state());
  if (console_ != nullptr) state.console = console_->console_state();
  return state;
}

/// The levels of the interrupt lines that follow from what the devices say.
u16 Board::lines_of(const BoardState& state) const {
  u16 lines = asserts_interrupt(state.uart) ? 1 << kIrqUart : 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (state.virtio[i].interrupt_status != 0) lines |= static_cast<u16>(1u << slots_[i].irq);
  }
  return lines;
}

base::Result<void> Board::check(const BoardState& state, u64 time) const {
  const auto corrupt = [](const std::string& device) {
    return base::Error{base::ErrorCode::kCorrupt,
                       "take over a machine's state: that of its " + device + " is impossible"};
  };
  if (!is_valid(state.pit, time)) return corrupt("interval timer");
  if (!is_valid(state.deadline_timer, time)) return corrupt("deadline timer");
  if (!is_valid(state.rtc)) return corrupt("CMOS clock");
  if (!is_valid(state.uart)) return corrupt("serial port");
  if (!pci_.could_be(state.pci)) return corrupt("PCI bus");
  if (state.virtio.size() != slots_.size()) return corrupt("virtio devices");
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].device->could_be(state.virtio[i])) return corrupt(slots_[i].name);
  }
  const bool console_fits = console_ != nullptr ? console_->could_be_console(state.console)
                                                : state.console == ConsoleState{};
  if (!console_fits) return corrupt("console ports");
  if (!is_valid(state.pic, lines_of(state))) return corrupt("interrupt controller");
  return {};
}

// The interrupt controller comes last: what the devices' lines do to it on the way is forgotten.
void Board::restore(const BoardState& state, const BoardShape& from) {
  pit_.restore(state.pit);
  deadline_timer_.restore(state.deadline_timer);
  rtc_.restore(state.rtc);
  uart_.restore(state.uart);
  pci_.restore(state.pci);
  for (std::size_t i = 0; i < slots_.size(); ++i)
    slots_[i].device->restore(state.virtio[i]);
  if (console_ != nullptr) console_->restore_console(state.console);
  pic_.restore(state.pic);
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    if (from.devices[i].capacity != shape_.devices[i].capacity) disks_[i]->capacity_was_other();
  }
}

void Board::disks_grew() {
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    const u64 capacity = disks_[i]->capacity();
    if (capacity == shape_.devices[i].capacity) continue;
    shape_.devices[i].capacity = capacity;
    disks_[i]->capacity_changed();
  }
}

}  // namespace snowglobe::vm
