// tests/base/base_test.cc - the shared vocabulary: results, bytes, clocks, randomness.
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"

#include <array>
#include <gtest/gtest.h>
#include <vector>

namespace snowglobe::base {
namespace {

TEST(Result, HoldsEitherAValueOrAnError) {
  const Result<int> value = 7;
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value.value(), 7);
  const Result<int> error = Error{ErrorCode::kNotFound, "open 'x': not there"};
  ASSERT_FALSE(error.ok());
  EXPECT_EQ(error.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(error.error().message, "open 'x': not there");
}

TEST(ResultDeathTest, ValueOfAnErrorAborts) {
  const Result<int> error = Error{ErrorCode::kIo, "no"};
  EXPECT_DEATH(static_cast<void>(error.value()), "value\\(\\) on an error");
}

TEST(Bytes, BigEndianLoadsAndStoresAreInverse) {
  std::array<std::uint8_t, 4> bytes{};
  store_be<std::uint32_t>(bytes.data(), 0x01020304u);
  EXPECT_EQ(bytes, (std::array<std::uint8_t, 4>{1, 2, 3, 4}));
  EXPECT_EQ(load_be<std::uint32_t>(bytes.data()), 0x01020304u);
  EXPECT_EQ(load_le<std::uint32_t>(bytes.data()), 0x04030201u);
}

TEST(Bytes, RangeFitsDoesNotOverflow) {
  EXPECT_TRUE(range_fits(0, 10, 10));
  EXPECT_TRUE(range_fits(10, 0, 10));
  EXPECT_FALSE(range_fits(1, 10, 10));
  EXPECT_FALSE(range_fits(~0ull, 2, 10));
  EXPECT_FALSE(range_fits(5, ~0ull, 10));
}

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  EXPECT_EQ(clock.monotonic().count(), 0);
  clock.advance(std::chrono::milliseconds(5));
  EXPECT_EQ(clock.monotonic(), std::chrono::milliseconds(5));
  EXPECT_EQ(clock.wall(), std::chrono::milliseconds(5));
}

TEST(SeededRandom, RepeatsForTheSameSeedAndDiffersForAnother) {
  SeededRandom first(1);
  SeededRandom same(1);
  SeededRandom other(2);
  const auto value = first.next();
  EXPECT_EQ(value, same.next());
  EXPECT_NE(value, other.next());
}

TEST(SystemRandom, FillsEveryByte) {
  SystemRandom random;
  // 64 bytes that stay zero in all of 8 draws have a chance of 2^-64 each.
  std::array<std::uint8_t, 64> seen{};
  for (int i = 0; i < 8; ++i) {
    std::array<std::uint8_t, 64> drawn{};
    random.fill(drawn);
    for (std::size_t at = 0; at < seen.size(); ++at)
      seen[at] |= drawn[at];
  }
  for (const std::uint8_t byte : seen)
    EXPECT_NE(byte, 0);
}

}  // namespace
}  // namespace snowglobe::base
