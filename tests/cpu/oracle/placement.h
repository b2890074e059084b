// tests/cpu/oracle/placement.h - gives registers such values that memory operands hit the arena (or
// miss it on purpose), and lays the windows through which the arena is set and read.
#pragma once

#include "tests/cpu/oracle/case.h"
#include "tests/cpu/oracle/values.h"
#include "vm/cpu/decoder.h"

namespace snowglobe::oracle {

/// A general register or a part of it.
struct RegisterPart {
  bool valid = false;
  u8 number = 0;  ///< 0-7, as in OracleInput::gpr
  u32 mask = 0;
};
RegisterPart register_part(ZydisRegister reg);

class Placement {
 public:
  Placement(Random& random, const vm::Decoded& decoded, Case& test)
      : random_(random), decoded_(decoded), test_(test) {}

  /// An address for an operand of `size` bytes: inside, across a page, at the edge, read-only or
  /// nowhere.
  u32 pick_target(u32 size, bool wants_alignment);
  /// An address well inside writable memory.
  u32 pick_stack();

  /// Sets registers (or the displacement) so that `operand` lies at `target`, as far as that goes,
  /// and returns where it lies. Registers that are pinned keep their values.
  u32 aim(const ZydisDecodedOperand& operand, u32 target);
  /// Linear address of the operand with the registers as they are.
  [[nodiscard]] u32 address_of(const ZydisDecodedOperand& operand) const;

  void pin(u8 reg) { pinned_ |= 1u << reg; }
  void set(u8 reg, u32 value) {
    test_.input.gpr[reg] = value;
    pin(reg);
  }
  [[nodiscard]] bool pinned(u8 reg) const { return (pinned_ >> reg & 1) != 0; }
  /// Sets the part of a register that has a name of its own, and pins the register.
  void set_part(const RegisterPart& part, u32 value);
  [[nodiscard]] u32 part(const RegisterPart& part) const;

  /// Adds a window of `size` bytes at `address` and a margin round it, as far as the arena is
  /// writable.
  void cover(u32 address, u32 size);
  /// Writes into the windows that hold `address`; bytes outside of all windows are dropped.
  void poke(u32 address, base::ConstBytes bytes);
  void poke32(u32 address, u32 value);
  void poke16(u32 address, u16 value);

  /// False when the case must not run: an address is where the harness keeps its own things.
  [[nodiscard]] static bool is_safe(u32 address);

 private:
  [[nodiscard]] u32 segment_base(ZydisRegister segment) const;
  [[nodiscard]] u32 offset_of(const ZydisDecodedOperand& operand) const;
  bool patch_displacement(const ZydisDecodedOperand& operand, u32 offset);
  void add_window(u32 begin, u32 end);

  Random& random_;
  const vm::Decoded& decoded_;
  Case& test_;
  u32 pinned_ = 0;
  u32 memory_used_ = 0;
  u32 displacement_change_ = 0;  ///< by which aim() patched the displacement in the code
};

}  // namespace snowglobe::oracle
