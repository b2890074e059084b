// tests/cpu/oracle/case.h - one instruction with the state before it, and what became of that
// state. Plain values: the generator makes cases, executors turn them into outcomes, nobody else
// knows how.
#pragma once

#include "base/bytes.h"
#include "tests/cpu/oracle/protocol.h"
#include "vm/types.h"

#include <Zydis/Zydis.h>
#include <array>
#include <span>

namespace snowglobe::oracle {

using vm::u16;
using vm::u32;
using vm::u64;
using vm::u8;

enum class CaseKind : u8 {
  kCompare,  ///< the real processor decides
  kRefused,  ///< the host would execute it, our processor must not: #UD is expected
};

/// Longest instruction, and one byte more for those that are too long.
inline constexpr unsigned kMaxCode = 20;

struct Case {
  u64 index = 0;
  CaseKind kind = CaseKind::kCompare;
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;  ///< INVALID: no encoding that Zydis knows
  u8 length = 0;                                    ///< bytes in `code`
  bool breakpoint = false;                          ///< its own trap is #BP: no landing
  std::array<u8, kMaxCode> code{};
  /// The same instruction as the host must get it: a prefix that only new processors understand
  /// (the F3 of TZCNT) is replaced by one without effect.
  std::array<u8, kMaxCode> host_code{};
  OracleInput input;

  [[nodiscard]] base::ConstBytes bytes() const { return {code.data(), length}; }
};

/// The slot of the code area in which a case's instruction lies.
inline u32 slot_address(u64 index) {
  return ORACLE_CODE + static_cast<u32>(index % ORACLE_BATCH) * ORACLE_SLOT;
}

/// The state after a case: in `raw` with `eip` of the next instruction, or with a trap.
struct Outcome {
  OracleOutput raw;
  bool lost = false;  ///< the executor did not survive the case
  /// Flags that the instruction would have overwritten are anything if it trapped: translated code
  /// does not keep what nobody can read (but the trap's handler).
  bool dead_flags_lost = false;

  [[nodiscard]] bool trapped() const { return raw.trap != ORACLE_NO_TRAP; }
};

inline constexpr u8 kFillerByte =
    0xCC;  ///< INT3, between instructions: a branch that lands says so

/// Fills one slot: filler, the instruction, a jump to the harness's stub.
void write_slot(const Case& test, std::span<const u8> code, std::span<u8> slot);

/// What runs cases. load() makes the code of a batch known, run() executes one case of it.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void load(std::span<const Case> batch) = 0;
  virtual void run(const Case& test, Outcome& outcome) = 0;
  /// Copies the arena as the cases since load() left it.
  virtual void read_arena(std::span<u8> arena) = 0;
};

}  // namespace snowglobe::oracle
