// tests/cpu/system_segments_test.cc - segment registers, limits, far transfers, call gates.
#include "tests/cpu/system_machine.h"

namespace snowglobe::vm {
namespace {

using test::expect_exception;
using test::SystemMachine;

constexpr u16 kSlot = SystemMachine::kSlot;
constexpr u16 kData = SystemMachine::kData32;
constexpr u16 kCode = SystemMachine::kCode32;
constexpr u16 kUser = SystemMachine::kUserBits;
constexpr u16 kConforming = kSegExpandDown;

class Segments : public ::testing::Test {
 protected:
  std::optional<Exception> load_ds(u16 selector) {
    machine.reg(kEax) = selector;
    return machine.execute({0x8E, 0xD8});  // mov ds, eax
  }
  std::optional<Exception> load_ss(u16 selector) {
    machine.reg(kEax) = selector;
    return machine.execute({0x8E, 0xD0});  // mov ss, eax
  }
  // A far transfer by the pointer at kData: jmp, call.
  std::optional<Exception> jump(u16 selector, u32 offset) {
    return transfer(0x2D, selector, offset);
  }
  std::optional<Exception> call(u16 selector, u32 offset) {
    return transfer(0x1D, selector, offset);
  }
  std::optional<Exception> transfer(u8 modrm, u16 selector, u32 offset) {
    machine.put<u32>(SystemMachine::kData, offset);
    machine.put<u16>(SystemMachine::kData + 4, selector);
    return machine.execute({0xFF, modrm, 0x00, 0x00, 0x02, 0x00});
  }
  std::optional<Exception> far_return() { return machine.execute({0xCB}); }
  void push(u32 value) {
    machine.reg(kEsp) -= 4;
    machine.put<u32>(machine.reg(kEsp), value);
  }

  SystemMachine machine;
};

TEST_F(Segments, LoadingADataSegmentTakesTheDescriptorAndMarksItAccessed) {
  machine.set_descriptor(kSlot, 0x12345678, 0x54321, kData);
  EXPECT_FALSE(load_ds(kSlot));
  const Segment& ds = machine.cpu.state.segment[kDs];
  EXPECT_EQ(ds.selector, kSlot);
  EXPECT_EQ(ds.base, 0x12345678u);
  EXPECT_EQ(ds.limit, 0x54321FFFu);
  EXPECT_EQ(ds.attributes, kData | kSegAccessed);
  EXPECT_EQ(machine.attributes(kSlot), kData | kSegAccessed);
}

TEST_F(Segments, ALimitInBytesIsTakenAsItIs) {
  machine.set_descriptor(kSlot, 0, 0xABCDE, kData & ~kSegGranularity);
  EXPECT_FALSE(load_ds(kSlot));
  EXPECT_EQ(machine.cpu.state.segment[kDs].limit, 0xABCDEu);
}

TEST_F(Segments, NullSelectorsLoadButCanNotBeUsed) {
  EXPECT_FALSE(load_ds(3));
  EXPECT_EQ(machine.selector(kDs), 3);
  expect_exception(machine.execute({0xA1, 0, 0, 2, 0}), Vector::kGeneralProtection, 0);
}

TEST_F(Segments, SelectorsBeyondTheTableFault) {
  const u16 beyond = SystemMachine::kGdtLimit + 1;
  expect_exception(load_ds(beyond + 2), Vector::kGeneralProtection, beyond);
  machine.cpu.state.gdtr.limit = kSlot + 6;
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData);
  expect_exception(load_ds(kSlot), Vector::kGeneralProtection, kSlot);
  EXPECT_EQ(machine.selector(kDs), SystemMachine::kKernelData);
}

TEST_F(Segments, TheLocalTableIsUsedOnceItIsLoaded) {
  machine.set_descriptor(4 | 8, 0x1000, 0xFFFFF, kData);
  expect_exception(load_ds(12), Vector::kGeneralProtection, 12);
  machine.reg(kEax) = SystemMachine::kLdtSelector;
  EXPECT_FALSE(machine.execute({0x0F, 0x00, 0xD0}));  // lldt ax
  EXPECT_FALSE(load_ds(12));
  EXPECT_EQ(machine.cpu.state.segment[kDs].base, 0x1000u);
  expect_exception(load_ds(0x44), Vector::kGeneralProtection, 0x44);
}

TEST_F(Segments, DataSegmentsCheckTypePrivilegeAndPresence) {
  machine.set_descriptor(kSlot, 0, 0xFFFFF, (kCode & ~kSegWritable));  // execute-only
  expect_exception(load_ds(kSlot), Vector::kGeneralProtection, kSlot);
  expect_exception(load_ds(SystemMachine::kTssSelector), Vector::kGeneralProtection,
                   SystemMachine::kTssSelector);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData);
  expect_exception(load_ds(kSlot | 1), Vector::kGeneralProtection, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData & ~kSegPresent);
  expect_exception(load_ds(kSlot), Vector::kSegmentNotPresent, kSlot);
  EXPECT_EQ(machine.attributes(kSlot), kData & ~kSegPresent) << "not marked accessed";
  machine.enter_user_mode();
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData);
  expect_exception(load_ds(kSlot), Vector::kGeneralProtection, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kCode | kConforming);
  EXPECT_FALSE(load_ds(kSlot)) << "readable conforming code is open to all levels";
}

TEST_F(Segments, TheStackSegmentHasStricterRules) {
  expect_exception(load_ss(0), Vector::kGeneralProtection, 0);
  expect_exception(load_ss(SystemMachine::kKernelData | 1), Vector::kGeneralProtection,
                   SystemMachine::kKernelData);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData & ~kSegWritable);
  expect_exception(load_ss(kSlot), Vector::kGeneralProtection, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData | kUser);
  expect_exception(load_ss(kSlot), Vector::kGeneralProtection, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData & ~kSegPresent);
  expect_exception(load_ss(kSlot), Vector::kStackFault, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData);
  EXPECT_FALSE(load_ss(kSlot));
  EXPECT_TRUE(machine.cpu.state.interrupt_shadow);
}

TEST_F(Segments, CodeSegmentRegisterCanNotBeLoadedByMov) {
  expect_exception(machine.execute({0x8E, 0xC8}), Vector::kInvalidOpcode);
}

TEST_F(Segments, LimitsAreCheckedToTheLastByte) {
  machine.set_descriptor(kSlot, 0x20000, 0xFFF, kData & ~kSegGranularity);
  EXPECT_FALSE(load_ds(kSlot));
  EXPECT_FALSE(machine.execute({0xA1, 0xFC, 0x0F, 0, 0}));  // mov eax, [0xFFC]
  expect_exception(machine.execute({0xA1, 0xFD, 0x0F, 0, 0}), Vector::kGeneralProtection, 0);
  EXPECT_FALSE(machine.execute({0xA0, 0xFF, 0x0F, 0, 0}));  // mov al, [0xFFF]
  expect_exception(machine.execute({0xA1, 0xFE, 0xFF, 0xFF, 0xFF}), Vector::kGeneralProtection, 0);
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode);
}

TEST_F(Segments, ExpandDownSegmentsAreValidAboveTheirLimit) {
  machine.set_descriptor(kSlot, 0, 0x1F, kData | kSegExpandDown);  // above 0x1FFFF
  EXPECT_FALSE(load_ds(kSlot));
  EXPECT_FALSE(machine.execute({0xA1, 0, 0, 2, 0}));
  expect_exception(machine.execute({0xA1, 0xFF, 0xFF, 1, 0}), Vector::kGeneralProtection, 0);
  machine.set_descriptor(kSlot, 0x20000, 0xF,
                         (kData | kSegExpandDown) & ~(kSegGranularity | kSegBig));
  EXPECT_FALSE(load_ds(kSlot));
  EXPECT_FALSE(machine.execute({0xA1, 0x10, 0, 0, 0}));
  EXPECT_FALSE(machine.execute({0xA1, 0xFC, 0xFF, 0, 0}));
  expect_exception(machine.execute({0xA1, 0xFD, 0xFF, 0, 0}), Vector::kGeneralProtection, 0);
}

TEST_F(Segments, StackLimitsRaiseStackFaults) {
  machine.set_descriptor(kSlot, 0, 0xFFF, kData & ~kSegGranularity);
  EXPECT_FALSE(load_ss(kSlot));
  machine.reg(kEsp) = 0x1004;
  expect_exception(machine.execute({0x50}), Vector::kStackFault, 0);  // push eax
  EXPECT_EQ(machine.reg(kEsp), 0x1004u);
  expect_exception(machine.execute({0x8B, 0x44, 0x24, 0xFD}), Vector::kStackFault, 0);
}

TEST_F(Segments, ReadOnlyDataAndCodeRefuseWrites) {
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData & ~kSegWritable);
  EXPECT_FALSE(load_ds(kSlot));
  EXPECT_FALSE(machine.execute({0xA1, 0, 0, 2, 0}));
  expect_exception(machine.execute({0xA3, 0, 0, 2, 0}), Vector::kGeneralProtection, 0);
  EXPECT_FALSE(machine.execute({0x2E, 0xA1, 0, 0, 2, 0}));  // mov eax, cs:[...]
  expect_exception(machine.execute({0x2E, 0xA3, 0, 0, 2, 0}), Vector::kGeneralProtection, 0);
}

TEST_F(Segments, PopToASegmentMovesTheStackPointerOnlyOnSuccess) {
  push(SystemMachine::kGdtLimit + 1);
  const u32 esp = machine.reg(kEsp);
  expect_exception(machine.execute({0x1F}), Vector::kGeneralProtection,
                   SystemMachine::kGdtLimit + 1);
  EXPECT_EQ(machine.reg(kEsp), esp);
  machine.put<u32>(esp, 0xFFFF0000 | SystemMachine::kKernelData);
  EXPECT_FALSE(machine.execute({0x1F}));
  EXPECT_EQ(machine.reg(kEsp), esp + 4);
}

TEST_F(Segments, LdsChangesItsRegisterOnlyOnSuccess) {
  machine.put<u32>(SystemMachine::kData, 0x11223344);
  machine.put<u16>(SystemMachine::kData + 4, SystemMachine::kGdtLimit + 1);
  machine.reg(kEax) = 1;
  expect_exception(machine.execute({0xC5, 0x05, 0, 0, 2, 0}), Vector::kGeneralProtection,
                   SystemMachine::kGdtLimit + 1);
  EXPECT_EQ(machine.reg(kEax), 1u);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData);
  machine.put<u16>(SystemMachine::kData + 4, kSlot);
  EXPECT_FALSE(machine.execute({0x0F, 0xB5, 0x05, 0, 0, 2, 0}));  // lgs eax, [...]
  EXPECT_EQ(machine.reg(kEax), 0x11223344u);
  EXPECT_EQ(machine.selector(kGs), kSlot);
}

// --- far jumps, calls and returns

TEST_F(Segments, FarJumpChecksItsTarget) {
  expect_exception(jump(0, 0), Vector::kGeneralProtection, 0);
  expect_exception(jump(SystemMachine::kKernelData, 0), Vector::kGeneralProtection,
                   SystemMachine::kKernelData);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kCode | kUser);
  expect_exception(jump(kSlot | 3, 0), Vector::kGeneralProtection, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kCode & ~kSegPresent);
  expect_exception(jump(kSlot, 0), Vector::kSegmentNotPresent, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFF, kCode & ~kSegGranularity);
  expect_exception(jump(kSlot, 0x1000), Vector::kGeneralProtection, 0);
  EXPECT_FALSE(jump(kSlot, 0xFFF));
  EXPECT_EQ(machine.selector(kCs), kSlot);
  EXPECT_EQ(machine.cpu.state.eip, 0xFFFu);
  EXPECT_TRUE(machine.cpu.slow_mode()) << "code with a limit is run with care";
}

TEST_F(Segments, ConformingCodeKeepsTheLevelOfItsCaller) {
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kCode | kConforming);
  machine.enter_user_mode();
  EXPECT_FALSE(jump(kSlot, 0x1234));
  EXPECT_EQ(machine.selector(kCs), kSlot | 3);
  EXPECT_EQ(machine.cpu.state.cpl, 3);
}

TEST_F(Segments, FarCallAndReturnComeBackToTheSamePlace) {
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kCode);
  EXPECT_FALSE(call(kSlot, 0x1234));
  EXPECT_EQ(machine.cpu.state.eip, 0x1234u);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kStackTop - 8);
  EXPECT_EQ(machine.read<u32>(SystemMachine::kStackTop - 4), SystemMachine::kKernelCode);
  EXPECT_EQ(machine.read<u32>(SystemMachine::kStackTop - 8), SystemMachine::kCode + 6);
  EXPECT_FALSE(far_return());
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode + 6);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kStackTop);
}

TEST_F(Segments, CallGateToTheInnerLevelSwitchesStacksAndCopiesParameters) {
  machine.set_call_gate(kSlot, SystemMachine::kKernelCode, 0x66666, 3, 2);
  machine.enter_user_mode();
  push(0xBBBB);
  push(0xAAAA);
  EXPECT_FALSE(call(kSlot | 3, 0x99999));
  EXPECT_EQ(machine.cpu.state.cpl, 0);
  EXPECT_EQ(machine.cpu.state.eip, 0x66666u);
  EXPECT_EQ(machine.selector(kCs), SystemMachine::kKernelCode);
  EXPECT_EQ(machine.selector(kSs), SystemMachine::kKernelData);
  const u32 top = SystemMachine::kInnerStackTop;
  EXPECT_EQ(machine.reg(kEsp), top - 24);
  const u32 expected[] = {
      SystemMachine::kCode + 6,         SystemMachine::kUserCode, 0xAAAA, 0xBBBB,
      SystemMachine::kUserStackTop - 8, SystemMachine::kUserData};
  for (u32 i = 0; i < 6; ++i)
    EXPECT_EQ(machine.read<u32>(top - 24 + 4 * i), expected[i]) << i;
  // And back: ret far 8 releases the parameters on both stacks.
  EXPECT_FALSE(machine.execute({0xCA, 8, 0}));
  EXPECT_EQ(machine.cpu.state.cpl, 3);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kUserStackTop);
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode + 6);
}

TEST_F(Segments, CallGatesCheckPrivilegePresenceAndTarget) {
  machine.set_call_gate(kSlot, SystemMachine::kKernelCode, 0x66666, 0, 0);
  machine.enter_user_mode();
  expect_exception(call(kSlot, 0), Vector::kGeneralProtection, kSlot);
  machine.set_call_gate(kSlot, SystemMachine::kKernelCode, 0x66666, 3, 0, false);
  expect_exception(call(kSlot, 0), Vector::kSegmentNotPresent, kSlot);
  machine.set_call_gate(kSlot, 0, 0x66666, 3, 0);
  expect_exception(call(kSlot, 0), Vector::kGeneralProtection, 0);
  machine.set_call_gate(kSlot, SystemMachine::kKernelData, 0x66666, 3, 0);
  expect_exception(call(kSlot, 0), Vector::kGeneralProtection, SystemMachine::kKernelData);
  machine.set_call_gate(kSlot, SystemMachine::kKernelCode, 0x66666, 3, 0);
  expect_exception(jump(kSlot, 0), Vector::kGeneralProtection, SystemMachine::kKernelCode);
  EXPECT_EQ(machine.cpu.state.cpl, 3);
}

TEST_F(Segments, CallGateFaultsOnABadStackInTheTss) {
  machine.set_call_gate(kSlot, SystemMachine::kKernelCode, 0x66666, 3, 0);
  machine.enter_user_mode();
  machine.put<u32>(SystemMachine::kTss + 8, 0);
  expect_exception(call(kSlot, 0), Vector::kInvalidTss, 0);
  machine.put<u32>(SystemMachine::kTss + 8, SystemMachine::kUserData);
  expect_exception(call(kSlot, 0), Vector::kInvalidTss, SystemMachine::kUserData & 0xFFFC);
  machine.set_descriptor(kSlot + 8, 0, 0xFFFFF, kData & ~kSegPresent);
  machine.put<u32>(SystemMachine::kTss + 8, kSlot + 8);
  expect_exception(call(kSlot, 0), Vector::kStackFault, kSlot + 8);
  machine.cpu.state.tr.limit = 8;
  expect_exception(call(kSlot, 0), Vector::kInvalidTss, SystemMachine::kTssSelector);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kUserStackTop);
}

TEST_F(Segments, FarReturnToTheOuterLevelClearsSegmentsItMayNotUse) {
  push(SystemMachine::kUserData);
  push(0x5000);
  push(SystemMachine::kUserCode);
  push(0x6000);
  EXPECT_FALSE(load_ds(SystemMachine::kUserData));
  EXPECT_FALSE(far_return());
  EXPECT_EQ(machine.cpu.state.cpl, 3);
  EXPECT_EQ(machine.cpu.state.eip, 0x6000u);
  EXPECT_EQ(machine.reg(kEsp), 0x5000u);
  EXPECT_EQ(machine.selector(kDs), SystemMachine::kUserData);
  EXPECT_EQ(machine.selector(kEs), 0) << "a ring-0 segment";
  EXPECT_EQ(machine.cpu.state.segment[kEs].attributes, 0);
}

TEST_F(Segments, FarReturnNeverGoesInward) {
  machine.enter_user_mode();
  push(SystemMachine::kKernelCode);
  push(0x6000);
  expect_exception(far_return(), Vector::kGeneralProtection, SystemMachine::kKernelCode);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kUserStackTop - 8);
}

TEST_F(Segments, TransfersThatAreNotGrantedFaultByTheirSelector) {
  machine.put<u64>(SystemMachine::kGdt + kSlot,
                   SystemMachine::gate(SystemMachine::kTssSelector, 0, 5, 0, true));
  expect_exception(jump(kSlot, 0), Vector::kGeneralProtection, kSlot);
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kCode & ~kSegBig);
  expect_exception(jump(kSlot, 0), Vector::kGeneralProtection, kSlot);
}

// --- instructions that look at descriptors

TEST_F(Segments, LarAndLslShowWhatTheLevelMaySee) {
  machine.set_descriptor(kSlot, 0x12345678, 0x54321, kData | kSegAccessed);
  machine.reg(kEcx) = kSlot;
  EXPECT_FALSE(machine.execute({0x0F, 0x02, 0xC1}));  // lar eax, ecx
  EXPECT_TRUE(machine.cpu.state.flags.zf());
  EXPECT_EQ(machine.reg(kEax), 0x00C59300u);
  EXPECT_FALSE(machine.execute({0x0F, 0x03, 0xC1}));  // lsl eax, ecx
  EXPECT_EQ(machine.reg(kEax), 0x54321FFFu);
  machine.enter_user_mode();
  machine.reg(kEax) = 7;
  EXPECT_FALSE(machine.execute({0x0F, 0x02, 0xC1}));
  EXPECT_FALSE(machine.cpu.state.flags.zf());
  EXPECT_EQ(machine.reg(kEax), 7u);
}

TEST_F(Segments, LslKnowsFewerSystemTypesThanLar) {
  machine.set_call_gate(kSlot, SystemMachine::kKernelCode, 0, 0, 0);
  machine.reg(kEcx) = kSlot;
  EXPECT_FALSE(machine.execute({0x0F, 0x02, 0xC1}));
  EXPECT_TRUE(machine.cpu.state.flags.zf());
  EXPECT_FALSE(machine.execute({0x0F, 0x03, 0xC1}));
  EXPECT_FALSE(machine.cpu.state.flags.zf());
  machine.reg(kEcx) = SystemMachine::kTssSelector;
  EXPECT_FALSE(machine.execute({0x0F, 0x03, 0xC1}));
  EXPECT_TRUE(machine.cpu.state.flags.zf());
  EXPECT_EQ(machine.reg(kEax), 0x67u);
}

TEST_F(Segments, VerrAndVerwTellWhetherASegmentCanBeUsed) {
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData & ~kSegWritable);
  machine.reg(kEcx) = kSlot;
  EXPECT_FALSE(machine.execute({0x0F, 0x00, 0xE1}));  // verr cx
  EXPECT_TRUE(machine.cpu.state.flags.zf());
  EXPECT_FALSE(machine.execute({0x0F, 0x00, 0xE9}));  // verw cx
  EXPECT_FALSE(machine.cpu.state.flags.zf());
  machine.reg(kEcx) = kSlot | 3;
  EXPECT_FALSE(machine.execute({0x0F, 0x00, 0xE1}));
  EXPECT_FALSE(machine.cpu.state.flags.zf());
  machine.reg(kEcx) = 0;
  EXPECT_FALSE(machine.execute({0x0F, 0x00, 0xE1}));
  EXPECT_FALSE(machine.cpu.state.flags.zf());
}

TEST_F(Segments, ArplRaisesTheRequestedLevel) {
  machine.reg(kEcx) = 0xABCD0010;
  machine.reg(kEax) = 3;
  EXPECT_FALSE(machine.execute({0x63, 0xC1}));  // arpl cx, ax
  EXPECT_EQ(machine.reg(kEcx), 0xABCD0013u);
  EXPECT_TRUE(machine.cpu.state.flags.zf());
  EXPECT_FALSE(machine.execute({0x63, 0xC1}));
  EXPECT_FALSE(machine.cpu.state.flags.zf());
}

TEST_F(Segments, LtrMarksTheTaskBusyAndRefusesABusyOne) {
  machine.set_descriptor(kSlot, 0x5000, 0x67, 0x89);
  machine.reg(kEax) = kSlot;
  EXPECT_FALSE(machine.execute({0x0F, 0x00, 0xD8}));  // ltr ax
  EXPECT_EQ(machine.cpu.state.tr.base, 0x5000u);
  EXPECT_EQ(machine.attributes(kSlot), 0x8B);
  expect_exception(machine.execute({0x0F, 0x00, 0xD8}), Vector::kGeneralProtection, kSlot);
  machine.reg(kEax) = 0;
  expect_exception(machine.execute({0x0F, 0x00, 0xD8}), Vector::kGeneralProtection, 0);
  machine.set_descriptor(kSlot, 0x5000, 0x67, 0x09);
  machine.reg(kEax) = kSlot;
  expect_exception(machine.execute({0x0F, 0x00, 0xD8}), Vector::kSegmentNotPresent, kSlot);
}

TEST_F(Segments, SegmentFaultsDuringDescriptorReadsAreOfTheSupervisor) {
  machine.enable_paging();
  machine.set_pte(SystemMachine::kGdt, SystemMachine::kGdt | 3);  // supervisor only
  machine.set_descriptor(kSlot, 0, 0xFFFFF, kData | kUser);
  machine.enter_user_mode();
  EXPECT_FALSE(load_ds(kSlot | 3));
  machine.set_pte(SystemMachine::kGdt, 0);
  expect_exception(load_ds(kSlot | 3), Vector::kPageFault, 0);
}

}  // namespace
}  // namespace snowglobe::vm
