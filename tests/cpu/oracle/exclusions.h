// tests/cpu/oracle/exclusions.h - what is not compared, each with its reason. Everything else is.
//
// Observed on AMD family 25 (Zen 4); where "the manual" is named it is the Intel SDM, Vol. 2.
#pragma once

#include "tests/cpu/oracle/case.h"
#include "vm/cpu/flags.h"

#include <Zydis/Zydis.h>

namespace snowglobe::oracle {

enum class Field : u8 {
  kFlags,      ///< `mask`: bits of EFLAGS
  kMemory,     ///< bytes [offset, offset + size) of the operand in memory
  kRegisters,  ///< general registers
  kX87,        ///< status, tag and registers of the x87 unit
  kFault,      ///< which fault it is, when both have one
  kEverything,
};

/// Whether an exclusion applies. Null: always.
using Condition = bool (*)(const Case& test, const OracleOutput& expected,
                           const OracleOutput& actual);

struct Exclusion {
  ZydisMnemonic mnemonic;
  Condition when;
  Field field;
  u32 mask;
  u16 offset;
  u16 size;
  const char* reason;
};

// --- conditions ----------------------------------------------------------------------------------

inline constexpr u32 kPageFaultTrap = 14, kAlignmentTrap = 17;

/// The host faulted for alignment (EFLAGS.AC).
inline bool is_alignment_trap(const Case&, const OracleOutput& expected, const OracleOutput&) {
  return expected.trap == kAlignmentTrap;
}
inline bool both_page_fault(const Case&, const OracleOutput& expected, const OracleOutput& actual) {
  return expected.trap == kPageFaultTrap && actual.trap == kPageFaultTrap;
}
inline bool both_trap(const Case&, const OracleOutput& expected, const OracleOutput& actual) {
  return expected.trap != ORACLE_NO_TRAP && actual.trap != ORACLE_NO_TRAP;
}
inline bool host_traps(const Case&, const OracleOutput& expected, const OracleOutput&) {
  return expected.trap != ORACLE_NO_TRAP;
}
/// A shift or rotation by anything but one; by the last byte, by CL, or by one (D0, D1).
bool count_is_not_one(const Case& test, const OracleOutput& expected, const OracleOutput& actual);
/// SHLD or SHRD of 16 bits by more than 16.
bool count_exceeds_width(const Case& test, const OracleOutput& expected,
                         const OracleOutput& actual);
bool has_repeat_prefix(const Case& test, const OracleOutput& expected, const OracleOutput& actual);
/// F0 0F 00, F0 0F 20 or F0 0F 22.
bool is_locked_system_instruction(const Case& test, const OracleOutput& expected,
                                  const OracleOutput& actual);
bool has_memory_operand(const Case& test, const OracleOutput& expected, const OracleOutput& actual);

// --- the list ------------------------------------------------------------------------------------

inline constexpr u32 kOf = vm::kFlagOf, kSf = vm::kFlagSf, kZf = vm::kFlagZf, kAf = vm::kFlagAf,
                     kPf = vm::kFlagPf, kCf = vm::kFlagCf;

inline constexpr const char* kUndefined = "the manual leaves these flags undefined";
inline constexpr const char* kUndefinedCount =
    "the manual defines OF for a count of one, and AF never";
inline constexpr const char* kBlock =
    "alignment checks of operands that are blocks depend on the maker and are not made";
inline constexpr const char* kOrder =
    "several of its accesses fail: which one is reported is up to the maker";

inline constexpr Exclusion kExclusions[] = {
    // Flags.
    {ZYDIS_MNEMONIC_MUL, nullptr, Field::kFlags, kSf | kZf | kAf | kPf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_IMUL, nullptr, Field::kFlags, kSf | kZf | kAf | kPf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_DIV, nullptr, Field::kFlags, vm::kArithmeticFlags, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_IDIV, nullptr, Field::kFlags, vm::kArithmeticFlags, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_BSF, nullptr, Field::kFlags, kCf | kOf | kSf | kAf | kPf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_BSR, nullptr, Field::kFlags, kCf | kOf | kSf | kAf | kPf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_AAA, nullptr, Field::kFlags, kOf | kSf | kZf | kPf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_AAS, nullptr, Field::kFlags, kOf | kSf | kZf | kPf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_AAD, nullptr, Field::kFlags, kOf | kAf | kCf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_AAM, nullptr, Field::kFlags, kOf | kAf | kCf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_DAA, nullptr, Field::kFlags, kOf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_DAS, nullptr, Field::kFlags, kOf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_SHL, nullptr, Field::kFlags, kAf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_SHR, nullptr, Field::kFlags, kAf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_SAR, nullptr, Field::kFlags, kAf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_SHLD, nullptr, Field::kFlags, kAf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_SHRD, nullptr, Field::kFlags, kAf, 0, 0, kUndefined},
    {ZYDIS_MNEMONIC_SHL, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_SHR, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_SAR, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_SHLD, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_SHRD, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_ROL, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_ROR, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_RCL, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},
    {ZYDIS_MNEMONIC_RCR, count_is_not_one, Field::kFlags, kOf, 0, 0, kUndefinedCount},

    // Results.
    {ZYDIS_MNEMONIC_SHLD, count_exceeds_width, Field::kEverything, 0, 0, 0,
     "the manual leaves the result of a count above the width undefined"},
    {ZYDIS_MNEMONIC_SHRD, count_exceeds_width, Field::kEverything, 0, 0, 0,
     "the manual leaves the result of a count above the width undefined"},
    {ZYDIS_MNEMONIC_LOOPE, has_repeat_prefix, Field::kEverything, 0, 0, 0,
     "reserved prefix; AMD lets F2 and F3 choose the condition"},
    {ZYDIS_MNEMONIC_LOOPNE, has_repeat_prefix, Field::kEverything, 0, 0, 0,
     "reserved prefix; AMD lets F2 and F3 choose the condition"},
    {ZYDIS_MNEMONIC_CVTPI2PS, has_memory_operand, Field::kX87, 0, 0, 0,
     "the manual switches to MMX state for a memory operand too, AMD does not"},
    {ZYDIS_MNEMONIC_FXSAVE, nullptr, Field::kMemory, 0, 6, 18,
     "last opcode and pointers: AMD stores them only with an exception pending"},
    {ZYDIS_MNEMONIC_FXSAVE, nullptr, Field::kMemory, 0, 28, 4, "MXCSR_MASK: AMD has one bit more"},
    {ZYDIS_MNEMONIC_FXSAVE, nullptr, Field::kMemory, 0, 288, 224, "reserved bytes of the image"},

    // Faults. What an instruction has done when it faults is undone by its restart.
    {ZYDIS_MNEMONIC_POPA, host_traps, Field::kRegisters, 0, 0, 0,
     "AMD writes the registers one by one; the restart writes them again"},
    {ZYDIS_MNEMONIC_POPAD, host_traps, Field::kRegisters, 0, 0, 0,
     "AMD writes the registers one by one; the restart writes them again"},
    {ZYDIS_MNEMONIC_PUSHA, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_PUSHAD, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_RET, both_trap, Field::kFault, 0, 0, 0,
     "a far return that fails twice: AMD reads the outer stack before it checks the selector"},
    {ZYDIS_MNEMONIC_IRET, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_IRETD, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_CMPSB, both_trap, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_CMPSW, both_trap, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_CMPSD, both_trap, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_FXSAVE, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_FXRSTOR, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_FNSAVE, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_FRSTOR, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_FNSTENV, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_FLDENV, both_page_fault, Field::kFault, 0, 0, 0, kOrder},
    {ZYDIS_MNEMONIC_MASKMOVQ, host_traps, Field::kEverything, 0, 0, 0,
     "faults for bytes that the mask leaves out are up to the maker; AMD has them"},
    {ZYDIS_MNEMONIC_MASKMOVDQU, host_traps, Field::kEverything, 0, 0, 0,
     "faults for bytes that the mask leaves out are up to the maker; AMD has them"},
    {ZYDIS_MNEMONIC_INVALID, is_locked_system_instruction, Field::kEverything, 0, 0, 0,
     "LOCK VERR and VERW execute on AMD, and LOCK MOV CR0 means CR8 (#GP in ring 3)"},
    {ZYDIS_MNEMONIC_POPA, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_POPAD, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_PUSHA, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_PUSHAD, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_FXSAVE, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_FXRSTOR, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_FNSAVE, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_FRSTOR, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_FNSTENV, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_FLDENV, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_MOVUPS, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_MOVUPD, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
    {ZYDIS_MNEMONIC_MOVDQU, is_alignment_trap, Field::kEverything, 0, 0, 0, kBlock},
};

}  // namespace snowglobe::oracle
