// guestnet/dhcp.h - a DHCP server (RFC 2131) with exactly one lease that never ends.
#pragma once

#include "guestnet/link.h"
#include "guestnet/packet.h"

#include <cstdint>

namespace snowglobe::net {

/// Hands AddressPlan::guest to whoever asks; there is only one other end of the cable. The lease is
/// infinite, so that an idle guest need not wake up to renew it. Thread rule: as Network.
class DhcpServer {
 public:
  static constexpr std::uint16_t kServerPort = 67;
  static constexpr std::uint16_t kClientPort = 68;

  DhcpServer(Link& link, const AddressPlan& plan) : link_(link), plan_(plan) {}

  /// A datagram to the server's port. False if it is malformed.
  bool on_datagram(const UdpDatagram& datagram);

 private:
  struct Request;

  [[nodiscard]] std::uint8_t choose_answer(const Request& request) const;
  void send(const Request& request, std::uint8_t type);
  std::size_t write_options(std::uint8_t* to, const Request& request, std::uint8_t type) const;
  static bool parse(base::ConstBytes message, Request& request);

  Link& link_;
  const AddressPlan& plan_;
};

}  // namespace snowglobe::net
