// api/src/store_state.h - what a SnapshotStore points at: the store of bytes, and which of its
// snapshots are in memory as well.
#pragma once

#include "api/src/snapshot_data.h"
#include "snapshots/store.h"
#include <snowglobe/snapshot.hpp>

#include <map>
#include <memory>
#include <mutex>

namespace snowglobe::detail {

/// Thread rule: any thread.
class StoreState : public std::enable_shared_from_this<StoreState> {
 public:
  explicit StoreState(std::unique_ptr<snapshots::Store> store) : store_(std::move(store)) {}

  [[nodiscard]] snapshots::Store& store() const { return *store_; }
  /// As a value of the face; the same contents in memory for the same id.
  Snapshot snapshot(snapshots::SnapshotInfo info);
  Snapshot put(const SnapshotData& data);
  base::Result<std::shared_ptr<const MachinePicture>> read(const snapshots::SnapshotInfo& info);

 private:
  /// If it is in memory, or in the store.
  std::shared_ptr<const MachinePicture> parent_of(const SnapshotData& data);
  [[nodiscard]] std::shared_ptr<const MachinePicture> known(const snapshots::SnapshotId& id) const;
  void remember(const snapshots::SnapshotId& id,
                const std::shared_ptr<const MachinePicture>& picture);

  std::unique_ptr<snapshots::Store> store_;
  mutable std::mutex mutex_;  // of pictures_
  std::map<snapshots::SnapshotId, std::weak_ptr<const MachinePicture>> pictures_;
};

}  // namespace snowglobe::detail
