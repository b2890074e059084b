// tests/translator/sequence/sequence_test.cc - a fixed slice of the random programs: interpreter
// and translators must end in the same state.
#include "tests/translator/sequence/campaign.h"
#include "vm/cpu/translator/host_support.h"

#include <gtest/gtest.h>

namespace snowglobe::sequence {
namespace {

constexpr u64 kSeed = 20'251'123, kPrograms = 20'000;

TEST(Sequences, InterpreterAndTranslatorEndInTheSameState) {
  const vm::HostSupport& host = vm::translator_support();
  if (!host.usable) GTEST_SKIP() << host.why_not;
  Campaign campaign;
  unsigned reported = 0;
  for (u64 index = 0; index < kPrograms; ++index) {
    campaign.run(kSeed, index, [&reported](const std::string& text) {
      if (++reported <= 3) ADD_FAILURE() << text;
    });
  }
  const Tally& tally = campaign.tally();
  EXPECT_EQ(tally.different, 0u);
  EXPECT_LT(tally.abandoned, kPrograms / 20);
  // Most come to their end, or they would prove little.
  EXPECT_GT(tally.by_vector.at(kEndVector), kPrograms / 3);
}

TEST(Sequences, OneWrongRegisterIsFoundAndNamed) {
  Machine one{std::nullopt}, other{std::nullopt};
  Program program = make_program(kSeed, 0);
  program.code = {0xCD, kEndVector};
  program.start = kArea;
  one.run(program);
  other.run(program);
  EXPECT_EQ(difference(one, other), "");
  program.gpr[vm::kEdi] ^= 0x10;
  other.run(program);
  EXPECT_NE(difference(one, other).find("edi"), std::string::npos);
}

TEST(Sequences, TheSameIndexMakesTheSameProgram) {
  for (u64 index = 0; index < 200; ++index) {
    const Program a = make_program(kSeed, index), b = make_program(kSeed, index);
    EXPECT_EQ(a.code, b.code) << index;
    EXPECT_EQ(a.start, b.start) << index;
  }
}

}  // namespace
}  // namespace snowglobe::sequence
