// tests/api/persistent_disk_test.cc - a disk in a file: its head, its images, its restores.
#include "api/src/persistent_disk.h"

#include "api/src/redo_journal.h"
#include "base/random.h"
#include "tests/api/disk_world.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace snowglobe::detail {
namespace {

using test::Contents;
using test::contents_of;
using test::DiskFolder;
using test::kBlock;
using vm::u64;

constexpr u64 kPages = 300;
constexpr u64 kCapacity = kPages * kBlock;

class PersistentDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(PersistentDisk::create(path(), *test::striped_image(kPages - 10), kCapacity).ok());
  }
  [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "disk"; }
  std::unique_ptr<PersistentDisk> open(PersistentDisk::Options options = {}) {
    auto disk = PersistentDisk::open(path(), std::move(options));
    EXPECT_TRUE(disk.ok()) << disk.error().message;
    return disk.ok() ? std::move(disk).value() : nullptr;
  }
  std::unique_ptr<PersistentDisk> run(PersistentDisk::Options options = {}) {
    auto disk = open(std::move(options));
    EXPECT_TRUE(disk->mark_running().ok());
    return disk;
  }

  DiskFolder folder_;
};

TEST_F(PersistentDiskTest, IsMadeWithTheContentsOfAnImageAndZeros) {
  const auto disk = open();
  EXPECT_EQ(disk->record().state, DiskState::kClean);
  EXPECT_EQ(disk->record().generation, 1u);
  EXPECT_EQ(disk->capacity(), kCapacity);
  const Contents all = contents_of(*disk);
  const Contents made = contents_of(*test::striped_image(kPages - 10));
  EXPECT_TRUE(std::equal(made.begin(), made.end(), all.begin()));
  EXPECT_TRUE(base::all_zero(base::ConstBytes(all).subspan(made.size())));
  struct stat status {};
  ASSERT_EQ(stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_LT(disk->allocated_bytes().value(), kCapacity) << "holes stay holes";
  EXPECT_EQ(PersistentDisk::create(path(), *test::striped_image(3), kCapacity).error().code,
            base::ErrorCode::kAlreadyExists);
}

TEST_F(PersistentDiskTest, MarksAreDurableAndCountGenerations) {
  const DiskToken token{1, 2, 3};
  {
    auto disk = open();
    EXPECT_EQ(disk->mark_running().value(), 2u);
    ASSERT_TRUE(disk->write(0, Contents(kBlock, 9)).ok());
    ASSERT_TRUE(disk->mark_hibernated(token).ok());
  }
  {
    auto disk = open();
    EXPECT_EQ(disk->record().state, DiskState::kHibernated);
    EXPECT_EQ(disk->record().token, token);
    EXPECT_EQ(disk->record().generation, 2u);
    EXPECT_EQ(disk->mark_running().value(), 3u);
  }
  {
    auto disk = open();
    EXPECT_EQ(disk->record().state, DiskState::kRunning);
    EXPECT_EQ(disk->record().token, DiskToken{});
    EXPECT_EQ(disk->record().generation, 3u);
    EXPECT_TRUE(disk->mark_clean().ok());
  }
  EXPECT_EQ(open()->record().state, DiskState::kClean);
}

TEST_F(PersistentDiskTest, TakesNoWriteUnlessAMachineIsSaidToRun) {
  const auto disk = open();
  const Contents page(kBlock, 9);
  EXPECT_EQ(disk->write(0, page).error().code, base::ErrorCode::kUnavailable);
  EXPECT_EQ(disk->discard(0, kBlock).error().code, base::ErrorCode::kUnavailable);
  EXPECT_EQ(disk->prepare_restore(disk->capture().value()).error().code,
            base::ErrorCode::kUnavailable);
  ASSERT_TRUE(disk->mark_running().ok());
  EXPECT_TRUE(disk->write(0, page).ok());
  ASSERT_TRUE(disk->mark_hibernated({1}).ok());
  EXPECT_EQ(disk->write(0, page).error().code, base::ErrorCode::kUnavailable);
  EXPECT_FALSE(disk->failed());
  disk->close();
  Contents read(kBlock);
  EXPECT_FALSE(disk->read(0, read).ok());
}

TEST_F(PersistentDiskTest, OpenedForReadingItChangesNothing) {
  const auto disk = open({.read_only = true});
  EXPECT_FALSE(disk->mark_running().ok());
  EXPECT_FALSE(disk->write(0, Contents(kBlock, 9)).ok());
  EXPECT_EQ(contents_of(*disk->capture().value()), contents_of(*disk));
}

TEST_F(PersistentDiskTest, IsWhatAModelSaysWithItsImagesAndRestores) {
  for (u64 seed = 1; seed <= 2; ++seed) {
    base::SeededRandom random(seed);
    auto disk = run();
    Contents expected = contents_of(*disk);
    std::vector<std::pair<std::shared_ptr<const DiskImage>, Contents>> images;
    for (int step = 0; step < 200; ++step) {
      switch (random.next() % 12) {
        case 0:
          images.emplace_back(disk->capture().value(), expected);
          break;
        case 1:
          if (!images.empty()) images.erase(images.begin() + random.next() % images.size());
          break;
        case 2:
          if (!images.empty()) {
            const auto& [image, contents] = images[random.next() % images.size()];
            ASSERT_TRUE(disk->restore(image).ok());
            expected = contents;
          }
          break;
        case 3:
          disk.reset();
          disk = run();
          break;
        default:
          test::change(*disk, expected, random);
      }
      if (step % 20 != 0) continue;
      ASSERT_TRUE(contents_of(*disk) == expected) << "seed " << seed << ", step " << step;
      for (const auto& [image, contents] : images)
        ASSERT_TRUE(contents_of(*image) == contents) << "seed " << seed << ", step " << step;
      if (images.size() < 2) continue;
      const auto& [a, in_a] = images.front();
      const auto& [b, in_b] = images.back();
      std::vector<bool> listed(kPages);
      b->for_each_difference(a->outline().get(), kBlock,
                             [&](u64 offset, u64) { listed[offset / kBlock] = true; });
      for (u64 page = 0; page < kPages; ++page) {
        ASSERT_TRUE(listed[page] || std::equal(&in_a[page * kBlock], &in_a[page * kBlock] + kBlock,
                                               &in_b[page * kBlock]));
      }
    }
    images.clear();
    EXPECT_EQ(disk->own_bytes(), 0u) << "nobody needs what was";
  }
}

TEST_F(PersistentDiskTest, ImagesOutliveItAndStayRightWhenTheFileIsOpenedAgain) {
  auto lease = std::make_shared<int>(1);
  auto disk = run({.lease = lease});
  const std::weak_ptr<int> held = lease;
  lease.reset();
  const Contents before = contents_of(*disk);
  auto image = disk->capture().value();
  auto fork = std::make_unique<OverlayDisk>(image, 0);
  image.reset();
  ASSERT_TRUE(disk->write(0, Contents(10 * kBlock, 1)).ok());
  disk.reset();
  EXPECT_EQ(contents_of(*fork), before);
  EXPECT_FALSE(held.expired()) << "others must not write what the fork reads";
  disk = run();
  ASSERT_TRUE(disk->write(5 * kBlock, Contents(100 * kBlock, 2)).ok());
  ASSERT_TRUE(disk->discard(150 * kBlock, 50 * kBlock).ok());
  EXPECT_EQ(contents_of(*fork), before);
  disk.reset();
  EXPECT_EQ(contents_of(*fork), before);
  fork.reset();
  EXPECT_TRUE(held.expired());
}

TEST_F(PersistentDiskTest, AnOutlineTellsDifferencesAndKeepsNothing) {
  auto disk = run();
  auto image = disk->capture().value();
  const auto outline = image->outline();
  ASSERT_TRUE(disk->write(0, Contents(4 * kBlock, 1)).ok());
  EXPECT_GT(disk->own_bytes(), 0u);
  image.reset();
  EXPECT_EQ(disk->own_bytes(), 0u);
  ASSERT_TRUE(disk->write(10 * kBlock + 512, Contents(512, 1)).ok());
  EXPECT_EQ(disk->own_bytes(), 0u);
  std::vector<u64> pages;
  disk->capture().value()->for_each_difference(
      outline.get(), kBlock, [&](u64 offset, u64) { pages.push_back(offset / kBlock); });
  EXPECT_EQ(pages, (std::vector<u64>{0, 1, 2, 3, 10}));
  Contents bytes(kBlock);
  outline->read(0, bytes);
  EXPECT_TRUE(outline->base()->damaged());
}

TEST_F(PersistentDiskTest, AnOutlineOfADiskThatOthersMayHaveWrittenTellsNothingOfIt) {
  auto disk = run({.lease = std::make_shared<int>(1)});
  const auto outline = disk->capture().value()->outline();
  disk.reset();  // the lease is gone with it
  {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(DiskHead::kDataStart + 30 * kBlock);
    file << "written by another process";
  }
  disk = run();
  std::vector<u64> pages;
  disk->capture().value()->for_each_difference(
      outline.get(), kBlock, [&](u64 offset, u64) { pages.push_back(offset / kBlock); });
  EXPECT_TRUE(std::find(pages.begin(), pages.end(), 30) != pages.end());
}

TEST_F(PersistentDiskTest, RestoresImagesOfOtherDisks) {
  auto disk = run();
  OverlayDisk other(SparseDisk::zeros(kCapacity), 0);
  ASSERT_TRUE(other.write(7 * kBlock, Contents(3 * kBlock, 5)).ok());
  ASSERT_TRUE(disk->restore(other.capture().value()).ok());
  EXPECT_EQ(contents_of(*disk), contents_of(other));
  EXPECT_EQ(disk->record().restores, 1u);
  OverlayDisk small(SparseDisk::zeros(3 * kBlock), 0);
  ASSERT_TRUE(small.write(0, Contents(kBlock, 6)).ok());
  ASSERT_TRUE(disk->restore(small.capture().value()).ok());
  Contents expected = contents_of(small);
  expected.resize(kCapacity);
  EXPECT_EQ(contents_of(*disk), expected) << "zeros behind it";
  const OverlayDisk large(SparseDisk::zeros(kCapacity + kBlock), 0);
  EXPECT_EQ(disk->restore(large.image()).error().code, base::ErrorCode::kInvalidArgument);
}

TEST_F(PersistentDiskTest, GrowsForGoodAndItsImagesStayAsTheyAre) {
  constexpr u64 kGrown = 1000 * kBlock;
  auto disk = run();
  Contents expected = contents_of(*disk);
  const auto before = disk->capture().value();
  ASSERT_TRUE(disk->grow(kGrown).ok());
  ASSERT_TRUE(disk->grow(kBlock).ok()) << "never smaller";
  EXPECT_EQ(disk->capacity(), kGrown);
  EXPECT_EQ(disk->grow(kGrown + 1).error().code, base::ErrorCode::kInvalidArgument);
  EXPECT_EQ(disk->grow(DiskHead::kMaxCapacity + kBlock).error().code,
            base::ErrorCode::kInvalidArgument);
  expected.resize(kGrown);
  EXPECT_EQ(contents_of(*disk), expected);
  ASSERT_TRUE(disk->write(999 * kBlock, Contents(kBlock, 4)).ok());
  EXPECT_EQ(disk->capture().value()->capacity(), kGrown);
  std::vector<u64> pages;
  disk->capture().value()->for_each_difference(
      before.get(), kBlock, [&](u64 offset, u64) { pages.push_back(offset / kBlock); });
  EXPECT_EQ(pages, (std::vector<u64>{999}));
  disk.reset();
  disk = run();
  EXPECT_EQ(disk->capacity(), kGrown);
  EXPECT_NE(contents_of(*disk), expected);
  EXPECT_EQ(before->capacity(), kCapacity);
  ASSERT_TRUE(disk->restore(before).ok());
  EXPECT_EQ(contents_of(*disk), expected);
  EXPECT_EQ(disk->capacity(), kGrown);
  disk->close();
  EXPECT_FALSE(disk->grow(2 * kGrown).ok());
}

TEST_F(PersistentDiskTest, AGrowthThatWasCutOffHasNotHappened) {
  std::filesystem::resize_file(path(), DiskHead::kDataStart + 2 * kCapacity);
  EXPECT_EQ(open({.read_only = true})->capacity(), kCapacity);
  auto disk = run();
  EXPECT_EQ(disk->capacity(), kCapacity);
  EXPECT_EQ(std::filesystem::file_size(path()), DiskHead::kDataStart + kCapacity);
  ASSERT_TRUE(disk->grow(2 * kCapacity).ok());
  EXPECT_EQ(std::filesystem::file_size(path()), DiskHead::kDataStart + 2 * kCapacity);
}

TEST_F(PersistentDiskTest, ARestoreThatWasCutOffIsCompletedOnceAndOnlyOnItsOwnDisk) {
  const std::filesystem::path redo = folder_.path() / "restore.redo";
  Contents expected;
  {
    auto disk = run();
    const auto image = disk->capture().value();
    expected = contents_of(*image);
    ASSERT_TRUE(disk->write(0, Contents(20 * kBlock, 8)).ok());
    ASSERT_TRUE(disk->prepare_restore(image).ok());
    std::filesystem::copy_file(folder_.path() / "restore.redo.new", redo);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "restore.redo.new"));
  const auto saved = folder_.path() / "saved";
  std::filesystem::copy_file(redo, saved);
  EXPECT_EQ(PersistentDisk::open(path(), {.read_only = true}).error().code,
            base::ErrorCode::kUnavailable);
  {
    auto disk = run();
    EXPECT_EQ(contents_of(*disk), expected);
    EXPECT_FALSE(std::filesystem::exists(redo));
    ASSERT_TRUE(disk->write(0, Contents(kBlock, 3)).ok());
    expected = contents_of(*disk);
  }
  std::filesystem::copy_file(saved, redo);  // its removal was lost in a power cut
  EXPECT_EQ(contents_of(*open()), expected) << "done once";
  EXPECT_FALSE(std::filesystem::exists(redo));
  std::filesystem::remove(path());
  ASSERT_TRUE(PersistentDisk::create(path(), *test::striped_image(3), kCapacity).ok());
  std::filesystem::copy_file(saved, redo);
  EXPECT_EQ(PersistentDisk::open(path(), {}).error().code, base::ErrorCode::kCorrupt);
}

TEST_F(PersistentDiskTest, WhatIsNoDiskIsRefusedAndLeftAlone) {
  const auto code = [this] { return PersistentDisk::open(path(), {}).error().code; };
  std::filesystem::resize_file(path(), kCapacity);
  EXPECT_EQ(code(), base::ErrorCode::kCorrupt) << "cut short";
  std::ofstream(path(), std::ios::trunc) << "something else";
  EXPECT_EQ(code(), base::ErrorCode::kCorrupt);
  std::filesystem::resize_file(path(), 100 << 10);
  EXPECT_EQ(code(), base::ErrorCode::kCorrupt);
  std::filesystem::remove(path());
  EXPECT_EQ(code(), base::ErrorCode::kNotFound);
  std::filesystem::create_directory(path());
  EXPECT_FALSE(PersistentDisk::open(path(), {}).ok());
}

}  // namespace
}  // namespace snowglobe::detail
