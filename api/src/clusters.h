// api/src/clusters.h - the bases of data disks: one for each image, whoever brought it in, so that
// pictures of different origin know each other's pages.
#pragma once

#include "api/src/disks.h"
#include "api/src/image.h"

#include <memory>
#include <string>

namespace snowglobe::detail {

/// The base that is in use in this process, or null. Thread rule of all three: any thread.
std::shared_ptr<const SparseDisk> known_cluster(const std::string& image_id);
/// Makes `disk` the base of that image. If there is one in use, it stays. Returns the one that
/// counts.
std::shared_ptr<const SparseDisk> share_cluster(const std::string& image_id,
                                                std::shared_ptr<const SparseDisk> disk);
/// The one in use, or the image's, unpacked. The last user takes it along. Errors: kCorrupt.
base::Result<std::shared_ptr<const SparseDisk>> cluster_disk(const GuestImage& image);

}  // namespace snowglobe::detail
