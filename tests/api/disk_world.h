// tests/api/disk_world.h - what tests of disks share: folders, contents, random changes.
#pragma once

#include "api/src/disks.h"
#include "base/random.h"
#include "tests/support/temporary_folder.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace snowglobe::detail::test {

using Contents = std::vector<std::uint8_t>;
using DiskFolder = snowglobe::test::TemporaryFolder;
inline constexpr vm::u64 kBlock = 4096;

/// Every third page is filled with its number.
inline std::shared_ptr<const DiskImage> striped_image(vm::u64 pages) {
  OverlayDisk disk(SparseDisk::zeros(pages * kBlock), 0);
  for (vm::u64 page = 0; page < pages; page += 3) {
    const Contents bytes(kBlock, static_cast<std::uint8_t>(page + 1));
    EXPECT_TRUE(disk.write(page * kBlock, bytes).ok());
  }
  return disk.capture().value();
}

inline Contents contents_of(const DiskImage& image) {
  Contents all(image.capacity());
  image.read(0, all);
  EXPECT_FALSE(image.base()->damaged());
  return all;
}

inline Contents contents_of(vm::BlockBackend& disk) {
  Contents all(disk.capacity());
  EXPECT_TRUE(disk.read(0, all).ok());
  return all;
}

/// Writes or discards a random range, in the model too.
inline void change(vm::BlockBackend& disk, Contents& expected, base::RandomSource& random) {
  const vm::u64 sectors = expected.size() / 512;
  const vm::u64 at = random.next() % sectors;
  const vm::u64 longest = random.next() % 10 == 0 ? 800 : 40;
  const vm::u64 count = 1 + random.next() % std::min<vm::u64>(sectors - at, longest);
  const auto range = base::Bytes(expected).subspan(at * 512, count * 512);
  if (random.next() % 3 != 0) {
    random.fill(range);
    ASSERT_TRUE(disk.write(at * 512, range).ok());
  } else {
    std::fill(range.begin(), range.end(), std::uint8_t{0});
    ASSERT_TRUE(disk.discard(at * 512, count * 512).ok());
  }
}

}  // namespace snowglobe::detail::test
