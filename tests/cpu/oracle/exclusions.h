// tests/cpu/oracle/exclusions.h - what is not compared, each with its reason. Everything else is.
#pragma once

#include "tests/cpu/oracle/case.h"
#include "vm/cpu/flags.h"

#include <Zydis/Zydis.h>

namespace snowglobe::oracle {

enum class Field : u8 {
  kFlags,   ///< `mask`: bits of EFLAGS
  kStatus,  ///< `mask`: bits of the x87 status word
  kMemory,  ///< bytes [offset, offset + size) of the operand in memory
};

struct Exclusion {
  ZydisMnemonic mnemonic;
  Field field;
  u32 mask;    ///< of flags or status bits
  u16 offset;  ///< of bytes in memory
  u16 size;
  const char* reason;
};

inline constexpr Exclusion kExclusions[] = {
    {ZYDIS_MNEMONIC_INVALID, Field::kFlags, 0, 0, 0, ""},
};

}  // namespace snowglobe::oracle
