// vm/cpu/x87_host.h - executes single x87 instructions on the host's own unit, with the guest's
// state loaded into it: rounding, NaNs, denormals, stack faults and unmasked exceptions are exact
// by construction.
//
// An exception that the guest has not masked only becomes pending in the host's unit; FNSAVE, which
// does not wait, takes it out with the rest of the state and leaves the unit as the ABI wants it.
#pragma once

#include "vm/cpu/state.h"
#include "vm/types.h"

namespace snowglobe::vm::x87 {

/// A value as it lies in memory: ten bytes.
#pragma pack(push, 1)
struct PackedFloat80 {
  u64 significand;
  u16 sign_exponent;
};

/// What FNSAVE stores in 32-bit format (Intel SDM Vol. 1, figures 8-9 and 8-10). ST(0) comes first.
struct SaveImage {
  u32 control;
  u32 status;
  u32 tag;
  u32 ip;
  u16 cs;
  u16 opcode;
  u32 dp;
  u32 ds;
  PackedFloat80 stack[8];
};
#pragma pack(pop)
static_assert(sizeof(PackedFloat80) == 10 && sizeof(SaveImage) == 108);

/// The state without the pointers, which in the host's unit would be of the host.
void to_image(const X87State& x87, SaveImage& image);
/// Takes everything but the pointers.
void from_image(const SaveImage& image, X87State& x87);

/// Operand in memory of the form, if there is one.
struct MemoryOperand {
  u8 size = 0;  ///< in bytes; 0: no such form
  bool is_store = false;
};
MemoryOperand memory_operand(unsigned form);
bool has_register_form(unsigned form);

/// The arithmetic flags around a register form: FCMOVcc reads them, FCOMI writes them.
struct HostFlags {
  u8 low = 0;       ///< the low byte of EFLAGS
  u8 overflow = 0;  ///< OF, as 0 or 1
};
/// Executes a register form.
void run_register(unsigned form, SaveImage& image, HostFlags& flags);
/// Executes a form with `memory` (10 bytes long) as its operand.
void run_memory(unsigned form, SaveImage& image, u8* memory);

}  // namespace snowglobe::vm::x87
