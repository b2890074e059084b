// tests/cpu/oracle/fx_state.h - between the FXSAVE image of the protocol and the emulated state.
#pragma once

#include "tests/cpu/oracle/case.h"
#include "vm/cpu/state.h"

namespace snowglobe::oracle {

/// Offsets in the image (Intel SDM Vol. 1, table 10-2).
enum FxOffset : unsigned {
  kFxControl = 0,
  kFxStatus = 2,
  kFxTag = 4,  ///< one bit a physical register, set: not empty
  kFxOpcode = 6,
  kFxIp = 8,
  kFxDp = 16,
  kFxMxcsr = 24,
  kFxMxcsrMask = 28,
  kFxRegisters = 32,  ///< ST(0) to ST(7), 16 bytes each
  kFxXmm = 160,
  kFxEnd = 288,
};

void load_fx(const u8* image, vm::CpuState& state);
/// Fills the first kFxEnd bytes; instruction and operand pointers and the mask of MXCSR as zeros.
void store_fx(const vm::CpuState& state, u8* image);

}  // namespace snowglobe::oracle
