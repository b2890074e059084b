// tests/cpu/system_instructions_test.cc - flags, control and debug registers, MSRs, ports, CPUID.
#include "tests/cpu/system_machine.h"
#include "vm/cpu/cpuid.h"

namespace snowglobe::vm {
namespace {

using test::expect_exception;
using test::SystemMachine;

class SystemInstructions : public ::testing::Test {
 protected:
  SystemMachine machine;
};

TEST_F(SystemInstructions, PrivilegedOnesFaultInUserMode) {
  machine.enter_user_mode();
  const std::initializer_list<u8> privileged[] = {
      {0xF4},              // hlt
      {0x0F, 0x20, 0xC0},  // mov eax, cr0
      {0x0F, 0x22, 0xD8},  // mov cr3, eax
      {0x0F, 0x22, 0xE0},  // mov cr4, eax
      {0x0F, 0x21, 0xC0},  // mov eax, dr0
      {0x0F, 0x23, 0xC0},  // mov dr0, eax
      {0x0F, 0x06},        // clts
      {0x0F, 0x01, 0x10},  // lgdt [eax]
      {0x0F, 0x01, 0x18},  // lidt [eax]
      {0x0F, 0x01, 0xF0},  // lmsw ax
      {0x0F, 0x01, 0x38},  // invlpg [eax]
      {0x0F, 0x00, 0xD0},  // lldt ax
      {0x0F, 0x00, 0xD8},  // ltr ax
      {0x0F, 0x08},        // invd
      {0x0F, 0x09},        // wbinvd
      {0x0F, 0x30},        // wrmsr
      {0x0F, 0x32},        // rdmsr
      {0x0F, 0x33},        // rdpmc
      {0xFA},              // cli
      {0xFB},              // sti
      {0xEC},              // in al, dx
      {0xEE},              // out dx, al
      {0x6C},              // insb
      {0x6E},              // outsb
  };
  for (const auto& bytes : privileged) {
    SCOPED_TRACE(*(bytes.begin() + bytes.size() - 1));
    expect_exception(machine.execute(bytes), Vector::kGeneralProtection, 0);
    EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode);
  }
}

TEST_F(SystemInstructions, WhatIsNotGrantedIsInvalid) {
  const std::initializer_list<u8> invalid[] = {
      {0x0F, 0x0B},        // ud2
      {0x0F, 0xB9, 0xC0},  // ud1
      {0x0F, 0xFF, 0xC0},  // ud0
      {0x0F, 0xAA},        // rsm
      {0x0F, 0x05},        // syscall
      {0x0F, 0x07},        // sysret
      {0x0F, 0x01, 0xC8},  // monitor
      {0x0F, 0x01, 0xC9},  // mwait
      {0x0F, 0x01, 0xD0},  // xgetbv
      {0x0F, 0x01, 0xF9},  // rdtscp
      {0x0F, 0xC7, 0xF0},  // rdrand eax
      {0x0F, 0x22, 0xC8},  // mov cr1, eax
      {0xF0, 0xF4},        // lock hlt
  };
  for (const auto& bytes : invalid) {
    SCOPED_TRACE(*(bytes.begin() + 1));
    expect_exception(machine.execute(bytes), Vector::kInvalidOpcode);
  }
}

// --- EFLAGS

TEST_F(SystemInstructions, PopfChangesWhatTheLevelAllows) {
  machine.put<u32>(SystemMachine::kStackTop - 4, ~0u);
  machine.reg(kEsp) -= 4;
  EXPECT_FALSE(machine.execute({0x9D}));
  EXPECT_EQ(machine.cpu.state.full_eflags(), kArithmeticFlags | kFlagReserved1 | kFlagTf | kFlagIf |
                                                 kFlagDf | kFlagIopl | kFlagNt | kFlagAc | kFlagId);
  machine.cpu.state.eflags = kFlagReserved1;
  machine.cpu.mode_changed();
  machine.enter_user_mode();
  machine.put<u32>(SystemMachine::kUserStackTop, kFlagIf | kFlagIopl | kFlagCf);
  EXPECT_FALSE(machine.execute({0x9D}));
  EXPECT_EQ(machine.cpu.state.full_eflags(), kFlagCf | kFlagReserved1);
}

TEST_F(SystemInstructions, PopfWith16BitsKeepsTheUpperFlags) {
  machine.cpu.state.eflags |= kFlagId;
  machine.put<u16>(SystemMachine::kStackTop, 0x0001);
  EXPECT_FALSE(machine.execute({0x66, 0x9D}));
  EXPECT_EQ(machine.cpu.state.full_eflags(), kFlagId | kFlagCf | kFlagReserved1);
  EXPECT_EQ(machine.reg(kEsp), SystemMachine::kStackTop + 2);
}

TEST_F(SystemInstructions, PushfHidesTheResumeFlag) {
  machine.cpu.state.eflags |= kFlagRf | kFlagIf;
  machine.cpu.state.flags.set(kFlagOf);
  EXPECT_FALSE(machine.execute({0x9C}));
  EXPECT_EQ(machine.read<u32>(machine.reg(kEsp)), kFlagIf | kFlagOf | kFlagReserved1);
}

TEST_F(SystemInstructions, StiDelaysInterruptsByOneInstructionOnlyWhenItSetsTheFlag) {
  EXPECT_FALSE(machine.execute({0xFB}));
  EXPECT_TRUE(machine.cpu.state.interrupt_shadow);
  EXPECT_FALSE(machine.execute({0x90}));
  EXPECT_FALSE(machine.cpu.state.interrupt_shadow);
  EXPECT_FALSE(machine.execute({0xFB}));
  EXPECT_FALSE(machine.cpu.state.interrupt_shadow);
}

TEST_F(SystemInstructions, InterruptFlagIsFreeForLevelsUpToIopl) {
  machine.enter_user_mode();
  machine.cpu.state.eflags |= kFlagIopl;
  EXPECT_FALSE(machine.execute({0xFB}));
  EXPECT_NE(machine.cpu.state.eflags & kFlagIf, 0u);
  EXPECT_FALSE(machine.execute({0xFA}));
  EXPECT_EQ(machine.cpu.state.eflags & kFlagIf, 0u);
}

// --- control and debug registers

TEST_F(SystemInstructions, ControlRegistersRefuseWhatIsNotGranted) {
  machine.reg(kEax) = kCr0Pg;  // paging without protection
  expect_exception(machine.execute({0x0F, 0x22, 0xC0}), Vector::kGeneralProtection, 0);
  machine.reg(kEax) = kCr0Pe | kCr0Nw;
  expect_exception(machine.execute({0x0F, 0x22, 0xC0}), Vector::kGeneralProtection, 0);
  for (const u32 bit : {0, 1, 3, 5, 6, 8, 11, 20, 31}) {  // VME, PVI, DE, PAE, MCE, PCE, UMIP, SMEP
    machine.reg(kEax) = 1u << bit;
    expect_exception(machine.execute({0x0F, 0x22, 0xE0}), Vector::kGeneralProtection, 0);
  }
  machine.reg(kEax) = kCr4Pse | kCr4Pge | kCr4Osfxsr | kCr4Osxmmexcpt | kCr4Tsd;
  EXPECT_FALSE(machine.execute({0x0F, 0x22, 0xE0}));
  EXPECT_FALSE(machine.execute({0x0F, 0x20, 0xE1}));  // mov ecx, cr4
  EXPECT_EQ(machine.reg(kEcx), machine.reg(kEax));
}

TEST_F(SystemInstructions, ExtensionTypeIsAlwaysOneAndUnknownBitsOfCr0AreIgnored) {
  machine.reg(kEax) = kCr0Pe | kCr0Ne | 0x00000F00;
  EXPECT_FALSE(machine.execute({0x0F, 0x22, 0xC0}));
  EXPECT_EQ(machine.cpu.state.cr0, kCr0Pe | kCr0Ne | kCr0Et);
}

TEST_F(SystemInstructions, LmswSetsButNeverClearsProtection) {
  machine.reg(kEax) = 0x000E;
  EXPECT_FALSE(machine.execute({0x0F, 0x01, 0xF0}));
  EXPECT_EQ(machine.cpu.state.cr0 & 0xF, 0xFu);
  EXPECT_FALSE(machine.execute({0x0F, 0x06}));  // clts
  EXPECT_EQ(machine.cpu.state.cr0 & 0xF, 0x7u);
  machine.reg(kEcx) = ~0u;
  EXPECT_FALSE(machine.execute({0x66, 0x0F, 0x01, 0xE1}));  // smsw cx
  EXPECT_EQ(machine.reg(kEcx), 0xFFFF0000 | (machine.cpu.state.cr0 & 0xFFFF));
}

TEST_F(SystemInstructions, DebugRegistersKeepTheirFixedBits) {
  machine.reg(kEax) = 0;
  EXPECT_FALSE(machine.execute({0x0F, 0x23, 0xF0}));  // mov dr6, eax
  EXPECT_EQ(machine.cpu.state.dr[6], 0xFFFF0FF0u);
  EXPECT_FALSE(machine.execute({0x0F, 0x23, 0xF8}));  // mov dr7, eax
  EXPECT_EQ(machine.cpu.state.dr[7], 0x400u);
  machine.reg(kEax) = 0x1234;
  EXPECT_FALSE(machine.execute({0x0F, 0x23, 0xD0}));  // mov dr2, eax
  EXPECT_FALSE(machine.execute({0x0F, 0x21, 0xD1}));  // mov ecx, dr2
  EXPECT_EQ(machine.reg(kEcx), 0x1234u);
  EXPECT_FALSE(machine.execute({0x0F, 0x21, 0xE1}));  // mov ecx, dr4: another name of DR6
  EXPECT_EQ(machine.reg(kEcx), 0xFFFF0FF0u);
}

TEST_F(SystemInstructions, GeneralDetectGuardsTheDebugRegisters) {
  machine.reg(kEax) = 1u << 13;
  EXPECT_FALSE(machine.execute({0x0F, 0x23, 0xF8}));
  expect_exception(machine.execute({0x0F, 0x21, 0xC0}), Vector::kDebug);
  EXPECT_NE(machine.cpu.state.dr[6] & 1u << 13, 0u);
  EXPECT_FALSE(machine.execute({0x0F, 0x21, 0xC0}));
}

TEST_F(SystemInstructions, ADataBreakpointTrapsBehindTheInstruction) {
  machine.cpu.state.dr[1] = SystemMachine::kData + 4;
  machine.cpu.state.dr[7] = 0x400 | 4 | 0xD00000;  // L1, write, 4 bytes
  machine.cpu.mode_changed();
  EXPECT_FALSE(machine.execute({0xA1, 0x04, 0x00, 0x02, 0x00, 0x90})) << "a read does not count";
  EXPECT_FALSE(machine.execute({0xA3, 0x08, 0x00, 0x02, 0x00, 0x90})) << "nor the next doubleword";
  expect_exception(machine.execute({0xA2, 0x07, 0x00, 0x02, 0x00, 0x90}), Vector::kDebug);
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode + 5);
  EXPECT_EQ(machine.cpu.state.dr[6], 0xFFFF0FF2u);
}

TEST_F(SystemInstructions, AnInstructionBreakpointFaultsUnlessTheResumeFlagIsSet) {
  machine.cpu.state.dr[0] = SystemMachine::kCode;
  machine.cpu.state.dr[7] = 0x400 | 1;
  machine.cpu.mode_changed();
  expect_exception(machine.execute({0x90, 0x90}), Vector::kDebug);
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode);
  EXPECT_EQ(machine.cpu.state.dr[6], 0xFFFF0FF1u);
  machine.cpu.state.eflags |= kFlagRf;
  EXPECT_FALSE(machine.execute({0x90, 0x90}));
  EXPECT_EQ(machine.cpu.state.eflags & kFlagRf, 0u);
}

// --- alignment

TEST_F(SystemInstructions, AlignmentIsCheckedInUserModeOnRequest) {
  machine.cpu.state.cr0 |= kCr0Am;
  machine.cpu.state.eflags |= kFlagAc;
  machine.cpu.mode_changed();
  EXPECT_FALSE(machine.execute({0xA1, 1, 0, 2, 0}));
  machine.enter_user_mode();
  expect_exception(machine.execute({0xA1, 1, 0, 2, 0}), Vector::kAlignmentCheck, 0);
  EXPECT_FALSE(machine.execute({0xA1, 4, 0, 2, 0}));
  EXPECT_FALSE(machine.execute({0xA0, 1, 0, 2, 0}));
}

// --- descriptor tables, MSRs, TSC, CPUID

TEST_F(SystemInstructions, DescriptorTableRegistersComeBackAsTheyWereLoaded) {
  machine.put<u16>(SystemMachine::kData, 0x1234);
  machine.put<u32>(SystemMachine::kData + 2, 0x89ABCDEF);
  EXPECT_FALSE(machine.execute({0x0F, 0x01, 0x1D, 0, 0, 2, 0}));  // lidt
  EXPECT_EQ(machine.cpu.state.idtr, (DescriptorTable{0x89ABCDEF, 0x1234}));
  EXPECT_FALSE(machine.execute({0x0F, 0x01, 0x0D, 8, 0, 2, 0}));  // sidt
  EXPECT_EQ(machine.read<u16>(SystemMachine::kData + 8), 0x1234);
  EXPECT_EQ(machine.read<u32>(SystemMachine::kData + 10), 0x89ABCDEFu);
  EXPECT_FALSE(machine.execute({0x66, 0x0F, 0x01, 0x1D, 0, 0, 2, 0}));
  EXPECT_EQ(machine.cpu.state.idtr.base, 0x00ABCDEFu);
}

TEST_F(SystemInstructions, ModelSpecificRegistersAnswerOrFault) {
  machine.reg(kEcx) = 0x176;
  machine.reg(kEax) = 0xC0001234;
  machine.reg(kEdx) = 0;
  EXPECT_FALSE(machine.execute({0x0F, 0x30}));
  EXPECT_EQ(machine.cpu.state.sysenter_eip, 0xC0001234u);
  machine.reg(kEax) = 0;
  EXPECT_FALSE(machine.execute({0x0F, 0x32}));
  EXPECT_EQ(machine.reg(kEax), 0xC0001234u);
  machine.reg(kEcx) = 0xC0000080;  // EFER
  expect_exception(machine.execute({0x0F, 0x32}), Vector::kGeneralProtection, 0);
  expect_exception(machine.execute({0x0F, 0x30}), Vector::kGeneralProtection, 0);
}

TEST_F(SystemInstructions, TimeStampCounterCanBeSetAndHidden) {
  machine.clock.now = 1000;
  machine.reg(kEcx) = 0x10;
  machine.reg(kEax) = 5;
  machine.reg(kEdx) = 1;
  EXPECT_FALSE(machine.execute({0x0F, 0x30}));
  machine.clock.now = 1007;
  EXPECT_FALSE(machine.execute({0x0F, 0x31}));  // rdtsc
  EXPECT_EQ(machine.reg(kEax), 12u);
  EXPECT_EQ(machine.reg(kEdx), 1u);
  machine.cpu.state.cr4 |= kCr4Tsd;
  EXPECT_FALSE(machine.execute({0x0F, 0x31}));
  machine.enter_user_mode();
  expect_exception(machine.execute({0x0F, 0x31}), Vector::kGeneralProtection, 0);
}

TEST_F(SystemInstructions, CpuidGrantsExactlyWhatIsThere) {
  machine.reg(kEax) = 1;
  EXPECT_FALSE(machine.execute({0x0F, 0xA2}));
  EXPECT_EQ(machine.reg(kEax), kCpuSignature);
  EXPECT_EQ(machine.reg(kEcx), 0u);
  EXPECT_EQ(machine.reg(kEdx), 0x0780A939u);
  EXPECT_EQ(cpuid(7, 0), CpuidResult{});
}

TEST_F(SystemInstructions, CpuidTellsTheFrequencyOfTheTimeStampCounter) {
  const CpuidResult leaf = cpuid(0x15, 0);
  EXPECT_EQ(u64{leaf.ecx} * leaf.ebx / leaf.eax, kTscHz);
  EXPECT_EQ(cpuid(0x16, 0).eax, 1000u);
  EXPECT_EQ(cpuid(0, 0).eax, 0x16u);
}

TEST_F(SystemInstructions, CpuidNamesTheProcessor) {
  std::string name;
  for (u32 leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
    const CpuidResult part = cpuid(leaf, 0);
    for (const u32 word : {part.eax, part.ebx, part.ecx, part.edx}) {
      for (unsigned i = 0; i < 4; ++i)
        name += static_cast<char>(word >> (8 * i));
    }
  }
  EXPECT_STREQ(name.c_str(), "Snowglobe i686");
}

// --- ports

struct RecordingPorts final : PortBus {
  u32 in(u16 port, unsigned size) override {
    log += "in " + std::to_string(port) + "/" + std::to_string(size) + ";";
    return value++;
  }
  void out(u16 port, unsigned size, u32 out_value) override {
    log += "out " + std::to_string(port) + "/" + std::to_string(size) + "=" +
           std::to_string(out_value) + ";";
  }
  std::string log;
  u32 value = 0x11223344;
};

// The machine's own bus is silent; ports need a processor on a bus that listens.
class Ports : public ::testing::Test {
 protected:
  Ports()
      : ram(GuestRam::create(4u << 20).value()),
        cpu(*ram, bus, machine.interrupts, machine.clock),
        interpreter(cpu) {
    cpu.state = machine.cpu.state;
    cpu.state_replaced();
    cpu.state.gpr[kEdx] = 0x3F8;
    base::store_le<u16>(ram->write(SystemMachine::kTss + 0x66, 2).data(), 0x68);
  }
  std::optional<Exception> execute(std::initializer_list<u8> bytes) {
    const base::Bytes to = ram->write(SystemMachine::kCode, static_cast<u32>(bytes.size()));
    std::copy(bytes.begin(), bytes.end(), to.begin());
    cpu.state.eip = SystemMachine::kCode;
    cpu.clear_exception();
    interpreter.step(false);
    return cpu.has_exception() ? std::optional(cpu.exception()) : std::nullopt;
  }
  void enter_ring3() {
    cpu.state.cpl = 3;
    cpu.mode_changed();
  }

  SystemMachine machine;
  RecordingPorts bus;
  std::unique_ptr<GuestRam> ram;
  Cpu cpu;
  Interpreter interpreter;
};

TEST_F(Ports, InAndOutUseTheirWidth) {
  cpu.state.gpr[kEax] = 0xAABBCCDD;
  EXPECT_FALSE(execute({0xEE}));              // out dx, al
  EXPECT_FALSE(execute({0x66, 0xE7, 0x80}));  // out 0x80, ax
  EXPECT_FALSE(execute({0xEC}));              // in al, dx
  EXPECT_EQ(cpu.state.gpr[kEax], 0xAABBCC44u);
  EXPECT_FALSE(execute({0xE5, 0xF0}));  // in eax, 0xF0
  EXPECT_EQ(cpu.state.gpr[kEax], 0x11223345u);
  EXPECT_EQ(bus.log, "out 1016/1=221;out 128/2=52445;in 1016/1;in 240/4;");
}

TEST_F(Ports, ThePermissionBitmapOpensPortsToUserMode) {
  cpu.state.tr.limit = 0x67 + 0x80 + 1;
  enter_ring3();
  const base::Bytes bitmap = ram->write(SystemMachine::kTss + 0x68, 0x82);
  std::fill(bitmap.begin(), bitmap.end(), u8{0xFF});
  bitmap[0x3F8 / 8] = 0xF0;  // 0x3F8 to 0x3FB are open
  EXPECT_FALSE(execute({0xEC}));
  EXPECT_FALSE(execute({0xED}));
  cpu.state.gpr[kEdx] = 0x3FA;
  EXPECT_FALSE(execute({0x66, 0xED}));
  expect_exception(execute({0xED}), Vector::kGeneralProtection, 0);
  cpu.state.gpr[kEdx] = 0x3FC;
  expect_exception(execute({0xEC}), Vector::kGeneralProtection, 0);
  cpu.state.gpr[kEdx] = 0x800;
  expect_exception(execute({0xEC}), Vector::kGeneralProtection, 0);
}

TEST_F(Ports, RepeatedInputFillsMemoryAndStopsAtAFault) {
  cpu.state.gpr[kEcx] = 3;
  cpu.state.gpr[kEdi] = SystemMachine::kData;
  EXPECT_FALSE(execute({0xF3, 0x6D}));  // rep insd
  EXPECT_EQ(cpu.state.gpr[kEcx], 0u);
  EXPECT_EQ(cpu.state.gpr[kEdi], SystemMachine::kData + 12);
  EXPECT_EQ(base::load_le<u32>(ram->read(SystemMachine::kData + 8, 4).data()), 0x11223346u);

  cpu.state.segment[kEs].limit = SystemMachine::kData + 7;
  cpu.segment_changed(kEs);
  cpu.state.gpr[kEcx] = 3;
  cpu.state.gpr[kEdi] = SystemMachine::kData;
  bus.log.clear();
  expect_exception(execute({0xF3, 0x6D}), Vector::kGeneralProtection, 0);
  EXPECT_EQ(cpu.state.gpr[kEcx], 1u);
  EXPECT_EQ(cpu.state.gpr[kEdi], SystemMachine::kData + 8);
  EXPECT_EQ(cpu.state.eip, SystemMachine::kCode);
  EXPECT_EQ(bus.log, "in 1016/4;in 1016/4;") << "the port was not read for the item that faulted";
}

TEST_F(Ports, RepeatedOutputRunsDownwardsAndWith16BitAddresses) {
  base::store_le<u32>(ram->write(0x8000, 4).data(), 0x04030201);
  cpu.state.eflags |= kFlagDf;
  cpu.state.gpr[kEcx] = 0xFFFF0002;
  cpu.state.gpr[kEsi] = 0xFFFF8001;
  EXPECT_FALSE(execute({0x67, 0xF3, 0x6E}));  // rep outsb, 16-bit addresses
  EXPECT_EQ(bus.log, "out 1016/1=2;out 1016/1=1;");
  EXPECT_EQ(cpu.state.gpr[kEcx], 0xFFFF0000u);
  EXPECT_EQ(cpu.state.gpr[kEsi], 0xFFFF7FFFu);
}

TEST_F(Ports, AnInterruptGetsItsTurnBetweenTwoItems) {
  cpu.state.eflags |= kFlagIf;
  cpu.state.gpr[kEcx] = 3;
  cpu.state.gpr[kEsi] = SystemMachine::kData;
  cpu.request_attention();
  EXPECT_FALSE(execute({0xF3, 0x6E}));
  EXPECT_EQ(cpu.state.gpr[kEcx], 2u);
  EXPECT_EQ(cpu.state.eip, SystemMachine::kCode);
}

}  // namespace
}  // namespace snowglobe::vm
