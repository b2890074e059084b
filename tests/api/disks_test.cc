// tests/api/disks_test.cc - the packed cluster and the overlay against a plain array of bytes.
#include "api/src/disks.h"

#include "base/random.h"

#include <gtest/gtest.h>
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

}  // namespace
}  // namespace snowglobe::detail
