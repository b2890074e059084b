// tests/api/disks_test.cc - the packed cluster, images, and overlays on them against plain arrays
// of bytes.
#include "api/src/disks.h"

#include "base/random.h"

#include <atomic>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <thread>
#include <zstd.h>

namespace snowglobe::detail {
namespace {

using vm::u64;
using Contents = std::vector<std::uint8_t>;

constexpr u64 kBlock = 4096;

void append(Contents& out, u64 value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    out.push_back(static_cast<std::uint8_t>(value >> 8 * i));
}

/// As guest/recipe/sparse.py writes it: extents of (offset, length) filled with their index + 1.
Contents header(u64 size, const std::vector<std::pair<u64, u64>>& extents) {
  Contents out{'S', 'N', 'O', 'W', 'D', 'I', 'S', 'K'};
  append(out, 1, 4);
  append(out, extents.size(), 4);
  append(out, size, 8);
  for (const auto& [offset, length] : extents) {
    append(out, offset, 8);
    append(out, length, 8);
  }
  for (std::size_t i = 0; i < extents.size(); ++i) {
    out.insert(out.end(), extents[i].second, static_cast<std::uint8_t>(i + 1));
  }
  return out;
}

Contents pack(const Contents& plain) {
  Contents packed(ZSTD_compressBound(plain.size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 3));
  return packed;
}

std::shared_ptr<const SparseDisk> sample() {
  const auto disk = SparseDisk::unpack(
      pack(header(64 * kBlock, {{0, kBlock}, {3 * kBlock, 2 * kBlock}, {63 * kBlock, kBlock}})),
      4 * kBlock);
  EXPECT_TRUE(disk.ok());
  return disk.value();
}

TEST(SparseDisk, HolesReadAsZerosAndExtentsAsTheirBytes) {
  const auto disk = sample();
  Contents all(64 * kBlock);
  disk->read(0, all);
  EXPECT_EQ(all[0], 1);
  EXPECT_EQ(all[kBlock], 0);
  EXPECT_EQ(all[3 * kBlock], 2);
  EXPECT_EQ(all[5 * kBlock - 1], 2);
  EXPECT_EQ(all[5 * kBlock], 0);
  EXPECT_EQ(all[64 * kBlock - 1], 3);
  Contents across(1024);
  disk->read(3 * kBlock - 512, across);
  EXPECT_EQ(across[511], 0);
  EXPECT_EQ(across[512], 2);
}

TEST(SparseDisk, DamageIsAnErrorAndNeverMore) {
  const Contents good = pack(header(8 * kBlock, {{kBlock, kBlock}}));
  EXPECT_TRUE(SparseDisk::unpack(good, kBlock).ok());
  EXPECT_FALSE(SparseDisk::unpack(good, kBlock / 2).ok()) << "larger than the manifest says";
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    EXPECT_FALSE(SparseDisk::unpack(base::ConstBytes(good).first(cut), kBlock).ok()) << cut;
  }
  const auto refused = [](const Contents& plain) {
    return !SparseDisk::unpack(pack(plain), 16 * kBlock).ok();
  };
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused(Contents(100, 7)));
  EXPECT_TRUE(refused(header(8 * kBlock, {{8 * kBlock, kBlock}}))) << "outside";
  EXPECT_TRUE(refused(header(8 * kBlock, {{kBlock, kBlock}, {kBlock, kBlock}}))) << "overlap";
  EXPECT_TRUE(refused(header(8 * kBlock, {{2 * kBlock, kBlock}, {kBlock, kBlock}}))) << "order";
  EXPECT_TRUE(refused(header(8 * kBlock, {{1, kBlock}}))) << "unaligned";
  EXPECT_TRUE(refused(header(8 * kBlock + 1, {{0, kBlock}}))) << "odd size";
  Contents short_data = header(8 * kBlock, {{0, kBlock}});
  short_data.pop_back();
  EXPECT_TRUE(refused(short_data));
}

TEST(OverlayDisk, BehavesLikeAnArrayUnderRandomWritesAndDiscards) {
  const auto base = sample();
  OverlayDisk disk(base, 0);
  Contents expected(64 * kBlock);
  base->read(0, expected);
  base::SeededRandom random(42);
  for (int step = 0; step < 5000; ++step) {
    const u64 sectors = 64 * kBlock / 512;
    const u64 at = random.next() % sectors;
    const u64 count = 1 + random.next() % std::min<u64>(sectors - at, 40);
    const auto range = base::Bytes(expected).subspan(at * 512, count * 512);
    switch (random.next() % 3) {
      case 0:
        random.fill(range);
        ASSERT_TRUE(disk.write(at * 512, range).ok());
        break;
      case 1:
        std::fill(range.begin(), range.end(), std::uint8_t{0});
        ASSERT_TRUE(disk.discard(at * 512, count * 512).ok());
        break;
      default: {
        Contents read(range.size());
        ASSERT_TRUE(disk.read(at * 512, read).ok());
        ASSERT_TRUE(std::equal(read.begin(), read.end(), range.begin())) << "step " << step;
      }
    }
  }
  EXPECT_LE(disk.own_bytes(), 64 * kBlock);
}

TEST(OverlayDisk, DiscardGivesMemoryBackAndTheLimitHolds) {
  OverlayDisk disk(sample(), 2 * kBlock);
  const Contents page(kBlock, 9);
  EXPECT_TRUE(disk.write(0, page).ok());
  EXPECT_TRUE(disk.write(10 * kBlock, page).ok());
  EXPECT_EQ(disk.own_bytes(), 2 * kBlock);
  const auto refused = disk.write(20 * kBlock, page);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, base::ErrorCode::kResourceExhausted);
  EXPECT_TRUE(disk.write(0, page).ok()) << "what is there may be written again";
  EXPECT_TRUE(disk.discard(0, kBlock).ok());
  EXPECT_EQ(disk.own_bytes(), kBlock);
  EXPECT_TRUE(disk.write(20 * kBlock, page).ok());
  Contents read(kBlock, 1);
  EXPECT_TRUE(disk.read(0, read).ok());
  EXPECT_EQ(read, Contents(kBlock, 0));
}

// --- images

constexpr u64 kLarge = 600;  // pages: three groups

std::shared_ptr<const SparseDisk> large_sample() {
  const auto disk = SparseDisk::unpack(
      pack(header(kLarge * kBlock, {{0, 2 * kBlock}, {250 * kBlock, 20 * kBlock}})), 22 * kBlock);
  EXPECT_TRUE(disk.ok());
  return disk.value();
}

Contents contents_of(const DiskImage& image) {
  Contents all(image.capacity());
  image.read(0, all);
  return all;
}

Contents contents_of(OverlayDisk& disk) {
  Contents all(disk.capacity());
  EXPECT_TRUE(disk.read(0, all).ok());
  return all;
}

/// Chunks in which `image` differs from `other`, with their lengths.
std::map<u64, u64> differences(const DiskImage& image, const DiskImage* other, u64 chunk) {
  std::map<u64, u64> found;
  image.for_each_difference(other, chunk, [&](u64 offset, u64 length) {
    EXPECT_TRUE(found.empty() || found.rbegin()->first < offset) << "ascending, each once";
    found[offset] = length;
  });
  return found;
}

/// True if all chunks that differ in their bytes are listed.
bool covers(const std::map<u64, u64>& listed, const Contents& a, const Contents& b, u64 chunk) {
  for (u64 at = 0; at < a.size(); at += chunk) {
    const u64 length = std::min<u64>(chunk, a.size() - at);
    const bool equal = std::equal(&a[at], &a[at] + length, &b[at]);
    const auto found = listed.find(at);
    if (!equal && (found == listed.end() || found->second != length)) return false;
  }
  return true;
}

/// A disk, what it should hold, and the images that were taken of any disk of the test.
struct Modelled {
  std::unique_ptr<OverlayDisk> disk;
  Contents expected;
};
struct Picture {
  std::shared_ptr<const DiskImage> image;
  Contents expected;
};

/// Pages that can be neither the base's nor cleared ones.
u64 pages_differing_from(const Contents& base, const Contents& now) {
  u64 pages = 0;
  for (u64 at = 0; at < now.size(); at += kBlock) {
    const bool zero = std::all_of(&now[at], &now[at] + kBlock, [](auto byte) { return byte == 0; });
    pages += !zero && !std::equal(&now[at], &now[at] + kBlock, &base[at]) ? 1 : 0;
  }
  return pages;
}

class DiskModel {
 public:
  explicit DiskModel(u64 seed) : random_(seed) {
    base_->read(0, fresh_);
    disks_.push_back({std::make_unique<OverlayDisk>(base_, 0), fresh_});
    pictures_.push_back({std::make_shared<const DiskImage>(base_), fresh_});
  }

  void step() {
    Modelled& on = disks_[random_.next() % disks_.size()];
    switch (random_.next() % 16) {
      case 0:
        pictures_.push_back({on.disk->capture().value(), on.expected});
        EXPECT_EQ(on.disk->own_bytes(), 0u);
        break;
      case 1: {
        const Picture& picture = pictures_[random_.next() % pictures_.size()];
        ASSERT_TRUE(on.disk->restore(picture.image).ok());
        on.expected = picture.expected;
        break;
      }
      case 2:
        fork();
        break;
      case 3:
        if (pictures_.size() > 4) pictures_.erase(pictures_.begin() + random_.next() % 4);
        break;
      case 4:
        compare_images();
        break;
      default:
        change(on);
    }
  }

  void check() {
    for (Modelled& on : disks_) {
      ASSERT_TRUE(contents_of(*on.disk) == on.expected);
      const u64 content = pages_differing_from(fresh_, on.expected) * kBlock;
      ASSERT_GE(on.disk->content_bytes(), content);
      ASSERT_LE(on.disk->content_bytes(), kLarge * kBlock);
    }
    for (const Picture& picture : pictures_)
      ASSERT_TRUE(contents_of(*picture.image) == picture.expected);
  }

 private:
  void change(Modelled& on) {
    const u64 sectors = kLarge * kBlock / 512;
    const u64 at = random_.next() % sectors;
    const u64 longest = random_.next() % 20 == 0 ? 5000 : 40;
    const u64 count = 1 + random_.next() % std::min<u64>(sectors - at, longest);
    const auto range = base::Bytes(on.expected).subspan(at * 512, count * 512);
    if (random_.next() % 3 != 0) {
      random_.fill(range);
      ASSERT_TRUE(on.disk->write(at * 512, range).ok());
    } else {
      std::fill(range.begin(), range.end(), std::uint8_t{0});
      ASSERT_TRUE(on.disk->discard(at * 512, count * 512).ok());
    }
  }

  void fork() {
    if (disks_.size() > 5) {
      disks_.erase(disks_.begin() + random_.next() % 5);
      return;
    }
    const Picture& picture = pictures_[random_.next() % pictures_.size()];
    disks_.push_back({std::make_unique<OverlayDisk>(picture.image, 0), picture.expected});
  }

  /// What differs is listed; and an image built of the differences is the same.
  void compare_images() {
    const Picture& a = pictures_[random_.next() % pictures_.size()];
    const Picture& b = pictures_[random_.next() % pictures_.size()];
    const u64 chunk = kBlock << random_.next() % 6;
    const auto listed = differences(*a.image, b.image.get(), chunk);
    ASSERT_TRUE(covers(listed, a.expected, b.expected, chunk));
    ASSERT_TRUE(covers(differences(*a.image, nullptr, chunk), a.expected, fresh_, chunk));
    ASSERT_TRUE(differences(*a.image, a.image.get(), chunk).empty());
    DiskImage::Builder builder(b.image);
    for (const auto& [offset, length] : listed) {
      Contents bytes(length);
      a.image->read(offset, bytes);
      ASSERT_TRUE(builder.set(offset, bytes).ok());
    }
    ASSERT_TRUE(contents_of(*builder.finish()) == a.expected);
  }

  std::shared_ptr<const SparseDisk> base_ = large_sample();
  Contents fresh_ = Contents(kLarge * kBlock);
  base::SeededRandom random_;
  std::vector<Modelled> disks_;
  std::vector<Picture> pictures_;
};

TEST(DiskImages, DisksForksAndImagesAreWhatAModelSays) {
  for (u64 seed = 1; seed <= 6; ++seed) {
    DiskModel model(seed);
    for (int step = 0; step < 400; ++step) {
      model.step();
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << ", step " << step;
      if (step % 25 == 0) model.check();
    }
    model.check();
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

TEST(DiskImages, ShareThePagesThatDoNotDiffer) {
  OverlayDisk disk(large_sample(), 0);
  const Contents page(kBlock, 9);
  for (u64 i = 0; i < 500; ++i)
    ASSERT_TRUE(disk.write(i * kBlock, page).ok());
  EXPECT_EQ(disk.own_bytes(), 500 * kBlock);
  const auto before = disk.capture().value();
  EXPECT_EQ(before->bytes(), 500 * kBlock);
  EXPECT_EQ(disk.own_bytes(), 0u);
  EXPECT_EQ(disk.content_bytes(), 500 * kBlock);
  EXPECT_EQ(disk.capture().value(), before) << "nothing changed";
  ASSERT_TRUE(disk.write(7 * kBlock + 512, Contents(512, 1)).ok());
  ASSERT_TRUE(disk.discard(300 * kBlock, kBlock).ok());
  EXPECT_EQ(disk.own_bytes(), kBlock);
  const auto after = disk.capture().value();
  EXPECT_EQ(after->bytes(), 499 * kBlock);
  EXPECT_EQ(differences(*after, before.get(), kBlock),
            (std::map<u64, u64>{{7 * kBlock, kBlock}, {300 * kBlock, kBlock}}));
  EXPECT_EQ(differences(*after, before.get(), 16 * kBlock),
            (std::map<u64, u64>{{0, 16 * kBlock}, {288 * kBlock, 16 * kBlock}}));
  EXPECT_EQ(differences(*after, nullptr, 256 * kBlock).rbegin()->first, 256 * kBlock);
  ASSERT_TRUE(disk.restore(before).ok());
  EXPECT_EQ(disk.content_bytes(), 500 * kBlock);
  EXPECT_EQ(contents_of(disk), contents_of(*before));
}

TEST(DiskImages, TheLimitIsAboutContentAndNotAboutBeingSaved) {
  OverlayDisk disk(large_sample(), 3 * kBlock);
  const Contents page(kBlock, 9);
  for (u64 i = 100; i < 103; ++i)
    ASSERT_TRUE(disk.write(i * kBlock, page).ok());
  const auto image = disk.capture().value();
  EXPECT_TRUE(disk.write(101 * kBlock, Contents(kBlock, 3)).ok()) << "was there before";
  EXPECT_EQ(disk.write(103 * kBlock, page).error().code, base::ErrorCode::kResourceExhausted);
  EXPECT_TRUE(disk.discard(100 * kBlock, kBlock).ok());
  EXPECT_TRUE(disk.write(103 * kBlock, page).ok());
  EXPECT_FALSE(disk.write(100 * kBlock, page).ok());
  ASSERT_TRUE(disk.restore(image).ok());
  EXPECT_FALSE(disk.write(103 * kBlock, page).ok());
  OverlayDisk fork(image, 4 * kBlock);
  EXPECT_TRUE(fork.write(103 * kBlock, page).ok());
  EXPECT_FALSE(fork.write(104 * kBlock, page).ok());
}

TEST(DiskImages, ADiskThatIsTrimmedWholeCostsNothing) {
  OverlayDisk disk(large_sample(), 0);
  ASSERT_TRUE(disk.discard(0, disk.capacity()).ok());
  EXPECT_EQ(disk.content_bytes(), 0u);
  const auto image = disk.capture().value();
  EXPECT_EQ(image->bytes(), 0u);
  EXPECT_EQ(contents_of(*image), Contents(kLarge * kBlock, 0));
  u64 pages = 0;
  for (const auto& [offset, length] : differences(*image, nullptr, kBlock)) {
    pages += 1;
    EXPECT_TRUE(offset < 2 * kBlock || (offset >= 250 * kBlock && offset < 270 * kBlock));
    EXPECT_EQ(length, kBlock);
  }
  EXPECT_EQ(pages, 22u) << "what the base has is noted as cleared";
}

TEST(DiskImages, ABuilderTakesPagesOfOthersMemoryAndRefusesOddRanges) {
  const auto empty = std::make_shared<const DiskImage>(large_sample());
  const auto owner = std::make_shared<Contents>(3 * kBlock, std::uint8_t{5});
  std::fill_n(owner->begin() + kBlock, kBlock, std::uint8_t{0});
  const std::weak_ptr<Contents> watch = owner;
  std::shared_ptr<const DiskImage> image;
  {
    DiskImage::Builder builder(empty);
    ASSERT_TRUE(builder.share(250 * kBlock, *owner, owner).ok());
    for (const auto& [offset, length] : std::vector<std::pair<u64, u64>>{
             {1, kBlock}, {0, 100}, {kLarge * kBlock, kBlock}, {599 * kBlock, 2 * kBlock}}) {
      EXPECT_EQ(builder.set(offset, Contents(length, 1)).error().code,
                base::ErrorCode::kInvalidArgument);
    }
    image = builder.finish();
  }
  EXPECT_EQ(image->bytes(), 2 * kBlock) << "zeros take none";
  Contents read(4 * kBlock);
  image->read(250 * kBlock, read);
  EXPECT_EQ(read[0], 5);
  EXPECT_EQ(read[kBlock], 0);
  EXPECT_EQ(read[3 * kBlock], 2) << "the base";
  EXPECT_FALSE(watch.expired());
}

TEST(DiskImages, OfADiskThatGrewHaveZerosBehindWhatTheyWere) {
  constexpr u64 kGrown = 3000;
  OverlayDisk disk(large_sample(), 0);
  ASSERT_TRUE(disk.write(599 * kBlock, Contents(kBlock, 7)).ok());
  const auto before = disk.capture().value();
  ASSERT_TRUE(disk.grow(kGrown * kBlock).ok());
  EXPECT_EQ(disk.capacity(), kGrown * kBlock);
  EXPECT_EQ(before->capacity(), kLarge * kBlock);
  ASSERT_TRUE(disk.grow(kBlock).ok());
  EXPECT_EQ(disk.capacity(), kGrown * kBlock) << "never smaller";
  EXPECT_EQ(disk.grow(kGrown * kBlock + 512).error().code, base::ErrorCode::kInvalidArgument);

  Contents expected = contents_of(*before);
  expected.resize(kGrown * kBlock);
  EXPECT_EQ(contents_of(disk), expected);
  const auto grown = disk.capture().value();
  EXPECT_EQ(grown->capacity(), kGrown * kBlock);
  EXPECT_TRUE(differences(*grown, before.get(), kBlock).empty());
  ASSERT_TRUE(disk.write(2999 * kBlock, Contents(kBlock, 5)).ok());
  ASSERT_TRUE(disk.discard(1000 * kBlock, kBlock).ok());
  const auto after = disk.capture().value();
  EXPECT_EQ(contents_of(*after), contents_of(disk));
  const std::map<u64, u64> last{{2999 * kBlock, kBlock}};
  EXPECT_EQ(differences(*after, before.get(), kBlock), last);
  EXPECT_EQ(differences(*before, after.get(), kBlock), last);

  ASSERT_TRUE(disk.restore(before).ok());
  EXPECT_EQ(disk.capacity(), kGrown * kBlock);
  EXPECT_EQ(contents_of(disk), expected);
  EXPECT_EQ(disk.capture().value()->capacity(), kGrown * kBlock);
  DiskImage::Builder builder(grown);
  ASSERT_TRUE(builder.set(2999 * kBlock, Contents(kBlock, 5)).ok());
  EXPECT_TRUE(differences(*builder.finish(), after.get(), kBlock) == last) << "pages of its own";
}

TEST(DiskImages, OfALargerDiskAreRefusedAndOfAnotherBaseDifferWhereverThereIsSomething) {
  OverlayDisk small(sample(), 0);
  const auto larger = std::make_shared<const DiskImage>(large_sample());
  EXPECT_EQ(small.restore(larger).error().code, base::ErrorCode::kInvalidArgument);
  OverlayDisk disk(large_sample(), 0);
  const auto other = std::make_shared<const DiskImage>(large_sample());
  ASSERT_TRUE(disk.write(599 * kBlock, Contents(kBlock, 7)).ok());
  const auto before = disk.capture().value();
  const auto listed = differences(*other, before.get(), 256 * kBlock);
  EXPECT_EQ(listed.size(), 3u);
  EXPECT_EQ(listed.rbegin()->second, (kLarge - 512) * kBlock) << "the last chunk is cut off";
  const auto pages = differences(*other, before.get(), kBlock);
  EXPECT_EQ(pages.size(), 22u + 1u) << "zeros in both are equal";
  ASSERT_TRUE(disk.restore(other).ok());
  EXPECT_EQ(contents_of(disk), contents_of(*other));
}

TEST(DiskImages, OnZerosHoldAllThatIsNot) {
  const auto zeros = SparseDisk::zeros(kLarge * kBlock);
  DiskImage::Builder builder(std::make_shared<const DiskImage>(zeros));
  ASSERT_TRUE(builder.set(5 * kBlock, Contents(kBlock, 1)).ok());
  const auto image = builder.finish();
  EXPECT_EQ(differences(*image, nullptr, kBlock), (std::map<u64, u64>{{5 * kBlock, kBlock}}));
  EXPECT_EQ(image->bytes(), kBlock);
  EXPECT_TRUE(zeros->standalone());
  EXPECT_FALSE(large_sample()->standalone());
}

/// The machine's thread goes on writing, saving and restoring, while others read images, fork from
/// them, and let them go. For ThreadSanitizer; without it a check that images never change.
TEST(DiskImages, AreReadAndReleasedByOtherThreads) {
  OverlayDisk disk(large_sample(), 0);
  std::mutex mutex;
  std::vector<std::shared_ptr<const DiskImage>> shelf;
  std::atomic<bool> done = false;
  std::atomic<int> checked = 0;
  const auto reader = [&](u64 seed) {
    base::SeededRandom random(seed);
    while (!done) {
      std::shared_ptr<const DiskImage> image;
      {
        const std::lock_guard lock(mutex);
        if (shelf.empty()) continue;
        image = std::move(shelf.back());
        shelf.pop_back();
      }
      // Every capture has one and the same byte in all of the first hundred pages.
      Contents bytes(100 * kBlock);
      image->read(0, bytes);
      EXPECT_EQ(std::count(bytes.begin(), bytes.end(), bytes[0]), 100 * kBlock);
      OverlayDisk fork(image, 0);
      EXPECT_TRUE(fork.write(random.next() % 100 * kBlock, Contents(512, 77)).ok());
      ++checked;
    }
  };
  std::thread first(reader, 1), second(reader, 2);
  for (int round = 1; round <= 200 || checked < 50; ++round) {
    const auto byte = static_cast<std::uint8_t>(round);
    ASSERT_TRUE(disk.write(0, Contents(100 * kBlock, byte)).ok());
    const auto image = disk.capture().value();
    ASSERT_TRUE(disk.write(0, Contents(10 * kBlock, 0)).ok());
    if (round % 3 == 0) {
      ASSERT_TRUE(disk.restore(image).ok());
    }
    const std::lock_guard lock(mutex);
    if (shelf.size() < 8) shelf.push_back(image);
  }
  done = true;
  first.join();
  second.join();
}

}  // namespace
}  // namespace snowglobe::detail
