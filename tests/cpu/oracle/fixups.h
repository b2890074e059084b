// tests/cpu/oracle/fixups.h - what single instructions need beyond random values: branch targets
// that land, selectors that the descriptor table has, counts that end.
#pragma once

#include "tests/cpu/oracle/placement.h"

namespace snowglobe::oracle {

/// The case in the making, for fix-ups.
struct Draft {
  Random& random;
  const vm::Decoded& decoded;
  Case& test;
  Placement& place;

  [[nodiscard]] OracleInput& input() const { return test.input; }
  [[nodiscard]] unsigned operand_bytes() const { return decoded.info.operand_width / 8u; }
};

/// Before operands are placed: pins registers that have a part of their own (counts, stack,
/// frames).
void prepare(const Draft& draft);
/// After: writes what the operands must hold. False: the case must not run (draw another).
bool complete(const Draft& draft);

}  // namespace snowglobe::oracle
