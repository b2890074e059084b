// tests/support/load_state.h - takes a machine's state over where RAM is in place already.
#pragma once

#include "vm/machine_state.h"

namespace snowglobe::vm::test {

inline base::Result<void> load_state(base::ConstBytes archive, CpuState& cpu, GuestClock& clock,
                                     Board& board) {
  const base::Result<MachineState> state = read_state(archive, board);
  if (!state) return state.error();
  apply_state(state.value(), cpu, clock, board);
  return {};
}

}  // namespace snowglobe::vm::test
