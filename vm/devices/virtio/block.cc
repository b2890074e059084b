// vm/devices/virtio/block.cc - parsing of block requests, and their execution by a backend that
// answers at once.
#include "vm/devices/virtio/block.h"

#include "vm/devices/virtio/block_request.h"

#include <algorithm>
#include <utility>

namespace snowglobe::vm {

namespace {

enum Feature : u32 {
  kSizeMax = 1u << 1,
  kSegMax = 1u << 2,
  kReadOnly = 1u << 5,
  kBlkSize = 1u << 6,
  kFlush = 1u << 9,
  kDiscard = 1u << 13,
  kWriteZeroes = 1u << 14,
};

constexpr u32 kSegments = 126;  // with header, status and an indirect entry well below 256
constexpr u32 kSegmentBytes = 64 << 10;
constexpr u32 kStatusBytes = 1;
constexpr u32 kMaxChainBytes = kSegments * kSegmentBytes + kBlockHeaderBytes + kStatusBytes;
constexpr u32 kDiscardSegments = 16;
constexpr u32 kDiscardSegmentBytes = 16;
constexpr u32 kDiscardSectors = 1u << 21;  // 1 GiB in one segment
constexpr u32 kSerialBytes = 20;
constexpr u32 kRequestCost = 4096;  // counted against a turn beside the bytes moved

u32 features_for(const BlockBackend& backend) {
  const u32 common = kSizeMax | kSegMax | kBlkSize | kFlush;
  return backend.read_only() ? common | kReadOnly : common | kDiscard | kWriteZeroes;
}

/// struct virtio_blk_config (5.2.4).
std::vector<u8> config_for(const BlockBackend& backend) {
  std::vector<u8> config(60, 0);
  base::store_le<u64>(&config[0], backend.capacity() / VirtioBlock::kSectorBytes);
  base::store_le<u32>(&config[8], kSegmentBytes);
  base::store_le<u32>(&config[12], kSegments);
  base::store_le<u32>(&config[20], VirtioBlock::kSectorBytes);
  base::store_le<u16>(&config[34], 1);  // queues
  base::store_le<u32>(&config[36], kDiscardSectors);
  base::store_le<u32>(&config[40], kDiscardSegments);
  base::store_le<u32>(&config[44], 8);  // discard in units of 4 KiB
  base::store_le<u32>(&config[48], kDiscardSectors);
  base::store_le<u32>(&config[52], kDiscardSegments);
  config[56] = 1;  // writing zeroes may give the space back
  return config;
}

template <class Parts>
bool all_whole_sectors(const Parts& parts) {
  return std::all_of(parts.begin(), parts.end(),
                     [](const auto& part) { return part.size() % VirtioBlock::kSectorBytes == 0; });
}

}  // namespace

VirtioBlock::VirtioBlock(GuestRam& ram, InterruptLine& line, BlockBackend& backend,
                         std::string serial, std::function<void()> wake)
    : VirtioDevice(ram, line, VirtioType::kBlock, features_for(backend),
                   {{.size = kBlockQueueSize, .chain_bytes = kMaxChainBytes}}),
      backend_(backend),
      async_(backend.asynchronous()),
      serial_(std::move(serial)) {
  serial_.resize(kSerialBytes, '\0');
  set_config(config_for(backend));
  if (async_ != nullptr) async_->attach(std::move(wake));
}

VirtioBlock::~VirtioBlock() {
  let_sleep();
}

void VirtioBlock::let_sleep() {
  if (async_ != nullptr) async_->attach(nullptr);
}

void VirtioBlock::capacity_changed() {
  set_config(config_for(backend_));
  config_changed();
}

// What is under way now was asked for by the restored guest, in its first slice: whatever was before
// ended in drain().
void VirtioBlock::on_restored() {
  if (std::exchange(tell_capacity_, false)) config_changed();
}

void VirtioBlock::on_notify(std::size_t) {
  u64 moved = 0;
  do {
    queue(0).disable_notifications();
    while (moved < kTurnBytes && has_room() && queue(0).pop(chain_)) {
      moved += kRequestCost + chain_.readable_bytes + chain_.writable_bytes;
      if (!serve_one()) return check_broken("a block request without header or status");
    }
    if (moved >= kTurnBytes || !has_room()) {
      ask_for_poll(has_room() ? Pending::kBusy : Pending::kStalled);
      break;
    }
  } while (queue(0).enable_notifications());
  signal(0);
}

/// Executes or starts the request in chain_. False if it has no place for an answer.
bool VirtioBlock::serve_one() {
  std::array<u8, kBlockHeaderBytes> header{};
  if (chain_.read(0, header) != kBlockHeaderBytes) return false;
  u8* const status = take_status();
  if (status == nullptr) return false;
  Request request{.type = base::load_le<u32>(&header[0]),
                  .sector = base::load_le<u64>(&header[8]),
                  .data_written = 0};
  ++statistics_.requests;
  const std::optional<Outcome> outcome = async_ != nullptr ? start(request) : execute(request);
  if (outcome) {
    answer(*status, request.data_written, *outcome);
  } else {
    ++statistics_.waited;
  }
  return true;
}

/// Cuts the status byte off the writable part of chain_; what is left of that are the data. Null if
/// there is none.
u8* VirtioBlock::take_status() {
  if (chain_.writable_bytes < kStatusBytes) return nullptr;
  u8* const status = &chain_.writable.back().back();
  chain_.writable.back() = chain_.writable.back().first(chain_.writable.back().size() - 1);
  if (chain_.writable.back().empty()) chain_.writable.pop_back();
  chain_.writable_bytes -= kStatusBytes;
  return status;
}

/// Gives chain_ back.
void VirtioBlock::answer(u8& status, u32 data_written, Outcome outcome) {
  status = static_cast<u8>(outcome);
  if (outcome != Outcome::kOk) ++statistics_.failures;
  // The status counts as written only where all bytes before it were: so tell the whole length.
  const bool filled = data_written == chain_.writable_bytes;
  queue(0).push(chain_.head, filled ? data_written + kStatusBytes : data_written);
}

VirtioBlock::Outcome VirtioBlock::execute(Request& request) {
  switch (request.type) {
    case kBlockIn:
      return read(request);
    case kBlockOut:
      return write(request);
    case kBlockFlush:
      return backend_.flush().ok() ? Outcome::kOk : Outcome::kIoError;
    case kBlockGetId:
      return identify(request);
    case kBlockDiscard:
    case kBlockWriteZeroes:
      return discard();
    default:
      return Outcome::kUnsupported;
  }
}

bool VirtioBlock::range_ok(u64 sector, u64 bytes) const {
  const u64 capacity = backend_.capacity();
  return bytes % kSectorBytes == 0 && sector <= capacity / kSectorBytes &&
         base::range_fits(sector * kSectorBytes, bytes, capacity);
}

VirtioBlock::Outcome VirtioBlock::read(Request& request) {
  const u32 length = chain_.writable_bytes;
  if (!range_ok(request.sector, length)) return Outcome::kIoError;
  u64 offset = request.sector * kSectorBytes;
  if (all_whole_sectors(chain_.writable)) {
    for (const base::Bytes part : chain_.writable) {
      if (!backend_.read(offset, part).ok()) return Outcome::kIoError;
      offset += part.size();
    }
  } else {
    bounce_.resize(length);
    if (!backend_.read(offset, bounce_).ok()) return Outcome::kIoError;
    chain_.write(0, bounce_);
  }
  request.data_written = length;
  statistics_.bytes_read += length;
  return Outcome::kOk;
}

VirtioBlock::Outcome VirtioBlock::write(const Request& request) {
  const u32 length = chain_.readable_bytes - kBlockHeaderBytes;
  if (backend_.read_only() || !range_ok(request.sector, length)) return Outcome::kIoError;
  u64 offset = request.sector * kSectorBytes;
  statistics_.bytes_written += length;
  const bool header_apart = chain_.readable.front().size() == kBlockHeaderBytes;
  const auto data = std::span(chain_.readable).subspan(1);
  if (header_apart && all_whole_sectors(data)) {
    for (const base::ConstBytes part : data) {
      if (!backend_.write(offset, part).ok()) return Outcome::kIoError;
      offset += part.size();
    }
    return Outcome::kOk;
  }
  bounce_.resize(length);
  chain_.read(kBlockHeaderBytes, bounce_);
  return backend_.write(offset, bounce_).ok() ? Outcome::kOk : Outcome::kIoError;
}

/// DISCARD and WRITE_ZEROES alike: what a backend gives back reads as zeros. (5.2.6.2)
VirtioBlock::Outcome VirtioBlock::discard() {
  const Outcome good = read_ranges();
  if (good != Outcome::kOk) return good;
  for (const Range& range : ranges_) {
    if (!backend_.discard(range.offset, range.length).ok()) return Outcome::kIoError;
  }
  return Outcome::kOk;
}

/// Fills ranges_ with what chain_ says that is to be discarded.
VirtioBlock::Outcome VirtioBlock::read_ranges() {
  ranges_.clear();
  const u32 length = chain_.readable_bytes - kBlockHeaderBytes;
  if (backend_.read_only()) return Outcome::kIoError;
  if (length == 0 || length % kDiscardSegmentBytes != 0 ||
      length > kDiscardSegments * kDiscardSegmentBytes) {
    return Outcome::kUnsupported;
  }
  for (u32 at = kBlockHeaderBytes; at < kBlockHeaderBytes + length; at += kDiscardSegmentBytes) {
    std::array<u8, kDiscardSegmentBytes> segment{};
    chain_.read(at, segment);
    const u64 sector = base::load_le<u64>(&segment[0]);
    const u32 sectors = base::load_le<u32>(&segment[8]);
    const u64 bytes = u64{sectors} * kSectorBytes;
    if (sectors > kDiscardSectors || !range_ok(sector, bytes)) return Outcome::kIoError;
    if (sectors != 0) ranges_.push_back({sector * kSectorBytes, bytes});
  }
  return Outcome::kOk;
}

VirtioBlock::Outcome VirtioBlock::identify(Request& request) {
  const auto* bytes = reinterpret_cast<const u8*>(serial_.data());
  request.data_written = chain_.write(0, {bytes, kSerialBytes});
  return Outcome::kOk;
}

}  // namespace snowglobe::vm
