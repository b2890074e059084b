// tests/support/overlay_disk.h - a disk whose original is read-only bytes, with the changes in
// memory.
#pragma once

#include "vm/backends.h"

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace snowglobe::vm::test {

/// A file mapped for reading.
class MappedFile {
 public:
  /// Errors: kNotFound, kIo.
  static base::Result<std::unique_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] base::ConstBytes bytes() const { return bytes_; }

 private:
  explicit MappedFile(base::ConstBytes bytes) : bytes_(bytes) {}

  base::ConstBytes bytes_;
};

/// Not thread-safe. Everything that neither the extents hold nor anybody wrote is zero.
class OverlayDisk final : public BlockBackend {
 public:
  struct Extent {
    u64 offset = 0;
    base::ConstBytes bytes;  ///< not owned
  };

  /// `extents` are in ascending order and do not overlap.
  OverlayDisk(std::vector<Extent> extents, u64 capacity, bool read_only);

  [[nodiscard]] u64 capacity() const override { return capacity_; }
  [[nodiscard]] bool read_only() const override { return read_only_; }
  base::Result<void> read(u64 offset, base::Bytes out) override;
  base::Result<void> write(u64 offset, base::ConstBytes from) override;
  base::Result<void> flush() override { return {}; }
  base::Result<void> discard(u64 offset, u64 length) override;

  /// How much memory the changes take.
  [[nodiscard]] u64 changed_bytes() const { return blocks_.size() * kBlockBytes; }

 private:
  static constexpr u64 kBlockBytes = 4096;
  using Block = std::array<u8, kBlockBytes>;

  void read_original(u64 offset, base::Bytes out) const;
  Block& changed_block(u64 number);

  std::vector<Extent> extents_;
  u64 capacity_;
  bool read_only_;
  std::unordered_map<u64, std::unique_ptr<Block>> blocks_;
};

/// The image's packed cluster (docs/guest.md, cluster.disk.zst), unpacked.
struct UnpackedCluster {
  std::vector<u8> bytes;
  std::vector<OverlayDisk::Extent> extents;  ///< into `bytes`
  u64 capacity = 0;
};
base::Result<std::unique_ptr<UnpackedCluster>> unpack_cluster(base::ConstBytes packed);

}  // namespace snowglobe::vm::test
