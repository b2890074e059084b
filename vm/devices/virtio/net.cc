// vm/devices/virtio/net.cc - both directions of the network card.
#include "vm/devices/virtio/net.h"

#include <algorithm>

namespace snowglobe::vm {

namespace {

using base::FrameOffload;
using Segmentation = base::FrameOffload::Segmentation;

enum Feature : u32 {
  kChecksum = 1u << 0,
  kGuestChecksum = 1u << 1,
  kMac = 1u << 5,
  kGuestTso4 = 1u << 7,
  kGuestTso6 = 1u << 8,
  kHostTso4 = 1u << 11,
  kHostTso6 = 1u << 12,
  kMergeableBuffers = 1u << 15,
  kLinkStatus = 1u << 16,
};
constexpr u32 kFeatures = kChecksum | kGuestChecksum | kMac | kGuestTso4 | kGuestTso6 | kHostTso4 |
                          kHostTso6 | kMergeableBuffers | kLinkStatus;

// struct virtio_net_hdr (5.1.6): flags, gso_type, then five 16-bit fields.
constexpr u8 kNeedsChecksum = 1;
constexpr u8 kDataValid = 2;
constexpr u8 kGsoNone = 0;
constexpr u8 kGsoTcp4 = 1;
constexpr u8 kGsoTcp6 = 4;
constexpr u32 kShortHeader = 10;
constexpr u32 kMergeableHeader = 12;

constexpr u16 kQueueSize = 256;
constexpr u32 kChainBytes = 128 << 10;
constexpr std::size_t kEthernetHeader = 14;
constexpr u32 kFrameCost = 1024;  // counted against a turn beside the bytes moved

/// What the driver's header asks for; false if it does not fit the frame. The spans of the offload
/// are all inside the frame then.
bool parse_header(base::ConstBytes header, std::size_t frame_length, FrameOffload& offload) {
  offload.header_length = base::load_le<u16>(&header[2]);
  offload.segment_size = base::load_le<u16>(&header[4]);
  offload.checksum_start = base::load_le<u16>(&header[6]);
  offload.checksum_offset = base::load_le<u16>(&header[8]);
  offload.checksum_missing = (header[0] & kNeedsChecksum) != 0;
  if (offload.checksum_missing &&
      !base::range_fits(u64{offload.checksum_start} + offload.checksum_offset, 2, frame_length)) {
    return false;
  }
  if (header[1] == kGsoNone) {
    offload.segment_size = 0;
    return true;
  }
  if (header[1] != kGsoTcp4 && header[1] != kGsoTcp6) return false;
  offload.segmentation = header[1] == kGsoTcp4 ? Segmentation::kTcp4 : Segmentation::kTcp6;
  return offload.segment_size != 0 &&
         offload.checksum_missing;  // 5.1.6.2: TSO implies the checksum
}

}  // namespace

VirtioNet::VirtioNet(GuestRam& ram, InterruptLine& line, const std::array<u8, 6>& mac,
                     base::FrameReceiver& receiver)
    : VirtioDevice(ram, line, VirtioType::kNetwork, kFeatures,
                   {{.size = kQueueSize, .chain_bytes = kChainBytes},
                    {.size = kQueueSize, .chain_bytes = kChainBytes}}),
      receiver_(receiver) {
  std::vector<u8> config(mac.begin(), mac.end());
  config.push_back(1);  // status: link is up
  config.push_back(0);
  set_config(std::move(config));
}

u32 VirtioNet::header_bytes() const {
  return has_feature(kMergeableBuffers) ? kMergeableHeader : kShortHeader;
}

void VirtioNet::on_reset() {
  refused_ = false;
}

void VirtioNet::on_restored() {
  refused_ = false;
  receiver_.on_transmit_ready();  // if there is no room, it will be refused once more
}

void VirtioNet::on_notify(std::size_t index) {
  if (index == kTransmit) return drain_transmit_queue();
  queue(kReceive).disable_notifications();
  tell_transmit_ready();
}

void VirtioNet::tell_transmit_ready() {
  if (!refused_ || !queue(kReceive).has_available()) return;
  refused_ = false;
  receiver_.on_transmit_ready();
}

void VirtioNet::on_poll() {
  drain_transmit_queue();
  if (refused_) on_notify(kReceive);
}

void VirtioNet::drain_transmit_queue() {
  u64 moved = 0;
  do {
    queue(kTransmit).disable_notifications();
    while (moved < kTurnBytes && queue(kTransmit).pop(sent_)) {
      moved += kFrameCost + sent_.readable_bytes;
      send_one();
      queue(kTransmit).push(sent_.head, 0);
    }
    if (moved >= kTurnBytes) {
      ask_for_poll(Pending::kBusy);
      break;
    }
  } while (queue(kTransmit).enable_notifications());
  signal(kTransmit);
}

void VirtioNet::send_one() {
  std::array<u8, kMergeableHeader> header{};
  const u32 header_length = header_bytes();
  const std::size_t length = sent_.readable_bytes - std::min(sent_.readable_bytes, header_length);
  FrameOffload offload;
  if (sent_.read(0, base::Bytes(header).first(header_length)) != header_length ||
      length < kEthernetHeader || length > base::kMaxFrame ||
      !parse_header(header, length, offload)) {
    ++statistics_.dropped_from_guest;
    return;
  }
  ++statistics_.frames_from_guest;
  // Small frames come as header and frame in one part: then nothing need be copied.
  if (sent_.readable.size() == 1) {
    return receiver_.on_frame(sent_.readable[0].subspan(header_length), offload);
  }
  if (sent_.readable.size() == 2 && sent_.readable[0].size() == header_length) {
    return receiver_.on_frame(sent_.readable[1], offload);
  }
  scratch_.resize(length);
  sent_.read(header_length, scratch_);
  receiver_.on_frame(scratch_, offload);
}

bool VirtioNet::make_header(const FrameOffload& offload, std::array<u8, 12>& header) const {
  header = {};
  if (offload.checksum_missing) {
    if (!has_feature(kGuestChecksum)) return false;
    header[0] = kNeedsChecksum;
    base::store_le<u16>(&header[6], offload.checksum_start);
    base::store_le<u16>(&header[8], offload.checksum_offset);
  } else if (offload.checksum_valid && has_feature(kGuestChecksum)) {
    header[0] = kDataValid;
  }
  if (offload.segmentation != Segmentation::kNone) {
    const bool four = offload.segmentation == Segmentation::kTcp4;
    if (!has_feature(four ? kGuestTso4 : kGuestTso6)) return false;
    header[1] = four ? kGsoTcp4 : kGsoTcp6;
    base::store_le<u16>(&header[2], offload.header_length);
    base::store_le<u16>(&header[4], offload.segment_size);
  }
  return true;
}

bool VirtioNet::take_buffers(u32 bytes) {
  Queue& receive = queue(kReceive);
  const bool mergeable = has_feature(kMergeableBuffers);
  u32 room = 0;
  buffer_count_ = 0;
  while (room < bytes) {
    if (buffers_.size() == buffer_count_) buffers_.emplace_back();
    Chain& chain = buffers_[buffer_count_];
    if (!receive.pop(chain)) {
      receive.unpop(static_cast<u16>(buffer_count_));
      return false;
    }
    ++buffer_count_;
    room += chain.writable_bytes;
    // Too small a buffer is the driver's mistake where frames can not be spread over several, and
    // the header never can.
    if (chain.writable_bytes < header_bytes() || (!mergeable && room < bytes)) {
      check_broken("a receive buffer that is too small");
      return false;
    }
  }
  return true;
}

void VirtioNet::fill_buffers(base::ConstBytes header, base::ConstBytes frame) {
  Queue& receive = queue(kReceive);
  std::size_t sent = 0;
  for (std::size_t i = 0; i < buffer_count_; ++i) {
    const Chain& chain = buffers_[i];
    u32 written = 0;
    if (i == 0) written = chain.write(0, header);
    const std::size_t part =
        std::min<std::size_t>(chain.writable_bytes - written, frame.size() - sent);
    written += chain.write(written, frame.subspan(sent, part));
    sent += part;
    receive.push(chain.head, written);
  }
}

bool VirtioNet::transmit(base::ConstBytes frame, const FrameOffload& offload) {
  if (!driver_ok() || !queue(kReceive).ready()) {
    refused_ = true;
    return false;
  }
  std::array<u8, kMergeableHeader> header;
  if (frame.size() < kEthernetHeader || frame.size() > base::kMaxFrame ||
      !make_header(offload, header)) {
    ++statistics_.dropped_to_guest;
    return true;
  }
  const u32 header_length = header_bytes();
  const u32 bytes = header_length + static_cast<u32>(frame.size());
  if (!take_buffers(bytes)) {
    queue(kReceive)
        .enable_notifications();  // the guest does not run meanwhile: no need to look again
    refused_ = true;
    check_broken();
    return false;
  }
  if (header_length == kMergeableHeader) {
    base::store_le<u16>(&header[10], static_cast<u16>(buffer_count_));
  }
  fill_buffers(base::ConstBytes(header).first(header_length), frame);
  ++statistics_.frames_to_guest;
  signal(kReceive);
  return true;
}

}  // namespace snowglobe::vm
