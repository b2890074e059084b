// guestnet/packet.h - Ethernet, IPv4 and UDP headers: checked when read, complete when written.
#pragma once

#include "base/bytes.h"
#include "base/frame.h"
#include "guestnet/addresses.h"
#include "guestnet/checksum.h"

#include <cstdint>
#include <optional>

namespace snowglobe::net {

inline constexpr std::size_t kEthernetHeader = 14;
inline constexpr std::size_t kIpv4Header = 20;  ///< without options, as all that we send
inline constexpr std::size_t kUdpHeader = 8;

inline constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherTypeArp = 0x0806;
inline constexpr std::uint16_t kEtherTypeIpv6 = 0x86DD;

inline constexpr std::uint8_t kProtocolIcmp = 1;
inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolUdp = 17;
inline constexpr std::uint8_t kProtocolIcmpv6 = 58;

struct EthernetFrame {
  MacAddress destination;
  MacAddress source;
  std::uint16_t type = 0;
  base::ConstBytes payload;  ///< may have padding at its end
};

/// Nothing if the frame is too short.
[[nodiscard]] std::optional<EthernetFrame> parse_ethernet(base::ConstBytes frame);
/// Writes 14 bytes.
void write_ethernet(std::uint8_t* to, const MacAddress& destination, const MacAddress& source,
                    std::uint16_t type);

struct Ipv4Packet {
  Ipv4Address source;
  Ipv4Address destination;
  std::uint8_t protocol = 0;
  bool fragment = false;    ///< a piece of a datagram, the first one included
  base::ConstBytes header;  ///< with options
  base::ConstBytes payload;
};

/// Nothing if the packet is not well-formed IPv4: version, lengths, header checksum (RFC
/// 1122, 3.2.1).
[[nodiscard]] std::optional<Ipv4Packet> parse_ipv4(base::ConstBytes bytes);
/// Writes 20 bytes with "don't fragment", so that the identification may be 0 (RFC 6864, 4.1).
void write_ipv4(std::uint8_t* to, Ipv4Address source, Ipv4Address destination,
                std::uint8_t protocol, std::size_t payload_length);

/// Whether the checksum of an upper protocol is good, or was left to us in a credible way: then the
/// data never was on a wire, and there is nothing to verify. `sum` has the pseudo-header;
/// `field_offset` is the checksum's place in `payload`, which starts `payload_offset` bytes into
/// the frame.
[[nodiscard]] bool upper_checksum_good(ChecksumSum sum, base::ConstBytes payload,
                                       std::size_t payload_offset, std::size_t field_offset,
                                       const base::FrameOffload& offload);

struct UdpDatagram {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  base::ConstBytes payload;
};

/// Nothing if lengths or checksum are wrong. `packet_offset` is where the IP packet starts in the
/// frame.
[[nodiscard]] std::optional<UdpDatagram> parse_udp(const Ipv4Packet& packet,
                                                   std::size_t packet_offset,
                                                   const base::FrameOffload& offload);
/// Completes the 8 bytes at the start of `datagram`, whose payload is in place.
void write_udp(base::Bytes datagram, Ipv4Address source, std::uint16_t source_port,
               Ipv4Address destination, std::uint16_t destination_port);

}  // namespace snowglobe::net
