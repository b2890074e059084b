// api/src/store_state.h - what a SnapshotStore points at: the store of bytes, and which of its
// snapshots are in memory as well.
#pragma once

#include "api/src/snapshot_data.h"
#include "snapshots/store.h"
#include <snowglobe/snapshot.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace snowglobe::detail {

/// Thread rule: any thread.
class StoreState : public std::enable_shared_from_this<StoreState> {
 public:
  /// `memory_chunk`: bytes of a chunk of memory in snapshots without a parent here.
  /// `image`: where the guest image is looked for if nobody says otherwise, as Options::image.
  StoreState(std::unique_ptr<snapshots::Store> store, std::uint32_t memory_chunk,
             std::filesystem::path image = {})
      : store_(std::move(store)), memory_chunk_(memory_chunk), image_(std::move(image)) {}

  [[nodiscard]] snapshots::Store& store() const { return *store_; }
  /// As a value of the face; the same contents in memory for the same id.
  Snapshot snapshot(snapshots::SnapshotInfo info);
  Snapshot put(const SnapshotData& data);
  /// The same for a picture whose disk is a file that goes on being written: what is returned does
  /// not keep it. Of the last one it is remembered what the next is compared with.
  Snapshot put_away(const SnapshotData& data, std::shared_ptr<const MachinePicture> picture);
  /// `image`: as Options::image; empty: the store's.
  base::Result<std::shared_ptr<const MachinePicture>> read(const snapshots::SnapshotInfo& info,
                                                           const std::filesystem::path& image);

 private:
  struct Parent {
    std::optional<snapshots::SnapshotId> id;  ///< in the store; nothing: it is not there
    std::optional<snapshots::Reader> reader;
    std::shared_ptr<const MachinePicture> picture;  ///< if it is in memory
    std::uint32_t memory_chunk = 0;                 ///< bytes
  };
  Parent parent_of(const SnapshotData& data);
  snapshots::SnapshotInfo write(const SnapshotData& data, const MachinePicture& picture);
  [[nodiscard]] std::shared_ptr<const MachinePicture> known(const snapshots::SnapshotId& id) const;
  void remember(const snapshots::SnapshotId& id,
                const std::shared_ptr<const MachinePicture>& picture);

  std::unique_ptr<snapshots::Store> store_;
  const std::uint32_t memory_chunk_;
  const std::filesystem::path image_;
  mutable std::mutex mutex_;  // of what follows
  std::map<snapshots::SnapshotId, std::weak_ptr<const MachinePicture>> pictures_;
  /// Of put_away(): the last one, its disk as an outline.
  std::pair<snapshots::SnapshotId, std::shared_ptr<const MachinePicture>> outline_;
};

}  // namespace snowglobe::detail
