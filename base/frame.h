// base/frame.h - Ethernet frames between the virtual network card and whatever ends its cable.
// vm/ has the card, guestnet/ the other end; both know only this.
#pragma once

#include "base/bytes.h"

#include <cstdint>

namespace snowglobe::base {

/// Work that the sender left to the receiver (virtio 1.1, 5.1.6). A frame may hold up to 64 KiB of
/// TCP payload, which the receiver treats as segments of `segment_size`.
struct FrameOffload {
  enum class Segmentation : std::uint8_t { kNone, kTcp4, kTcp6 };

  bool checksum_missing = false;      ///< the checksum field holds only the pseudo-header's sum
  bool checksum_valid = false;        ///< host to guest: no need to verify
  std::uint16_t checksum_start = 0;   ///< offset in the frame from which to sum
  std::uint16_t checksum_offset = 0;  ///< offset from checksum_start at which to store
  Segmentation segmentation = Segmentation::kNone;
  std::uint16_t segment_size = 0;   ///< payload bytes a segment, if segmentation is not kNone
  std::uint16_t header_length = 0;  ///< Ethernet + IP + TCP headers; a hint, not to be trusted
};

/// Largest frame either side may send: 64 KiB of IP packet and an Ethernet header.
inline constexpr std::size_t kMaxFrame = 65535 + 14;

/// Takes the frames of the other side. Called on the machine's thread.
class FrameReceiver {
 public:
  virtual ~FrameReceiver() = default;
  /// `frame` starts with the Ethernet header and is valid during the call only.
  virtual void on_frame(ConstBytes frame, const FrameOffload& offload) = 0;
  /// The transmitter that refused a frame has room again.
  virtual void on_transmit_ready() = 0;
};

/// Sends frames into the guest. Called on the machine's thread.
class FrameTransmitter {
 public:
  virtual ~FrameTransmitter() = default;
  /// False: no receive buffer is free; the frame is not taken, and on_transmit_ready() will be
  /// called.
  virtual bool transmit(ConstBytes frame, const FrameOffload& offload) = 0;
};

}  // namespace snowglobe::base
