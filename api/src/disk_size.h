// api/src/disk_size.h - how large a data disk is for a limit that its users see.
#pragma once

#include "base/error.h"
#include "vm/types.h"
#include <snowglobe/export.hpp>

#include <algorithm>
#include <string>

namespace snowglobe::detail {

/// A fresh cluster, and room for something.
inline constexpr unsigned kLeastDiskMb = 96;
/// 56 GiB: a stored snapshot has at most 2^20 chunks (snapshots/limits.h), of disk and memory.
inline constexpr unsigned kMostDiskMb = 56u << 10;
/// Without a limit (guest/recipe/cluster.py makes the image's disk as large as that needs).
inline constexpr unsigned kUsualDiskMb = 4u << 10;

/// Of Options::disk_limit_mb.
inline base::Result<void> check_disk_limit(unsigned megabytes) {
  if (megabytes == 0 || (megabytes >= kLeastDiskMb && megabytes <= kMostDiskMb)) return {};
  std::string text = "a data disk of ";
  text.append(std::to_string(megabytes))
      .append(" MB (Options::disk_limit_mb): a database needs at ");
  text.append("least ").append(std::to_string(kLeastDiskMb)).append(", and ");
  text.append(std::to_string(kMostDiskMb)).append(" is the most");
  return base::Error{base::ErrorCode::kInvalidArgument, text};
}

/// What the guest keeps for PostgreSQL's log beyond the limit (guest/agent/data.c has the same).
inline constexpr vm::u64 kDiskReserve = vm::u64{1} << 30;

/// The disk's size for a limit in bytes, 0: none, any will do. The file system takes less than 1/64
/// for itself; whole block groups, or ext4 would leave the last one out.
inline vm::u64 disk_capacity(vm::u64 limit) {
  constexpr vm::u64 kBlockGroup = vm::u64{128} << 20;
  if (limit == 0) return 0;
  return (limit + limit / 64 + kDiskReserve + kBlockGroup - 1) / kBlockGroup * kBlockGroup;
}

/// Bytes that may be written to a disk in memory on which there are `content`; 0: no limit. The
/// guest keeps to its limit by itself, and PostgreSQL its log within the reserve: this is for a
/// guest that does not, and for what was deleted and is not discarded yet. To come upon it is an
/// I/O error of the guest's, not a full disk.
inline vm::u64 disk_backstop(vm::u64 limit, vm::u64 content) {
  return limit == 0 ? 0 : std::max(limit + limit / 8, content) + kDiskReserve;
}

}  // namespace snowglobe::detail
