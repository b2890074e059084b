// tests/cpu/interpreter_test.cc - the block cache and the loop: what the instruction cases can not
// see.
#include "tests/support/bare_machine.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

using test::BareMachine;

TEST(Interpreter, RunsAProgramToItsHalt) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {
                                        0xB8, 1, 0, 0, 0,  // mov eax, 1
                                        0xB9, 9, 0, 0, 0,  // mov ecx, 9
                                        0x01, 0xC0,        // again: add eax, eax
                                        0xE2, 0xFC,        // loop again
                                        0xF4,              // hlt
                                    });
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.reg(kEax), 512u);
  EXPECT_EQ(machine.cpu.state.instructions, 2u + 2 * 9 + 1);
}

TEST(Interpreter, StopsAtItsBudgetInAnEndlessLoop) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {0xEB, 0xFE});  // jmp $
  EXPECT_EQ(machine.run(1000), StopReason::kBudget);
  EXPECT_EQ(machine.cpu.state.instructions, 1000u);
}

TEST(Interpreter, LeavesAnEndlessLoopForAttention) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {0xEB, 0xFE});
  machine.cpu.request_attention();
  EXPECT_EQ(machine.run(1000), StopReason::kAttention);
}

TEST(Interpreter, ExecutesCodeThatWasRewrittenAfterItRan) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {0xB8, 1, 0, 0, 0, 0xF4});  // mov eax, 1; hlt
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  machine.write(BareMachine::kCode + 1, {2});
  machine.cpu.state.eip = BareMachine::kCode;
  machine.cpu.state.halted = false;
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.reg(kEax), 2u);
}

TEST(Interpreter, ForgetsAllCodeBeforeItsTagsRunOut) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {0xB8, 1, 0, 0, 0, 0xF4});  // mov eax, 1; hlt
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  machine.cpu.restart_code_generations((1u << 31) - 1);
  machine.cpu.state.eip = BareMachine::kCode;
  machine.cpu.state.halted = false;
  const u64 decoded = machine.interpreter.statistics().blocks_decoded;
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.interpreter.statistics().blocks_decoded, decoded + 1);
  EXPECT_LT(machine.cpu.code_generation(), 100u);
}

TEST(Interpreter, SeesAWriteToTheNextInstructionOfItsOwnBlock) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {
                                        0xC6,
                                        0x05,
                                        0x08,
                                        0x00,
                                        0x01,
                                        0x00,
                                        7,  // mov byte [kCode+8], 7
                                        0xB8,
                                        1,
                                        0,
                                        0,
                                        0,  // mov eax, 1 -> 7
                                        0xF4,
                                    });
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.reg(kEax), 7u);
  EXPECT_EQ(machine.cpu.state.instructions, 3u);
}

TEST(Interpreter, InvalidatesAnInstructionWhoseSecondPageIsWritten) {
  BareMachine machine;
  const u32 start = BareMachine::kCode + kPageSize - 2;
  machine.write(start, {0xB8, 1, 0, 0, 0, 0xF4});  // mov eax, imm32 across the page border
  machine.cpu.state.eip = start;
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.reg(kEax), 1u);
  machine.write(start + 2, {1});  // a byte of the immediate in the second page
  machine.cpu.state.eip = start;
  machine.cpu.state.halted = false;
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.reg(kEax), 0x101u);
}

TEST(Interpreter, CountsOnlyInstructionsAheadOfAFault) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {
                                        0x40,  // inc eax
                                        0x40,  // inc eax
                                        0x31,
                                        0xC9,  // xor ecx, ecx
                                        0xF7,
                                        0xF1,  // div ecx: #DE
                                        0xF4,
                                    });
  for (int i = 0; i < 3; ++i)
    machine.interpreter.step(false);
  EXPECT_EQ(machine.cpu.state.instructions, 3u);
  machine.interpreter.step(false);
  ASSERT_TRUE(machine.cpu.has_exception());
  EXPECT_EQ(machine.cpu.exception().vector, Vector::kDivideError);
  EXPECT_EQ(machine.cpu.state.instructions, 3u);
  EXPECT_EQ(machine.cpu.state.eip, BareMachine::kCode + 4);
}

TEST(Interpreter, CutsALongStringOperationIntoSlices) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {0xF3, 0xAA, 0xF4});  // rep stosb; hlt
  machine.reg(kEdi) = 0x100000;
  machine.reg(kEcx) = 0x200000;
  machine.reg(kEax) = 0x5A;
  // The slices are not instructions of their own: the operation counts once, when it is done.
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.cpu.state.instructions, 2u);
  EXPECT_EQ(machine.reg(kEcx), 0u);
  EXPECT_EQ(machine.reg(kEdi), 0x300000u);
  EXPECT_EQ(machine.read<u8>(0x2FFFFF), 0x5A);
  EXPECT_EQ(machine.read<u8>(0x300000), 0);
}

TEST(Interpreter, ForwardCopyOverItselfRepeatsThePattern) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {0xF3, 0xA4, 0xF4});  // rep movsb; hlt
  machine.write(BareMachine::kData, {1, 2, 3});
  machine.reg(kEsi) = BareMachine::kData;
  machine.reg(kEdi) = BareMachine::kData + 3;
  machine.reg(kEcx) = 9;
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  for (u32 i = 0; i < 12; ++i) {
    EXPECT_EQ(machine.read<u8>(BareMachine::kData + i), 1 + i % 3) << i;
  }
}

TEST(Interpreter, TakesAnInterruptOnlyWithInterruptsEnabled) {
  BareMachine machine;
  machine.write(BareMachine::kCode, {0x90, 0x90, 0xF4});
  machine.cpu.set_interrupt_line(true);
  EXPECT_EQ(machine.run(), StopReason::kHalted);  // IF is clear: the line is ignored
  EXPECT_EQ(machine.cpu.state.eip, BareMachine::kCode + 3);
}

TEST(Decoder, EncodingsThatCpuidDoesNotGrantAreInvalid) {
  const Decoder decoder;
  const std::initializer_list<std::initializer_list<u8>> kNotGranted = {
      {0x66, 0x0F, 0x38, 0x00, 0xC1},  // pshufb, SSSE3
      {0xF2, 0x0F, 0xF0, 0x00},        // lddqu, SSE3
      {0xF3, 0x0F, 0xB8, 0xC1},        // popcnt
      {0x0F, 0xC7, 0xF0},              // rdrand
      {0xC5, 0xF0, 0x58, 0xC2},        // vaddps
      {0x0F, 0x38, 0xF0, 0x00},        // movbe
      {0x0F, 0x01, 0xD0},              // xgetbv
      {0xDB, 0x08},                    // fisttp, SSE3
  };
  for (const auto& bytes : kNotGranted) {
    Insn insn[2];
    const std::vector<u8> code(bytes);
    EXPECT_EQ(decoder.decode(code, 0, insn).outcome, Decoder::Outcome::kInvalid)
        << std::hex << int{code[0]} << ' ' << int{code[1]};
  }
}

// Found by the oracle: eight prefixes ahead of what is VEX elsewhere gave #GP for too many bytes.
TEST(Decoder, AVectorPrefixIsInvalidHoweverManyPrefixesStandAhead) {
  const Decoder decoder;
  std::vector<u8> code = {0x26, 0x26, 0x3E, 0x3E, 0x26, 0x3E, 0x26, 0x3E, 0xC4, 0xE1};
  Insn insn[2];
  EXPECT_EQ(decoder.decode(code, 0, insn).outcome, Decoder::Outcome::kInvalid);
  code.resize(15, 0x90);
  EXPECT_EQ(decoder.decode(code, 0, insn).outcome, Decoder::Outcome::kInvalid);
}

TEST(Decoder, TzcntAndLzcntEncodingsAreBitScans) {
  BareMachine machine;
  machine.write(BareMachine::kCode,
                {0xF3, 0x0F, 0xBD, 0xC1, 0xF4});  // bsr eax, ecx (lzcnt elsewhere)
  machine.reg(kEcx) = 0x10;
  EXPECT_EQ(machine.run(), StopReason::kHalted);
  EXPECT_EQ(machine.reg(kEax), 4u);
}

}  // namespace
}  // namespace snowglobe::vm
