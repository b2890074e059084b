// tests/cpu/fpu_simd_test.cc - MMX, SSE and SSE2 instructions against the host's unit, and what the
// host can not show: faults, control registers, FXSAVE.
#include "tests/cpu/fpu_cases.h"

#include <gtest/gtest.h>
#include <xmmintrin.h>

namespace snowglobe::vm {
namespace {

using test::BareMachine;
using test::FpuComparison;

constexpr unsigned kStates = 100;

class Simd : public ::testing::Test {
 protected:
  Simd() {
    state().cr0 |= kCr0Ne;
    state().cr4 |= kCr4Osfxsr | kCr4Osxmmexcpt;
    state().gpr[kEsi] = state().gpr[kEdi] = BareMachine::kData;
  }
  CpuState& state() { return machine.cpu.state; }
  /// Executes one instruction; -1 or the vector that it raised.
  int execute(std::initializer_list<u8> code) {
    machine.write(BareMachine::kCode, code);
    state().eip = BareMachine::kCode;
    machine.cpu.clear_exception();
    machine.interpreter.step(false);
    return machine.cpu.has_exception() ? static_cast<int>(machine.cpu.exception().vector) : -1;
  }

  BareMachine machine;
};

void compare_all(FpuComparison::Masks masks) {
  const auto instructions = test::simd_instructions();
  ASSERT_GT(instructions.size(), 2000u);
  FpuComparison comparison(987654321);
  for (const auto& instruction : instructions)
    EXPECT_EQ(comparison.compare(instruction, kStates, masks), "");
}

TEST_F(Simd, ComputesWhatTheHostComputesWithAllExceptionsMasked) {
  compare_all(FpuComparison::Masks::kAllMasked);
}

TEST_F(Simd, ComputesWhatTheHostComputesWithUnmaskedExceptions) {
  compare_all(FpuComparison::Masks::kRandom);
}

TEST_F(Simd, RefusesWhatCameWithSse3AndLater) {
  const std::initializer_list<u8> later[] = {
      {0xF2, 0x0F, 0xF0, 0x06},           // lddqu
      {0xF2, 0x0F, 0x12, 0xC1},           // movddup
      {0xF2, 0x0F, 0x7C, 0xC1},           // haddps
      {0x0F, 0x38, 0x00, 0xC1},           // pshufb
      {0x66, 0x0F, 0x38, 0x17, 0xC1},     // ptest
      {0x66, 0x0F, 0x3A, 0x0F, 0xC1, 1},  // palignr
      {0xF3, 0x0F, 0x2B, 0x06},           // movntss
      {0x0F, 0xAE, 0x3E},                 // clflush
      {0xC5, 0xF8, 0x58, 0xC1},           // vaddps
  };
  for (const auto& instruction : later)
    EXPECT_EQ(execute(instruction), 6) << test::disassemble(instruction);
}

TEST_F(Simd, WantsAlignedOperandsWhereTheArchitectureDoes) {
  state().gpr[kEsi] = BareMachine::kData + 8;
  EXPECT_EQ(execute({0x0F, 0x28, 0x06}), 13);  // movaps
  EXPECT_EQ(execute({0x0F, 0x29, 0x06}), 13);
  EXPECT_EQ(execute({0x66, 0x0F, 0xFE, 0x06}), 13);  // paddd
  EXPECT_EQ(execute({0x66, 0x0F, 0x58, 0x06}), 13);  // addpd
  EXPECT_EQ(execute({0x0F, 0xAE, 0x06}), 13);        // fxsave
  EXPECT_EQ(execute({0x0F, 0x10, 0x06}), -1);        // movups
  EXPECT_EQ(execute({0xF3, 0x0F, 0x6F, 0x06}), -1);  // movdqu
  EXPECT_EQ(execute({0xF2, 0x0F, 0x58, 0x06}), -1);  // addsd
  EXPECT_EQ(execute({0x0F, 0xFE, 0x06}), -1);        // paddd mm
}

TEST_F(Simd, MovesSixteenBytesAcrossAPageBorder) {
  const u32 border = BareMachine::kData + kPageSize;
  state().gpr[kEsi] = border - 5;
  for (u8 i = 0; i < 16; ++i)
    state().xmm[3].bytes[i] = static_cast<u8>(i + 1);
  ASSERT_EQ(execute({0x0F, 0x11, 0x1E}), -1);  // movups [esi], xmm3
  ASSERT_EQ(execute({0x0F, 0x10, 0x26}), -1);  // movups xmm4, [esi]
  EXPECT_EQ(state().xmm[4], state().xmm[3]);
  EXPECT_EQ(machine.read<u8>(border), 6);
}

TEST_F(Simd, RefusesReservedBitsOfMxcsr) {
  machine.put(BareMachine::kData, u32{0x0001'1F80});
  EXPECT_EQ(execute({0x0F, 0xAE, 0x16}), 13);  // ldmxcsr
  EXPECT_EQ(state().mxcsr, 0x1F80u);
  machine.put(BareMachine::kData, u32{0xFFFF});
  EXPECT_EQ(execute({0x0F, 0xAE, 0x16}), -1);
  EXPECT_EQ(state().mxcsr, 0xFFFFu);
  machine.put(BareMachine::kData + 24, u32{0x8000'1F80});
  const X87State before = state().x87;
  EXPECT_EQ(execute({0x0F, 0xAE, 0x0E}), 13);  // fxrstor
  EXPECT_EQ(state().x87, before);
}

TEST_F(Simd, SavesAndRestoresTheExtendedStateAndNoByteMore) {
  ASSERT_EQ(execute({0xD9, 0xE8}), -1);  // fld1
  state().xmm[7].bytes[15] = 0x77;
  for (u32 i = 0; i < 512; ++i)
    machine.put(BareMachine::kData + i, u8{0xA5});
  ASSERT_EQ(execute({0x0F, 0xAE, 0x06}), -1);  // fxsave [esi]
  const CpuState saved = state();
  EXPECT_EQ(machine.read<u16>(BareMachine::kData), 0x037F);
  EXPECT_EQ(machine.read<u8>(BareMachine::kData + 4), 0x80);
  EXPECT_EQ(machine.read<u32>(BareMachine::kData + 28), 0xFFFFu);  // MXCSR_MASK
  EXPECT_EQ(machine.read<u16>(BareMachine::kData + 32 + 8), 0x3FFF);
  EXPECT_EQ(machine.read<u8>(BareMachine::kData + 287), 0x77);
  EXPECT_EQ(machine.read<u8>(BareMachine::kData + 288), 0xA5);
  ASSERT_EQ(execute({0xDB, 0xE3}), -1);  // fninit
  state().xmm = {};
  state().mxcsr = 0;
  ASSERT_EQ(execute({0x0F, 0xAE, 0x0E}), -1);  // fxrstor [esi]
  EXPECT_EQ(state().x87, saved.x87);
  EXPECT_EQ(state().xmm, saved.xmm);
  EXPECT_EQ(state().mxcsr, saved.mxcsr);
}

TEST_F(Simd, FollowsTheBitsOfTheControlRegisters) {
  state().cr0 |= kCr0Ts;
  EXPECT_EQ(execute({0x0F, 0x58, 0xC1}), 7);  // addps
  EXPECT_EQ(execute({0x0F, 0xFE, 0xC1}), 7);  // paddd mm
  EXPECT_EQ(execute({0x0F, 0xAE, 0x06}), 7);  // fxsave
  state().cr0 |= kCr0Em;
  EXPECT_EQ(execute({0x0F, 0x58, 0xC1}), 6);
  EXPECT_EQ(execute({0x0F, 0xFE, 0xC1}), 6);
  EXPECT_EQ(execute({0x0F, 0x77}), 6);
  state().cr0 &= ~(kCr0Em | kCr0Ts);
  state().cr4 &= ~kCr4Osfxsr;
  EXPECT_EQ(execute({0x0F, 0x58, 0xC1}), 6);
  EXPECT_EQ(execute({0x0F, 0xFE, 0xC1}), -1);
}

TEST_F(Simd, RaisesInvalidOpcodeWhenTheSystemDoesNotKnowSimdErrors) {
  state().mxcsr = 0x1F80 & ~(1u << 9);  // zero-divide is not masked
  state().xmm[0] = state().xmm[1] = {};
  state().xmm[0].bytes[3] = 0x3F;
  state().xmm[0].bytes[2] = 0x80;
  EXPECT_EQ(execute({0xF3, 0x0F, 0x5E, 0xC1}), 19);  // divss
  EXPECT_EQ(state().xmm[0].bytes[3], 0x3F);
  EXPECT_EQ(state().mxcsr & 0x3F, 4u);
  state().cr4 &= ~kCr4Osxmmexcpt;
  EXPECT_EQ(execute({0xF3, 0x0F, 0x5E, 0xC1}), 6);
}

TEST_F(Simd, StoresMaskedBytesOnly) {
  machine.put(BareMachine::kData, u64{0x8877665544332211});
  state().xmm[1].bytes = {0x80, 0, 0xFF, 0x7F};
  state().xmm[0].bytes = {0xA0, 0xA1, 0xA2, 0xA3};
  ASSERT_EQ(execute({0x66, 0x0F, 0xF7, 0xC1}), -1);  // maskmovdqu xmm0, xmm1
  EXPECT_EQ(machine.read<u64>(BareMachine::kData), 0x88776655'44A222A0u);
  // A mask of zeros reaches no memory.
  state().xmm[1] = {};
  state().segment[kDs].limit = 0;
  machine.cpu.segment_changed(kDs);
  EXPECT_EQ(execute({0x66, 0x0F, 0xF7, 0xC1}), -1);
}

TEST_F(Simd, PrefetchesFromAnywhereWithoutAFault) {
  state().segment[kDs].limit = 0;
  machine.cpu.segment_changed(kDs);
  for (const u8 modrm : {u8{0x06}, u8{0x0E}, u8{0x16}, u8{0x1E}})
    EXPECT_EQ(execute({0x0F, 0x18, modrm}), -1);
}

TEST_F(Simd, LeavesTheHostsModesAsTheAbiWantsThem) {
  state().mxcsr = 0xFFC0;  // all masked, rounds towards zero, flushes
  ASSERT_EQ(execute({0xF2, 0x0F, 0x58, 0xC1}), -1);
  EXPECT_EQ(_mm_getcsr() & ~0x3Fu, 0x1F80u);
  ASSERT_EQ(execute({0xF2, 0x0F, 0x2D, 0xC1}), -1);
  EXPECT_EQ(_mm_getcsr() & ~0x3Fu, 0x1F80u);
}

}  // namespace
}  // namespace snowglobe::vm
