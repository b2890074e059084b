// guestnet/addresses.h - Ethernet, IPv4 and IPv6 addresses as values.
#pragma once

#include "base/bytes.h"

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>

namespace snowglobe::net {

struct MacAddress {
  std::array<std::uint8_t, 6> octets{};

  auto operator<=>(const MacAddress&) const = default;
  /// Group addresses (broadcast and multicast) have the lowest bit of the first octet set.
  [[nodiscard]] bool is_group() const { return (octets[0] & 1) != 0; }
  /// Reads 6 bytes.
  static MacAddress load(const std::uint8_t* from) {
    MacAddress mac;
    std::memcpy(mac.octets.data(), from, 6);
    return mac;
  }
  void store(std::uint8_t* to) const { std::memcpy(to, octets.data(), 6); }
};

inline constexpr MacAddress kBroadcastMac{{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}};

struct Ipv4Address {
  std::uint32_t value = 0;  ///< host byte order

  constexpr Ipv4Address() = default;
  constexpr explicit Ipv4Address(std::uint32_t number) : value(number) {}
  constexpr Ipv4Address(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d)
      : value(std::uint32_t{a} << 24 | std::uint32_t{b} << 16 | std::uint32_t{c} << 8 | d) {}

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 is wrong about <=>
  auto operator<=>(const Ipv4Address&) const = default;
  [[nodiscard]] bool is_zero() const { return value == 0; }
  [[nodiscard]] bool is_multicast() const { return (value >> 28) == 0xE; }
  [[nodiscard]] bool is_broadcast() const { return value == 0xFFFFFFFF; }
  static Ipv4Address load(const std::uint8_t* from) {
    return Ipv4Address(base::load_be<std::uint32_t>(from));
  }
  void store(std::uint8_t* to) const { base::store_be(to, value); }
  [[nodiscard]] std::string to_string() const;
};

struct Ipv6Address {
  std::array<std::uint8_t, 16> octets{};

  auto operator<=>(const Ipv6Address&) const = default;
  [[nodiscard]] bool is_zero() const { return *this == Ipv6Address{}; }
  [[nodiscard]] bool is_multicast() const { return octets[0] == 0xFF; }
  static Ipv6Address load(const std::uint8_t* from) {
    Ipv6Address address;
    std::memcpy(address.octets.data(), from, 16);
    return address;
  }
  void store(std::uint8_t* to) const { std::memcpy(to, octets.data(), 16); }
};

/// The network of one virtual cable: two ends, nothing else on it.
struct AddressPlan {
  MacAddress host_mac{{0x02, 0x53, 0x47, 0x00, 0x00, 0xFE}};  ///< of all our addresses
  Ipv4Address guest{10, 5, 0, 15};
  Ipv4Address gateway{10, 5, 0, 1};  ///< source of streams from loopback listeners
  Ipv4Address pipe{10, 5, 0, 2};     ///< source of streams from the private pipe
  std::uint8_t prefix_length = 16;

  [[nodiscard]] Ipv4Address netmask() const {
    return Ipv4Address(prefix_length == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix_length));
  }
  [[nodiscard]] Ipv4Address subnet_broadcast() const {
    return Ipv4Address(guest.value | ~netmask().value);
  }
  [[nodiscard]] bool is_ours(Ipv4Address address) const {
    return address == gateway || address == pipe;
  }
  [[nodiscard]] bool on_link(Ipv4Address address) const {
    return ((address.value ^ guest.value) & netmask().value) == 0;
  }
  bool operator==(const AddressPlan&) const = default;
  /// fe80:: and the EUI-64 of host_mac (RFC 4291, appendix A).
  [[nodiscard]] Ipv6Address link_local() const;
};

/// Octets of an Ethernet payload, IP header included. 1500 although the cable could carry more:
/// with segmentation offload both ways a frame moves up to 64 KiB of TCP payload whatever the MTU
/// is, and programs in the guest see an ordinary interface.
inline constexpr std::uint16_t kMtu = 1500;

}  // namespace snowglobe::net
