// vm/machine_state.h - all of a machine but its RAM as bytes, and back: processor, guest time,
// interrupt controller, timers, RTC, UART, PCI, virtio devices and their queues.
//
// The archive is the same whichever executor ran the machine and whatever host it ran on. Reading
// is in two steps, so that a restore can fail before anything has changed:
//
//   auto state = read_state(bytes, board);     // parses and checks; changes nothing
//   if (!state) return state.error();
//   ... put RAM back (may fail) ...
//   apply_state(state.value(), cpu.state, clock, board);  // can not fail
//
// Before save_state() and before apply_state() the caller
//   * is on the machine's thread, between two slices of guest code: not in a callback of a backend
//     (a device would be in the middle of a request), and no exception is pending;
//   * has the newest state in CpuState: Translator::synchronize().
// After apply_state() the caller calls Cpu::state_replaced() (TLBs, mode, what observers derive
// from page tables); windows and code follow from the pages that it changed. The INTR line and the
// interrupt lines are right already. The backends of network card and console ports hear of the
// restored state (on_open, on_send_ready, on_transmit_ready) in the first Board::poll() after it,
// not before, so that they never reach into a half-restored machine.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/cpu/state.h"
#include "vm/machine_board.h"
#include "vm/machine_clock.h"

#include <vector>

namespace snowglobe::vm {

/// What an archive holds, taken apart.
struct MachineState {
  u64 time = 0;  ///< of the guest's clock, in nanoseconds
  CpuState cpu;
  BoardState board;
  BoardShape shape;  ///< of the machine that it was
};

/// The whole machine but RAM and the contents of its disks.
std::vector<u8> save_state(const CpuState& cpu, GuestClock& clock, const Board& board);

/// Parses an archive and checks everything: ranges, enums, indices, queues against the size of RAM,
/// registers against what our processor can hold, and the machine's shape against `board`.
/// Errors: kCorrupt, kUnsupported (another version), kInvalidArgument (a machine of another shape:
/// memory, disks, network card or console ports; disks of `board` may be larger).
base::Result<MachineState> read_state(base::ConstBytes archive, const Board& board);

/// Makes a machine of the shape that read_state() checked against continue from `state`. Touches no
/// guest memory. `clock` may be running or stopped; counted instructions are those of `cpu`.
void apply_state(const MachineState& state, CpuState& cpu, GuestClock& clock, Board& board);

}  // namespace snowglobe::vm
