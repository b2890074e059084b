// guestnet/checksum.h - the Internet checksum (RFC 1071), whole and for the pseudo-headers.
#pragma once

#include "base/bytes.h"
#include "base/frame.h"
#include "guestnet/addresses.h"

#include <cstdint>

namespace snowglobe::net {

/// Running one's complement sum. Pieces may be added in any order; all but the last of even length.
class ChecksumSum {
 public:
  void add(base::ConstBytes bytes);
  void add(std::uint16_t word) { sum_ += word; }
  /// The sum folded to 16 bits, as what a checksum_missing field holds (not complemented).
  [[nodiscard]] std::uint16_t folded() const;
  /// The checksum to store. Over data that includes a correct checksum it is 0.
  [[nodiscard]] std::uint16_t checksum() const { return static_cast<std::uint16_t>(~folded()); }

 private:
  std::uint64_t sum_ = 0;  // of big-endian 16-bit words
};

/// Sum of the pseudo-header of TCP and UDP (RFC 9293, 3.1); `length` of header and data.
[[nodiscard]] ChecksumSum pseudo_header_sum(Ipv4Address source, Ipv4Address destination,
                                            std::uint8_t protocol, std::size_t length);
/// RFC 8200, 8.1.
[[nodiscard]] ChecksumSum pseudo_header_sum(const Ipv6Address& source,
                                            const Ipv6Address& destination, std::uint8_t protocol,
                                            std::size_t length);

/// Does what the sender of a frame with checksum_missing left to the receiver. False if the offsets
/// do not lie in the frame.
bool complete_checksum(base::Bytes frame, const base::FrameOffload& offload);

}  // namespace snowglobe::net
