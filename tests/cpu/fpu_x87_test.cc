// tests/cpu/fpu_x87_test.cc - x87 instructions against the host's unit, and what the host can not
// show: saved pointers, faults, control registers.
#include "tests/cpu/fpu_cases.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

using test::BareMachine;
using test::FpuComparison;

constexpr unsigned kStates = 100;

class X87 : public ::testing::Test {
 protected:
  X87() { machine.cpu.state.cr0 |= kCr0Ne; }
  CpuState& state() { return machine.cpu.state; }
  /// Runs the next instruction; -1 or the vector that it raised.
  int step() {
    machine.cpu.clear_exception();
    machine.interpreter.step(false);
    return machine.cpu.has_exception() ? static_cast<int>(machine.cpu.exception().vector) : -1;
  }
  int execute(std::initializer_list<u8> code) {
    machine.write(BareMachine::kCode, code);
    state().eip = BareMachine::kCode;
    return step();
  }

  BareMachine machine;
};

void compare_all(FpuComparison::Masks masks) {
  const auto instructions = test::x87_instructions();
  ASSERT_GT(instructions.size(), 400u);
  FpuComparison comparison(20240517);
  for (const auto& instruction : instructions)
    EXPECT_EQ(comparison.compare(instruction, kStates, masks), "");
}

TEST_F(X87, ComputesWhatTheHostComputesWithAllExceptionsMasked) {
  compare_all(FpuComparison::Masks::kAllMasked);
}

TEST_F(X87, ComputesWhatTheHostComputesWithUnmaskedExceptions) {
  compare_all(FpuComparison::Masks::kRandom);
}

TEST_F(X87, RefusesInstructionsOfSse3) {
  EXPECT_EQ(execute({0xDB, 0x0E}), 6);  // fisttp dword [esi]
  EXPECT_EQ(execute({0xDD, 0x0E}), 6);
  EXPECT_EQ(execute({0xDF, 0x0E}), 6);
}

TEST_F(X87, StoresTheEnvironmentWithItsPointersInBothFormats) {
  state().gpr[kEsi] = BareMachine::kData;
  machine.put(BareMachine::kData, 1.5);
  ASSERT_EQ(execute({0xDD, 0x06}), -1);  // fld qword [esi]
  state().gpr[kEsi] = BareMachine::kData + 0x100;
  machine.write(BareMachine::kCode + 0x100, {0xD9, 0x36});  // fnstenv [esi]
  state().eip = BareMachine::kCode + 0x100;
  ASSERT_EQ(step(), -1);
  const u32 at = BareMachine::kData + 0x100;
  EXPECT_EQ(machine.read<u32>(at), 0xFFFF037Fu);
  EXPECT_EQ(machine.read<u32>(at + 4), 0xFFFF3800u);
  EXPECT_EQ(machine.read<u32>(at + 8), 0xFFFF3FFFu);
  EXPECT_EQ(machine.read<u32>(at + 12), BareMachine::kCode);
  EXPECT_EQ(machine.read<u32>(at + 16), 0x05060008u);  // opcode DD 06, CS
  EXPECT_EQ(machine.read<u32>(at + 20), BareMachine::kData);
  EXPECT_EQ(machine.read<u32>(at + 24), 0xFFFF0010u);

  ASSERT_EQ(execute({0x66, 0xD9, 0x36}), -1);
  EXPECT_EQ(machine.read<u64>(at), 0x0000'3FFF'3800'037Fu);
  EXPECT_EQ(machine.read<u32>(at + 8), 0x0000'0008u);
}

TEST_F(X87, RestoresWhatItSaved) {
  for (const u8 modrm : {u8{0xE8}, u8{0xEB}, u8{0xEE}})
    ASSERT_EQ(execute({0xD9, modrm}), -1);  // fld1, fldpi, fldz
  state().gpr[kEsi] = BareMachine::kData;
  const X87State before = state().x87;
  ASSERT_EQ(execute({0xDD, 0x36}), -1);  // fnsave [esi]
  EXPECT_EQ(state().x87.tag, 0xFFFF);
  EXPECT_EQ(state().x87.ip, 0u);
  ASSERT_EQ(execute({0xDD, 0x26}), -1);  // frstor [esi]
  EXPECT_EQ(state().x87, before);
}

TEST_F(X87, ReportsAPendingExceptionAtTheNextWaitingInstructionOnly) {
  state().x87.control = 0x037B;  // zero-divide is not masked
  ASSERT_EQ(execute({0xD9, 0xE8}), -1);
  ASSERT_EQ(execute({0xD9, 0xEE}), -1);
  const X87State before = state().x87;
  ASSERT_EQ(execute({0xDE, 0xF9}), -1);  // fdivp: 1 / 0
  EXPECT_EQ(state().x87.physical, before.physical);
  EXPECT_EQ(state().x87.status & 0x8084, 0x8084);
  EXPECT_EQ(execute({0xDF, 0xE0}), -1);  // fnstsw ax
  EXPECT_EQ(execute({0x9B}), 16);        // fwait
  EXPECT_EQ(execute({0xD9, 0xE8}), 16);  // fld1
  EXPECT_EQ(execute({0x0F, 0x77}), 16);  // emms
  EXPECT_EQ(execute({0xDB, 0xE2}), -1);  // fnclex
  EXPECT_EQ(execute({0x9B}), -1);
}

TEST_F(X87, LeavesTheStateAloneWhenItsOperandFaults) {
  ASSERT_EQ(execute({0xD9, 0xE8}), -1);
  // A limit ends the segment in the middle of the operand, which raises #GP.
  state().segment[kDs].limit = BareMachine::kData + 4;
  machine.cpu.segment_changed(kDs);
  state().gpr[kEsi] = BareMachine::kData;
  const X87State before = state().x87;
  const std::initializer_list<u8> instructions[] = {
      {0xDD, 0x06}, {0xDD, 0x1E}, {0xDF, 0x3E}, {0xDB, 0x3E}, {0xDC, 0x06},
      {0xDD, 0x36}, {0xDD, 0x26}, {0xD9, 0x36}, {0xDF, 0x26}, {0xDF, 0x36}};
  for (const auto& instruction : instructions) {
    EXPECT_EQ(execute(instruction), 13) << test::disassemble(instruction);
    EXPECT_EQ(state().x87, before) << test::disassemble(instruction);
    EXPECT_EQ(state().eip, BareMachine::kCode);
  }
}

TEST_F(X87, IsNotAvailableWithTaskSwitchedOrEmulation) {
  state().cr0 |= kCr0Ts;
  EXPECT_EQ(execute({0xD9, 0xE8}), 7);
  EXPECT_EQ(execute({0xDB, 0xE3}), 7);  // fninit
  EXPECT_EQ(execute({0x9B}), -1);       // fwait needs MP as well
  state().cr0 |= kCr0Mp;
  EXPECT_EQ(execute({0x9B}), 7);
  state().cr0 = (state().cr0 & ~kCr0Ts) | kCr0Em;
  EXPECT_EQ(execute({0xD9, 0xE8}), 7);
  EXPECT_EQ(execute({0x9B}), -1);
}

TEST_F(X87, LeavesTheHostsUnitAsTheAbiWantsIt) {
  state().x87.control = 0x0C7B;
  ASSERT_EQ(execute({0xD9, 0xEB}), -1);  // fldpi, by the general way
  state().x87.control = 0x0C7F;
  ASSERT_EQ(execute({0xDC, 0xC0}), -1);  // fadd, by the short one
  u16 control = 0;
  struct {
    u16 words[14];
  } environment;
  asm volatile("fnstcw %0" : "=m"(control));
  asm volatile("fnstenv %0\n\tfldcw %1" : "=m"(environment) : "m"(control));
  EXPECT_EQ(control, 0x037F);
  EXPECT_EQ(environment.words[4], 0xFFFF) << "the stack is not empty";
}

}  // namespace
}  // namespace snowglobe::vm
