// guestnet/addresses.cc - text form of addresses, and the link-local address of our end.
#include "guestnet/addresses.h"

namespace snowglobe::net {

std::string Ipv4Address::to_string() const {
  return std::to_string(value >> 24) + '.' + std::to_string((value >> 16) & 0xFF) + '.' +
         std::to_string((value >> 8) & 0xFF) + '.' + std::to_string(value & 0xFF);
}

Ipv6Address AddressPlan::link_local() const {
  const auto& mac = host_mac.octets;
  Ipv6Address address;
  address.octets = {
      0xFE,   0x80,   0,    0,    0,      0,      0,     0, static_cast<std::uint8_t>(mac[0] ^ 2),
      mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]};
  return address;
}

}  // namespace snowglobe::net
