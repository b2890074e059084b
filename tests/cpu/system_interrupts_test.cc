// tests/cpu/system_interrupts_test.cc - gates, exceptions up to the triple fault, IRET, SYSENTER.
#include "tests/cpu/system_machine.h"

namespace snowglobe::vm {
namespace {

using test::expect_exception;
using test::SystemMachine;

constexpr u16 kSlot = SystemMachine::kSlot;

class Interrupts : public ::testing::Test {
 protected:
  u32 stack(u32 index) { return machine.read<u32>(machine.reg(kEsp) + 4 * index); }
  void push(u32 value) {
    machine.reg(kEsp) -= 4;
    machine.put<u32>(machine.reg(kEsp), value);
  }
  bool external(u8 vector) {
    return machine.cpu.enter_handler(vector, Cpu::EventKind::kExternal, std::nullopt);
  }
  // What IRET finds on the stack, outer frame.
  void push_outer_frame(u32 eflags) {
    push(SystemMachine::kUserData);
    push(SystemMachine::kUserStackTop);
    push(eflags);
    push(SystemMachine::kUserCode);
    push(0x6000);
  }

  SystemMachine machine;
};

TEST_F(Interrupts, AnInterruptAtTheSameLevelPushesThreeWords) {
  machine.cpu.state.eflags |= kFlagIf | kFlagTf | kFlagNt;
  machine.cpu.state.flags.set(kFlagCf | kFlagZf);
  machine.cpu.state.halted = true;
  ASSERT_TRUE(external(0x30));
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(0x30));
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kStackTop - 12);
  EXPECT_EQ(stack(0), SystemMachine::kCode);
  EXPECT_EQ(stack(1), SystemMachine::kKernelCode);
  EXPECT_EQ(stack(2), kFlagIf | kFlagTf | kFlagNt | kFlagCf | kFlagZf | kFlagReserved1);
  EXPECT_EQ(machine.cpu.state.eflags & (kFlagIf | kFlagTf | kFlagNt), 0u);
  EXPECT_FALSE(machine.cpu.state.halted);
}

TEST_F(Interrupts, ATrapGateLeavesTheInterruptFlagAlone) {
  machine.set_gate(0x30, SystemMachine::kKernelCode, 0x70000, 0xF, 0);
  machine.cpu.state.eflags |= kFlagIf;
  ASSERT_TRUE(external(0x30));
  EXPECT_NE(machine.cpu.state.eflags & kFlagIf, 0u);
}

TEST_F(Interrupts, AnInterruptFromUserModeSwitchesTheStack) {
  machine.enter_user_mode();
  ASSERT_TRUE(external(0x30));
  EXPECT_EQ(machine.cpu.state.cpl, 0);
  EXPECT_EQ(machine.selector(kSs), SystemMachine::kKernelData);
  EXPECT_EQ(machine.selector(kDs), SystemMachine::kUserData);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kInnerStackTop - 20);
  EXPECT_EQ(stack(1), SystemMachine::kUserCode);
  EXPECT_EQ(stack(3), SystemMachine::kUserStackTop);
  EXPECT_EQ(stack(4), SystemMachine::kUserData);
}

TEST_F(Interrupts, FaultsPushTheirErrorCodeAndTheResumeFlag) {
  machine.enter_user_mode();
  machine.enable_paging();
  machine.set_pte(0x30000, 0);
  machine.write(SystemMachine::kCode, {0xA1, 0x44, 0, 3, 0});
  machine.interpreter.step();
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(14));
  EXPECT_EQ(machine.cpu.state.cr2, 0x30044u);
  EXPECT_EQ(stack(0), kPfUser);
  EXPECT_EQ(stack(1), SystemMachine::kCode);
  EXPECT_NE(stack(3) & kFlagRf, 0u);
}

TEST_F(Interrupts, SoftwareInterruptsCheckTheGatesPrivilegeAndReturnBehindThemselves) {
  machine.enter_user_mode();
  expect_exception(machine.execute({0xCD, 0x80}), Vector::kGeneralProtection, 0x80 * 8 + 2);
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode);
  EXPECT_EQ(machine.cpu.state.cpl, 3);
  machine.set_gate(0x80, SystemMachine::kKernelCode, 0x71000, 0xF, 3);
  EXPECT_FALSE(machine.execute({0xCD, 0x80}));
  EXPECT_EQ(machine.cpu.state.eip, 0x71000u);
  EXPECT_EQ(stack(0), SystemMachine::kCode + 2);
  EXPECT_EQ(stack(2) & kFlagRf, 0u);
}

TEST_F(Interrupts, BreakpointAndOverflowAreSoftwareInterruptsButInt1IsNot) {
  machine.enter_user_mode();
  expect_exception(machine.execute({0xCC}), Vector::kGeneralProtection, 3 * 8 + 2);
  machine.cpu.state.flags.set(kFlagOf);
  expect_exception(machine.execute({0xCE}), Vector::kGeneralProtection, 4 * 8 + 2);
  machine.cpu.state.flags.set(0);
  EXPECT_FALSE(machine.execute({0xCE}));
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode + 1);
  EXPECT_FALSE(machine.execute({0xF1}));
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(1));
  EXPECT_EQ(stack(0), SystemMachine::kCode + 1);
}

TEST_F(Interrupts, BadGatesNameTheirVector) {
  machine.cpu.state.idtr.limit = 0x30 * 8 + 6;
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kGeneralProtection, 0x30 * 8 + 3);
  machine.cpu.state.idtr.limit = 0x7FF;
  machine.set_gate(0x30, SystemMachine::kKernelCode, 0, 0xE, 0, false);
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kSegmentNotPresent, 0x30 * 8 + 3);
  machine.set_gate(0x30, SystemMachine::kKernelCode, 0, 0xC, 0);
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kGeneralProtection, 0x30 * 8 + 3);
}

TEST_F(Interrupts, BadTargetsNameTheirSelectorWithTheExternalBit) {
  machine.set_gate(0x30, 0, 0x70000, 0xE, 0);
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kGeneralProtection, 1);
  machine.set_gate(0x30, SystemMachine::kKernelData, 0x70000, 0xE, 0);
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kGeneralProtection,
                   SystemMachine::kKernelData + 1);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, SystemMachine::kCode32 & ~kSegPresent);
  machine.set_gate(0x30, kSlot, 0x70000, 0xE, 0);
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kSegmentNotPresent, kSlot + 1);
  machine.set_gate(0x30, SystemMachine::kUserCode, 0x70000, 0xE, 0);
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kGeneralProtection,
                   (SystemMachine::kUserCode & 0xFFFC) + 1);
}

TEST_F(Interrupts, AStackThatCanNotTakeTheFrameChangesNothing) {
  machine.enter_user_mode();
  machine.enable_paging();
  machine.set_pte(SystemMachine::kInnerStackTop - 4, 0);
  EXPECT_FALSE(external(0x30));
  expect_exception(machine.cpu.exception(), Vector::kPageFault, kPfWrite);
  EXPECT_EQ(machine.cpu.exception().address, SystemMachine::kInnerStackTop - 4);
  EXPECT_EQ(machine.cpu.state.cpl, 3);
  EXPECT_EQ(machine.selector(kSs), SystemMachine::kUserData);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kUserStackTop);
}

TEST_F(Interrupts, ContributoryAfterContributoryIsADoubleFault) {
  machine.set_gate(13, SystemMachine::kKernelCode, 0, 0xE, 0, false);
  machine.cpu.raise_system(Vector::kGeneralProtection, 0);
  EXPECT_TRUE(machine.cpu.deliver_exception());
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(8));
  EXPECT_EQ(stack(0), 0u);
}

TEST_F(Interrupts, ABenignExceptionThatCanNotBeDeliveredGivesTheSecondOne) {
  machine.set_gate(6, SystemMachine::kKernelCode, 0, 0xE, 0, false);
  machine.cpu.raise_system(Vector::kInvalidOpcode);
  EXPECT_TRUE(machine.cpu.deliver_exception());
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(11));
  EXPECT_EQ(stack(0), 6u * 8 + 3);
}

TEST_F(Interrupts, APageFaultDuringAContributoryOneIsHandledByItself) {
  machine.enable_paging();
  machine.set_gate(13, kSlot, 0, 0xE, 0);
  machine.cpu.state.gdtr.base = 0x7F0000 - kSlot + 8;  // the slot is on a page that is not there
  machine.cpu.raise_system(Vector::kGeneralProtection, 0);
  // The page fault's own handler needs the GDT, too, and finds no page: #DF, and that not either.
  EXPECT_FALSE(machine.cpu.deliver_exception());
  EXPECT_EQ(machine.cpu.state.cr2 >> 16, 0x7Fu);
}

TEST_F(Interrupts, ThreeFaultsInARowEndTheMachine) {
  machine.cpu.state.idtr.limit = 0;
  machine.write(SystemMachine::kCode, {0x0F, 0x0B});
  EXPECT_EQ(machine.run(), StopReason::kTripleFault);
}

// --- IRET

TEST_F(Interrupts, IretToUserModeRestoresEverything) {
  push_outer_frame(kFlagReserved1 | kFlagIf | kFlagCf | kFlagIopl | kFlagAc);
  EXPECT_FALSE(machine.execute({0xCF}));
  EXPECT_EQ(machine.cpu.state.cpl, 3);
  EXPECT_EQ(machine.cpu.state.eip, 0x6000u);
  EXPECT_EQ(machine.selector(kCs), SystemMachine::kUserCode);
  EXPECT_EQ(machine.selector(kSs), SystemMachine::kUserData);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kUserStackTop);
  EXPECT_EQ(machine.cpu.state.full_eflags(),
            kFlagReserved1 | kFlagIf | kFlagCf | kFlagIopl | kFlagAc);
  EXPECT_EQ(machine.selector(kDs), 0) << "ring-0 data is taken away";
}

TEST_F(Interrupts, IretInUserModeCanNotRaiseItsPrivileges) {
  machine.enter_user_mode();
  machine.cpu.state.eflags |= kFlagIf;
  push(kFlagReserved1 | kFlagIopl | kFlagDf);
  push(SystemMachine::kUserCode);
  push(0x6000);
  EXPECT_FALSE(machine.execute({0xCF}));
  EXPECT_EQ(machine.cpu.state.full_eflags(), kFlagReserved1 | kFlagIf | kFlagDf);
  push(kFlagReserved1);
  push(SystemMachine::kKernelCode);
  push(0x6000);
  expect_exception(machine.execute({0xCF}), Vector::kGeneralProtection, SystemMachine::kKernelCode);
}

TEST_F(Interrupts, IretChecksTheStackSegmentItReturnsTo) {
  push_outer_frame(kFlagReserved1);
  machine.put<u32>(machine.reg(kEsp) + 16, SystemMachine::kKernelData);
  const u32 esp = machine.reg(kEsp);
  expect_exception(machine.execute({0xCF}), Vector::kGeneralProtection, SystemMachine::kKernelData);
  machine.put<u32>(machine.reg(kEsp) + 16, 0);
  expect_exception(machine.execute({0xCF}), Vector::kGeneralProtection, 0);
  EXPECT_EQ(machine.reg(kEsp), esp);
  EXPECT_EQ(machine.cpu.state.cpl, 0);
}

TEST_F(Interrupts, IretDoesNotEnterVirtual8086Mode) {
  push_outer_frame(kFlagReserved1 | kFlagVm);
  expect_exception(machine.execute({0xCF}), Vector::kGeneralProtection, 0);
}

TEST_F(Interrupts, IretThatFaultsOnTheStackChangesNothing) {
  machine.enable_paging();
  push_outer_frame(kFlagReserved1);
  machine.reg(kEsp) = 0x3FFF4;  // EIP, CS, EFLAGS here, ESP and SS on the next page
  machine.put<u32>(0x3FFF4, 0x6000);
  machine.put<u32>(0x3FFF8, SystemMachine::kUserCode);
  machine.put<u32>(0x3FFFC, kFlagReserved1);
  machine.set_pte(0x40000, 0);
  expect_exception(machine.execute({0xCF}), Vector::kPageFault, 0);
  EXPECT_EQ(machine.reg(kEsp), 0x3FFF4u);
  EXPECT_EQ(machine.selector(kCs), SystemMachine::kKernelCode);
}

TEST_F(Interrupts, ASingleStepTrapComesBehindTheInstruction) {
  push(kFlagReserved1 | kFlagTf);
  EXPECT_FALSE(machine.execute({0x9D, 0x90, 0x90}));  // popfd; nop; nop
  EXPECT_TRUE(machine.cpu.slow_mode());
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode + 1);
  machine.interpreter.step();
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(1));
  EXPECT_EQ(stack(0), SystemMachine::kCode + 2);
  EXPECT_NE(machine.cpu.state.dr[6] & 1u << 14, 0u);
  EXPECT_FALSE(machine.cpu.slow_mode());
}

// Found by QEMU's test-i386 in the guest: the trap came behind the last element only.
TEST_F(Interrupts, ARepeatedStringInstructionIsSteppedElementByElement) {
  push(kFlagReserved1 | kFlagTf);
  machine.reg(kEcx) = 3;
  machine.reg(kEdi) = 0x51000;
  EXPECT_FALSE(machine.execute({0x9D, 0xF3, 0xAA, 0x90}));  // popfd; rep stosb; nop
  for (const u32 left : {2u, 1u, 0u}) {
    machine.interpreter.step();
    EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(1));
    EXPECT_EQ(machine.reg(kEcx), left);
    EXPECT_EQ(stack(0), SystemMachine::kCode + (left > 0 ? 1 : 3));
    machine.cpu.state.eip = stack(0);  // as IRET would
    machine.cpu.state.eflags |= kFlagTf;
    machine.cpu.mode_changed();
  }
}

TEST_F(Interrupts, LoadingTheStackSegmentHoldsTheSingleStepTrapBack) {
  push(kFlagReserved1 | kFlagTf);
  machine.reg(kEcx) = SystemMachine::kKernelData;
  EXPECT_FALSE(machine.execute({0x9D, 0x8E, 0xD1, 0x90, 0x90}));  // popfd; mov ss, ecx; nop; nop
  machine.interpreter.step();
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode + 3);
  machine.interpreter.step();
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(1));
  EXPECT_EQ(stack(0), SystemMachine::kCode + 4);
}

// Found by the comparison with Bochs: the trap of INT n itself came in its handler.
TEST_F(Interrupts, ASoftwareInterruptCancelsItsSingleStepTrap) {
  machine.cpu.state.eflags |= kFlagTf;
  machine.cpu.mode_changed();
  EXPECT_FALSE(machine.execute({0xCD, 0x30}));
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::handler(0x30));
  EXPECT_EQ(stack(2), kFlagTf | kFlagReserved1);
}

// --- SYSENTER, SYSEXIT

TEST_F(Interrupts, SysenterAndSysexitSwitchLevels) {
  machine.enter_user_mode();
  expect_exception(machine.execute({0x0F, 0x34}), Vector::kGeneralProtection, 0);
  machine.cpu.state.sysenter_cs = SystemMachine::kKernelCode;
  machine.cpu.state.sysenter_esp = 0x45000;
  machine.cpu.state.sysenter_eip = 0x72000;
  machine.cpu.state.eflags |= kFlagIf;
  EXPECT_FALSE(machine.execute({0x0F, 0x34}));
  EXPECT_EQ(machine.cpu.state.cpl, 0);
  EXPECT_EQ(machine.cpu.state.eip, 0x72000u);
  EXPECT_EQ(machine.reg(kEsp), 0x45000u);
  EXPECT_EQ(machine.selector(kCs), SystemMachine::kKernelCode);
  EXPECT_EQ(machine.selector(kSs), SystemMachine::kKernelData);
  EXPECT_EQ(machine.cpu.state.eflags & kFlagIf, 0u);
  machine.reg(kEcx) = 0x51000;
  machine.reg(kEdx) = 0x61000;
  EXPECT_FALSE(machine.execute({0x0F, 0x35}));
  EXPECT_EQ(machine.cpu.state.cpl, 3);
  EXPECT_EQ(machine.cpu.state.eip, 0x61000u);
  EXPECT_EQ(machine.reg(kEsp), 0x51000u);
  EXPECT_EQ(machine.selector(kCs), SystemMachine::kUserCode);
  EXPECT_EQ(machine.selector(kSs), SystemMachine::kUserData);
  expect_exception(machine.execute({0x0F, 0x35}), Vector::kGeneralProtection, 0);
}

}  // namespace
}  // namespace snowglobe::vm
