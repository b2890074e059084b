// guestnet/icmp.h - ICMP (RFC 792): answers pings, and says what can not be reached.
#pragma once

#include "guestnet/link.h"
#include "guestnet/packet.h"

namespace snowglobe::net {

enum class Unreachable : std::uint8_t { kNetwork = 0, kHost = 1, kProtocol = 2, kPort = 3 };

/// Thread rule: as Network.
class Icmp {
 public:
  Icmp(Link& link, const AddressPlan& plan) : link_(link), plan_(plan) {}

  /// A packet to one of our addresses, from the MAC address `from`. False if it is malformed.
  bool on_packet(const Ipv4Packet& packet, const MacAddress& from);

  /// Tells the sender of `packet` that it went nowhere, unless RFC 1122, 3.2.2 forbids to.
  void send_unreachable(const Ipv4Packet& packet, const MacAddress& to, Unreachable code);

 private:
  void send(const MacAddress& to_mac, Ipv4Address source, Ipv4Address destination,
            base::ConstBytes head, base::ConstBytes body);

  Link& link_;
  const AddressPlan& plan_;
};

}  // namespace snowglobe::net
