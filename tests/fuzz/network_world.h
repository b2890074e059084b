// tests/fuzz/network_world.h - a network with a guest's card that checks all that we emit, clients
// that a fuzzer opens, and time that stands still until it is moved.
#pragma once

#include "base/check.h"
#include "guestnet/checksum.h"
#include "guestnet/network.h"
#include "guestnet/packet.h"
#include "guestnet/tcp_segment.h"
#include "tests/fuzz/input.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <optional>
#include <vector>

namespace snowglobe::fuzz {

class FuzzAlarm final : public net::Alarm {
 public:
  void set_handler(std::function<void()> handler) override { handler_ = std::move(handler); }
  void set(base::Nanoseconds when) override { when_ = when; }
  void run(base::ManualClock& clock, base::Nanoseconds by) {
    const base::Nanoseconds until = clock.monotonic() + by;
    // A deadline that does not move on would be a busy loop of the machine's thread.
    for (int rounds = 0; when_ <= until; ++rounds) {
      SG_ASSERT(rounds < 100'000, "the alarm rings without end");
      if (when_ > clock.monotonic()) clock.advance(when_ - clock.monotonic());
      when_ = net::kNever;
      handler_();
    }
    clock.advance(until - clock.monotonic());
  }

 private:
  std::function<void()> handler_;
  base::Nanoseconds when_ = net::kNever;
};

/// The guest's card: checks what we emit, and remembers the last segment of it.
class Card final : public base::FrameTransmitter {
 public:
  bool transmit(base::ConstBytes frame, const base::FrameOffload& offload) override {
    if (refuse) return false;
    SG_ASSERT(frame.size() >= net::kEthernetHeader && frame.size() <= base::kMaxFrame,
              "frame size");
    std::vector<std::uint8_t> copy(frame.begin(), frame.end());
    if (offload.checksum_missing) {
      SG_ASSERT(net::complete_checksum(copy, offload), "offsets outside of the frame");
    }
    if (base::load_be<std::uint16_t>(&copy[12]) != net::kEtherTypeIpv4) return true;
    const auto packet = net::parse_ipv4(base::ConstBytes(copy).subspan(net::kEthernetHeader));
    SG_ASSERT(packet.has_value(), "we sent a malformed IPv4 packet");
    if (packet->protocol != net::kProtocolTcp) return true;
    net::ChecksumSum sum = net::pseudo_header_sum(packet->source, packet->destination,
                                                  net::kProtocolTcp, packet->payload.size());
    sum.add(packet->payload);
    SG_ASSERT(sum.checksum() == 0, "we sent a wrong checksum");
    last = net::parse_tcp(packet->payload);
    SG_ASSERT(last.has_value(), "we sent a malformed segment");
    last->payload = {};
    source = packet->source;
    return true;
  }

  bool refuse = false;
  std::optional<net::TcpSegment> last;
  net::Ipv4Address source;
};

class NetworkWorld {
 public:
  NetworkWorld(const std::uint8_t* data, std::size_t size) : input_(data, size) {
    config_.loop = &loop_;
    config_.clock = &clock_;
    config_.random = &random_;
    config_.alarm = &alarm_;
  }
  NetworkWorld(const NetworkWorld&) = delete;
  NetworkWorld& operator=(const NetworkWorld&) = delete;

 protected:
  using Socket = asio::local::stream_protocol::socket;

  ~NetworkWorld() = default;

  /// With what config_ says by now.
  void create_network() {
    network_ = net::Network::create(config_).value();
    network_->attach(&card_);
  }

  void run_loop() {
    loop_.restart();
    loop_.poll();
  }

  void deliver(const std::vector<std::uint8_t>& frame, const base::FrameOffload& offload = {}) {
    network_->on_frame(frame, offload);
    run_loop();
  }

  /// Of the guest, to `to`, around `length` bytes of zeros.
  void deliver_segment(net::Ipv4Address to, const net::TcpSegment& segment, std::size_t length) {
    std::uint8_t header[net::kTcpHeaderLimit];
    const std::size_t header_length = net::write_tcp_header(header, segment);
    constexpr std::size_t kHeaders = net::kEthernetHeader + net::kIpv4Header;
    std::vector<std::uint8_t> frame(kHeaders + header_length + length);
    net::write_ethernet(frame.data(), config_.addresses.host_mac, guest_mac_, net::kEtherTypeIpv4);
    net::write_ipv4(&frame[net::kEthernetHeader], config_.addresses.guest, to, net::kProtocolTcp,
                    header_length + length);
    std::copy_n(header, header_length, &frame[kHeaders]);
    base::FrameOffload offload;
    offload.checksum_missing = true;
    offload.checksum_start = kHeaders;
    offload.checksum_offset = 16;
    deliver(frame, offload);
  }

  /// One more of clients_; gives the other end.
  asio::generic::stream_protocol::socket new_client() {
    Socket ours(loop_);
    Socket client(loop_);
    asio::local::connect_pair(ours, client);
    client.non_blocking(true);
    clients_.push_back(std::move(client));
    return ours;
  }

  net::StreamId adopt(net::StreamId waiting) {
    const auto adopted = network_->adopt(waiting, new_client());
    SG_ASSERT(adopted.ok(), "a waiting stream was not to be had");
    return adopted.value();
  }

  Input input_;
  asio::io_context loop_;
  base::ManualClock clock_;
  base::SeededRandom random_{1};
  FuzzAlarm alarm_;
  Card card_;
  net::NetworkConfig config_;
  const net::MacAddress guest_mac_{{0x02, 0x53, 0x47, 0, 0, 1}};
  std::unique_ptr<net::Network> network_;
  std::vector<Socket> clients_;
};

}  // namespace snowglobe::fuzz
