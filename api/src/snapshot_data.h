// api/src/snapshot_data.h - what a Snapshot points at.
#pragma once

#include "api/src/disks.h"
#include "api/src/session_picture.h"
#include "base/error.h"
#include "snapshots/snapshot.h"
#include "vm/machine.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::detail {

class StoreState;

/// Of what is in a picture, and how it is stored: see picture_archive.h.
inline constexpr std::uint32_t kPictureFormat = 2;

/// All of a machine and of our ends of its cables at one instant. Never changes; shares pages with
/// the machines that run on it.
struct MachinePicture {
  vm::MachineImage machine;
  std::shared_ptr<const DiskImage> disk;
  std::vector<std::uint8_t> network;  ///< net::Network::save()
  std::string agent;                  ///< AgentClient::save()
  std::vector<SessionPicture> sessions;
  std::string image_id;
  std::uint64_t memory_bytes = 0;

  /// Options::memory_mb, of which 0 is content with any.
  [[nodiscard]] bool has_memory(unsigned megabytes) const {
    return megabytes == 0 || std::uint64_t{megabytes} << 20 == memory_bytes;
  }
};

/// Thread rule: any thread.
class SnapshotData {
 public:
  /// Made in memory, or read from a store when it is first needed.
  SnapshotData(snapshots::SnapshotInfo info, std::shared_ptr<const MachinePicture> picture,
               std::shared_ptr<StoreState> store,
               std::optional<snapshots::SnapshotId> stored_ancestor = {});

  /// `image`: where the guest image may be, as Options::image. Errors: as the store's Reader,
  /// kUnsupported (another image).
  base::Result<std::shared_ptr<const MachinePicture>> picture(
      const std::filesystem::path& image) const;

  const snapshots::SnapshotInfo info;
  const std::string id;
  const std::string parent;                 ///< empty: none
  const std::shared_ptr<StoreState> store;  ///< null: in memory only
  /// Of one that is in memory only: the nearest that is in its database's folder.
  const std::optional<snapshots::SnapshotId> stored_ancestor;

 private:
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const MachinePicture> picture_;
};

}  // namespace snowglobe::detail
