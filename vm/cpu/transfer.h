// vm/cpu/transfer.h - what far transfers (far_transfer.cc) and interrupts (interrupts.cc) share: a
// checked target in a code segment, and the stack of an inner privilege level.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/descriptor.h"

namespace snowglobe::vm {

/// A code segment that passed its checks, with the place in it to go on at.
struct Cpu::Transfer {
  Segment code;           ///< the selector's RPL is `cpl`
  Descriptor descriptor;  ///< of `code`, to be marked accessed when nothing else can fault
  unsigned cpl = 0;
  u32 eip = 0;
  bool masks_interrupts = false;  ///< an interrupt gate clears IF
  bool by_gate = false;
  u16 gate_parameters = 0;  ///< doublewords that a call gate copies to the inner stack
};

/// SS:ESP of a privilege level, from the TSS.
struct Cpu::InnerStack {
  Segment stack;
  u32 esp = 0;
};

/// The selector as CS holds it: its RPL is CPL.
inline u16 with_rpl(u16 selector, unsigned cpl) {
  return static_cast<u16>((selector & ~kSelectorRpl) | cpl);
}

}  // namespace snowglobe::vm
