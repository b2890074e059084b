// tests/api/disk_cuts.h - a persistent disk on files in memory, and what is found on it after a
// power cut or a kill.
#pragma once

#include "api/src/persistent_disk.h"
#include "tests/api/disk_world.h"
#include "tests/api/memory_files.h"

#include <gtest/gtest.h>
#include <memory>

namespace snowglobe::detail::test {

inline const std::filesystem::path kPath = "/disk";

/// Of zeros, closed.
inline void create(MemoryFiles& files, vm::u64 pages) {
  const DiskImage zeros(SparseDisk::zeros(pages * kBlock));
  ASSERT_TRUE(PersistentDisk::create(kPath, zeros, pages * kBlock, files).ok());
}

inline std::unique_ptr<PersistentDisk> open(MemoryFiles& files, DiskDurability durability = {}) {
  auto disk = PersistentDisk::open(kPath, {.durability = durability, .files = &files});
  EXPECT_TRUE(disk.ok()) << disk.error().message;
  return disk.ok() ? std::move(disk).value() : nullptr;
}

/// Opened, and a guest may write.
inline std::unique_ptr<PersistentDisk> run(MemoryFiles& files, DiskDurability durability = {}) {
  auto disk = open(files, durability);
  EXPECT_TRUE(disk->mark_running().ok());
  return disk;
}

/// What the next open finds, as large as the disk is then.
inline Contents contents_after(const MemoryFiles::Image& image, vm::u64 seed) {
  MemoryFiles files(image, seed);
  const auto disk = open(files);
  return disk != nullptr ? contents_of(*disk) : Contents();
}

}  // namespace snowglobe::detail::test
