// tests/cpu/oracle/protocol.h - what the test process and the 32-bit harness share: the layout of
// the address space in which cases run, and the records of a batch. Plain C: both sides include it.
#pragma once

#include <stdint.h>

// Linear addresses, the same in the harness, in the emulated processor and in every case.
enum {
  /// Pages of the arena: 0 none, 1-2 writable, 3 none, 4 writable, 5 read-only, 6 writable, 7 none.
  ORACLE_ARENA = 0x10000000,
  ORACLE_ARENA_PAGES = 8,
  ORACLE_ARENA_SIZE = ORACLE_ARENA_PAGES * 4096,
  ORACLE_READ_ONLY_PAGE = 5,
  /// One slot a case; the page behind the last slot is not mapped.
  ORACLE_CODE = 0x11000000,
  ORACLE_BATCH = 1024,
  ORACLE_SLOT = 320,
  ORACLE_CODE_SIZE = ORACLE_BATCH * ORACLE_SLOT,
  /// Nothing is mapped here: where branches of cases go. A fetch fault there is a landing.
  ORACLE_LANDING = 0x20000000,
  ORACLE_LANDING_END = 0x40000000,
  /// Base of the segment that GS holds: 16-bit offsets 0x4000-0xBFFF reach the arena.
  ORACLE_GS_BASE = ORACLE_ARENA - 0x4000,
  ORACLE_WINDOWS = 6,
  ORACLE_MEMORY = 1536,
};
/// The harness's own places, out of the reach of cases.
#define ORACLE_IMAGE 0xA0000000u
#define ORACLE_STUB 0xA1000000u
#define ORACLE_SHARED 0xB0000000u

/// Selectors of a 32-bit process under 64-bit Linux, and of the emulated descriptor table.
enum {
  ORACLE_CS = 0x23,
  ORACLE_DS = 0x2B,
  ORACLE_GS = 0x63,
};

/// File descriptors that the harness inherits.
enum { ORACLE_FD_SHARED = 3, ORACLE_FD_COMMAND = 4 };

enum {
  ORACLE_USES_FX = 1,        ///< load the x87/SSE state before, store it after
  ORACLE_LOADS_SEGMENTS = 2  ///< load ES, DS, FS and GS before (else they are the defaults)
};
#define ORACLE_NO_TRAP 0xFFFFFFFFu

/// Bytes of the arena that a case sets before and reports after. `size` and `offset` (into the
/// record's memory[]) are multiples of 4.
struct OracleWindow {
  uint32_t address;
  uint16_t size;
  uint16_t offset;
};

/// General registers in the order of their encoding, EAX to EDI.
struct OracleInput {
  uint32_t gpr[8];
  uint32_t eip;
  uint32_t eflags;
  uint32_t selectors[4];  ///< ES, DS, FS, GS
  uint32_t options;
  uint32_t window_count;
  struct OracleWindow windows[ORACLE_WINDOWS];
  uint8_t fx[512] __attribute__((aligned(16)));  ///< as FXSAVE lays it out
  uint8_t memory[ORACLE_MEMORY];
};

struct OracleOutput {
  uint32_t gpr[8];
  uint32_t eip;  ///< of the trap, or ORACLE_STUB when the instruction ran through
  uint32_t eflags;
  uint32_t selectors[6];  ///< ES, CS, SS, DS, FS, GS
  uint32_t trap;          ///< vector, or ORACLE_NO_TRAP
  uint32_t error_code;
  uint32_t address;  ///< CR2, for a page fault
  uint32_t unused;
  uint8_t fx[512] __attribute__((aligned(16)));
  uint8_t memory[ORACLE_MEMORY];
};

/// The shared memory. The harness maps `code` a second time at ORACLE_CODE, readable and
/// executable.
struct OracleShared {
  uint8_t code[ORACLE_CODE_SIZE];
  uint32_t count;              ///< cases of the batch
  volatile uint32_t progress;  ///< the case in work: tells which one hung or killed the harness
  uint32_t unused[1022];
  uint8_t
      arena[ORACLE_ARENA_SIZE];  ///< the arena after the batch (pages that are not mapped: zeros)
  struct OracleInput input[ORACLE_BATCH];
  struct OracleOutput output[ORACLE_BATCH];
};

/// What the arena holds before a batch. Read as an address it is one where nothing is mapped, read
/// as flags (also unaligned) TF is clear.
static inline uint32_t oracle_background(uint32_t address) {
  uint32_t mixed = address * 0x9E3779B1u;
  mixed ^= mixed >> 15;
  return (mixed & 0x0EFEFEFEu) | ORACLE_LANDING;
}

static inline int oracle_page_mapped(unsigned page) {
  return page != 0 && page != 3 && page != 7;
}
