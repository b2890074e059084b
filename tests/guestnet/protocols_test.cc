// tests/guestnet/protocols_test.cc - ARP, IPv4, ICMP, DHCP and IPv6 with hand-made frames.
#include "tests/guestnet/bench.h"

namespace snowglobe::net {
namespace {

class Protocols : public Bench {
 protected:
  Octets arp(std::uint16_t operation, Ipv4Address sender, Ipv4Address target) {
    return be16(1) + be16(0x0800) + Octets{6, 4} + be16(operation) + mac_octets(kGuestMac) +
           be32(sender.value) + Octets(6, 0) + be32(target.value);
  }

  /// The payload of an IPv4 packet of ours to the guest, whose header is checked.
  Octets ipv4_answer(Ipv4Address from, std::uint8_t protocol) {
    const Octets packet = answer(0x0800);
    if (packet.size() < 20) return {};
    const Octets header(packet.begin(), packet.begin() + 20);
    EXPECT_EQ(header[0], 0x45);
    EXPECT_EQ(plain_checksum(header), 0);
    EXPECT_EQ(header[2] << 8 | header[3], static_cast<int>(packet.size()));
    EXPECT_EQ(header[9], protocol);
    EXPECT_EQ(Ipv4Address::load(&header[12]), from);
    return {packet.begin() + 20, packet.end()};
  }

  void expect_unreachable(Ipv4Address to, std::uint8_t protocol, const Octets& payload,
                          std::uint8_t code) {
    const Octets packet = ipv4_packet(plan_.guest, to, protocol, payload);
    from_guest(0x0800, packet);
    const Octets icmp = ipv4_answer(to == plan_.pipe ? plan_.pipe : plan_.gateway, 1);
    ASSERT_GE(icmp.size(), 8u + 20u);
    EXPECT_EQ(plain_checksum(icmp), 0);
    EXPECT_EQ(icmp[0], 3);
    EXPECT_EQ(icmp[1], code);
    EXPECT_TRUE(std::equal(icmp.begin() + 8, icmp.end(), packet.begin()));
    EXPECT_LE(icmp.size() + 20, 576u);
  }

  void expect_malformed(const Octets& frame, const base::FrameOffload& offload = {}) {
    const auto before = network_->statistics().malformed;
    from_guest(frame, offload);
    EXPECT_EQ(network_->statistics().malformed, before + 1);
    expect_silence();
  }
};

TEST_F(Protocols, ArpAnswersForBothOfOurAddressesOnly) {
  for (const Ipv4Address address : {plan_.gateway, plan_.pipe}) {
    from_guest(0x0806, arp(1, plan_.guest, address));
    const Octets reply = answer(0x0806);
    EXPECT_EQ(destination_, kGuestMac);
    const Octets expected = be16(1) + be16(0x0800) + Octets{6, 4} + be16(2) +
                            mac_octets(plan_.host_mac) + be32(address.value) +
                            mac_octets(kGuestMac) + be32(plan_.guest.value);
    EXPECT_EQ(reply, expected);
  }
  from_guest(0x0806, arp(1, plan_.guest, Ipv4Address(10, 5, 0, 3)));
  from_guest(0x0806, arp(1, plan_.guest, plan_.guest));    // gratuitous
  from_guest(0x0806, arp(1, Ipv4Address(), plan_.guest));  // the probe of RFC 5227
  expect_silence();
}

TEST_F(Protocols, ArpThatIsCutShortOrForOtherHardwareIsMalformed) {
  const Octets good = arp(1, plan_.guest, plan_.gateway);
  for (const std::size_t size : {0u, 1u, 8u, 27u}) {
    expect_malformed(ethernet(kBroadcastMac, kGuestMac, 0x0806,
                              Octets(good.begin(), good.begin() + static_cast<long>(size))));
  }
  for (const std::size_t at : {1u, 2u, 4u, 5u, 7u}) {
    Octets bad = good;
    bad[at] ^= 0x40;
    expect_malformed(ethernet(kBroadcastMac, kGuestMac, 0x0806, bad));
  }
}

TEST_F(Protocols, TheGuestIsAskedForUntilItAnswersThenTheSynGoesOut) {
  open_stream();
  for (int i = 0; i < 3; ++i) {
    const Octets request = answer(0x0806);
    ASSERT_EQ(request.size(), 28u);
    EXPECT_EQ(destination_, kBroadcastMac);
    EXPECT_EQ(Ipv4Address::load(&request[24]), plan_.guest);
    alarm_.advance(clock_, std::chrono::milliseconds(200));
  }
  answer(0x0806);
  introduce_guest();
  EXPECT_EQ(segment().flags, 2);
}

TEST_F(Protocols, AskingEndsWithTheLastStream) {
  StreamId id = 0;
  open_stream(&id);
  answer(0x0806);
  EXPECT_TRUE(network_->close_stream(id));
  alarm_.advance(clock_, std::chrono::seconds(10));
  expect_silence();
}

TEST_F(Protocols, PingsOfOurAddressesAreAnsweredWithTheSameContents) {
  const Octets rest = Octets{0x12, 0x34, 0, 1} + Octets(57, 0xAB);
  for (const Ipv4Address address : {plan_.gateway, plan_.pipe}) {
    from_guest(address, 1, icmp_message(8, 0, rest));
    EXPECT_EQ(ipv4_answer(address, 1), icmp_message(0, 0, rest));
    EXPECT_EQ(destination_, kGuestMac);
  }
}

TEST_F(Protocols, APingWithAWrongChecksumIsDropped) {
  Octets ping = icmp_message(8, 0, Octets(8, 1));
  ping[9] ^= 1;
  expect_malformed(ethernet(plan_.host_mac, kGuestMac, 0x0800,
                            ipv4_packet(plan_.guest, plan_.gateway, 1, ping)));
}

TEST_F(Protocols, TheOutsideIsNetworkUnreachable) {
  PlainSegment syn;
  syn.from_port = 40'000;
  syn.to_port = 443;
  syn.flags = 2;
  const Ipv4Address outside(8, 8, 8, 8);
  expect_unreachable(outside, 6, tcp_bytes(plan_.guest, outside, syn), 0);
  expect_unreachable(outside, 17, udp_datagram(plan_.guest, 999, outside, 53, Octets(30, 1)), 0);
  expect_unreachable(outside, 1, icmp_message(8, 0, Octets(8, 0)), 0);
  for (const Ipv4Address address :
       {Ipv4Address(127, 0, 0, 1), Ipv4Address(192, 168, 1, 1), Ipv4Address(169, 254, 169, 254),
        Ipv4Address(172, 17, 0, 1), Ipv4Address(10, 4, 255, 255), Ipv4Address(100, 64, 0, 1)}) {
    expect_unreachable(address, 6, tcp_bytes(plan_.guest, address, syn), 0);
  }
}

TEST_F(Protocols, AnotherAddressOfTheCableIsHostUnreachable) {
  const Ipv4Address other(10, 5, 200, 7);
  expect_unreachable(other, 17, udp_datagram(plan_.guest, 999, other, 53, {}), 1);
}

TEST_F(Protocols, PortsAndProtocolsThatWeDoNotServeAreUnreachable) {
  expect_unreachable(plan_.gateway, 17, udp_datagram(plan_.guest, 999, plan_.gateway, 53, {}), 3);
  expect_unreachable(plan_.pipe, 17, udp_datagram(plan_.guest, 999, plan_.pipe, 123, {}), 3);
  expect_unreachable(plan_.gateway, 132, Octets(12, 0), 2);
  expect_unreachable(plan_.gateway, 17,
                     udp_datagram(plan_.guest, 999, plan_.gateway, 53, Octets(1400, 7)), 3);
}

TEST_F(Protocols, NoErrorIsSentAboutErrorsGroupsOrMadeUpSources) {  // RFC 1122, 3.2.2
  from_guest(Ipv4Address(8, 8, 8, 8), 1, icmp_message(3, 1, Octets(28, 0)));
  from_guest(Ipv4Address(224, 0, 0, 251), 17,
             udp_datagram(plan_.guest, 5353, Ipv4Address(224, 0, 0, 251), 5353, {}));
  from_guest(Ipv4Address(255, 255, 255, 255), 17,
             udp_datagram(plan_.guest, 9, Ipv4Address(255, 255, 255, 255), 9, {}));
  from_guest(plan_.subnet_broadcast(), 1, icmp_message(8, 0, Octets(8, 0)));
  from_guest(0x0800,
             ipv4_packet(Ipv4Address(1, 2, 3, 4), Ipv4Address(8, 8, 8, 8), 17,
                         udp_datagram(Ipv4Address(1, 2, 3, 4), 9, Ipv4Address(8, 8, 8, 8), 9, {})));
  from_guest(0x0800,
             ipv4_packet(plan_.gateway, plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0))));
  expect_silence();
}

TEST_F(Protocols, ASynToUsIsRefused) {
  PlainSegment syn;
  syn.from_port = 40'000;
  syn.to_port = 22;
  syn.seq = 1000;
  syn.flags = 2;
  from_guest(guest_tcp_frame(plan_, plan_.gateway, syn));
  const PlainSegment reset = segment();
  EXPECT_EQ(reset.flags, 0x14);
  EXPECT_EQ(reset.ack, 1001u);
  EXPECT_EQ(reset.to_port, 40'000);
}

TEST_F(Protocols, Ipv4HeadersThatDoNotCheckOutAreDropped) {
  const Octets good = ipv4_packet(plan_.guest, plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0)));
  for (std::size_t size = 0; size < good.size(); ++size) {
    expect_malformed(ethernet(plan_.host_mac, kGuestMac, 0x0800,
                              Octets(good.begin(), good.begin() + static_cast<long>(size))));
  }
  for (std::size_t at = 0; at < 20; ++at) {
    Octets bad = good;
    bad[at] ^= 0x10;
    expect_malformed(ethernet(plan_.host_mac, kGuestMac, 0x0800, bad));
  }
}

TEST_F(Protocols, FramesShorterThanAnEthernetHeaderOrFromAGroupAreDropped) {
  for (std::size_t size = 0; size < 14; ++size)
    expect_malformed(Octets(size, 1));
  expect_malformed(ethernet(plan_.host_mac, kBroadcastMac, 0x0806, Octets(28, 0)));
}

TEST_F(Protocols, PaddingAfterThePacketIsNoPartOfIt) {
  const Octets ping = icmp_message(8, 0, Octets(4, 9));
  from_guest(0x0800, ipv4_packet(plan_.guest, plan_.gateway, 1, ping) + Octets(30, 0xEE));
  EXPECT_EQ(ipv4_answer(plan_.gateway, 1), icmp_message(0, 0, Octets(4, 9)));
}

TEST_F(Protocols, IpOptionsAreSkipped) {
  const Octets ping = icmp_message(8, 0, Octets(4, 9));
  from_guest(0x0800,
             ipv4_packet(plan_.guest, plan_.gateway, 1, ping, Octets{7, 7, 4, 0, 0, 0, 0, 0}));
  EXPECT_EQ(ipv4_answer(plan_.gateway, 1), icmp_message(0, 0, Octets(4, 9)));
}

TEST_F(Protocols, FragmentsAreDropped) {
  for (const std::uint8_t flags : Octets{0x20, 0x01, 0x21}) {
    Octets packet = ipv4_packet(plan_.guest, plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0)));
    packet[6] = flags;
    packet[10] = packet[11] = 0;
    const std::uint16_t sum = plain_checksum(Octets(packet.begin(), packet.begin() + 20));
    packet[10] = static_cast<std::uint8_t>(sum >> 8);
    packet[11] = static_cast<std::uint8_t>(sum);
    expect_malformed(ethernet(plan_.host_mac, kGuestMac, 0x0800, packet));
  }
}

TEST_F(Protocols, FramesForOtherStationsAndOtherProtocolsAreIgnored) {
  const Octets ping = ipv4_packet(plan_.guest, plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0)));
  from_guest(ethernet(MacAddress{{2, 1, 1, 1, 1, 1}}, kGuestMac, 0x0800, ping));
  from_guest(0x88CC, Octets(40, 1));
  expect_silence();
  EXPECT_EQ(network_->statistics().malformed, 0u);
}

TEST_F(Protocols, AChecksumLeftToUsMustSayWhereItIs) {
  const Octets frame = ethernet(plan_.host_mac, kGuestMac, 0x0800,
                                ipv4_packet(plan_.guest, plan_.gateway, 6,
                                            tcp_bytes(plan_.guest, plan_.gateway, PlainSegment{})));
  base::FrameOffload offload;
  offload.checksum_missing = true;
  for (const auto& [start, offset] : {std::pair{0, 0}, {34, 6}, {33, 16}, {65535, 65535}}) {
    offload.checksum_start = static_cast<std::uint16_t>(start);
    offload.checksum_offset = static_cast<std::uint16_t>(offset);
    expect_malformed(frame, offload);
  }
}

TEST_F(Protocols, ATcpHeaderLongerThanTheSegmentIsMalformed) {
  for (const std::uint8_t offset : Octets{0x00, 0x40, 0x60, 0xF0}) {
    Octets tcp = tcp_bytes(plan_.guest, plan_.gateway, PlainSegment{});
    tcp[12] = offset;
    tcp[16] = tcp[17] = 0;
    const Octets pseudo = be32(plan_.guest.value) + be32(plan_.gateway.value) + Octets{0, 6} +
                          be16(static_cast<unsigned>(tcp.size()));
    const std::uint16_t sum = plain_checksum(pseudo + tcp);
    tcp[16] = static_cast<std::uint8_t>(sum >> 8);
    tcp[17] = static_cast<std::uint8_t>(sum);
    expect_malformed(ethernet(plan_.host_mac, kGuestMac, 0x0800,
                              ipv4_packet(plan_.guest, plan_.gateway, 6, tcp)));
  }
}

TEST_F(Protocols, SmallAnswersWaitForTheCardInABoundedQueue) {
  cable_.refuse = true;
  for (int i = 0; i < 1000; ++i)
    from_guest(plan_.gateway, 1, icmp_message(8, 0, Octets(4, 9)));
  cable_.refuse = false;
  network_->on_transmit_ready();
  EXPECT_EQ(cable_.sent.size(), 64u);
  EXPECT_EQ(network_->statistics().frames_dropped, 1000u - 64u);
}

}  // namespace
}  // namespace snowglobe::net
