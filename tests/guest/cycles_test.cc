// tests/guest/cycles_test.cc - opening and closing leaves nothing behind: no memory, thread or
// descriptor.
#include "tests/guest/machine_fixture.h"

#include <algorithm>

namespace snowglobe {
namespace {

TEST(Cycles, FiftyDatabasesComeAndGoWithoutATrace) {
  constexpr int kCycles = 50;
  constexpr int kSettled = 10;  // what is allocated once (caches, arenas) is there by then
  testing::Holdings early;
  for (int cycle = 0; cycle < kCycles; ++cycle) {
    {
      Database db = Database::open_in_memory({.memory_mb = 64});
      ASSERT_EQ(db.one<int>("select $1::int", cycle), cycle);
    }
    if (cycle == kSettled) early = testing::holdings();
  }
  const testing::Holdings late = testing::holdings();
  std::printf("after %d: %ld KiB, %d threads, %d descriptors; after %d: %ld KiB, %d, %d\n",
              kSettled, early.resident_kib, early.threads, early.descriptors, kCycles,
              late.resident_kib, late.threads, late.descriptors);
  EXPECT_EQ(late.threads, early.threads);
  EXPECT_EQ(late.descriptors, early.descriptors);
  // A leak of one page of guest RAM in a hundred would be 26 MiB over the forty cycles.
  EXPECT_LT(late.resident_kib, early.resident_kib + 16 * 1024);
}

}  // namespace
}  // namespace snowglobe
