// vm/machine_board.h - the mainboard: all devices of the PC, wired to ports and interrupt lines.
#pragma once

#include "vm/bus/interrupt_lines.h"
#include "vm/bus/port_map.h"
#include "vm/devices/deadline_timer.h"
#include "vm/devices/pci.h"
#include "vm/devices/pic.h"
#include "vm/devices/pit.h"
#include "vm/devices/rtc.h"
#include "vm/devices/system_ports.h"
#include "vm/devices/uart.h"
#include "vm/devices/virtio/block.h"
#include "vm/devices/virtio/console.h"
#include "vm/devices/virtio/entropy.h"
#include "vm/devices/virtio/net.h"
#include "vm/devices/virtio/pci.h"
#include "vm/machine.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

namespace snowglobe::vm {

/// Interrupt lines:
///   0 PIT and deadline timer   3 network   4 UART   5 disks   6 console ports   7 entropy
/// All on the master PIC, since the slave costs half as many port accesses again; the virtio ones
/// are level-triggered and may be shared.
///
/// Thread rule: machine's thread.
class Board {
 public:
  static constexpr u64 kNever = Pit::kNever;
  static_assert(kNever == DeadlineTimer::kNever);

  struct Wiring {
    std::function<void(bool)> interrupt;            ///< the INTR line towards the processor
    std::function<void(SystemRequest)> on_request;  ///< reset or power-off
  };

  /// `ram`, `clock` and what `config` points to are not owned.
  Board(GuestRam& ram, TscSource& clock, const MachineConfig& config, const Wiring& wiring);
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  [[nodiscard]] PortBus& ports() { return ports_; }
  [[nodiscard]] Pic& pic() { return pic_; }
  /// Guest time in nanoseconds of the next timer interrupt, or kNever.
  [[nodiscard]] u64 next_deadline() const {
    return std::min(pit_.next_deadline(), deadline_timer_.next_deadline());
  }
  /// Gives the timer interrupts that are due at guest time `now`.
  void update_timers(u64 now) {
    pit_.update(now);
    deadline_timer_.update(now);
  }
  [[nodiscard]] Uart& uart() { return uart_; }
  [[nodiscard]] VirtioNet* network() { return network_.get(); }
  [[nodiscard]] VirtioConsole* console() { return console_.get(); }
  [[nodiscard]] const VirtioConsole* console() const { return console_.get(); }

  /// Goes on with work that devices put off. True if some is left that waits for nobody.
  bool poll();

 private:
  InterruptLine& new_line(u8 irq);
  void plug(VirtioDevice& device, u8 irq, const std::string& name, const base::LogSink& log);

  InterruptLine::Counts line_counts_{};
  PortMap ports_;
  Pic pic_;
  std::vector<std::unique_ptr<InterruptLine>> lines_;
  Pit pit_;
  DeadlineTimer deadline_timer_;
  Rtc rtc_;
  Uart uart_;
  SystemPorts system_ports_;
  PciBus pci_;
  std::vector<std::unique_ptr<VirtioBlock>> disks_;
  std::unique_ptr<VirtioNet> network_;
  std::unique_ptr<VirtioConsole> console_;
  std::unique_ptr<VirtioEntropy> entropy_;
  std::vector<VirtioDevice*> virtio_;
  std::vector<std::unique_ptr<VirtioPci>> slots_;
};

}  // namespace snowglobe::vm
