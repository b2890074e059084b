// api/src/disks.cc - the root file, the unpacked cluster, images of changes to it, and the overlay
// on them.
#include "api/src/disks.h"

#include "api/src/disk_history.h"

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

base::Result<void> FileDisk::fetch(u64 offset, base::Bytes out) {
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
  disk->unpacked_ = std::move(unpacked);
  disk->file_ = base::ConstBytes(disk->unpacked_).first(out.pos);
  if (auto parsed = disk->parse(); !parsed) return parsed.error();
  return std::shared_ptr<const SparseDisk>(disk);
}

base::Result<std::shared_ptr<const SparseDisk>> SparseDisk::of_file(
    std::unique_ptr<vm::MemoryFile> file) {
  const auto disk = std::make_shared<SparseDisk>();
  disk->mapped_ = std::move(file);
  disk->file_ = {disk->mapped_->base(), disk->mapped_->size()};
  if (auto parsed = disk->parse(); !parsed) return parsed.error();
  if (disk->damaged()) return corrupt("its table does not have its checksum");
  return std::shared_ptr<const SparseDisk>(disk);
}

std::shared_ptr<const SparseDisk> SparseDisk::zeros(u64 capacity) {
  const auto disk = std::make_shared<SparseDisk>();
  disk->capacity_ = capacity;
  return disk;
}

Error SparseDisk::damage() const {
  return {ErrorCode::kCorrupt, "read the data disk: the cluster's copy in the cache is damaged"};
}

void SparseDisk::for_each_data(const Visit& visit) const {
  for (const Extent& extent : extents_)
    visit(extent.offset, extent.length);
}

void SparseDisk::check(u64 at, u64 length) const {
  if (mapped_ == nullptr || length == 0) return;
  for (u64 page = at >> vm::kPageShift; page <= (at + length - 1) >> vm::kPageShift; ++page) {
    if (!mapped_->check(static_cast<vm::u32>(page))) damaged_ = true;
  }
}

base::Result<void> SparseDisk::parse() {
  const base::ConstBytes unpacked = file_;
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
  check(0, kHeader + count * 16);
  u64 end = 0;
  u64 at = kHeader + count * 16;
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
  // A mapped file has whole pages.
  const u64 whole = mapped_ != nullptr ? base::align_up(at, vm::kPageSize) : at;
  if (unpacked.size() != whole) return corrupt("its data is not as long as its extents");
  file_ = unpacked.first(at);
  return {};
}

/// The first extent that ends behind `offset`.
std::vector<SparseDisk::Extent>::const_iterator SparseDisk::extent_at(u64 offset) const {
  return std::partition_point(extents_.begin(), extents_.end(), [offset](const Extent& extent) {
    return extent.offset + extent.length <= offset;
  });
}

void SparseDisk::read(u64 offset, base::Bytes out) const {
  std::fill(out.begin(), out.end(), std::uint8_t{0});
  const u64 end = offset + out.size();
  for (auto extent = extent_at(offset); extent != extents_.end() && extent->offset < end;
       ++extent) {
    const u64 from = std::max(offset, extent->offset);
    const u64 to = std::min(end, extent->offset + extent->length);
    const u64 at = extent->at + (from - extent->offset);
    check(at, to - from);
    std::memcpy(&out[from - offset], &file_[at], to - from);
  }
}

bool SparseDisk::read_file(u64 at, base::Bytes out) const {
  check(at, out.size());
  if (damaged()) return false;
  std::copy_n(&file_[at], out.size(), out.begin());
  return true;
}

bool SparseDisk::covers(u64 offset, u64 length) const {
  const auto extent = extent_at(offset);
  return extent != extents_.end() && extent->offset < offset + length;
}

// --- DiskImage

DiskImage::DiskImage(std::shared_ptr<const DiskBase> base, u64 capacity)
    : base_(std::move(base)), capacity_(capacity != 0 ? capacity : base_->capacity()) {
  SG_ASSERT(capacity_ >= base_->capacity(), "a disk can not be smaller than what it began with");
}

bool DiskImage::Group::empty() const {
  return cleared.none() && std::ranges::none_of(pages, [](const auto& page) { return !!page; });
}

const std::uint8_t* DiskImage::page(u64 number) const {
  const Group* const found = group(number / kGroupPages);
  return found != nullptr ? found->pages[number % kGroupPages].get() : nullptr;
}

bool DiskImage::cleared(u64 number) const {
  const Group* const found = group(number / kGroupPages);
  return found != nullptr && found->cleared[number % kGroupPages];
}

void DiskImage::read_base(u64 offset, base::Bytes out) const {
  const u64 end = base_->capacity();
  const u64 there = offset < end ? std::min<u64>(out.size(), end - offset) : 0;
  if (there != 0) base_->read(offset, out.first(there));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(there), out.end(), std::uint8_t{0});
}

bool DiskImage::base_covers(u64 page) const {
  return page * kPage < base_->capacity() && base_->covers(page * kPage, kPage);
}

void DiskImage::read(u64 offset, base::Bytes out) const {
  while (!out.empty()) {
    const u64 within = offset % kPage;
    const std::size_t count = std::min<std::size_t>(out.size(), kPage - within);
    const u64 number = offset / kPage;
    if (const std::uint8_t* const own = page(number)) {
      std::memcpy(out.data(), own + within, count);
    } else if (cleared(number)) {
      std::memset(out.data(), 0, count);
    } else {
      read_base(offset, out.first(count));
    }
    out = out.subspan(count);
    offset += count;
  }
}

bool DiskImage::page_differs(const DiskImage& other, u64 number) const {
  return page(number) != other.page(number) || cleared(number) != other.cleared(number);
}

void DiskImage::for_each_difference(const DiskImage* other, u64 chunk_bytes,
                                    const std::function<void(u64, u64)>& visit) const {
  SG_ASSERT(chunk_bytes != 0 && chunk_bytes % kPage == 0, "chunks are made of pages");
  const DiskImage none(base_, capacity_);
  std::vector<bool> base_differs;  // by chunk; empty: nowhere
  const u64 bytes = std::max(capacity(), other != nullptr ? other->capacity() : 0);
  const auto note = [&](u64 offset, u64 length) {
    if (length == 0) return;
    base_differs.resize((bytes + chunk_bytes - 1) / chunk_bytes);
    for (u64 chunk = offset / chunk_bytes; chunk <= (offset + length - 1) / chunk_bytes; ++chunk)
      base_differs[chunk] = true;
  };
  if (other != nullptr) {
    base_->for_each_difference(*other->base_, note);
  } else {
    other = &none;
    if (base_->standalone()) base_->for_each_data(note);
  }
  const u64 end = bytes / kPage;
  const auto chunk_differs = [&](u64 number) {
    return !base_differs.empty() && base_differs[number * kPage / chunk_bytes];
  };
  for (u64 number = 0; number < end;) {
    const u64 index = number / kGroupPages;
    const bool pages_alike = group(index) == other->group(index);
    if (pages_alike && base_differs.empty()) {
      number = (index + 1) * kGroupPages;
    } else if (!chunk_differs(number) && (pages_alike || !page_differs(*other, number))) {
      ++number;
    } else {
      const u64 offset = number * kPage / chunk_bytes * chunk_bytes;
      const u64 length = std::min(chunk_bytes, bytes - offset);
      visit(offset, length);
      number = (offset + length) / kPage;
    }
  }
}

std::shared_ptr<const DiskImage> DiskImage::outline() const {
  auto base = DiskHistory::outline_of(*base_);
  if (base == nullptr) base = base_;
  return std::shared_ptr<const DiskImage>(
      new DiskImage(std::move(base), capacity_, groups_, page_count_));
}

// --- DiskImage::Builder

DiskImage::Builder::Builder(std::shared_ptr<const DiskImage> start)
    : start_(std::move(start)), changed_(DiskImage::groups_of(start_->capacity())) {}

DiskImage::Builder::~Builder() = default;

base::Result<void> DiskImage::Builder::check(u64 offset, u64 length) const {
  if (offset % kPage == 0 && length % kPage == 0 &&
      base::range_fits(offset, length, start_->capacity())) {
    return {};
  }
  return Error{ErrorCode::kInvalidArgument,
               "build a disk's image: the range is not one of whole pages of the disk"};
}

DiskImage::Group& DiskImage::Builder::group_of(u64 number) {
  const u64 index = number / kGroupPages;
  std::unique_ptr<Group>& group = changed_[index];
  if (!group) {
    const Group* const before = start_->group(index);
    group = before != nullptr ? std::make_unique<Group>(*before) : std::make_unique<Group>();
  }
  return *group;
}

/// Calls `make` with the bytes of each page in turn for the page to be put there; pages of zeros
/// need none.
template <class Make>
base::Result<void> DiskImage::Builder::put(u64 offset, base::ConstBytes bytes, Make make) {
  if (auto checked = check(offset, bytes.size()); !checked) return checked;
  for (; !bytes.empty(); bytes = bytes.subspan(kPage), offset += kPage) {
    Group& group = group_of(offset / kPage);
    const u64 at = offset / kPage % kGroupPages;
    const base::ConstBytes page = bytes.first(kPage);
    const bool zero = base::all_zero(page);
    group.pages[at] = zero ? DiskPage() : make(group, page);
    group.cleared[at] = zero && start_->base_covers(offset / kPage);
  }
  return {};
}

base::Result<void> DiskImage::Builder::set(u64 offset, base::ConstBytes bytes) {
  return put(offset, bytes, [](Group&, base::ConstBytes from) {
    DiskPage page = DiskPage::make();
    std::memcpy(page.writable(), from.data(), kPage);
    return page;
  });
}

base::Result<void> DiskImage::Builder::share(u64 offset, base::ConstBytes bytes,
                                             const std::shared_ptr<const void>& owner) {
  return put(offset, bytes, [&owner](Group& group, base::ConstBytes from) {
    if (group.owners.empty() || group.owners.back() != owner) group.owners.push_back(owner);
    return DiskPage::borrowed(from.data());
  });
}

std::shared_ptr<const DiskImage> DiskImage::Builder::finish() {
  Groups groups = start_->groups_;
  for (std::size_t i = 0; i < changed_.size(); ++i) {
    if (!changed_[i]) continue;
    if (i >= groups.size()) groups.resize(i + 1);
    groups[i] = changed_[i]->empty() ? nullptr : std::move(changed_[i]);
  }
  u64 pages = 0;
  for (const auto& group : groups) {
    if (group)
      pages += std::ranges::count_if(group->pages, [](const auto& page) { return !!page; });
  }
  std::shared_ptr<const DiskBase> base = start_->base_;
  const u64 capacity = start_->capacity();
  start_ = std::make_shared<DiskImage>(base, capacity);
  for (auto& group : changed_)
    group.reset();
  return std::shared_ptr<const DiskImage>(
      new DiskImage(std::move(base), capacity, std::move(groups), pages));
}

// --- OverlayDisk

base::Result<void> DataDisk::restore(std::shared_ptr<const DiskImage> image) {
  if (auto prepared = prepare_restore(std::move(image)); !prepared) return prepared;
  return commit_restore();
}

OverlayDisk::OverlayDisk(std::shared_ptr<const DiskBase> base, u64 limit)
    : OverlayDisk(std::make_shared<const DiskImage>(std::move(base)), limit) {}

OverlayDisk::OverlayDisk(std::shared_ptr<const DiskImage> image, u64 limit)
    : image_(std::move(image)),
      capacity_(image_->capacity()),
      limit_(limit),
      changes_(DiskImage::groups_of(capacity_)) {
  count(0, image_->bytes());
}

void OverlayDisk::count(u64 own, u64 content) {
  own_bytes_.store(own, std::memory_order_relaxed);
  content_bytes_.store(content, std::memory_order_relaxed);
}

OverlayDisk::Changes& OverlayDisk::make(u64 page) {
  std::unique_ptr<Changes>& changes = changes_[page / kGroupPages];
  if (!changes) {
    changes = std::make_unique<Changes>();
    touched_.push_back(page / kGroupPages);
  }
  return *changes;
}

/// True if the page is one that differs from the base and takes memory.
bool OverlayDisk::has_content(u64 page) const {
  const Changes* const changes = find(page);
  const u64 at = page % kGroupPages;
  if (changes != nullptr && changes->pages[at]) return true;
  if (changes != nullptr && changes->cleared[at]) return false;
  return image_->page(page) != nullptr;
}

void OverlayDisk::read_page(u64 page, u64 within, base::Bytes out) const {
  const Changes* const changes = find(page);
  const u64 at = page % kGroupPages;
  if (changes != nullptr && changes->pages[at]) {
    std::memcpy(out.data(), changes->pages[at].get() + within, out.size());
  } else if (changes != nullptr && changes->cleared[at]) {
    std::memset(out.data(), 0, out.size());
  } else {
    image_->read(page * kPage + within, out);
  }
}

base::Result<void> OverlayDisk::check_base() const {
  if (!image_->base()->damaged()) return {};
  return image_->base()->damage();
}

base::Result<void> OverlayDisk::read(u64 offset, base::Bytes out) {
  while (!out.empty()) {
    const u64 within = offset % kPage;
    const std::size_t count = std::min<std::size_t>(out.size(), kPage - within);
    read_page(offset / kPage, within, out.first(count));
    out = out.subspan(count);
    offset += count;
  }
  return check_base();
}

/// The disk's own copy of a page; `whole`: all of it will be overwritten.
base::Result<std::uint8_t*> OverlayDisk::writable_page(u64 page, bool whole) {
  const u64 at = page % kGroupPages;
  if (Changes* const changes = find(page); changes != nullptr && changes->pages[at]) {
    return changes->pages[at].writable();
  }
  const u64 more = has_content(page) ? 0 : kPage;
  if (limit_ != 0 && more != 0 && content_bytes() + more > limit_) {
    return Error{ErrorCode::kResourceExhausted, "the data disk has reached Options::disk_limit_mb"};
  }
  DiskPage copy = DiskPage::make();
  if (!whole) {
    read_page(page, 0, {copy.writable(), kPage});
    if (auto sound = check_base(); !sound) return sound.error();
  }
  Changes& changes = make(page);
  changes.cleared[at] = false;
  changes.pages[at] = std::move(copy);
  count(own_bytes() + kPage, content_bytes() + more);
  return changes.pages[at].writable();
}

base::Result<void> OverlayDisk::write(u64 offset, base::ConstBytes from) {
  while (!from.empty()) {
    const u64 within = offset % kPage;
    const std::size_t count = std::min<std::size_t>(from.size(), kPage - within);
    const base::Result<std::uint8_t*> page = writable_page(offset / kPage, count == kPage);
    if (!page) return page.error();
    std::memcpy(page.value() + within, from.data(), count);
    from = from.subspan(count);
    offset += count;
  }
  return {};
}

void OverlayDisk::clear_page(u64 page) {
  const u64 at = page % kGroupPages;
  Changes* changes = find(page);
  const bool had_content = has_content(page);
  // A guest that trims its whole disk must not cost a note for each page of it.
  if (!had_content && (changes == nullptr || !changes->pages[at]) && !image_->base_covers(page)) {
    return;
  }
  if (changes == nullptr) changes = &make(page);
  const u64 own = changes->pages[at] ? kPage : 0;
  changes->pages[at].reset();
  changes->cleared[at] = true;
  count(own_bytes() - own, content_bytes() - (had_content ? kPage : 0));
}

base::Result<void> OverlayDisk::discard(u64 offset, u64 length) {
  while (length != 0) {
    const u64 within = offset % kPage;
    const u64 count = std::min(length, kPage - within);
    if (count == kPage) {
      clear_page(offset / kPage);
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

void OverlayDisk::forget_changes() {
  for (const u64 group : touched_)
    changes_[group].reset();
  touched_.clear();
}

/// A group of image_ with `changes`, whose pages it takes over. Null if nothing differs from the
/// base any more.
std::shared_ptr<const DiskImage::Group> OverlayDisk::merged(u64 index, Changes& changes) const {
  const DiskImage::Group* const before = image_->group(index);
  auto group = before != nullptr ? std::make_shared<DiskImage::Group>(*before)
                                 : std::make_shared<DiskImage::Group>();
  for (u64 at = 0; at < kGroupPages; ++at) {
    if (!changes.pages[at] && !changes.cleared[at]) continue;
    group->cleared[at] = changes.cleared[at] && image_->base_covers(index * kGroupPages + at);
    group->pages[at] = std::move(changes.pages[at]);
  }
  return group->empty() ? nullptr : group;
}

base::Result<std::shared_ptr<const DiskImage>> OverlayDisk::capture() {
  if (touched_.empty() && image_->capacity() == capacity_) return image_;
  DiskImage::Groups groups = image_->groups_;
  for (const u64 index : touched_) {
    if (index >= groups.size()) groups.resize(index + 1);
    groups[index] = merged(index, *changes_[index]);
  }
  image_ = std::shared_ptr<const DiskImage>(
      new DiskImage(image_->base(), capacity_, std::move(groups), content_bytes() / kPage));
  forget_changes();
  count(0, image_->bytes());
  return image_;
}

base::Result<void> OverlayDisk::grow(u64 capacity) {
  if (capacity <= capacity_) return {};
  if (capacity % kPage != 0) {
    return Error{ErrorCode::kInvalidArgument, "a disk has whole pages"};
  }
  capacity_ = capacity;
  changes_.resize(DiskImage::groups_of(capacity_));
  return {};
}

base::Result<void> OverlayDisk::prepare_restore(std::shared_ptr<const DiskImage> image) {
  if (image->capacity() > capacity()) {
    return Error{ErrorCode::kInvalidArgument,
                 "restore the data disk: the state is of a larger disk"};
  }
  prepared_ = std::move(image);
  return {};
}

base::Result<void> OverlayDisk::commit_restore() {
  forget_changes();
  image_ = std::exchange(prepared_, nullptr);
  count(0, image_->bytes());
  return {};
}

}  // namespace snowglobe::detail
