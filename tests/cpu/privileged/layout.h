// tests/cpu/privileged/layout.h - where everything lies in the memory that one case of a privileged
// instruction sees. Known to the generator; the runner (runner.S) has the same numbers.
//
// The payload is the runner, a template of the area and the cases. For each case the runner copies
// the template, applies the case's pokes, enters the case, records what its handler sees, and
// reports the record and every doubleword of the area that differs from the template.
#pragma once

#include "vm/types.h"

namespace snowglobe::vm::privileged {

inline constexpr u32 kPayload = 0x100000;  ///< the runner, which starts at its first byte
inline constexpr u32 kStubs = 0x101000;    ///< 10 bytes a vector
inline constexpr u32 kTemplate = 0x108000;
inline constexpr u32 kCases = 0x118000;
inline constexpr u32 kCasesEnd = 0x1F0000;
inline constexpr u32 kArea = 0x200000;
inline constexpr u32 kAreaSize = 0xD000;
inline constexpr u32 kMemory = 16u << 20;

// In the area; a page each where a case may take the page away.
inline constexpr u32 kGdt = kArea;
inline constexpr u32 kTss = kArea + 0x1000;
inline constexpr u32 kIdt = kArea + 0x1C00;  ///< vectors from 0x80 on lie in the next page
inline constexpr u32 kCode = kArea + 0x3000;
inline constexpr u32 kData = kArea + 0x4000;  ///< two pages
inline constexpr u32 kRing0Stack = kArea + 0x6FC0;
inline constexpr u32 kCaseStack0 = kArea + 0x6800;
inline constexpr u32 kRing1Stack = kArea + 0x7FC0;
inline constexpr u32 kRing2Stack = kArea + 0x77C0;
inline constexpr u32 kUserStack = kArea + 0x8800;
inline constexpr u32 kPageDirectory = kArea + 0x9000;
inline constexpr u32 kPageTable = kArea + 0xA000;  ///< of the first 4 MiB
inline constexpr u32 kLdt = kArea + 0xB000;
inline constexpr u32 kTestTable = kArea + 0xC000;  ///< page table of kTestLinear
inline constexpr u32 kTestLinear = 0x800000;       ///< 4 MiB whose mapping belongs to the case

inline constexpr u16 kTssSelector = 0x28;
inline constexpr u16 kLdtSelector = 0x30;
inline constexpr u16 kConforming0 = 0x58;
inline constexpr u16 kConforming3 = 0x60;
inline constexpr u16 kSlot = 0x68;  ///< free for the case
inline constexpr u16 kGateSlot = 0x70;
inline constexpr u16 kGdtLimit = 0xFF;
inline constexpr u16 kLdtSlot = 0x0C;  ///< entry 1 of the LDT
inline constexpr u16 kLdtLimit = 0x3F;

/// Code and data selectors of a ring.
constexpr u16 code_selector(unsigned ring) {
  constexpr u16 kSelectors[] = {0x08, 0x39, 0x4A, 0x1B};
  return kSelectors[ring];
}
constexpr u16 data_selector(unsigned ring) {
  constexpr u16 kSelectors[] = {0x10, 0x41, 0x52, 0x23};
  return kSelectors[ring];
}

/// Software interrupts that anybody may use: the end of a case, and of its several targets.
inline constexpr u8 kEndVector = 0x40;

/// What the runner loads before a case; as it lies in memory.
struct CaseHeader {
  u32 size = 0;  ///< of the header and the pokes, in bytes; 0 ends the list
  u32 cr0 = 0, cr4 = 0;
  u32 eflags = 2;
  u32 cs = 0, eip = 0;
  u32 esp = 0, ss = 0;
  u32 ds = 0, es = 0, fs = 0, gs = 0;
  u32 tr = kTssSelector, ldtr = kLdtSelector;
  u32 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  u32 edi = 0, esi = 0, ebp = 0, unused = 0, ebx = 0, edx = 0, ecx = 0, eax = 0;  ///< POPA's order
  u32 poke_count = 0;
};
static_assert(sizeof(CaseHeader) == 26 * 4);

/// What the handler at the end of a case saw; as it is reported.
struct Record {
  u32 vector;
  u32 esp;       ///< of the handler, at its entry
  u32 frame[6];  ///< from there upwards
  u32 edi, esi, ebp, unused, ebx, edx, ecx, eax;
  u32 eflags;
  u32 ds, es, fs, gs, ss, cs;
  u32 cr0, cr2, cr4;
  u32 tr, ldtr;
  u32 dr6, dr7;
};
static_assert(sizeof(Record) == 30 * 4);
inline constexpr u32 kEndOfChanges = ~0u;

}  // namespace snowglobe::vm::privileged
