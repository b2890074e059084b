// tests/support/overlay_disk.cc - mapped files, the overlay, and the packed cluster image.
#include "tests/support/overlay_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

namespace snowglobe::vm::test {

using base::Error;
using base::ErrorCode;

base::Result<std::unique_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return Error{ErrorCode::kNotFound, "open '" + path + "': " + std::strerror(errno)};
  }
  struct stat about {};
  ::fstat(descriptor, &about);
  const auto size = static_cast<std::size_t>(about.st_size);
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int reason = errno;
  ::close(descriptor);
  if (mapping == MAP_FAILED) {
    return Error{ErrorCode::kIo, "map '" + path + "': " + std::strerror(reason)};
  }
  return std::unique_ptr<MappedFile>(new MappedFile({static_cast<const u8*>(mapping), size}));
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<u8*>(bytes_.data()), bytes_.size());
}

OverlayDisk::OverlayDisk(std::vector<Extent> extents, u64 capacity, bool read_only)
    : extents_(std::move(extents)), capacity_(capacity), read_only_(read_only) {}

void OverlayDisk::read_original(u64 offset, base::Bytes out) const {
  std::fill(out.begin(), out.end(), u8{0});
  const u64 end = offset + out.size();
  for (const Extent& extent : extents_) {
    const u64 from = std::max(offset, extent.offset);
    const u64 to = std::min(end, extent.offset + extent.bytes.size());
    if (from >= to) continue;
    std::memcpy(out.data() + (from - offset), extent.bytes.data() + (from - extent.offset),
                to - from);
  }
}

OverlayDisk::Block& OverlayDisk::changed_block(u64 number) {
  std::unique_ptr<Block>& block = blocks_[number];
  if (block == nullptr) {
    block = std::make_unique<Block>();
    read_original(number * kBlockBytes, *block);
  }
  return *block;
}

base::Result<void> OverlayDisk::read(u64 offset, base::Bytes out) {
  while (!out.empty()) {
    const u64 inside = offset % kBlockBytes;
    const std::size_t length = std::min<u64>(kBlockBytes - inside, out.size());
    const auto found = blocks_.find(offset / kBlockBytes);
    if (found == blocks_.end()) {
      read_original(offset, out.first(length));
    } else {
      std::memcpy(out.data(), found->second->data() + inside, length);
    }
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

base::Result<void> OverlayDisk::write(u64 offset, base::ConstBytes from) {
  while (!from.empty()) {
    const u64 inside = offset % kBlockBytes;
    const std::size_t length = std::min<u64>(kBlockBytes - inside, from.size());
    std::memcpy(changed_block(offset / kBlockBytes).data() + inside, from.data(), length);
    from = from.subspan(length);
    offset += length;
  }
  return {};
}

base::Result<void> OverlayDisk::discard(u64 offset, u64 length) {
  for (const u64 end = offset + length; offset < end;) {
    const u64 inside = offset % kBlockBytes;
    const u64 part = std::min(kBlockBytes - inside, end - offset);
    std::fill_n(changed_block(offset / kBlockBytes).begin() + static_cast<std::ptrdiff_t>(inside),
                part, u8{0});
    offset += part;
  }
  return {};
}

base::Result<std::unique_ptr<UnpackedCluster>> unpack_cluster(base::ConstBytes packed) {
  const Error corrupt{ErrorCode::kCorrupt, "the packed cluster image is damaged"};
  auto cluster = std::make_unique<UnpackedCluster>();
  std::vector<u8>& bytes = cluster->bytes;
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ZSTD_inBuffer input{packed.data(), packed.size(), 0};
  std::size_t status = 1;
  while (status != 0 && !ZSTD_isError(status)) {
    const std::size_t before = bytes.size();
    bytes.resize(before + (4u << 20));
    ZSTD_outBuffer output{bytes.data() + before, bytes.size() - before, 0};
    status = ZSTD_decompressStream(context, &output, &input);
    bytes.resize(before + output.pos);
    if (status != 0 && output.pos == 0 && input.pos == input.size) break;
  }
  ZSTD_freeDCtx(context);
  constexpr std::size_t kHeader = 24;
  if (status != 0 || bytes.size() < kHeader || std::memcmp(bytes.data(), "SNOWDISK", 8) != 0) {
    return corrupt;
  }
  const u64 count = base::load_le<u32>(&bytes[12]);
  cluster->capacity = base::load_le<u64>(&bytes[16]);
  u64 data = kHeader + 16 * count;
  for (u64 i = 0; i < count && data <= bytes.size(); ++i) {
    const u64 offset = base::load_le<u64>(&bytes[kHeader + 16 * i]);
    const u64 length = base::load_le<u64>(&bytes[kHeader + 16 * i + 8]);
    if (!base::range_fits(data, length, bytes.size())) return corrupt;
    cluster->extents.push_back({offset, base::ConstBytes(bytes).subspan(data, length)});
    data += length;
  }
  if (cluster->extents.size() != count) return corrupt;
  return cluster;
}

}  // namespace snowglobe::vm::test
