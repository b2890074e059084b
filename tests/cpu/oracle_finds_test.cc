// tests/cpu/oracle_finds_test.cc - what the oracle found, each as a case of its own with the answer
// of the real processor, so that it is checked where the oracle can not run, too.
#include "tests/cpu/oracle/emulated_executor.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/translator/host_support.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <initializer_list>
#include <memory>
#include <string>

namespace snowglobe::oracle {
namespace {

constexpr u32 kWritable = ORACLE_ARENA + 0x1000;
constexpr u32 kReadOnly = ORACLE_ARENA + ORACLE_READ_ONLY_PAGE * vm::kPageSize;

class OracleFinds : public testing::TestWithParam<ExecutorPath> {
 protected:
  OracleFinds() {
    test_.input = {};
    test_.input.eip = slot_address(0) + 144;
    test_.input.eflags = 0x202;
    test_.input.selectors[0] = test_.input.selectors[1] = ORACLE_DS;
    test_.input.selectors[3] = ORACLE_GS;
  }

  u32& reg(vm::Gpr number) { return test_.input.gpr[number]; }

  /// Lays a window of 64 bytes at `address`, filled with 0, 1, 2 and so on.
  void window(u32 address) {
    OracleInput& input = test_.input;
    const u32 w = input.window_count++;
    input.windows[w] = {address, 64, static_cast<u16>(64 * w)};
    for (u32 i = 0; i < 64; ++i)
      input.memory[64 * w + i] = static_cast<u8>(i);
  }

  u32 memory32(u32 offset_in_windows) const {
    return base::load_le<u32>(outcome_.raw.memory + offset_in_windows);
  }

  void SetUp() override {
    const vm::HostSupport& host = vm::translator_support();
    if (GetParam() == ExecutorPath::kTranslated && !host.usable) GTEST_SKIP() << host.why_not;
  }

  void run(std::initializer_list<u8> bytes) {
    std::copy(bytes.begin(), bytes.end(), test_.code.begin());
    test_.length = static_cast<u8>(bytes.size());
    const auto executor = make_emulated_executor(GetParam());
    executor->load({&test_, 1});
    executor->run(test_, outcome_);
  }

  u32 trap() const { return outcome_.raw.trap; }
  static constexpr u32 vector(vm::Vector v) { return static_cast<u32>(v); }

  Case test_;
  Outcome outcome_{};
};

std::string name_of(const testing::TestParamInfo<ExecutorPath>& info) {
  constexpr const char* kNames[] = {"Step", "Blocks", "Translated"};
  return kNames[static_cast<unsigned>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(All, OracleFinds,
                         testing::Values(ExecutorPath::kStep, ExecutorPath::kBlocks,
                                         ExecutorPath::kTranslated),
                         name_of);

TEST_P(OracleFinds, XlatHonoursASegmentOverride) {
  window(kWritable);
  reg(vm::kEbx) = kWritable - ORACLE_GS_BASE;
  reg(vm::kEax) = 0x21;
  run({0x65, 0xD7});
  EXPECT_EQ(trap(), ORACLE_NO_TRAP);
  EXPECT_EQ(outcome_.raw.gpr[vm::kEax], 0x21u);  // byte 0x21 of the window
}

TEST_P(OracleFinds, SixteenBitMoffsIsNotSignExtended) {
  constexpr u32 kOffset = 0x9000;  // above 0x8000
  window(ORACLE_GS_BASE + kOffset);
  run({0x65, 0x67, 0xA0, 0x05, 0x90});
  EXPECT_EQ(trap(), ORACLE_NO_TRAP);
  EXPECT_EQ(outcome_.raw.gpr[vm::kEax] & 0xFF, 5u);
}

TEST_P(OracleFinds, BitStringStaysInSixteenBitSpace) {
  constexpr u32 kOffset = kWritable - ORACLE_GS_BASE;
  window(kWritable);
  reg(vm::kEbx) = kOffset;
  reg(vm::kEdx) = 0x0008'0000 * 8;      // 512 KiB further: a whole number of 64 KiB spaces
  run({0x65, 0x67, 0x0F, 0xAB, 0x17});  // bts gs:[bx], edx
  EXPECT_EQ(trap(), ORACLE_NO_TRAP);
  EXPECT_EQ(memory32(0), 0x03020101u);
}

TEST_P(OracleFinds, ArplThatChangesNothingDoesNotWrite) {
  reg(vm::kEbx) = kReadOnly;  // its selector's RPL is not below 0
  test_.input.eflags |= vm::kFlagZf;
  run({0x63, 0x03});  // arpl [ebx], ax
  EXPECT_EQ(trap(), ORACLE_NO_TRAP);
  EXPECT_EQ(outcome_.raw.eflags & vm::kFlagZf, 0u);
}

TEST_P(OracleFinds, EnterCopiesFramePointersThatItHasJustPushed) {
  window(kWritable);
  reg(vm::kEsp) = reg(vm::kEbp) = kWritable + 64;
  run({0xC8, 0x00, 0x00, 0x03});
  EXPECT_EQ(trap(), ORACLE_NO_TRAP);
  EXPECT_EQ(memory32(60), kWritable + 64);  // EBP
  EXPECT_EQ(memory32(56), kWritable + 64);  // copied from [EBP - 4], where it was pushed
  EXPECT_EQ(memory32(52), kWritable + 64);
  EXPECT_EQ(memory32(48), kWritable + 60);  // the new frame
}

TEST_P(OracleFinds, FarCallPushesTwoWordsThatAreAlignedEachForItself) {
  window(kWritable);
  reg(vm::kEsp) = kWritable + 12;  // a multiple of four, not of eight
  test_.input.eflags |= vm::kFlagAc;
  run({0x9A, 0x78, 0x56, 0x34, 0x22, ORACLE_CS, 0x00});
  EXPECT_EQ(trap(), ORACLE_NO_TRAP);
  EXPECT_EQ(outcome_.raw.eip, 0x22345678u);
  EXPECT_EQ(memory32(4), test_.input.eip + 7);
  EXPECT_EQ(memory32(8), u32{ORACLE_CS});
}

TEST_P(OracleFinds, StoreOfAnUnmaskedInvalidOperandFaultsFirstIfItCanNotBeWritten) {
  test_.input.options = ORACLE_USES_FX;
  base::store_le<u16>(test_.input.fx, 0x037E);  // #IA not masked; the stack is empty
  reg(vm::kEbx) = kReadOnly;
  run({0xDD, 0x1B});  // fstp qword [ebx]
  EXPECT_EQ(trap(), vector(vm::Vector::kPageFault));
  EXPECT_EQ(outcome_.raw.address, kReadOnly);
  EXPECT_EQ(base::load_le<u16>(outcome_.raw.fx + 2), 0u);
}

TEST_P(OracleFinds, RepBsfIsBsf) {
  reg(vm::kEcx) = 0;
  reg(vm::kEax) = 0x12345678;
  run({0xF3, 0x0F, 0xBC, 0xC1});  // tzcnt eax, ecx on a newer processor
  EXPECT_EQ(trap(), ORACLE_NO_TRAP);
  EXPECT_EQ(outcome_.raw.gpr[vm::kEax], 0x12345678u);
  EXPECT_NE(outcome_.raw.eflags & vm::kFlagZf, 0u);
}

}  // namespace
}  // namespace snowglobe::oracle
