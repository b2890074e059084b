// tests/translator/sequence/program.h - random programs of a dozen instructions with branches,
// calls, loops, faults and stores into their own code, for one executor to be held against another.
#pragma once

#include "tests/cpu/oracle/values.h"
#include "vm/types.h"

#include <array>
#include <vector>

namespace snowglobe::sequence {

using oracle::Random;
using vm::u16;
using vm::u32;
using vm::u64;
using vm::u8;

/// The area of 4 MiB that a program sees. Pages that are not named are not mapped.
inline constexpr u32 kArea = 0x08000000;
inline constexpr u32 kCodePages = 3;              ///< from kArea on
inline constexpr u32 kControl = kArea + 0x8000;   ///< counters of loops, targets of calls
inline constexpr u32 kData = kArea + 0x10000;     ///< two pages that can be written
inline constexpr u32 kReadOnly = kData + 0x2000;  ///< becomes writable when written
inline constexpr u32 kLazy = kData + 0x3000;      ///< becomes present when touched
inline constexpr u32 kNever = kData + 0x4000;     ///< nothing there
inline constexpr u32 kStack = kArea + 0x20000;    ///< two pages, the lower one lazy in ring 3
inline constexpr u32 kStackTop = kStack + 0x2000;
inline constexpr u8 kEndVector = 0x80;   ///< INT that ends a program
inline constexpr u8 kCallVector = 0x81;  ///< INT whose handler returns

struct Program {
  u64 seed = 0, index = 0;
  bool user = true;            ///< ring 3, else ring 0
  bool lazy_code = false;      ///< all code pages but the first are lazy
  bool task_switched = false;  ///< CR0.TS is set
  u32 start = 0;               ///< linear address of the code
  std::vector<u8> code;
  std::vector<u32> starts;  ///< of its instructions, in `code`; and the end
  std::array<u32, 8> gpr{};
  u32 flags = 0;
};

Program make_program(u64 seed, u64 index);

}  // namespace snowglobe::sequence
