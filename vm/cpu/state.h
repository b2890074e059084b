// vm/cpu/state.h - the architectural state of the processor: a plain struct, no behaviour.
// Both executors work on it; saving, comparing and printing a machine needs nothing else of the
// CPU.
#pragma once

#include "vm/cpu/flags.h"
#include "vm/types.h"

#include <array>

namespace snowglobe::vm {

enum Gpr : u8 { kEax, kEcx, kEdx, kEbx, kEsp, kEbp, kEsi, kEdi };
inline constexpr u8 kRegZero = 8;     ///< gpr[8] is always 0: an absent base or index register
inline constexpr u8 kRegScratch = 9;  ///< gpr[9]: address worked out ahead of an instruction

enum SegmentRegister : u8 { kEs, kCs, kSs, kDs, kFs, kGs };

// Attribute bits of a segment, as in bits 8-15 and 20-23 of the descriptor's second word
// (Intel SDM Vol. 3A, 3.4.5), moved together: type 0-3, S 4, DPL 5-6, P 7, AVL 8, D/B 10, G 11.
enum SegmentAttribute : u16 {
  kSegTypeMask = 0xF,
  kSegAccessed = 1,
  kSegWritable = 2,    // data: writable; code: readable
  kSegExpandDown = 4,  // data: expand-down; code: conforming
  kSegCode = 8,
  kSegNotSystem = 1 << 4,
  kSegDplShift = 5,
  kSegDplMask = 3 << 5,
  kSegPresent = 1 << 7,
  kSegBig = 1 << 10,
  kSegGranularity = 1 << 11,
};

/// A segment register with the hidden part. `limit` is in bytes (G applied), inclusive.
struct Segment {
  u16 selector = 0;
  u16 attributes = 0;
  u32 base = 0;
  u32 limit = 0;

  bool operator==(const Segment&) const = default;
};

struct DescriptorTable {
  u32 base = 0;
  u16 limit = 0;

  bool operator==(const DescriptorTable&) const = default;
};

/// 80-bit extended value as it lies in memory (FSTP m80).
struct Float80 {
  u64 significand = 0;
  u16 sign_exponent = 0;

  bool operator==(const Float80&) const = default;
};

struct X87State {
  std::array<Float80, 8> physical{};  ///< R0-R7, not relative to TOP
  u16 control = 0x037F;
  u16 status = 0;    ///< TOP in bits 11-13
  u16 tag = 0xFFFF;  ///< full tag word, two bits a register, 3 = empty
  u16 opcode = 0;    ///< 11 bits of the last non-control instruction
  u32 ip = 0;        ///< FIP, FCS, FDP, FDS of the last non-control instruction
  u32 dp = 0;
  u16 cs = 0;
  u16 ds = 0;

  bool operator==(const X87State&) const = default;
};

struct alignas(16) Xmm {
  std::array<u8, 16> bytes{};

  bool operator==(const Xmm&) const = default;
};

enum Cr0 : u32 {
  kCr0Pe = 1u << 0,
  kCr0Mp = 1u << 1,
  kCr0Em = 1u << 2,
  kCr0Ts = 1u << 3,
  kCr0Et = 1u << 4,
  kCr0Ne = 1u << 5,
  kCr0Wp = 1u << 16,
  kCr0Am = 1u << 18,
  kCr0Nw = 1u << 29,
  kCr0Cd = 1u << 30,
  kCr0Pg = 1u << 31,
};
enum Cr4 : u32 {
  kCr4Tsd = 1u << 2,
  kCr4De = 1u << 3,
  kCr4Pse = 1u << 4,
  kCr4Pge = 1u << 7,
  kCr4Osfxsr = 1u << 9,
  kCr4Osxmmexcpt = 1u << 10,
};

// Bits that can be set at all: what CPUID grants of CR4 is TSC, PSE, PGE, FXSR, SSE.
inline constexpr u32 kCr0Known = kCr0Pe | kCr0Mp | kCr0Em | kCr0Ts | kCr0Et | kCr0Ne | kCr0Wp |
                                 kCr0Am | kCr0Nw | kCr0Cd | kCr0Pg;
inline constexpr u32 kCr4Known = kCr4Tsd | kCr4Pse | kCr4Pge | kCr4Osfxsr | kCr4Osxmmexcpt;
// Intel SDM Vol. 3B, 17.2: bits that are always set, and those that software may change.
inline constexpr u32 kDr6Ones = 0xFFFF0FF0, kDr6Writable = 0x0000E00F;
inline constexpr u32 kDr7Ones = 0x00000400, kDr7Writable = 0xFFFF23FF;

struct CpuState {
  std::array<u32, 10> gpr{};  ///< EAX..EDI, then the zero and the scratch register
  u32 eip = 0;
  u32 eflags = kFlagReserved1;  ///< without the six arithmetic flags, which are in `flags`
  LazyFlags flags;
  u8 cpl = 0;  ///< current privilege level, 0-3

  std::array<Segment, 6> segment{};
  Segment ldtr, tr;
  DescriptorTable gdtr, idtr;

  u32 cr0 = kCr0Et, cr2 = 0, cr3 = 0, cr4 = 0;
  std::array<u32, 8> dr{0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400};

  u32 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  u64 tsc_offset = 0;  ///< added to the machine's clock (1 GHz); WRMSR 0x10 changes it

  X87State x87;
  std::array<Xmm, 8> xmm{};
  u32 mxcsr = 0x1F80;

  bool halted = false;            ///< HLT waits for an interrupt
  bool interrupt_shadow = false;  ///< the instruction after STI, MOV SS or POP SS
  u64 instructions = 0;           ///< retired; an iterated string instruction counts once

  /// EFLAGS as PUSHF would show it (without RF and VM).
  [[nodiscard]] u32 full_eflags() const {
    return (eflags & ~kArithmeticFlags) | kFlagReserved1 | flags.get();
  }
};

}  // namespace snowglobe::vm
