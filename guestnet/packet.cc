// guestnet/packet.cc - reading and writing of Ethernet, IPv4 and UDP headers.
#include "guestnet/packet.h"

namespace snowglobe::net {

using base::load_be;
using base::store_be;

std::optional<EthernetFrame> parse_ethernet(base::ConstBytes frame) {
  if (frame.size() < kEthernetHeader || frame.size() > base::kMaxFrame) return std::nullopt;
  EthernetFrame result;
  result.destination = MacAddress::load(&frame[0]);
  result.source = MacAddress::load(&frame[6]);
  result.type = load_be<std::uint16_t>(&frame[12]);
  result.payload = frame.subspan(kEthernetHeader);
  return result;
}

void write_ethernet(std::uint8_t* to, const MacAddress& destination, const MacAddress& source,
                    std::uint16_t type) {
  destination.store(to);
  source.store(to + 6);
  store_be(to + 12, type);
}

std::optional<Ipv4Packet> parse_ipv4(base::ConstBytes bytes) {
  if (bytes.size() < kIpv4Header || bytes[0] >> 4 != 4) return std::nullopt;
  const std::size_t header_length = std::size_t{bytes[0] & 0xFu} * 4;
  const std::size_t total_length = load_be<std::uint16_t>(&bytes[2]);
  if (header_length < kIpv4Header || total_length < header_length || total_length > bytes.size()) {
    return std::nullopt;
  }
  Ipv4Packet packet;
  packet.header = bytes.first(header_length);
  packet.payload = bytes.subspan(header_length, total_length - header_length);
  ChecksumSum sum;
  sum.add(packet.header);
  if (sum.checksum() != 0) return std::nullopt;
  const auto fragment_word = load_be<std::uint16_t>(&bytes[6]);
  packet.fragment = (fragment_word & 0x3FFF) != 0;  // "more fragments" or an offset
  packet.protocol = bytes[9];
  packet.source = Ipv4Address::load(&bytes[12]);
  packet.destination = Ipv4Address::load(&bytes[16]);
  return packet;
}

void write_ipv4(std::uint8_t* to, Ipv4Address source, Ipv4Address destination,
                std::uint8_t protocol, std::size_t payload_length) {
  std::memset(to, 0, kIpv4Header);
  to[0] = 0x45;
  store_be(to + 2, static_cast<std::uint16_t>(kIpv4Header + payload_length));
  store_be(to + 6, std::uint16_t{0x4000});  // don't fragment
  to[8] = 64;                               // time to live
  to[9] = protocol;
  source.store(to + 12);
  destination.store(to + 16);
  ChecksumSum sum;
  sum.add(base::ConstBytes(to, kIpv4Header));
  store_be(to + 10, sum.checksum());
}

bool upper_checksum_good(ChecksumSum sum, base::ConstBytes payload, std::size_t payload_offset,
                         std::size_t field_offset, const base::FrameOffload& offload) {
  if (offload.checksum_missing) {
    return offload.checksum_start == payload_offset && offload.checksum_offset == field_offset;
  }
  sum.add(payload);
  return sum.checksum() == 0;
}

std::optional<UdpDatagram> parse_udp(const Ipv4Packet& packet, std::size_t packet_offset,
                                     const base::FrameOffload& offload) {
  const base::ConstBytes bytes = packet.payload;
  if (bytes.size() < kUdpHeader) return std::nullopt;
  const std::size_t length = load_be<std::uint16_t>(&bytes[4]);
  if (length < kUdpHeader || length > bytes.size()) return std::nullopt;
  const base::ConstBytes datagram = bytes.first(length);
  // RFC 768: a checksum of zero means that the sender made none.
  if (load_be<std::uint16_t>(&bytes[6]) != 0 || offload.checksum_missing) {
    const ChecksumSum sum =
        pseudo_header_sum(packet.source, packet.destination, kProtocolUdp, length);
    if (!upper_checksum_good(sum, datagram, packet_offset + packet.header.size(), 6, offload)) {
      return std::nullopt;
    }
  }
  UdpDatagram result;
  result.source_port = load_be<std::uint16_t>(&bytes[0]);
  result.destination_port = load_be<std::uint16_t>(&bytes[2]);
  result.payload = datagram.subspan(kUdpHeader);
  return result;
}

void write_udp(base::Bytes datagram, Ipv4Address source, std::uint16_t source_port,
               Ipv4Address destination, std::uint16_t destination_port) {
  store_be(&datagram[0], source_port);
  store_be(&datagram[2], destination_port);
  store_be(&datagram[4], static_cast<std::uint16_t>(datagram.size()));
  store_be(&datagram[6], std::uint16_t{0});
  ChecksumSum sum = pseudo_header_sum(source, destination, kProtocolUdp, datagram.size());
  sum.add(datagram);
  const std::uint16_t checksum = sum.checksum();
  store_be(&datagram[6], checksum == 0 ? std::uint16_t{0xFFFF} : checksum);
}

}  // namespace snowglobe::net
