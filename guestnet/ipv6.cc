// guestnet/ipv6.cc - neighbour discovery, echo and "port unreachable" on the link-local address.
#include "guestnet/ipv6.h"

#include <algorithm>
#include <array>
#include <vector>

namespace snowglobe::net {
namespace {

constexpr std::size_t kIpv6Header = 40;
constexpr std::uint8_t kDestinationUnreachable = 1;
constexpr std::uint8_t kEchoRequest = 128;
constexpr std::uint8_t kEchoReply = 129;
constexpr std::uint8_t kNeighbourSolicitation = 135;
constexpr std::uint8_t kNeighbourAdvertisement = 136;
constexpr std::uint8_t kPortUnreachable = 4;

}  // namespace

struct Ipv6::Packet {
  Ipv6Address source;
  Ipv6Address destination;
  std::uint8_t next_header = 0;
  std::uint8_t hop_limit = 0;
  base::ConstBytes payload;
};

Ipv6::Outcome Ipv6::on_packet(base::ConstBytes bytes, const MacAddress& from,
                              const base::FrameOffload& offload) {
  if (bytes.size() < kIpv6Header || bytes[0] >> 4 != 6) return Outcome::kMalformed;
  const std::size_t length = base::load_be<std::uint16_t>(&bytes[4]);
  if (!base::range_fits(kIpv6Header, length, bytes.size())) return Outcome::kMalformed;
  Packet packet;
  packet.next_header = bytes[6];
  packet.hop_limit = bytes[7];
  packet.source = Ipv6Address::load(&bytes[8]);
  packet.destination = Ipv6Address::load(&bytes[24]);
  packet.payload = bytes.subspan(kIpv6Header, length);
  if (packet.source.is_multicast()) return Outcome::kMalformed;
  if (packet.next_header == kProtocolIcmpv6) return on_icmp(packet, from, offload);
  if (packet.destination != address_) {  // multicast chatter, or a place that does not exist
    return packet.destination.is_multicast() ? Outcome::kHandled : Outcome::kUnreachable;
  }
  const bool has_ports = packet.next_header == kProtocolTcp || packet.next_header == kProtocolUdp;
  if (has_ports) send_unreachable(bytes.first(kIpv6Header + length), packet, from);
  return Outcome::kUnreachable;
}

Ipv6::Outcome Ipv6::on_icmp(const Packet& packet, const MacAddress& from,
                            const base::FrameOffload& offload) {
  const base::ConstBytes message = packet.payload;
  if (message.size() < 8) return Outcome::kMalformed;
  const ChecksumSum sum =
      pseudo_header_sum(packet.source, packet.destination, kProtocolIcmpv6, message.size());
  if (!upper_checksum_good(sum, message, kEthernetHeader + kIpv6Header, 2, offload)) {
    return Outcome::kMalformed;
  }
  if (message[0] == kNeighbourSolicitation) {
    return on_neighbour_solicitation(packet, from) ? Outcome::kHandled : Outcome::kMalformed;
  }
  if (packet.destination != address_) {
    return packet.destination.is_multicast() ? Outcome::kHandled : Outcome::kUnreachable;
  }
  if (message[0] == kEchoRequest && message.size() <= kMtu - kIpv6Header) {
    std::array<std::uint8_t, 8> head{};
    head[0] = kEchoReply;
    std::copy_n(&message[4], 4, &head[4]);
    send(from, packet.source, head, message.subspan(8), 64);
  }
  return Outcome::kHandled;
}

bool Ipv6::on_neighbour_solicitation(const Packet& packet, const MacAddress& from) {
  // RFC 4861, 7.1.1: a hop limit below 255 would mean that it came from elsewhere.
  if (packet.hop_limit != 255 || packet.payload.size() < 24) return false;
  if (Ipv6Address::load(&packet.payload[8]) != address_) return true;
  // An unspecified source is the guest's test whether it may use the address (RFC 4862, 5.4): then
  // the answer goes to all nodes and is not "solicited".
  const bool probing = packet.source.is_zero();
  std::array<std::uint8_t, 32> head{};
  head[0] = kNeighbourAdvertisement;
  head[4] = probing ? 0x20 : 0x60;  // override; and solicited
  address_.store(&head[8]);
  head[24] = 2;  // option: target link-layer address, 8 octets
  head[25] = 1;
  plan_.host_mac.store(&head[26]);
  Ipv6Address all_nodes;
  all_nodes.octets[0] = 0xFF;
  all_nodes.octets[1] = 0x02;
  all_nodes.octets[15] = 1;
  const MacAddress all_nodes_mac{{0x33, 0x33, 0, 0, 0, 1}};
  send(probing ? all_nodes_mac : from, probing ? all_nodes : packet.source, head, {}, 255);
  return true;
}

void Ipv6::send_unreachable(base::ConstBytes original, const Packet& packet, const MacAddress& to) {
  if (packet.source.is_zero() || to.is_group()) return;
  std::array<std::uint8_t, 8> head{};
  head[0] = kDestinationUnreachable;
  head[1] = kPortUnreachable;
  // RFC 4443, 3.1: as much as fits into the minimum MTU of 1280.
  const std::size_t quote = std::min(original.size(), std::size_t{1280 - 40 - 8});
  send(to, packet.source, head, original.first(quote), 64);
}

void Ipv6::send(const MacAddress& to_mac, const Ipv6Address& destination, base::ConstBytes head,
                base::ConstBytes body, std::uint8_t hop_limit) {
  const std::size_t length = head.size() + body.size();
  std::vector<std::uint8_t> frame(kEthernetHeader + kIpv6Header + length);
  write_ethernet(frame.data(), to_mac, plan_.host_mac, kEtherTypeIpv6);
  std::uint8_t* header = &frame[kEthernetHeader];
  header[0] = 0x60;
  base::store_be(header + 4, static_cast<std::uint16_t>(length));
  header[6] = kProtocolIcmpv6;
  header[7] = hop_limit;
  address_.store(header + 8);
  destination.store(header + 24);
  std::uint8_t* message = header + kIpv6Header;
  std::copy(head.begin(), head.end(), message);
  std::copy(body.begin(), body.end(), message + head.size());
  ChecksumSum sum = pseudo_header_sum(address_, destination, kProtocolIcmpv6, length);
  sum.add(base::ConstBytes(message, length));
  base::store_be(message + 2, sum.checksum());
  link_.send_or_queue(frame);
}

}  // namespace snowglobe::net
