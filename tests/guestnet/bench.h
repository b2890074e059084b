// tests/guestnet/bench.h - a whole Network on the test bench: fake cable, manual clock, real
// sockets that are polled by hand.
#pragma once

#include "guestnet/network.h"
#include "tests/guestnet/frames.h"

#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <cstdlib>
#include <gtest/gtest.h>
#include <memory>
#include <string>

namespace snowglobe::net {

/// Another one in each process: listeners take their names, which the whole host sees, from it, and
/// ctest runs many processes at a time. SNOWGLOBE_TEST_SEED repeats a failure.
inline std::uint64_t bench_seed() {
  if (const char* given = std::getenv("SNOWGLOBE_TEST_SEED")) return std::stoull(given);
  return base::SystemRandom().next();
}

class Bench : public testing::Test {
 protected:
  using ClientSocket = asio::local::stream_protocol::socket;

  void SetUp() override { make_network(); }

  void make_network() {
    config_.loop = &loop_;
    config_.clock = &clock_;
    config_.random = &random_;
    config_.alarm = &alarm_;
    config_.on_stream_closed = [this](const StreamInfo& info) { ended_.push_back(info); };
    network_ = Network::create(config_).value();
    network_->attach(&cable_);
  }

  /// A frame of the guest's card.
  void from_guest(const Octets& frame, const base::FrameOffload& offload = {}) {
    network_->on_frame(frame, offload);
  }
  void from_guest(std::uint16_t type, const Octets& payload) {
    from_guest(ethernet(plan_.host_mac, kGuestMac, type, payload));
  }
  void from_guest(Ipv4Address to, std::uint8_t protocol, const Octets& payload) {
    from_guest(0x0800, ipv4_packet(plan_.guest, to, protocol, payload));
  }

  void expect_silence() { EXPECT_TRUE(cable_.sent.empty()) << cable_.sent.size() << " frames"; }

  /// The only frame that was sent, without its Ethernet header, which is checked.
  Octets answer(std::uint16_t type) {
    const auto sent = cable_.take();
    EXPECT_TRUE(sent.has_value()) << "nothing was sent";
    expect_silence();
    if (!sent.has_value() || sent->frame.size() < 14) return {};
    EXPECT_EQ(sent->frame[12] << 8 | sent->frame[13], type);
    EXPECT_EQ(MacAddress::load(&sent->frame[6]), plan_.host_mac);
    destination_ = MacAddress::load(&sent->frame[0]);
    return {sent->frame.begin() + 14, sent->frame.end()};
  }

  /// The next TCP segment that was sent.
  PlainSegment segment() {
    const auto sent = cable_.take();
    EXPECT_TRUE(sent.has_value()) << "nothing was sent";
    if (!sent.has_value()) return {};
    const auto read = read_our_tcp(plan_, sent->frame, sent->offload);
    EXPECT_TRUE(read.has_value());
    return read.value_or(PlainSegment{});
  }

  void introduce_guest() {
    from_guest(0x0806, be16(1) + be16(0x0800) + Octets{6, 4} + be16(2) + mac_octets(kGuestMac) +
                           be32(plan_.guest.value) + mac_octets(plan_.host_mac) +
                           be32(plan_.gateway.value));
  }

  static Octets mac_octets(const MacAddress& mac) { return {mac.octets.begin(), mac.octets.end()}; }

  /// Opens a stream and gives the client's end of it.
  ClientSocket open_stream(StreamId* id = nullptr) {
    ClientSocket ours(loop_);
    ClientSocket client(loop_);
    asio::local::connect_pair(ours, client);
    client.non_blocking(true);
    const auto opened = network_->open_stream(
        asio::generic::stream_protocol::socket(std::move(ours)), {plan_.pipe, 5432, 7});
    EXPECT_TRUE(opened.ok());
    if (id != nullptr && opened.ok()) *id = opened.value();
    return client;
  }

  /// Plays the guest's part of the handshake of the stream that was just opened.
  void accept() {
    syn_ = segment();
    EXPECT_EQ(syn_.flags, 2);
    PlainSegment reply = to_stream(0x12, 0);
    reply.options = Octets{2, 4} + be16(1460) + Octets{1, 3, 3, 7};
    from_guest(guest_tcp_frame(plan_, plan_.pipe, reply));
  }
  /// A segment of the guest to that stream. `seq` counts from the SYN; all of ours is acknowledged
  /// up to `acknowledged_`.
  PlainSegment to_stream(std::uint8_t flags, std::uint32_t seq, const Octets& payload = {}) {
    PlainSegment reply;
    reply.from_port = syn_.to_port;
    reply.to_port = syn_.from_port;
    reply.seq = 77'000 + seq;
    reply.ack = syn_.seq + acknowledged_;
    reply.flags = flags;
    reply.window = 512;
    reply.payload = payload;
    return reply;
  }
  void guest_sends(std::uint8_t flags, std::uint32_t seq, const Octets& payload = {}) {
    from_guest(guest_tcp_frame(plan_, plan_.pipe, to_stream(flags, seq, payload)));
  }

  void poll() {
    loop_.restart();
    loop_.poll();
  }

  /// What the client can read now; `end` tells whether the stream ended.
  static Octets read_all(ClientSocket& client, bool* end = nullptr) {
    Octets all;
    Octets buffer(65536);
    std::error_code error;
    while (true) {
      const std::size_t got = client.read_some(asio::buffer(buffer), error);
      if (error) break;
      all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<long>(got));
    }
    if (end != nullptr) *end = error != asio::error::would_block;
    return all;
  }

  asio::io_context loop_;
  base::ManualClock clock_;
  const std::uint64_t seed_ = bench_seed();
  const testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  base::SeededRandom random_{seed_};
  ManualAlarm alarm_;
  FakeCable cable_;
  NetworkConfig config_;
  AddressPlan plan_;
  std::vector<StreamInfo> ended_;
  std::unique_ptr<Network> network_;
  MacAddress destination_;
  PlainSegment syn_;
  std::uint32_t acknowledged_ = 1;
};

}  // namespace snowglobe::net
