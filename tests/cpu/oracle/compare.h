// tests/cpu/oracle/compare.h - what differs between two outcomes of a case, but for the exclusions.
#pragma once

#include "tests/cpu/oracle/case.h"

#include <string>
#include <vector>

namespace snowglobe::oracle {

struct Difference {
  std::string field;
  std::string expected;
  std::string actual;
};

/// Empty when the outcomes agree. Cheap when they agree to the bit.
std::vector<Difference> compare(const Case& test, const Outcome& expected, const Outcome& actual);

/// True when a window differs, excluded or not.
bool memory_differs(const Case& test, const Outcome& expected, const Outcome& actual);

/// What our processor must make of a case that it refuses: #UD, nothing changed.
Outcome refusal(const Case& test);

/// The case for a human: bytes, disassembly, the state before, the differences.
std::string describe(u64 seed, const Case& test, std::span<const Difference> differences);

}  // namespace snowglobe::oracle
