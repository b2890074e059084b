// tests/cpu/differential_test.cc - a fixed slice of the oracle: the same cases each time, run on
// the real processor and in both executors. `./dev fuzz cpu` runs others, for longer.
#include "tests/cpu/oracle/campaign.h"
#include "tests/cpu/oracle/emulated_executor.h"
#include "vm/cpu/translator/host_support.h"

#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::oracle {
namespace {

constexpr u64 kSeed = 20'251'122;

// Sanitizers make everything ten times slower, and look for other things.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr u64 kCases = 100'000;
#else
constexpr u64 kCases = 1'000'000;
#endif

class Differential : public testing::Test {
 protected:
  void SetUp() override {
    auto host = HostExecutor::create(SNOWGLOBE_ORACLE_HARNESS);
    if (!host.ok()) {
      GTEST_SKIP() << "32-bit code can not be the oracle here: " << host.error().message
                   << " (it needs a kernel with IA32 emulation, and gcc-multilib at build time)";
    }
    host_ = std::move(host).value();
  }

  /// Runs the first `cases` cases and fails with the first few reproducers.
  Tally run(const Generator& generator, Executor* under_test, u64 cases) {
    Campaign campaign(generator, kSeed, *host_, under_test);
    unsigned reported = 0;
    const auto report = [&reported](const Mismatch& mismatch) {
      if (++reported <= 5) ADD_FAILURE() << mismatch.text;
    };
    for (u64 batch = 0; batch * ORACLE_BATCH < cases; ++batch) {
      campaign.run_batch(batch, cases - batch * ORACLE_BATCH, report);
    }
    EXPECT_EQ(campaign.tally().mismatches, 0u);
    EXPECT_EQ(campaign.tally().arena_mismatches, 0u);
    return campaign.tally();
  }

  std::unique_ptr<HostExecutor> host_;
};

TEST_F(Differential, InterpreterAgreesWithTheProcessorOnEveryInstructionThatIsGranted) {
  const Generator generator(kSeed);
  const auto interpreter = make_emulated_executor(ExecutorPath::kBlocks);
  const Tally tally = run(generator, interpreter.get(), kCases);
  // Every mnemonic of the table had its share, or the slice proves less than it says.
  for (const auto& [mnemonic, forms] : generator.table().by_mnemonic()) {
    if (mnemonic == ZYDIS_MNEMONIC_INVALID) continue;
    const char* name = ZydisMnemonicGetString(mnemonic);
    const auto found = tally.by_name.find(name);
    EXPECT_TRUE(found != tally.by_name.end() && found->second >= kCases / 25'000) << name;
  }
}

TEST_F(Differential, SingleStepsAgreeWithTheProcessorToo) {
  const Generator generator(kSeed + 1);
  const auto interpreter = make_emulated_executor(ExecutorPath::kStep);
  run(generator, interpreter.get(), kCases / 5);
}

TEST_F(Differential, TranslatorAgreesWithTheProcessorToo) {
  const vm::HostSupport& host = vm::translator_support();
  if (!host.usable) GTEST_SKIP() << host.why_not;
  const Generator generator(kSeed + 2);
  const auto translator = make_emulated_executor(ExecutorPath::kTranslated);
  run(generator, translator.get(), kCases / 5);
}

TEST_F(Differential, InterpreterRefusesWhatItsCpuidDoesNotGrant) {
  const std::vector<std::string> only{"(refused)"};
  const Generator generator(kSeed, only);
  const auto interpreter = make_emulated_executor(ExecutorPath::kBlocks);
  run(generator, interpreter.get(), kCases / 10);
}

TEST_F(Differential, TheProcessorAgreesWithItself) {
  // If not, cases depend on more than they say, and no other result here means anything.
  const Generator generator(kSeed);
  run(generator, nullptr, kCases / 20);
}

TEST(Generator, MakesTheSameCaseAgainWhateverItMadeBefore) {
  const Generator first(kSeed), second(kSeed);
  Case a{}, b{};
  for (u64 index = 0; index < 2000; ++index) {
    second.make(index * 7 + 1, b);
    first.make(index, a);
    second.make(index, b);
    ASSERT_EQ(a.code, b.code) << index;
    ASSERT_EQ(a.input.eip, b.input.eip) << index;
    ASSERT_TRUE(std::equal(std::begin(a.input.gpr), std::end(a.input.gpr), b.input.gpr)) << index;
    ASSERT_EQ(a.input.window_count, b.input.window_count) << index;
    for (u32 w = 0; w < a.input.window_count; ++w) {
      const OracleWindow& window = a.input.windows[w];
      ASSERT_EQ(window.address, b.input.windows[w].address) << index;
      ASSERT_TRUE(std::equal(a.input.memory + window.offset,
                             a.input.memory + window.offset + window.size,
                             b.input.memory + window.offset))
          << index;
    }
  }
}

/// An executor that does everything right but for one bit.
class BrokenExecutor final : public Executor {
 public:
  void load(std::span<const Case> batch) override { inner_->load(batch); }
  void run(const Case& test, Outcome& outcome) override {
    inner_->run(test, outcome);
    if (test.index == kBroken) outcome.raw.eflags ^= vm::kFlagCf;
  }
  void read_arena(std::span<u8> arena) override { inner_->read_arena(arena); }

  static constexpr u64 kBroken = 17;

 private:
  std::unique_ptr<Executor> inner_ = make_emulated_executor(ExecutorPath::kStep);
};

TEST_F(Differential, OneWrongBitIsFoundAndNamed) {
  const std::vector<std::string> only{"add"};
  const Generator generator(kSeed, only);
  BrokenExecutor broken;
  Campaign campaign(generator, kSeed, *host_, &broken);
  std::vector<Mismatch> found;
  campaign.run_batch(0, ORACLE_BATCH, [&](const Mismatch& mismatch) { found.push_back(mismatch); });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].index, BrokenExecutor::kBroken);
  EXPECT_EQ(found[0].name, "add");
  EXPECT_EQ(found[0].summary, " eflags");
}

}  // namespace
}  // namespace snowglobe::oracle
