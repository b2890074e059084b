// api/src/clusters.cc - the bases of data disks, one for each image.
#include "api/src/clusters.h"

#include <map>
#include <mutex>

namespace snowglobe::detail {
namespace {

struct Clusters {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<const SparseDisk>> known;
};

Clusters& clusters() {
  static Clusters* const all = new Clusters;  // databases may outlive static destructors
  return *all;
}

}  // namespace

std::shared_ptr<const SparseDisk> known_cluster(const std::string& image_id) {
  Clusters& all = clusters();
  const std::lock_guard lock(all.mutex);
  const auto found = all.known.find(image_id);
  auto disk = found == all.known.end() ? nullptr : found->second.lock();
  return disk != nullptr && !disk->damaged() ? disk : nullptr;
}

std::shared_ptr<const SparseDisk> share_cluster(const std::string& image_id,
                                                std::shared_ptr<const SparseDisk> disk) {
  Clusters& all = clusters();
  const std::lock_guard lock(all.mutex);
  std::weak_ptr<const SparseDisk>& known = all.known[image_id];
  if (auto there = known.lock(); there != nullptr && !there->damaged()) return there;
  known = disk;
  return disk;
}

base::Result<std::shared_ptr<const SparseDisk>> cluster_disk(const GuestImage& image) {
  if (auto disk = known_cluster(image.id)) return disk;
  const auto packed = read_image_file(image.cluster);
  if (!packed) return packed.error();
  auto disk = SparseDisk::unpack(packed.value(), image.cluster_data_bytes);
  if (!disk) return disk;
  return share_cluster(image.id, std::move(disk).value());
}

}  // namespace snowglobe::detail
