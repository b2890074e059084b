// api/src/disks.cc - the root file, the unpacked cluster, and the overlay on it.
#include "api/src/disks.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;

constexpr u64 kSector = 512;
constexpr u64 kBlock = 4096;

Error corrupt(const char* what) {
  return {ErrorCode::kCorrupt, std::string("unpack the cluster's disk: ") + what};
}

}  // namespace

// --- FileDisk

base::Result<std::unique_ptr<FileDisk>> FileDisk::open(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (descriptor < 0 || fstat(descriptor, &status) != 0) {
    const std::string reason = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
    if (descriptor >= 0) ::close(descriptor);
    return Error{ErrorCode::kIo, "open '" + file.string() + "': " + reason};
  }
  // A last sector that is cut off is padded with zeros by read().
  const u64 capacity = base::align_up(static_cast<u64>(status.st_size), kSector);
  return std::unique_ptr<FileDisk>(new FileDisk(descriptor, capacity));
}

FileDisk::~FileDisk() {
  ::close(file_);
}

base::Result<void> FileDisk::read(u64 offset, base::Bytes out) {
  while (!out.empty()) {
    const ssize_t count = pread(file_, out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return Error{ErrorCode::kIo,
                   "read the guest image's root file: errno " + std::to_string(errno)};
    }
    if (count == 0) {
      // The file was as long as its manifest says when it was opened: only padding is missing.
      if (out.size() >= kSector) return Error{ErrorCode::kIo, "the root file was cut short"};
      std::fill(out.begin(), out.end(), std::uint8_t{0});
      return {};
    }
    out = out.subspan(static_cast<std::size_t>(count));
    offset += static_cast<u64>(count);
  }
  return {};
}

base::Result<void> FileDisk::write(u64, base::ConstBytes) {
  return Error{ErrorCode::kUnsupported, "write to the read-only root disk"};
}

base::Result<void> FileDisk::discard(u64, u64) {
  return Error{ErrorCode::kUnsupported, "discard on the read-only root disk"};
}

// --- SparseDisk

base::Result<std::shared_ptr<const SparseDisk>> SparseDisk::unpack(base::ConstBytes packed,
                                                                   u64 data_limit) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(),
                                                                        ZSTD_freeDCtx);
  if (!context) return Error{ErrorCode::kResourceExhausted, "no memory for zstd"};
  // Header and extents come on top of the data; one is at least a block long.
  const u64 limit = 24 + data_limit + data_limit / kBlock * 16;
  std::vector<std::uint8_t> unpacked(limit);
  ZSTD_outBuffer out{unpacked.data(), unpacked.size(), 0};
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::size_t left = 1;
  while (left != 0) {
    const std::size_t in_before = in.pos;
    const std::size_t out_before = out.pos;
    left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left) != 0) return corrupt(ZSTD_getErrorName(left));
    if (left != 0 && in.pos == in_before && out.pos == out_before) {
      return corrupt(in.pos == in.size ? "the file ends early"
                                       : "it is larger than the manifest says");
    }
  }
  const auto disk = std::make_shared<SparseDisk>();
  if (auto parsed = disk->parse({unpacked.data(), out.pos}); !parsed) return parsed.error();
  return std::shared_ptr<const SparseDisk>(disk);
}

base::Result<void> SparseDisk::parse(base::ConstBytes unpacked) {
  constexpr u64 kHeader = 24;
  constexpr u64 kMaxCapacity = u64{1} << 40;
  if (unpacked.size() < kHeader || std::memcmp(unpacked.data(), "SNOWDISK", 8) != 0) {
    return corrupt("it does not start with its mark");
  }
  if (base::load_le<std::uint32_t>(&unpacked[8]) != 1) return corrupt("its version is not 1");
  const u64 count = base::load_le<std::uint32_t>(&unpacked[12]);
  capacity_ = base::load_le<u64>(&unpacked[16]);
  if (capacity_ % kBlock != 0 || capacity_ > kMaxCapacity) return corrupt("its size is senseless");
  if (!base::range_fits(kHeader, count * 16, unpacked.size()))
    return corrupt("its table is cut off");
  u64 end = 0;
  u64 at = 0;
  extents_.reserve(count);
  for (u64 i = 0; i < count; ++i) {
    const std::uint8_t* entry = &unpacked[kHeader + i * 16];
    const Extent extent{base::load_le<u64>(entry), base::load_le<u64>(entry + 8), at};
    const bool aligned = extent.offset % kBlock == 0 && extent.length % kBlock == 0;
    if (!aligned || extent.offset < end || extent.length == 0 ||
        !base::range_fits(extent.offset, extent.length, capacity_)) {
      return corrupt("its extents are out of order");
    }
    end = extent.offset + extent.length;
    at += extent.length;
    extents_.push_back(extent);
  }
  const base::ConstBytes data = unpacked.subspan(kHeader + count * 16);
  if (data.size() != at) return corrupt("its data is not as long as its extents");
  data_.assign(data.begin(), data.end());
  return {};
}

void SparseDisk::read(u64 offset, base::Bytes out) const {
  std::fill(out.begin(), out.end(), std::uint8_t{0});
  const u64 end = offset + out.size();
  auto extent = std::upper_bound(extents_.begin(), extents_.end(), offset,
                                 [](u64 value, const Extent& e) { return value < e.offset; });
  if (extent != extents_.begin()) --extent;
  for (; extent != extents_.end() && extent->offset < end; ++extent) {
    const u64 from = std::max(offset, extent->offset);
    const u64 to = std::min(end, extent->offset + extent->length);
    if (from >= to) continue;
    std::memcpy(&out[from - offset], &data_[extent->at + (from - extent->offset)], to - from);
  }
}

// --- OverlayDisk

OverlayDisk::OverlayDisk(std::shared_ptr<const SparseDisk> base, u64 limit)
    : base_(std::move(base)),
      limit_(limit),
      chunks_((base_->capacity() + kPage * kPagesPerChunk - 1) / (kPage * kPagesPerChunk)) {}

OverlayDisk::Slot* OverlayDisk::find(u64 page) const {
  const std::unique_ptr<Chunk>& chunk = chunks_[page / kPagesPerChunk];
  return chunk ? &(*chunk)[page % kPagesPerChunk] : nullptr;
}

OverlayDisk::Slot& OverlayDisk::make(u64 page) {
  std::unique_ptr<Chunk>& chunk = chunks_[page / kPagesPerChunk];
  if (!chunk) chunk = std::make_unique<Chunk>();
  return (*chunk)[page % kPagesPerChunk];
}

void OverlayDisk::drop(Slot& slot) {
  if (slot.page) own_bytes_.fetch_sub(kPage, std::memory_order_relaxed);
  slot.page.reset();
  slot.zero = true;
}

base::Result<void> OverlayDisk::read(u64 offset, base::Bytes out) {
  while (!out.empty()) {
    const u64 within = offset % kPage;
    const std::size_t count = std::min<std::size_t>(out.size(), kPage - within);
    const Slot* slot = find(offset / kPage);
    if (slot != nullptr && slot->page) {
      std::memcpy(out.data(), slot->page->data() + within, count);
    } else if (slot != nullptr && slot->zero) {
      std::memset(out.data(), 0, count);
    } else {
      base_->read(offset, out.first(count));
    }
    out = out.subspan(count);
    offset += count;
  }
  return {};
}

base::Result<void> OverlayDisk::write(u64 offset, base::ConstBytes from) {
  while (!from.empty()) {
    const u64 within = offset % kPage;
    const std::size_t count = std::min<std::size_t>(from.size(), kPage - within);
    Slot& slot = make(offset / kPage);
    if (!slot.page) {
      if (limit_ != 0 && own_bytes() + kPage > limit_) {
        return Error{ErrorCode::kResourceExhausted,
                     "the data disk has reached Options::disk_limit_mb"};
      }
      auto page = std::make_unique<Page>();  // zeros
      if (count != kPage && !slot.zero) base_->read(offset - within, *page);
      slot.page = std::move(page);
      own_bytes_.fetch_add(kPage, std::memory_order_relaxed);
    }
    std::memcpy(slot.page->data() + within, from.data(), count);
    from = from.subspan(count);
    offset += count;
  }
  return {};
}

base::Result<void> OverlayDisk::discard(u64 offset, u64 length) {
  while (length != 0) {
    const u64 within = offset % kPage;
    const u64 count = std::min(length, kPage - within);
    Slot& slot = make(offset / kPage);
    if (count == kPage) {
      drop(slot);
    } else {
      constexpr std::array<std::uint8_t, kPage> kZeros{};
      if (auto written = write(offset, base::ConstBytes(kZeros).first(count)); !written)
        return written;
    }
    offset += count;
    length -= count;
  }
  return {};
}

}  // namespace snowglobe::detail
