// vm/devices/virtio/block.cc - parsing and execution of block requests.
#include "vm/devices/virtio/block.h"

#include <algorithm>
#include <array>

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

enum RequestType : u32 {
  kTypeIn = 0,
  kTypeOut = 1,
  kTypeFlush = 4,
  kTypeGetId = 8,
  kTypeDiscard = 11,
  kTypeWriteZeroes = 13,
};

constexpr u16 kQueueSize = 256;
constexpr u32 kSegments = 126;  // with header, status and an indirect entry well below 256
constexpr u32 kSegmentBytes = 64 << 10;
constexpr u32 kHeaderBytes = 16;
constexpr u32 kStatusBytes = 1;
constexpr u32 kMaxChainBytes = kSegments * kSegmentBytes + kHeaderBytes + kStatusBytes;
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
                         std::string serial)
    : VirtioDevice(ram, line, VirtioType::kBlock, features_for(backend),
                   {{.size = kQueueSize, .chain_bytes = kMaxChainBytes}}),
      backend_(backend),
      serial_(std::move(serial)) {
  serial_.resize(kSerialBytes, '\0');
  set_config(config_for(backend));
}

void VirtioBlock::on_notify(std::size_t) {
  u64 moved = 0;
  do {
    queue(0).disable_notifications();
    while (moved < kTurnBytes && queue(0).pop(chain_)) {
      moved += kRequestCost + chain_.readable_bytes + chain_.writable_bytes;
      if (!serve_one()) return check_broken("a block request without header or status");
    }
    if (moved >= kTurnBytes) {
      ask_for_poll(Pending::kBusy);
      break;
    }
  } while (queue(0).enable_notifications());
  signal(0);
}

/// Executes the request in chain_. False if it has no place for an answer.
bool VirtioBlock::serve_one() {
  std::array<u8, kHeaderBytes> header{};
  if (chain_.read(0, header) != kHeaderBytes || chain_.writable_bytes < kStatusBytes) return false;
  Request request{.type = base::load_le<u32>(&header[0]),
                  .sector = base::load_le<u64>(&header[8]),
                  .data_written = 0};
  const u32 status_offset = chain_.writable_bytes - kStatusBytes;
  u8* status = &chain_.writable.back().back();
  // What is left are the data: cut header and status off.
  chain_.writable.back() = chain_.writable.back().first(chain_.writable.back().size() - 1);
  if (chain_.writable.back().empty()) chain_.writable.pop_back();
  chain_.writable_bytes = status_offset;
  const Outcome outcome = execute(request);
  *status = static_cast<u8>(outcome);
  ++statistics_.requests;
  if (outcome != Outcome::kOk) ++statistics_.failures;
  // The status counts as written only where all bytes before it were: so tell the whole length.
  const bool filled = request.data_written == status_offset;
  queue(0).push(chain_.head, filled ? status_offset + kStatusBytes : request.data_written);
  return true;
}

VirtioBlock::Outcome VirtioBlock::execute(Request& request) {
  switch (request.type) {
    case kTypeIn:
      return read(request);
    case kTypeOut:
      return write(request);
    case kTypeFlush:
      return backend_.flush().ok() ? Outcome::kOk : Outcome::kIoError;
    case kTypeGetId:
      return identify(request);
    case kTypeDiscard:
    case kTypeWriteZeroes:
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
  const u32 length = chain_.readable_bytes - kHeaderBytes;
  if (backend_.read_only() || !range_ok(request.sector, length)) return Outcome::kIoError;
  u64 offset = request.sector * kSectorBytes;
  statistics_.bytes_written += length;
  const bool header_apart = chain_.readable.front().size() == kHeaderBytes;
  const auto data = std::span(chain_.readable).subspan(1);
  if (header_apart && all_whole_sectors(data)) {
    for (const base::ConstBytes part : data) {
      if (!backend_.write(offset, part).ok()) return Outcome::kIoError;
      offset += part.size();
    }
    return Outcome::kOk;
  }
  bounce_.resize(length);
  chain_.read(kHeaderBytes, bounce_);
  return backend_.write(offset, bounce_).ok() ? Outcome::kOk : Outcome::kIoError;
}

/// DISCARD and WRITE_ZEROES alike: what a backend gives back reads as zeros. (5.2.6.2)
VirtioBlock::Outcome VirtioBlock::discard() {
  const u32 length = chain_.readable_bytes - kHeaderBytes;
  if (backend_.read_only()) return Outcome::kIoError;
  if (length == 0 || length % kDiscardSegmentBytes != 0 ||
      length > kDiscardSegments * kDiscardSegmentBytes) {
    return Outcome::kUnsupported;
  }
  for (u32 at = kHeaderBytes; at < kHeaderBytes + length; at += kDiscardSegmentBytes) {
    std::array<u8, kDiscardSegmentBytes> segment{};
    chain_.read(at, segment);
    const u64 sector = base::load_le<u64>(&segment[0]);
    const u32 sectors = base::load_le<u32>(&segment[8]);
    const u64 bytes = u64{sectors} * kSectorBytes;
    if (sectors > kDiscardSectors || !range_ok(sector, bytes)) return Outcome::kIoError;
    if (sectors != 0 && !backend_.discard(sector * kSectorBytes, bytes).ok()) {
      return Outcome::kIoError;
    }
  }
  return Outcome::kOk;
}

VirtioBlock::Outcome VirtioBlock::identify(Request& request) {
  const auto* bytes = reinterpret_cast<const u8*>(serial_.data());
  request.data_written = chain_.write(0, {bytes, kSerialBytes});
  return Outcome::kOk;
}

}  // namespace snowglobe::vm
