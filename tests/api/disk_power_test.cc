// tests/api/disk_power_test.cc - what a persistent disk holds after its process was killed or the
// power was cut, at any point and in any way that is legal; and after each call of the host's that
// can fail has failed.
#include "tests/api/disk_cuts.h"
#include "tests/api/disk_driver.h"

#include <gtest/gtest.h>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;
using test::Contents;
using test::contents_after;
using test::contents_of;
using test::DiskDriver;
using test::kBlock;
using test::kPath;
using test::Ledger;
using test::MemoryFiles;
using test::open;
using test::run;
using vm::u64;

constexpr u64 kPages = 48;
constexpr u64 kCapacity = kPages * kBlock;
constexpr u64 kSectors = kCapacity / 512;

void create(MemoryFiles& files) {
  test::create(files, kPages);
}

TEST(DiskPower, WhatAFlushWasAnsweredForIsThereAfterAnyPowerCutAndAllThatWasAnsweredAfterAKill) {
  int images = 0;
  for (u64 seed = 1; seed <= 30; ++seed) {
    MemoryFiles files(seed);
    create(files);
    files.set_cold(seed % 3 == 0 ? 3 : 0);
    const auto disk = run(files);
    Ledger ledger(kSectors);
    DiskDriver driver(*disk, ledger, seed);
    base::SeededRandom random(seed * 1000);
    std::shared_ptr<const DiskImage> image;
    for (int step = 0; step < 200; ++step) {
      driver.random_request(kSectors);
      if (step % 3 == 0) driver.take();
      if (driver.under_way() > 12) {
        ASSERT_TRUE(driver.finish());
      }
      // Images have pages kept before they are overwritten, which must not change the order.
      if (step % 50 == 20) {
        ASSERT_TRUE(driver.finish());
        ASSERT_TRUE(disk->asynchronous()->wait_idle(10s));
        image = disk->capture().value();
      }
      if (step % 20 != 7) continue;
      driver.take();
      const std::size_t point = files.now();
      const auto cut = contents_after(files.after_cut(point, random), seed);
      ASSERT_EQ(ledger.judge(cut, false), "") << "seed " << seed << ", step " << step;
      const auto killed = contents_after(files.after_kill(point), seed);
      ASSERT_EQ(ledger.judge(killed, true), "") << "seed " << seed << ", step " << step;
      ++images;
    }
    ASSERT_TRUE(driver.finish());
    EXPECT_EQ(driver.failures, 0);
  }
  EXPECT_EQ(images, 300);
}

TEST(DiskPower, TheCheckFindsADiskThatAnswersTooEarly) {
  int found = 0;
  for (u64 seed = 1; seed <= 5; ++seed) {
    MemoryFiles files(seed);
    create(files);
    const auto disk = run(files, DiskDurability::kNone);
    Ledger ledger(kSectors);
    DiskDriver driver(*disk, ledger, seed);
    base::SeededRandom random(seed);
    for (int step = 0; step < 60; ++step)
      driver.random_request(kSectors);
    ASSERT_TRUE(driver.finish());
    driver.flush();
    const auto cut = contents_after(files.after_cut(files.now(), random), seed);
    found += ledger.judge(cut, false).empty() ? 0 : 1;
  }
  EXPECT_GT(found, 0);
}

/// Every fourth page of `byte`, on a disk that was all zeros.
void stripe(PersistentDisk& disk, u64 from, std::uint8_t byte) {
  for (u64 page = from; page < kPages; page += 4)
    ASSERT_TRUE(disk.write(page * kBlock, Contents(kBlock, byte)).ok());
}

TEST(DiskPower, ARestoreTakesBackWhatIsStillUnderWay) {
  MemoryFiles files;
  create(files);
  auto disk = run(files);
  stripe(*disk, 0, 1);
  const auto image = disk->capture().value();
  const Contents before = contents_of(*disk);
  files.set_cold(1);  // what was there is kept first, by the data thread
  files.set_write_time(std::chrono::milliseconds(30));
  vm::AsyncBlock& block = *disk->asynchronous();
  const Contents bytes(kBlock, 9);
  const base::ConstBytes all(bytes);
  int later = 0;
  for (u64 page = 0; page < 8; ++page)
    later += block.submit_write(page + 1, page * kBlock, {&all, 1}) == vm::BlockAnswer::kLater;
  EXPECT_GT(later, 0);
  ASSERT_TRUE(disk->restore(image).ok());
  EXPECT_EQ(contents_of(*disk), before);
}

TEST(DiskPower, ARestoreHappensWhollyOrNotAtAll) {
  MemoryFiles files;
  create(files);
  auto disk = run(files);
  stripe(*disk, 0, 1);
  auto image = disk->capture().value();
  const Contents restored = contents_of(*disk);
  stripe(*disk, 1, 2);
  ASSERT_TRUE(disk->discard(0, 8 * kBlock).ok());
  ASSERT_TRUE(disk->sync().ok());
  const Contents before = contents_of(*disk);
  const std::size_t begin = files.now();
  ASSERT_TRUE(disk->restore(image).ok());
  const std::size_t end = files.now();
  EXPECT_EQ(contents_of(*disk), restored);
  disk.reset();
  base::SeededRandom random(7);
  int olds = 0, news = 0;
  for (std::size_t point = begin; point <= end; ++point) {
    for (int i = 0; i < 4; ++i) {
      MemoryFiles later(i == 0 ? files.after_kill(point) : files.after_cut(point, random), point);
      const Contents first = contents_of(*open(later));
      ASSERT_TRUE(first == before || first == restored) << "point " << point - begin;
      (first == before ? olds : news) += 1;
      if (point == end) {
        EXPECT_EQ(first, restored);
      }
      // Cut again while the next open completes it.
      for (std::size_t again = 0; again <= later.now(); ++again)
        ASSERT_EQ(contents_after(later.after_cut(again, random), point), first);
    }
  }
  EXPECT_GE(olds, 10);
  EXPECT_GE(news, 10);
}

/// What was written and not synced when the restore began, and is the same in the image, is not in
/// the journal: a power cut must not undo it.
TEST(DiskPower, ARestoreOfADiskWithUnsyncedWritesIsWholeAsWell) {
  MemoryFiles files;
  create(files);
  auto disk = run(files);
  auto image = disk->capture().value();
  stripe(*disk, 0, 1);
  ASSERT_TRUE(disk->sync().ok());
  ASSERT_TRUE(disk->discard(0, kCapacity / 2).ok());
  const std::size_t begin = files.now();
  ASSERT_TRUE(disk->restore(image).ok());
  const std::size_t end = files.now();
  const Contents restored = contents_of(*image);
  disk.reset();
  base::SeededRandom random(7);
  bool decided = false;
  for (std::size_t point = begin; point <= end; ++point) {
    for (int i = 0; i < 5; ++i) {
      const MemoryFiles::Image cut = files.after_cut(point, random);
      decided = cut.contains("/restore.redo") || point == end;
      const Contents contents = contents_after(cut, point);
      if (decided) {
        ASSERT_EQ(contents, restored) << "point " << point - begin;
      }
    }
  }
  EXPECT_TRUE(decided);
}

TEST(DiskPower, AHibernatedStateIsOnlyEverFoundWithItsOwnContents) {
  MemoryFiles files;
  create(files);
  std::map<u64, Contents> hibernated;  // by generation
  u64 first_generation = 0;
  auto disk = open(files);
  base::SeededRandom random(3);
  for (int round = 1; round <= 4; ++round) {
    ASSERT_TRUE(disk->mark_running().ok());
    if (first_generation == 0) first_generation = disk->record().generation;
    for (int i = 0; i < 10; ++i) {
      const Contents bytes(kBlock, static_cast<std::uint8_t>(random.next()));
      ASSERT_TRUE(disk->write(random.next() % kPages * kBlock, bytes).ok());
    }
    hibernated[disk->record().generation] = contents_of(*disk);
    ASSERT_TRUE(disk->mark_hibernated({static_cast<std::uint8_t>(round)}).ok());
  }
  const std::size_t end = files.now();
  u64 newest = 0;
  int found = 0;
  for (std::size_t point = 10; point <= end; ++point) {
    for (int i = 0; i < 5; ++i) {
      MemoryFiles later(files.after_cut(point, random), 1);
      if (!later.exists(kPath)) continue;  // not created yet
      auto opened = PersistentDisk::open(kPath, {.files = &later});
      if (!opened) continue;
      const DiskRecord& record = opened.value()->record();
      newest = std::max(newest, record.generation);
      EXPECT_GE(record.generation + 1, newest) << "a generation may be lost, but not two";
      if (record.state != DiskState::kHibernated) continue;
      ++found;
      ASSERT_EQ(contents_of(*opened.value()), hibernated.at(record.generation));
      ASSERT_EQ(record.token[0], record.generation - first_generation + 1);
    }
  }
  EXPECT_GT(found, 10);
}

/// Opens, writes, grows, restores, hibernates; whatever happens. Returns the first error.
struct Script {
  MemoryFiles& files;
  Ledger ledger{kSectors};
  std::optional<base::Error> error{};

  bool ok(const base::Result<void>& result) {
    if (!result && !error) error = result.error();
    return result.ok();
  }
  void grow(PersistentDisk& disk) {
    const u64 wanted = disk.capacity() + 8 * kBlock;
    ledger.growing(std::max(wanted / 512, ledger.sectors()));
    if (ok(disk.grow(wanted))) ledger.grown();
  }
  void run(u64 seed) {
    auto opened = PersistentDisk::open(kPath, {.files = &files});
    if (!opened) {
      error = opened.error();
      return;
    }
    PersistentDisk& disk = *opened.value();
    if (const auto marked = disk.mark_running(); !marked) {
      error = marked.error();
      return;
    }
    DiskDriver driver(disk, ledger, seed);
    for (int step = 0; step < 40; ++step) {
      driver.random_request(kSectors);
      if (step % 4 == 0) driver.take();
    }
    grow(disk);
    for (int step = 0; step < 10; ++step)
      driver.random_request(disk.capacity() / 512);
    EXPECT_TRUE(driver.finish());
    EXPECT_TRUE(disk.asynchronous()->wait_idle(10s));
    const auto image = disk.capture();
    EXPECT_EQ(image.ok(), !disk.failed()) << "nobody knows what a failed disk holds";
    Ledger then = ledger;
    grow(disk);
    then.growing(ledger.sectors());
    if (disk.capacity() == ledger.sectors() * 512) then.grown();
    for (int step = 0; step < 20; ++step)
      driver.random_request(disk.capacity() / 512);
    EXPECT_TRUE(driver.finish());
    if (!image) {
      if (!error) error = image.error();
    } else if (!ok(disk.prepare_restore(image.value()))) {
      // Nothing has changed, and the guest goes on.
      driver.random_request(kSectors);
      EXPECT_TRUE(driver.finish());
    } else if (driver.failures == 0 && ok(disk.commit_restore())) {
      ledger = then;
      ledger.flushed(ledger.answered_now());
    } else {
      restoring = then;
    }
    if (driver.failures != 0 && !error) {
      error = disk.failed() ? *disk.failed() : base::Error{base::ErrorCode::kIo, "a read failed"};
    }
    ok(disk.mark_hibernated({9}));
  }
  std::optional<Ledger> restoring;  ///< what it may be instead: the restore was under way
};

void check_after_error(Script& script, MemoryFiles& files, u64 n) {
  base::SeededRandom random(n);
  for (int i = 0; i < 3; ++i) {
    MemoryFiles later(i == 0 ? files.after_kill(files.now()) : files.after_cut(files.now(), random),
                      n);
    const auto disk = open(later);
    ASSERT_NE(disk, nullptr);
    const Contents all = contents_of(*disk);
    const std::string wrong = script.ledger.judge(all, false);
    const bool restored = script.restoring && script.restoring->judge(all, false).empty();
    ASSERT_TRUE(wrong.empty() || restored) << "error " << n << ", image " << i << ": " << wrong;
    if (disk->record().state == DiskState::kHibernated) {
      EXPECT_EQ(script.ledger.judge(all, true), "") << "error " << n;
    }
    EXPECT_TRUE(disk->mark_running().ok());
    EXPECT_TRUE(disk->write(0, Contents(kBlock, 1)).ok());
  }
}

TEST(DiskFaults, EachCallThatFailsIsATypedErrorAndTheNextOpenIsRight) {
  int struck = 0;
  for (u64 n = 1; n <= 200; ++n) {
    for (const unsigned kinds : {unsigned{MemoryFiles::kAny}, MemoryFiles::kAny & ~1u}) {
      MemoryFiles files(n);
      create(files);
      files.set_cold(4);
      files.fail_nth(n, kinds);
      Script script{.files = files, .restoring = {}};
      script.run(n);
      struck += files.struck() ? 1 : 0;
      if (script.error) {
        ASSERT_TRUE(files.struck()) << script.error->message;
        EXPECT_EQ(script.error->code, base::ErrorCode::kIo) << script.error->message;
      }
      check_after_error(script, files, n);
      if (testing::Test::HasFailure()) FAIL() << "error " << n << ", kinds " << kinds;
    }
  }
  EXPECT_GT(struck, 100);
}

TEST(DiskFaults, EachWriteThatComesOutShortIsATypedErrorAndTheNextOpenIsRight) {
  for (u64 n = 1; n <= 60; ++n) {
    MemoryFiles files(n);
    create(files);
    files.set_cold(4);
    files.tear_nth(n);
    Script script{.files = files, .restoring = {}};
    script.run(n);
    EXPECT_EQ(script.error.has_value(), files.struck()) << n;
    check_after_error(script, files, n);
    if (testing::Test::HasFailure()) FAIL() << "short write " << n;
  }
}

TEST(DiskFaults, AWriteThatComesOutShortFailsTheDiskAndIsNotGoneOnWith) {
  MemoryFiles files;
  create(files);
  auto disk = run(files);
  const auto before = disk->capture().value();
  files.tear_nth(1);
  EXPECT_FALSE(disk->write(0, Contents(kBlock, 1)).ok());
  ASSERT_TRUE(disk->failed());
  const u64 writes = files.calls(MemoryFiles::kWrite), syncs = files.calls(MemoryFiles::kSync);
  Contents page(kBlock);
  EXPECT_EQ(disk->write(0, page).error().code, base::ErrorCode::kIo);
  EXPECT_FALSE(disk->read(0, page).ok());
  EXPECT_FALSE(disk->flush().ok());
  EXPECT_FALSE(disk->mark_hibernated({1}).ok());
  EXPECT_FALSE(disk->capture().ok());
  EXPECT_FALSE(disk->restore(before).ok());
  EXPECT_EQ(files.calls(MemoryFiles::kWrite), writes);
  EXPECT_EQ(files.calls(MemoryFiles::kSync), syncs);
}

TEST(DiskFaults, ASyncThatFailedIsNeverTriedAgain) {
  MemoryFiles files;
  create(files);
  int told = 0;
  auto opened = PersistentDisk::open(
      kPath, {.files = &files, .on_failed = [&told](const base::Error&) { ++told; }});
  PersistentDisk& disk = *opened.value();
  ASSERT_TRUE(disk.mark_running().ok());
  Ledger ledger(kSectors);
  DiskDriver driver(disk, ledger, 1);
  driver.write(0, 100);
  files.fail_nth(1, MemoryFiles::kSync);
  driver.flush();
  ASSERT_TRUE(driver.finish());
  EXPECT_EQ(driver.failures, 1);
  EXPECT_EQ(told, 1);
  const u64 syncs = files.calls(MemoryFiles::kSync);
  driver.flush();
  driver.write(0, 8);
  driver.read(0, 8);
  driver.discard(0, 8);
  ASSERT_TRUE(driver.finish());
  EXPECT_EQ(driver.failures, 5);
  EXPECT_FALSE(disk.sync().ok());
  EXPECT_EQ(files.calls(MemoryFiles::kSync), syncs);
  EXPECT_EQ(told, 1);
  ASSERT_TRUE(disk.failed());
  EXPECT_EQ(disk.failed()->code, base::ErrorCode::kIo);
}

TEST(DiskFlush, ThoseThatWaitShareOneSyncThatBeganAfterThem) {
  MemoryFiles files;
  create(files);
  auto disk = run(files);
  Ledger ledger(kSectors);
  DiskDriver driver(*disk, ledger, 1);
  const u64 syncs = files.calls(MemoryFiles::kSync);
  driver.flush();
  EXPECT_EQ(driver.under_way(), 0u) << "nothing was written since the last one";
  files.hold_syncs(true);
  driver.write(0, 8);
  driver.flush();
  std::this_thread::sleep_for(20ms);  // it is in its sync by now, most likely
  driver.write(8, 8);
  for (int i = 0; i < 5; ++i)
    driver.flush();
  driver.take();
  EXPECT_EQ(driver.under_way(), 6u);
  files.hold_syncs(false);
  ASSERT_TRUE(driver.finish());
  EXPECT_EQ(files.calls(MemoryFiles::kSync), syncs + 2);
  EXPECT_GE(driver.wakes, 2);
  base::SeededRandom random(1);
  EXPECT_EQ(ledger.judge(contents_after(files.after_cut(files.now(), random), 1), false), "");
  EXPECT_EQ(disk->statistics().flushes, 7u);
}

TEST(DiskFlush, NoneSyncsNothingButWhatTheFileSaysOfItself) {
  MemoryFiles files;
  create(files);
  auto disk = run(files, DiskDurability::kNone);
  Ledger ledger(kSectors);
  DiskDriver driver(*disk, ledger, 1);
  const u64 before = files.calls(MemoryFiles::kSync);
  driver.write(0, 8);
  driver.flush();
  EXPECT_EQ(driver.under_way(), 0u);
  EXPECT_EQ(files.calls(MemoryFiles::kSync), before);
  ASSERT_TRUE(disk->mark_hibernated({1}).ok());
  base::SeededRandom random(1);
  const auto cut = contents_after(files.after_cut(files.now(), random), 1);
  EXPECT_EQ(ledger.judge(cut, true), "");
}

TEST(DiskWrites, LargeOnesAreWaitedForByOthersOnceTheHostLetsWritersWait) {
  MemoryFiles files;
  create(files);
  auto disk = run(files);
  Ledger ledger(kSectors);
  DiskDriver driver(*disk, ledger, 1);
  driver.write(0, 100);
  EXPECT_EQ(driver.under_way(), 0u);
  files.set_write_time(5ms);
  driver.write(0, 100);
  EXPECT_EQ(driver.under_way(), 0u);
  files.set_write_time(0ms);
  driver.write(0, 100);
  EXPECT_EQ(driver.under_way(), 1u);
  driver.write(50, 8);
  EXPECT_EQ(driver.under_way(), 2u) << "may not overtake the one it overlaps";
  driver.write(200, 8);
  EXPECT_EQ(driver.under_way(), 2u);
  ASSERT_TRUE(driver.finish());
  const auto killed = contents_after(files.after_kill(files.now()), 1);
  EXPECT_EQ(ledger.judge(killed, true), "");
}

TEST(DiskWrites, OfLargeOnesTheHostsDiskHearsAheadOfTheFlush) {
  for (const auto& [durability, hints] :
       {std::pair(DiskDurability::kFull, 2u), {DiskDurability::kNone, 0u}}) {
    MemoryFiles files;
    create(files);
    auto disk = run(files, durability);
    Ledger ledger(kSectors);
    DiskDriver driver(*disk, ledger, 1);
    driver.write(0, 127);
    driver.write(0, 128);  // 64 KiB
    EXPECT_EQ(driver.under_way(), 0u) << "the guest waits for nothing";
    files.set_write_time(5ms);
    driver.write(0, 8);
    files.set_write_time(0ms);
    driver.write(0, 200);
    EXPECT_EQ(driver.under_way(), 1u);
    ASSERT_TRUE(driver.finish());
    ASSERT_TRUE(disk->asynchronous()->wait_idle(10s));
    EXPECT_EQ(files.calls(MemoryFiles::kWriteBack), hints);
  }
}

TEST(DiskHoles, WhereThereCanBeNoneZerosAreWritten) {
  MemoryFiles files;
  files.set_no_holes();
  create(files);
  auto disk = run(files);
  ASSERT_TRUE(disk->write(0, Contents(kCapacity, 1)).ok());
  const auto image = disk->capture().value();
  ASSERT_TRUE(disk->discard(kBlock + 512, 20 * kBlock).ok());
  Contents expected(kCapacity, 1);
  std::fill_n(expected.begin() + kBlock + 512, 20 * kBlock, std::uint8_t{0});
  EXPECT_EQ(contents_of(*disk), expected);
  EXPECT_EQ(contents_of(*image), Contents(kCapacity, 1));
}

}  // namespace
}  // namespace snowglobe::detail
