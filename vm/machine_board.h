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
#include <string>
#include <vector>

namespace snowglobe::vm {

/// What of a board never changes, but that its disks may grow: a state fits only a board of the
/// same shape, or one whose disks are larger.
struct BoardShape {
  struct Device {
    VirtioType type = VirtioType::kBlock;
    u64 capacity = 0;                  ///< of a disk, in bytes
    bool read_only = false;            ///< of a disk
    std::vector<std::string> ports{};  ///< names of a console's ports

    bool operator==(const Device&) const = default;
  };
  u64 memory_bytes = 0;
  std::vector<Device> devices;  ///< as they are plugged into the PCI bus

  bool operator==(const BoardShape&) const = default;
};

struct BoardState {
  PicState pic;
  PitState pit;
  DeadlineTimerState deadline_timer;
  RtcState rtc;
  UartState uart;
  PciBusState pci;
  std::vector<VirtioState> virtio;  ///< one a device of the shape
  ConsoleState console;             ///< empty without a console

  bool operator==(const BoardState&) const = default;
};

template <class Archive>
void describe(Archive& archive, BoardShape::Device& device) {
  archive(device.type, device.capacity, device.read_only, device.ports);
}
template <class Archive>
void describe(Archive& archive, BoardShape& shape) {
  archive(shape.memory_bytes, shape.devices);
}
template <class Archive>
void describe(Archive& archive, BoardState& state) {
  archive(state.pic, state.pit, state.deadline_timer, state.rtc, state.uart, state.pci,
          state.virtio, state.console);
}

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
    /// Called on any thread: poll() is to be called soon.
    std::function<void()> wake{};
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

  /// Wiring::wake is not called any more once this has returned.
  void let_sleep();
  /// Returns when no disk has a request under way: ahead of state() and restore(), which know none.
  /// False: `limit`, that of each disk, has passed.
  [[nodiscard]] bool drain(base::Nanoseconds limit);
  /// Goes on with work that devices put off. True if some is left that waits for nobody.
  bool poll();

  [[nodiscard]] const BoardShape& shape() const { return shape_; }
  [[nodiscard]] BoardState state() const;
  /// Ok if restore() may be called with `state`, which comes from a file. `time` is the guest's.
  /// Errors: kCorrupt.
  [[nodiscard]] base::Result<void> check(const BoardState& state, u64 time) const;
  /// Goes on from a state that check() found good, of a board of the shape `from`, whose drivers
  /// hear of disks that are larger now. Guest memory is left alone; backends hear of it
  /// in the next poll().
  void restore(const BoardState& state, const BoardShape& from);
  /// Disks' backends have grown: tells the guest's drivers.
  void disks_grew();

 private:
  struct Slot {
    VirtioDevice* device;
    u8 irq;
    std::string name;  ///< for people
    std::unique_ptr<VirtioPci> function;
  };

  InterruptLine& new_line(u8 irq);
  void plug(VirtioDevice& device, u8 irq, const std::string& name, const base::LogSink& log);
  [[nodiscard]] u16 lines_of(const BoardState& state) const;

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
  std::vector<Slot> slots_;
  BoardShape shape_;
};

}  // namespace snowglobe::vm
