// tests/guestnet/dhcp_ipv6_test.cc - the DHCP server and the little IPv6 there is, with hand-made
// frames.
#include "tests/guestnet/bench.h"

#include <map>

namespace snowglobe::net {
namespace {

using DhcpOptions = std::map<std::uint8_t, Octets>;

class Dhcp : public Bench {
 protected:
  static Octets message(const DhcpOptions& options, Ipv4Address client = {},
                        bool broadcast = false) {
    Octets bytes{
        1, 1, 6, 0, 0xAA, 0xBB, 0xCC, 0xDD, 0, 0, static_cast<std::uint8_t>(broadcast ? 0x80 : 0),
        0};
    bytes = bytes + be32(client.value) + Octets(12, 0) + mac_octets(kGuestMac) + Octets(202, 0) +
            be32(0x63825363);
    for (const auto& [code, value] : options) {
      bytes = bytes + Octets{code, static_cast<std::uint8_t>(value.size())} + value;
    }
    bytes.push_back(255);
    return bytes;
  }

  void ask(const Octets& request, Ipv4Address from = {},
           Ipv4Address to = Ipv4Address(255, 255, 255, 255)) {
    from_guest(ethernet(kBroadcastMac, kGuestMac, 0x0800,
                        ipv4_packet(from, to, 17, udp_datagram(from, 68, to, 67, request))));
  }

  /// The options of the answer; the rest of it is checked.
  DhcpOptions reply(Ipv4Address expected_to, const MacAddress& expected_mac, Ipv4Address your) {
    const Octets packet = answer(0x0800);
    if (packet.size() < 28 + 240) return {};
    EXPECT_EQ(destination_, expected_mac);
    EXPECT_EQ(Ipv4Address::load(&packet[12]), plan_.gateway);
    EXPECT_EQ(Ipv4Address::load(&packet[16]), expected_to);
    const Octets udp(packet.begin() + 20, packet.end());
    EXPECT_EQ(Octets(udp.begin(), udp.begin() + 4), be16(67) + be16(68));
    const Octets pseudo = Octets(packet.begin() + 12, packet.begin() + 20) + Octets{0, 17} +
                          be16(static_cast<unsigned>(udp.size()));
    EXPECT_EQ(plain_checksum(pseudo + udp), 0);
    const Octets bootp(udp.begin() + 8, udp.end());
    EXPECT_EQ(bootp[0], 2);
    EXPECT_EQ(Octets(bootp.begin() + 4, bootp.begin() + 8), (Octets{0xAA, 0xBB, 0xCC, 0xDD}));
    EXPECT_EQ(Ipv4Address::load(&bootp[16]), your);
    EXPECT_EQ(MacAddress::load(&bootp[28]), kGuestMac);
    DhcpOptions options;
    for (std::size_t at = 240; at < bootp.size() && bootp[at] != 255;) {
      const std::size_t length = bootp.at(at + 1);
      const auto value = bootp.begin() + static_cast<long>(at) + 2;
      options[bootp[at]] = Octets(value, value + static_cast<long>(length));
      at += 2 + length;
    }
    return options;
  }
};

TEST_F(Dhcp, DiscoverIsOfferedTheOneLease) {
  ask(message({{53, {1}}}));
  const DhcpOptions offer = reply(plan_.guest, kGuestMac, plan_.guest);
  EXPECT_EQ(offer, (DhcpOptions{{53, {2}},
                                {54, {10, 5, 0, 1}},
                                {51, {255, 255, 255, 255}},
                                {1, {255, 255, 0, 0}},
                                {3, {10, 5, 0, 1}},
                                {6, {10, 5, 0, 1}},
                                {28, {10, 5, 255, 255}},
                                {26, {5, 220}}}));
}

TEST_F(Dhcp, TheBroadcastFlagIsObeyed) {
  ask(message({{53, {1}}}, {}, true));
  EXPECT_EQ(reply(Ipv4Address(255, 255, 255, 255), kBroadcastMac, plan_.guest)[53], Octets{2});
}

TEST_F(Dhcp, ARequestForTheLeaseIsAcknowledged) {
  ask(message({{53, {3}}, {50, {10, 5, 0, 15}}, {54, {10, 5, 0, 1}}}));
  EXPECT_EQ(reply(plan_.guest, kGuestMac, plan_.guest)[53], Octets{5});
  ask(message({{53, {3}}}, plan_.guest), plan_.guest, plan_.gateway);  // renewal, to us alone
  EXPECT_EQ(reply(plan_.guest, kGuestMac, plan_.guest)[53], Octets{5});
}

TEST_F(Dhcp, ARequestForAnotherAddressIsRefused) {
  ask(message({{53, {3}}, {50, {10, 5, 0, 99}}}));
  EXPECT_EQ(reply(Ipv4Address(255, 255, 255, 255), kBroadcastMac, Ipv4Address())[53], Octets{6});
}

TEST_F(Dhcp, InformGetsOptionsWithoutALease) {
  ask(message({{53, {8}}}, plan_.guest), plan_.guest, plan_.gateway);
  DhcpOptions options = reply(plan_.guest, kGuestMac, Ipv4Address());
  EXPECT_EQ(options[53], Octets{5});
  EXPECT_FALSE(options.contains(51));
}

TEST_F(Dhcp, OtherServersReleasesAndRepliesAreNotAnswered) {
  ask(message({{53, {3}}, {50, {10, 5, 0, 15}}, {54, {10, 5, 0, 77}}}));
  ask(message({{53, {7}}}, plan_.guest));
  ask(message({{53, {4}}}));
  EXPECT_EQ(network_->statistics().malformed, 0u);
  expect_silence();
}

TEST_F(Dhcp, MessagesCutShortOrWithOptionsThatOverrunAreDropped) {
  const Octets good = message({{53, {1}}});
  for (std::size_t size = 0; size + 1 < good.size(); ++size) {
    ask(Octets(good.begin(), good.begin() + static_cast<long>(size)));
  }
  Octets overrun = good;
  overrun[241] = 200;
  ask(overrun);
  Octets cookie = good;
  cookie[236] ^= 1;
  ask(cookie);
  EXPECT_EQ(network_->statistics().malformed, good.size() - 1 + 2);
  expect_silence();
}

TEST_F(Dhcp, UdpWithWrongLengthOrChecksumIsDropped) {
  const Ipv4Address all(255, 255, 255, 255);
  const Octets good = udp_datagram(Ipv4Address(), 68, all, 67, message({{53, {1}}}));
  for (const std::size_t at : {4u, 6u, 7u, 100u}) {
    Octets bad = good;
    bad[at] ^= 0x41;
    from_guest(
        ethernet(kBroadcastMac, kGuestMac, 0x0800, ipv4_packet(Ipv4Address(), all, 17, bad)));
  }
  EXPECT_EQ(network_->statistics().malformed, 4u);
  Octets unsummed = good;  // RFC 768: allowed
  unsummed[6] = unsummed[7] = 0;
  expect_silence();
  from_guest(
      ethernet(kBroadcastMac, kGuestMac, 0x0800, ipv4_packet(Ipv4Address(), all, 17, unsummed)));
  EXPECT_EQ(cable_.sent.size(), 1u);
}

class Ipv6Link : public Bench {
 protected:
  static Octets octets(const Ipv6Address& address) {
    return {address.octets.begin(), address.octets.end()};
  }
  static Octets checksummed(const Ipv6Address& from, const Ipv6Address& to, Octets icmp) {
    const Octets pseudo = octets(from) + octets(to) +
                          be32(static_cast<std::uint32_t>(icmp.size())) + Octets{0, 0, 0, 58};
    const std::uint16_t sum = plain_checksum(pseudo + icmp);
    icmp[2] = static_cast<std::uint8_t>(sum >> 8);
    icmp[3] = static_cast<std::uint8_t>(sum);
    return icmp;
  }
  static Octets packet(const Ipv6Address& from, const Ipv6Address& to, std::uint8_t next,
                       const Octets& payload, std::uint8_t hops = 255) {
    return Octets{0x60, 0, 0, 0} + be16(static_cast<unsigned>(payload.size())) +
           Octets{next, hops} + octets(from) + octets(to) + payload;
  }
  static Ipv6Address address(std::initializer_list<std::uint8_t> head, std::uint8_t last) {
    Ipv6Address result;
    std::copy(head.begin(), head.end(), result.octets.begin());
    result.octets[15] = last;
    return result;
  }
  Octets solicitation() const { return Octets{135, 0, 0, 0} + be32(0) + octets(ours_); }

  const Ipv6Address ours_ = plan_.link_local();
  const Ipv6Address guest_ = address({0xFE, 0x80}, 0x15);
  const Ipv6Address group_ = address({0xFF, 2}, 0xFE);
};

TEST_F(Ipv6Link, OurAddressIsMadeOfTheMacAddress) {
  EXPECT_EQ(ours_.octets, (std::array<std::uint8_t, 16>{0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0x00, 0x53,
                                                        0x47, 0xFF, 0xFE, 0x00, 0x00, 0xFE}));
}

TEST_F(Ipv6Link, ANeighbourSolicitationIsAnswered) {
  from_guest(0x86DD, packet(guest_, group_, 58, checksummed(guest_, group_, solicitation())));
  const Octets reply = answer(0x86DD);
  const Octets expected = checksummed(ours_, guest_,
                                      Octets{136, 0, 0, 0, 0x60, 0, 0, 0} + octets(ours_) +
                                          Octets{2, 1} + mac_octets(plan_.host_mac));
  EXPECT_EQ(reply, packet(ours_, guest_, 58, expected));
  EXPECT_EQ(destination_, kGuestMac);
}

TEST_F(Ipv6Link, ASolicitationFromBeyondTheLinkIsMalformed) {  // RFC 4861, 7.1.1
  from_guest(0x86DD, packet(guest_, group_, 58, checksummed(guest_, group_, solicitation()), 254));
  expect_silence();
  EXPECT_EQ(network_->statistics().malformed, 1u);
}

TEST_F(Ipv6Link, DuplicateAddressDetectionOfOurAddressIsDefended) {  // RFC 4862, 5.4.4
  const Ipv6Address none;
  from_guest(0x86DD, packet(none, group_, 58, checksummed(none, group_, solicitation())));
  const Octets reply = answer(0x86DD);
  ASSERT_EQ(reply.size(), 72u);
  EXPECT_EQ(Ipv6Address::load(&reply[24]), address({0xFF, 2}, 1));
  EXPECT_EQ(reply[44], 0x20);
}

TEST_F(Ipv6Link, PingsAreAnswered) {
  const Octets rest = Octets{1, 2, 3, 4} + Octets(40, 5);
  from_guest(0x86DD, packet(guest_, ours_, 58,
                            checksummed(guest_, ours_, Octets{128, 0, 0, 0} + rest), 64));
  EXPECT_EQ(answer(0x86DD),
            packet(ours_, guest_, 58, checksummed(ours_, guest_, Octets{129, 0, 0, 0} + rest), 64));
}

TEST_F(Ipv6Link, TcpIsUnreachableAndChatterIsIgnored) {
  const Octets syn = packet(guest_, ours_, 6, Octets(20, 0));
  from_guest(0x86DD, syn);
  const Octets reply = answer(0x86DD);
  ASSERT_EQ(reply.size(), 40u + 8 + syn.size());
  EXPECT_EQ(reply[40], 1);
  EXPECT_EQ(reply[41], 4);
  const Octets router_solicitation = Octets{133, 0, 0, 0} + be32(0);
  from_guest(0x86DD, packet(guest_, address({0xFF, 2}, 2), 58,
                            checksummed(guest_, address({0xFF, 2}, 2), router_solicitation)));
  from_guest(0x86DD, packet(guest_, address({0x20, 1}, 9), 6, Octets(20, 0)));
  expect_silence();
  EXPECT_EQ(network_->statistics().unreachable, 2u);
}

TEST_F(Ipv6Link, PacketsCutShortOrWithWrongChecksumAreDropped) {
  const Octets good = packet(guest_, group_, 58, checksummed(guest_, group_, solicitation()));
  for (std::size_t size = 0; size < good.size(); ++size) {
    from_guest(0x86DD, Octets(good.begin(), good.begin() + static_cast<long>(size)));
  }
  Octets bad = good;
  bad[42] ^= 1;
  from_guest(0x86DD, bad);
  EXPECT_EQ(network_->statistics().malformed, good.size() + 1);
  expect_silence();
}

}  // namespace
}  // namespace snowglobe::net
