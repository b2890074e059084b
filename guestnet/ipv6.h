// guestnet/ipv6.h - as much IPv6 as makes the link-local address of our end real.
#pragma once

#include "guestnet/link.h"
#include "guestnet/packet.h"

namespace snowglobe::net {

/// Answers neighbour solicitations for our address and pings to it (RFC 4861, RFC 4443); the rest
/// that is sent to us is unreachable. There are no router advertisements, so that the guest has no
/// way out. Thread rule: as Network.
class Ipv6 {
 public:
  Ipv6(Link& link, const AddressPlan& plan)
      : link_(link), plan_(plan), address_(plan.link_local()) {}

  enum class Outcome : std::uint8_t { kHandled, kMalformed, kUnreachable };
  Outcome on_packet(base::ConstBytes bytes, const MacAddress& from,
                    const base::FrameOffload& offload);

 private:
  struct Packet;

  Outcome on_icmp(const Packet& packet, const MacAddress& from, const base::FrameOffload& offload);
  bool on_neighbour_solicitation(const Packet& packet, const MacAddress& from);
  void send_unreachable(base::ConstBytes original, const Packet& packet, const MacAddress& to);
  void send(const MacAddress& to_mac, const Ipv6Address& destination, base::ConstBytes head,
            base::ConstBytes body, std::uint8_t hop_limit);

  Link& link_;
  const AddressPlan& plan_;
  Ipv6Address address_;
};

}  // namespace snowglobe::net
