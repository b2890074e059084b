// guestnet/icmp.cc - echo replies and "destination unreachable".
#include "guestnet/icmp.h"

#include <algorithm>
#include <array>
#include <vector>

namespace snowglobe::net {
namespace {

constexpr std::uint8_t kEchoReply = 0;
constexpr std::uint8_t kDestinationUnreachable = 3;
constexpr std::uint8_t kEchoRequest = 8;
constexpr std::size_t kIcmpHeader = 8;

/// Types that report errors; no error may be sent about an error (RFC 1122, 3.2.2).
bool is_error_type(std::uint8_t type) {
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

}  // namespace

bool Icmp::on_packet(const Ipv4Packet& packet, const MacAddress& from) {
  const base::ConstBytes message = packet.payload;
  if (message.size() < kIcmpHeader) return false;
  ChecksumSum sum;
  sum.add(message);
  if (sum.checksum() != 0) return false;
  if (message[0] != kEchoRequest || message[1] != 0) return true;  // nothing that we asked for
  if (message.size() > kMtu - kIpv4Header)
    return true;  // a ping of more than an MTU: too big for us
  std::array<std::uint8_t, kIcmpHeader> head{};
  head[0] = kEchoReply;
  std::copy_n(&message[4], 4, &head[4]);  // identifier and sequence number
  send(from, packet.destination, packet.source, head, message.subspan(kIcmpHeader));
  return true;
}

void Icmp::send_unreachable(const Ipv4Packet& packet, const MacAddress& to, Unreachable code) {
  if (packet.source != plan_.guest || to.is_group()) return;
  const Ipv4Address destination = packet.destination;
  if (destination.is_multicast() || destination.is_broadcast() ||
      destination == plan_.subnet_broadcast() || destination.is_zero()) {
    return;
  }
  if (packet.protocol == kProtocolIcmp &&
      (packet.payload.empty() || is_error_type(packet.payload[0]))) {
    return;
  }
  std::array<std::uint8_t, kIcmpHeader> head{};
  head[0] = kDestinationUnreachable;
  head[1] = static_cast<std::uint8_t>(code);
  // RFC 1812, 4.3.2.3: as much of the packet as fits into 576 octets.
  constexpr std::size_t kQuoteLimit = 576 - kIpv4Header - kIcmpHeader;
  const std::size_t payload = std::min(packet.payload.size(), kQuoteLimit - packet.header.size());
  std::vector<std::uint8_t> quote(packet.header.begin(), packet.header.end());
  quote.insert(quote.end(), packet.payload.begin(), packet.payload.begin() + payload);
  const bool ours = plan_.is_ours(destination);
  send(to, ours ? destination : plan_.gateway, packet.source, head, quote);
}

void Icmp::send(const MacAddress& to_mac, Ipv4Address source, Ipv4Address destination,
                base::ConstBytes head, base::ConstBytes body) {
  const std::size_t length = head.size() + body.size();
  std::vector<std::uint8_t> frame(kEthernetHeader + kIpv4Header + length);
  write_ethernet(frame.data(), to_mac, plan_.host_mac, kEtherTypeIpv4);
  write_ipv4(&frame[kEthernetHeader], source, destination, kProtocolIcmp, length);
  std::uint8_t* message = &frame[kEthernetHeader + kIpv4Header];
  std::copy(head.begin(), head.end(), message);
  std::copy(body.begin(), body.end(), message + head.size());
  ChecksumSum sum;
  sum.add(base::ConstBytes(message, length));
  base::store_be(message + 2, sum.checksum());
  link_.send_or_queue(frame);
}

}  // namespace snowglobe::net
