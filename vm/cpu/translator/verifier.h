// vm/cpu/translator/verifier.h - reads translated code and says if it keeps to its bounds. Shares
// nothing with the emitter: decodes for itself, and has its own tables of what is accepted.
//
// Accepted code reaches memory only through GS with 32-bit addresses, at listed places around
// CpuState, and by a few glue sequences; jumps only within the block, to the border, and through
// the jump table; never changes the registers that belong to the host (RSP, R13, R14, R15); and has
// no instruction that CPUID does not grant the guest, beside PEXT and PDEP.
#pragma once

#include "base/bytes.h"
#include "vm/types.h"

#include <optional>
#include <span>
#include <string>

namespace snowglobe::vm {

/// Where code may jump outside of itself: addresses in executable memory.
struct VerifierContext {
  u64 exit = 0;
  u64 miss = 0;
  u64 lookup = 0;
  /// Where others than the code itself enter it: its entries, return sites, and where the
  /// translator resumes after an exit. Nothing is known of the scratch registers there.
  std::span<const u64> entries;
};

struct VerifierPiece {
  base::ConstBytes bytes;
  u64 address = 0;  ///< at which it is going to run
};

struct VerifierComplaint {
  u64 address = 0;
  std::string reason;
};

/// Verifies a block before it is linked to others. `pieces`: all that belongs to it (what runs,
/// what leaves it), each from its first to its last byte.
std::optional<VerifierComplaint> verify(std::span<const VerifierPiece> pieces,
                                        const VerifierContext& context);

}  // namespace snowglobe::vm
