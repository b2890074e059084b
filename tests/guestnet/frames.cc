// tests/guestnet/frames.cc - the textbook way to write and read packets.
#include "tests/guestnet/frames.h"

#include <gtest/gtest.h>

namespace snowglobe::net {
namespace {

Octets address_octets(Ipv4Address address) {
  return be32(address.value);
}

Octets mac_octets(const MacAddress& mac) {
  return {mac.octets.begin(), mac.octets.end()};
}

unsigned read16(const Octets& from, std::size_t at) {
  return unsigned{from.at(at)} << 8 | from.at(at + 1);
}

std::uint32_t read32(const Octets& from, std::size_t at) {
  return read16(from, at) << 16 | read16(from, at + 2);
}

Octets slice(const Octets& from, std::size_t begin, std::size_t end) {
  return {from.begin() + static_cast<long>(begin), from.begin() + static_cast<long>(end)};
}

Octets pseudo_header(Ipv4Address from, Ipv4Address to, std::uint8_t protocol, std::size_t length) {
  return address_octets(from) + address_octets(to) + Octets{0, protocol} +
         be16(static_cast<unsigned>(length));
}

void put16(Octets& to, std::size_t at, unsigned value) {
  to.at(at) = static_cast<std::uint8_t>(value >> 8);
  to.at(at + 1) = static_cast<std::uint8_t>(value);
}

}  // namespace

Octets operator+(Octets left, const Octets& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Octets be16(unsigned value) {
  return {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}

Octets be32(std::uint32_t value) {
  return be16(value >> 16) + be16(value & 0xFFFF);
}

std::uint16_t plain_checksum(const Octets& bytes) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? unsigned{bytes[i]} << 8 : bytes[i];
    if (sum > 0xFFFF) sum -= 0xFFFF;
  }
  return static_cast<std::uint16_t>(~sum);
}

Octets ethernet(const MacAddress& to, const MacAddress& from, std::uint16_t type,
                const Octets& payload) {
  return mac_octets(to) + mac_octets(from) + be16(type) + payload;
}

Octets ipv4_packet(Ipv4Address from, Ipv4Address to, std::uint8_t protocol, const Octets& payload,
                   const Octets& options) {
  const std::size_t header = 20 + options.size();
  Octets packet = Octets{static_cast<std::uint8_t>(0x40 | header / 4), 0} +
                  be16(static_cast<unsigned>(header + payload.size())) + be32(0) +
                  Octets{64, protocol} + be16(0) + address_octets(from) + address_octets(to) +
                  options;
  put16(packet, 10, plain_checksum(packet));
  return packet + payload;
}

Octets icmp_message(std::uint8_t type, std::uint8_t code, const Octets& rest) {
  Octets message = Octets{type, code, 0, 0} + rest;
  put16(message, 2, plain_checksum(message));
  return message;
}

Octets udp_datagram(Ipv4Address from, std::uint16_t from_port, Ipv4Address to,
                    std::uint16_t to_port, const Octets& payload) {
  const std::size_t length = 8 + payload.size();
  Octets datagram =
      be16(from_port) + be16(to_port) + be16(static_cast<unsigned>(length)) + be16(0) + payload;
  put16(datagram, 6, plain_checksum(pseudo_header(from, to, 17, length) + datagram));
  return datagram;
}

Octets tcp_bytes(Ipv4Address from, Ipv4Address to, const PlainSegment& segment) {
  Octets options = segment.options;
  while (options.size() % 4 != 0)
    options.push_back(0);
  const std::size_t header = 20 + options.size();
  Octets bytes = be16(segment.from_port) + be16(segment.to_port) + be32(segment.seq) +
                 be32(segment.ack) +
                 Octets{static_cast<std::uint8_t>(header / 4 << 4), segment.flags} +
                 be16(segment.window) + be32(0) + options + segment.payload;
  put16(bytes, 16, plain_checksum(pseudo_header(from, to, 6, bytes.size()) + bytes));
  return bytes;
}

Octets guest_tcp_frame(const AddressPlan& plan, Ipv4Address to, const PlainSegment& segment) {
  return ethernet(plan.host_mac, kGuestMac, 0x0800,
                  ipv4_packet(plan.guest, to, 6, tcp_bytes(plan.guest, to, segment)));
}

std::optional<PlainSegment> read_our_tcp(const AddressPlan& plan, const Octets& frame,
                                         const base::FrameOffload& offload) {
  if (frame.size() < 54 || read16(frame, 12) != 0x0800 || frame[23] != 6) return std::nullopt;
  EXPECT_EQ(MacAddress::load(&frame[0]), kGuestMac);
  EXPECT_EQ(MacAddress::load(&frame[6]), plan.host_mac);
  EXPECT_EQ(frame[14], 0x45);
  EXPECT_EQ(read16(frame, 16) + 14, frame.size());
  EXPECT_EQ(plain_checksum(slice(frame, 14, 34)), 0);
  const Ipv4Address from(read32(frame, 26));
  const Ipv4Address to(read32(frame, 30));
  EXPECT_EQ(to, plan.guest);
  const Octets tcp = slice(frame, 34, frame.size());
  const Octets pseudo = pseudo_header(from, to, 6, tcp.size());
  if (offload.checksum_missing) {
    EXPECT_EQ(offload.checksum_start, 34);
    EXPECT_EQ(offload.checksum_offset, 16);
    EXPECT_EQ(read16(tcp, 16), static_cast<std::uint16_t>(~plain_checksum(pseudo)));
  } else {
    EXPECT_EQ(plain_checksum(pseudo + tcp), 0);
  }
  const std::size_t header = tcp[12] / 16 * 4u;
  PlainSegment segment;
  segment.from_port = static_cast<std::uint16_t>(read16(tcp, 0));
  segment.to_port = static_cast<std::uint16_t>(read16(tcp, 2));
  segment.seq = read32(tcp, 4);
  segment.ack = read32(tcp, 8);
  segment.flags = tcp[13];
  segment.window = static_cast<std::uint16_t>(read16(tcp, 14));
  segment.options = slice(tcp, 20, header);
  segment.payload = slice(tcp, header, tcp.size());
  if (offload.segmentation != base::FrameOffload::Segmentation::kNone) {
    EXPECT_EQ(offload.segmentation, base::FrameOffload::Segmentation::kTcp4);
    EXPECT_EQ(offload.header_length, 34 + header);
    EXPECT_GT(segment.payload.size(), offload.segment_size);
  }
  return segment;
}

std::optional<std::uint32_t> tcp_option(const PlainSegment& segment, std::uint8_t kind) {
  const Octets& options = segment.options;
  for (std::size_t at = 0; at < options.size() && options[at] != 0;) {
    if (options[at] == 1) {
      ++at;
      continue;
    }
    const std::size_t length = options.at(at + 1);
    if (options[at] == kind) return length == 4 ? read16(options, at + 2) : options.at(at + 2);
    at += length;
  }
  return std::nullopt;
}

bool FakeCable::transmit(base::ConstBytes frame, const base::FrameOffload& offload) {
  if (refuse || sent.size() >= capacity) return false;
  sent.push_back({Octets(frame.begin(), frame.end()), offload});
  return true;
}

std::optional<FakeCable::Sent> FakeCable::take() {
  if (sent.empty()) return std::nullopt;
  Sent first = std::move(sent.front());
  sent.pop_front();
  return first;
}

void ManualAlarm::advance(base::ManualClock& clock, base::Nanoseconds by) {
  const base::Nanoseconds until = clock.monotonic() + by;
  while (when_ <= until) {
    const base::Nanoseconds step = when_ - clock.monotonic();
    if (step.count() > 0) clock.advance(step);
    when_ = kNever;
    handler_();
  }
  clock.advance(until - clock.monotonic());
}

}  // namespace snowglobe::net
