// guestnet/tcp_segment.cc - the wire format of TCP headers.
#include "guestnet/tcp_segment.h"

#include <algorithm>

namespace snowglobe::net {
namespace {

constexpr std::uint8_t kOptionEnd = 0;
constexpr std::uint8_t kOptionNop = 1;
constexpr std::uint8_t kOptionMss = 2;
constexpr std::uint8_t kOptionWindowScale = 3;

TcpOptions parse_options(base::ConstBytes bytes) {
  TcpOptions options;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::uint8_t kind = bytes[at];
    if (kind == kOptionEnd) break;
    if (kind == kOptionNop) {
      ++at;
      continue;
    }
    if (at + 2 > bytes.size()) break;
    const std::size_t length = bytes[at + 1];
    if (length < 2 || !base::range_fits(at, length, bytes.size())) break;
    if (kind == kOptionMss && length == 4) {
      options.mss = base::load_be<std::uint16_t>(&bytes[at + 2]);
    } else if (kind == kOptionWindowScale && length == 3) {
      options.window_scale = std::min(bytes[at + 2], kMaxWindowScale);
    }
    at += length;
  }
  return options;
}

}  // namespace

std::optional<TcpSegment> parse_tcp(base::ConstBytes bytes) {
  if (bytes.size() < kTcpHeader) return std::nullopt;
  const std::size_t header_length = std::size_t{bytes[12]} >> 4 << 2;
  if (header_length < kTcpHeader || header_length > bytes.size()) return std::nullopt;
  TcpSegment segment;
  segment.source_port = base::load_be<std::uint16_t>(&bytes[0]);
  segment.destination_port = base::load_be<std::uint16_t>(&bytes[2]);
  segment.seq = SeqNum(base::load_be<std::uint32_t>(&bytes[4]));
  segment.ack = SeqNum(base::load_be<std::uint32_t>(&bytes[8]));
  segment.flags = bytes[13];
  segment.window = base::load_be<std::uint16_t>(&bytes[14]);
  segment.options = parse_options(bytes.subspan(kTcpHeader, header_length - kTcpHeader));
  segment.payload = bytes.subspan(header_length);
  return segment;
}

std::size_t write_tcp_header(std::uint8_t* to, const TcpSegment& segment) {
  std::size_t length = kTcpHeader;
  if (segment.options.mss.has_value()) {
    to[length] = kOptionMss;
    to[length + 1] = 4;
    base::store_be(to + length + 2, *segment.options.mss);
    length += 4;
  }
  if (segment.options.window_scale.has_value()) {
    to[length] = kOptionNop;  // aligns what follows
    to[length + 1] = kOptionWindowScale;
    to[length + 2] = 3;
    to[length + 3] = *segment.options.window_scale;
    length += 4;
  }
  base::store_be(to, segment.source_port);
  base::store_be(to + 2, segment.destination_port);
  base::store_be(to + 4, segment.seq.value());
  base::store_be(to + 8, segment.ack.value());
  to[12] = static_cast<std::uint8_t>(length / 4 << 4);
  to[13] = segment.flags;
  base::store_be(to + 14, segment.window);
  base::store_be(to + 16, std::uint32_t{0});  // checksum and urgent pointer
  return length;
}

}  // namespace snowglobe::net
