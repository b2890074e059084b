// tests/translator/code_image_test.cc - translated code that goes from a machine to later ones does
// what it did, as long as the guest's bytes are the same.
#include "vm/cpu/translator/code_image.h"

#include "tests/cpu/system_machine.h"
#include "vm/cpu/translator/host_faults.h"
#include "vm/cpu/translator/host_support.h"
#include "vm/cpu/translator/translator.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

using test::SystemMachine;
using Bytes = std::vector<u8>;

constexpr u32 kCode = SystemMachine::kCode;
constexpr u32 kFar = kCode + 0x5000;  // another page
constexpr u32 kData = SystemMachine::kData;

// Runs in ring 3, where HLT ends it with #GP, whose handler halts in ring 0. It loops, calls into
// another page, uses memory, and CPUID, which an interpreter's handler runs.
constexpr std::initializer_list<u8> kProgram = {
    0xB9, 0x64, 0x00, 0x00, 0x00,        // mov ecx, 100
    0xE8, 0xF6, 0x4F, 0x00, 0x00,        // call kFar
    0x49,                                // dec ecx
    0x75, 0xF8,                          // jnz back to the call
    0x31, 0xC0,                          // xor eax, eax
    0x0F, 0xA2,                          // cpuid
    0x89, 0x1D, 0x10, 0x00, 0x02, 0x00,  // mov [kData + 16], ebx
    0xF4,                                // hlt
};
constexpr u8 kAdd = 3;
Bytes far_code(u8 add) {
  return {0x83, 0x05, 0x00, 0x00, 0x02, 0x00, add,  // add dword [kData], add
          0xC3};                                    // ret
}
// For a second part of the program, at kCode + 0x2000: what the first one does, and then more.
constexpr u32 kSecond = kCode + 0x2000;
constexpr std::initializer_list<u8> kSecondProgram = {
    0xE8, 0xFB, 0x2F, 0x00, 0x00,              // call kFar
    0x6B, 0x05, 0x00, 0x00, 0x02, 0x00, 0x07,  // imul eax, [kData], 7
    0xA3, 0x20, 0x00, 0x02, 0x00, 0xF4,        // mov [kData + 32], eax; hlt
};

class Translated {
 public:
  explicit Translated(u8 add = kAdd, std::size_t keep = std::size_t{1} << 20) {
    machine.enable_paging();
    machine.write(kCode, kProgram);
    machine.write(kSecond, kSecondProgram);
    const Bytes code = far_code(add);
    std::ranges::copy(code, machine.ram().write(kFar, static_cast<u32>(code.size())).begin());
    TranslatorOptions options;
    options.code_bytes = std::size_t{16} << 20;
    options.keep_bytes = keep;
    translator = Translator::create(machine.cpu, machine.interpreter, options).value();
  }
  void run(u32 from) {
    static thread_local const auto stack = SignalStack::create();
    machine.enter_user_mode();
    machine.cpu.state.eip = from;
    machine.cpu.state.halted = false;
    ASSERT_EQ(translator->run(), StopReason::kHalted);
    translator->synchronize();
  }
  /// Without the handler's, whose page is the kernel's and not the test's subject.
  u64 blocks() {
    const auto code = translator->code_image();
    return std::ranges::count_if(code->blocks, [](const auto& block) {
      return block.user && block.image_index == CodeImage::kNowhere;
    });
  }
  u32 sum() { return machine.read<u32>(kData); }

  SystemMachine machine;
  std::unique_ptr<Translator> translator;
};

class CodeImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!translator_support().usable) GTEST_SKIP() << translator_support().why_not;
    Translated first;
    first.run(kCode);
    ASSERT_EQ(first.sum(), 300u);
    code = first.translator->new_code();
    ASSERT_NE(code, nullptr);
  }
  std::shared_ptr<const CodeImage> code;
};

TEST_F(CodeImageTest, GivesTheNextMachineAllItsCode) {
  Translated next;
  next.translator->learn_from(code);
  next.run(kCode);
  EXPECT_EQ(next.sum(), 300u);
  EXPECT_EQ(next.machine.read<u32>(kData + 16), next.machine.reg(kEbx));
  EXPECT_NE(next.machine.reg(kEbx), 0u);
  EXPECT_EQ(next.blocks(), 0u);
  EXPECT_EQ(next.translator->new_code(), nullptr) << "there is nothing new";
}

TEST_F(CodeImageTest, GivesNothingOfPagesWithOtherBytes) {
  Translated next(5);
  next.translator->learn_from(code);
  next.run(kCode);
  EXPECT_EQ(next.sum(), 500u);
  EXPECT_EQ(next.blocks(), 1u);  // what is called
}

TEST_F(CodeImageTest, GrowsByWhatWasNew) {
  Translated second;
  second.translator->learn_from(code);
  second.run(kSecond);  // and not the first program, whose code must stay
  EXPECT_EQ(second.machine.read<u32>(kData + 32), 21u);
  EXPECT_GT(second.blocks(), 0u);
  const auto more = second.translator->new_code();
  ASSERT_NE(more, nullptr);

  Translated third;
  third.translator->learn_from(more);
  third.run(kCode);
  third.run(kSecond);
  EXPECT_EQ(third.sum(), 303u);
  EXPECT_EQ(third.machine.read<u32>(kData + 32), 2121u);
  EXPECT_EQ(third.blocks(), 0u);
}

TEST_F(CodeImageTest, ForgetsThePagesThatChanged) {
  Translated second(5);
  second.translator->learn_from(code);
  second.run(kCode);
  const auto more = second.translator->new_code();
  ASSERT_NE(more, nullptr);
  for (const u8 add : {u8{5}, kAdd}) {
    Translated third(add);
    third.translator->learn_from(more);
    third.run(kCode);
    EXPECT_EQ(third.sum(), 100u * add);
    EXPECT_EQ(third.blocks(), add == 5 ? 0u : 1u);
  }
}

TEST_F(CodeImageTest, HoldsTheBeginningIfThereIsMoreThanItMayHold) {
  Translated all, some(kAdd, 4096 / 8);
  all.run(kCode);
  some.run(kCode);
  const auto whole = all.translator->new_code();
  const auto part = some.translator->new_code();
  ASSERT_NE(part, nullptr);
  EXPECT_LT(part->blocks.size(), whole->blocks.size());
  EXPECT_LE(part->hot.size() + part->cold.size(), 4096u / 8 + 16);
  Translated next;
  next.translator->learn_from(part);
  next.run(kCode);
  EXPECT_EQ(next.sum(), 300u);
  EXPECT_GT(next.blocks(), 0u);
  EXPECT_LT(next.blocks(), whole->blocks.size());
}

TEST_F(CodeImageTest, IsNotMadeWhereNobodyAskedForIt) {
  Translated silent(kAdd, 0);
  silent.run(kCode);
  EXPECT_EQ(silent.translator->new_code(), nullptr);
}

}  // namespace
}  // namespace snowglobe::vm
