// guestnet/tcp_segment.h - TCP headers and options (RFC 9293, 3.1; RFC 7323, 2): reading and
// writing.
#pragma once

#include "base/bytes.h"
#include "guestnet/tcp_sequence.h"

#include <cstdint>
#include <optional>

namespace snowglobe::net {

inline constexpr std::size_t kTcpHeader = 20;
inline constexpr std::size_t kTcpHeaderLimit = 60;

inline constexpr std::uint8_t kTcpFin = 0x01;
inline constexpr std::uint8_t kTcpSyn = 0x02;
inline constexpr std::uint8_t kTcpRst = 0x04;
inline constexpr std::uint8_t kTcpPsh = 0x08;
inline constexpr std::uint8_t kTcpAck = 0x10;

/// RFC 7323, 2.3: a larger shift is to be taken as 14.
inline constexpr std::uint8_t kMaxWindowScale = 14;

struct TcpOptions {
  std::optional<std::uint16_t> mss;
  std::optional<std::uint8_t> window_scale;
};

/// The urgent pointer is not kept: RFC 6093 advises against its use, and all bytes come in line.
struct TcpSegment {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  SeqNum seq;
  SeqNum ack;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;  ///< as in the header, not scaled
  TcpOptions options;
  base::ConstBytes payload;

  [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  /// Octets in sequence space (RFC 9293, SEG.LEN).
  [[nodiscard]] std::uint32_t length() const {
    return static_cast<std::uint32_t>(payload.size()) + (has(kTcpSyn) ? 1u : 0u) +
           (has(kTcpFin) ? 1u : 0u);
  }
};

/// Nothing if lengths are wrong; the checksum is the caller's. Options that make no sense are
/// skipped, and reading of options ends where one overruns the header (RFC 9293, 3.1, MUST-6 and
/// MUST-7).
[[nodiscard]] std::optional<TcpSegment> parse_tcp(base::ConstBytes bytes);

/// Writes a header with options, checksum 0, and returns its length (at most kTcpHeaderLimit). The
/// segment's payload is not written.
std::size_t write_tcp_header(std::uint8_t* to, const TcpSegment& segment);

}  // namespace snowglobe::net
