// tests/api/disk_growth_test.cc - a persistent disk becomes larger, and the power is cut or the
// process killed meanwhile; in the middle of requests, and around restores.
#include "tests/api/disk_cuts.h"
#include "tests/api/disk_driver.h"

#include <gtest/gtest.h>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;
using test::Contents;
using test::contents_after;
using test::contents_of;
using test::create;
using test::DiskDriver;
using test::kBlock;
using test::Ledger;
using test::MemoryFiles;
using test::open;
using test::run;
using vm::u64;

constexpr u64 kPages = 24;
constexpr u64 kMore = 8;  ///< pages
constexpr u64 kSectorsOfPage = kBlock / 512;

TEST(DiskGrowth, AnyPowerCutAndAnyKillMeanwhileLeaveADiskThatTheLedgerAllows) {
  int images = 0, small = 0;
  for (u64 seed = 1; seed <= 15; ++seed) {
    MemoryFiles files(seed);
    create(files, kPages);
    files.set_cold(seed % 3 == 0 ? 3 : 0);
    const auto disk = run(files);
    Ledger ledger(kPages * kSectorsOfPage);
    DiskDriver driver(*disk, ledger, seed);
    base::SeededRandom random(seed * 1000);
    std::shared_ptr<const DiskImage> image;
    for (int round = 1; round <= 4; ++round) {
      for (int step = 0; step < 25; ++step) {
        driver.random_request(ledger.sectors());
        if (step % 3 == 0) driver.take();
      }
      if (round == 2) {
        ASSERT_TRUE(driver.finish());
        ASSERT_TRUE(disk->asynchronous()->wait_idle(10s));
        image = disk->capture().value();
      }
      const u64 before = ledger.sectors();
      const std::size_t begin = files.now();
      ledger.growing(before + kMore * kSectorsOfPage);
      ASSERT_TRUE(disk->grow(ledger.sectors() * 512).ok());
      const std::size_t end = files.now();
      for (std::size_t point = begin; point <= end; ++point) {
        if (point == end) ledger.grown();
        const auto cut = contents_after(files.after_cut(point, random), seed);
        ASSERT_EQ(ledger.judge(cut, false), "") << "seed " << seed << ", round " << round;
        const auto killed = contents_after(files.after_kill(point), seed);
        ASSERT_EQ(ledger.judge(killed, true), "") << "seed " << seed << ", round " << round;
        small += cut.size() == before * 512 ? 1 : 0;
        ++images;
      }
    }
    ASSERT_TRUE(driver.finish());
    EXPECT_EQ(driver.failures, 0);
    EXPECT_EQ(ledger.judge(contents_of(*disk), true), "");
    EXPECT_EQ(image->capacity(), (kPages + kMore) * kBlock) << "as it was";
  }
  EXPECT_GE(images, 300);
  EXPECT_GT(small, 50);
}

/// What was cut off is begun anew: nothing of the first attempt is in the second.
TEST(DiskGrowth, AfterACutTheNextOneFindsZerosBehindWhatThereWas) {
  MemoryFiles files;
  create(files, kPages);
  auto disk = run(files);
  ASSERT_TRUE(disk->write(0, Contents(kPages * kBlock, 1)).ok());
  ASSERT_TRUE(disk->sync().ok());
  const std::size_t begin = files.now();
  ASSERT_TRUE(disk->grow((kPages + kMore) * kBlock).ok());
  const std::size_t end = files.now();
  disk.reset();
  Contents expected(kPages * kBlock, 1);
  expected.resize((kPages + 2 * kMore) * kBlock);
  base::SeededRandom random(5);
  for (std::size_t point = begin; point <= end; ++point) {
    for (int i = 0; i < 10; ++i) {
      MemoryFiles later(files.after_cut(point, random), point);
      const auto again = run(later);
      ASSERT_TRUE(again->grow((kPages + 2 * kMore) * kBlock).ok());
      ASSERT_EQ(contents_of(*again), expected) << "point " << point - begin;
      ASSERT_EQ(contents_after(later.after_cut(later.now(), random), point), expected);
    }
  }
}

/// A state of an earlier, smaller disk is put back, and the disk grows on: before the journal of
/// the restore is gone for good. Each cut leaves what was there before a step or after it.
TEST(DiskGrowth, AroundARestoreEachCutLeavesWhatWasBeforeOrAfterAStep) {
  MemoryFiles files;
  create(files, kPages);
  auto disk = run(files);
  ASSERT_TRUE(disk->write(0, Contents(4 * kBlock, 1)).ok());
  const auto image = disk->capture().value();
  ASSERT_TRUE(disk->grow((kPages + kMore) * kBlock).ok());
  ASSERT_TRUE(disk->write((kPages - 2) * kBlock, Contents(kMore * kBlock, 2)).ok());
  ASSERT_TRUE(disk->sync().ok());
  std::vector<Contents> states{contents_of(*disk)};
  std::vector<std::size_t> ends{files.now()};
  const auto step = [&](const base::Result<void>& done) {
    ASSERT_TRUE(done.ok()) << done.error().message;
    ends.push_back(files.now());
    states.push_back(contents_of(*disk));
  };
  step(disk->restore(image));
  step(disk->grow((kPages + 2 * kMore) * kBlock));
  step(disk->grow((kPages + 3 * kMore) * kBlock));
  disk.reset();
  Contents restored = contents_of(*image);
  restored.resize((kPages + kMore) * kBlock);
  EXPECT_EQ(states[1], restored) << "zeros behind a smaller image";
  base::SeededRandom random(7);
  for (std::size_t step_made = 1; step_made < states.size(); ++step_made) {
    for (std::size_t point = ends[step_made - 1]; point <= ends[step_made]; ++point) {
      for (int i = 0; i < 10; ++i) {
        const auto cut = contents_after(files.after_cut(point, random), point);
        const bool before = cut == states[step_made - 1] && point != ends[step_made];
        ASSERT_TRUE(before || cut == states[step_made])
            << "step " << step_made << ", point " << point - ends[step_made - 1];
      }
    }
  }
}

}  // namespace
}  // namespace snowglobe::detail
