// tests/fuzz/fuzz_frames.cc - a hostile guest against the other end of its network cable: arbitrary
// frames, and segments that nearly fit its connections, mixed with what clients, time, save and
// restore do meanwhile. Sanitizers, the limits of memory and the time limit are the judges.
#include "tests/fuzz/network_world.h"

namespace {

using namespace snowglobe;
using namespace snowglobe::net;

class World final : fuzz::NetworkWorld {
 public:
  World(const std::uint8_t* data, std::size_t size) : NetworkWorld(data, size) {
    config_.max_streams = 4;
    config_.tcp.send_buffer = 4096u << input_.below(4);
    config_.tcp.receive_buffer = 4096u << input_.below(4);
    config_.segmentation_offload = input_.below(2) == 0;
    config_.checksum_offload = input_.below(4) != 0;
    create_network();
    send_arp();
  }

  void run() {
    for (int steps = 0; !input_.empty() && steps < 2000; ++steps) {
      step();
      check();
    }
    network_->shutdown();
    SG_ASSERT(network_->streams().empty(), "a stream outlived the shutdown");
  }

 private:
  void step() {
    switch (input_.below(14)) {
      case 0:
        return raw_frame();
      case 1:
        return ipv4_frame(static_cast<std::uint8_t>(input_.take<std::uint8_t>()));
      case 2:
        return ipv4_frame(input_.below(2) == 0 ? kProtocolUdp : kProtocolIcmp);
      case 3:
        return open_stream();
      case 4:
        return client_acts();
      case 5:
        return alarm_.run(clock_, std::chrono::milliseconds(input_.below(3000)));
      case 6:
        card_.refuse = !card_.refuse;
        if (!card_.refuse) network_->on_transmit_ready();
        return;
      case 7:
        if (const auto streams = network_->streams(); !streams.empty()) {
          network_->close_stream(streams[input_.below(4) % streams.size()].id, input_.bytes(3));
        }
        return;
      case 8:
        return network_->hold(input_.below(2) == 0);
      case 9:
        return save_or_restore();
      default:
        return tcp_segment();
    }
  }

  /// What can go on goes on or waits; the guest does not know that anything happened.
  void save_or_restore() {
    if (input_.below(2) == 0 || saved_.empty()) {
      saved_ = network_->save();
      return;
    }
    RestorePlan plan;
    const auto streams = Network::saved_streams(saved_);
    SG_ASSERT(streams.ok(), "we do not understand our own state");
    for (const StreamInfo& info : streams.value()) {
      if (!info.quiet) continue;
      const auto present = network_->stream(info.id);
      auto& list = present.has_value() && present->quiet ? plan.keep : plan.wait;
      if (input_.below(3) != 0) list.push_back(info.id);
    }
    SG_ASSERT(network_->restore(saved_, plan).ok(), "our own state can not be restored");
    if (input_.below(4) != 0) network_->hold(false);
    const auto waiting = network_->waiting();
    if (waiting.empty() || input_.below(2) == 0) return;
    adopt(waiting[0].id);
  }

  void send_arp() {
    std::vector<std::uint8_t> frame(kEthernetHeader + 28);
    write_ethernet(frame.data(), kBroadcastMac, guest_mac_, kEtherTypeArp);
    const std::uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};
    std::copy(std::begin(head), std::end(head), &frame[kEthernetHeader]);
    guest_mac_.store(&frame[kEthernetHeader + 8]);
    plan_.guest.store(&frame[kEthernetHeader + 14]);
    plan_.gateway.store(&frame[kEthernetHeader + 24]);
    deliver(frame);
  }

  void raw_frame() {
    base::FrameOffload offload;
    offload.checksum_missing = input_.below(2) == 0;
    offload.checksum_start = input_.take<std::uint16_t>();
    offload.checksum_offset = input_.take<std::uint16_t>();
    const base::ConstBytes bytes = input_.bytes(input_.below(200));
    std::vector<std::uint8_t> frame(bytes.begin(), bytes.end());
    if (frame.size() >= kEthernetHeader && input_.below(2) == 0) {
      const std::uint16_t types[] = {kEtherTypeIpv4, kEtherTypeArp, kEtherTypeIpv6, 0x1234};
      write_ethernet(frame.data(), plan_.host_mac, guest_mac_, types[input_.below(4)]);
    }
    deliver(frame, offload);
  }

  Ipv4Address destination() {
    switch (input_.below(5)) {
      case 0:
        return plan_.gateway;
      case 1:
        return Ipv4Address(input_.take<std::uint32_t>());
      case 2:
        return Ipv4Address(0xFFFFFFFF);
      default:
        return plan_.pipe;
    }
  }

  /// A well-formed IPv4 header around arbitrary contents, whose own checksum is said to be missing.
  void ipv4_frame(std::uint8_t protocol) {
    const Ipv4Address to = destination();
    const Ipv4Address from = input_.below(4) == 0 ? Ipv4Address() : plan_.guest;
    const base::ConstBytes contents = input_.bytes(input_.below(400));
    std::vector<std::uint8_t> frame(kEthernetHeader + kIpv4Header + contents.size());
    write_ethernet(frame.data(), plan_.host_mac, guest_mac_, kEtherTypeIpv4);
    write_ipv4(&frame[kEthernetHeader], from, to, protocol, contents.size());
    std::copy(contents.begin(), contents.end(), &frame[kEthernetHeader] + kIpv4Header);
    base::FrameOffload offload;
    offload.checksum_missing = protocol != kProtocolIcmp;
    offload.checksum_start = kEthernetHeader + kIpv4Header;
    offload.checksum_offset = protocol == kProtocolUdp ? 6 : 16;
    if (protocol == kProtocolIcmp && contents.size() >= 4) fix_icmp(frame);
    deliver(frame, offload);
  }

  static void fix_icmp(std::vector<std::uint8_t>& frame) {
    const base::Bytes message = base::Bytes(frame).subspan(kEthernetHeader + kIpv4Header);
    base::store_be(&message[2], std::uint16_t{0});
    ChecksumSum sum;
    sum.add(message);
    base::store_be(&message[2], sum.checksum());
  }

  /// A segment near to what the last connection that spoke expects.
  void tcp_segment() {
    if (!card_.last.has_value()) return;
    const TcpSegment& theirs = *card_.last;
    const auto near = [&] {
      const auto distance = input_.take<std::int16_t>();
      return static_cast<std::uint32_t>(input_.below(3) == 0 ? distance : distance % 4);
    };
    TcpSegment segment;
    segment.source_port = theirs.destination_port;
    segment.destination_port = theirs.source_port;
    segment.seq = theirs.ack + near();
    segment.ack = theirs.seq + (theirs.has(kTcpSyn) ? 1 : 0) + near();
    const std::uint8_t usual[] = {0x10, 0x18, 0x12, 0x11, 0x10, 0x14, 0x04, 0x02};
    segment.flags = theirs.has(kTcpSyn) && input_.below(4) != 0 ? 0x12 : usual[input_.below(8)];
    if (input_.below(10) == 0) segment.flags = input_.take<std::uint8_t>();
    segment.window = input_.take<std::uint16_t>();
    if (input_.below(3) == 0) segment.options.mss = input_.take<std::uint16_t>();
    if (input_.below(3) == 0) segment.options.window_scale = input_.take<std::uint8_t>();
    const std::size_t length = input_.below(8) == 0 ? input_.below(60'000) : input_.below(50);
    deliver_segment(card_.source, segment, length);
  }

  void open_stream() {
    if (clients_.size() >= 8) clients_.erase(clients_.begin());
    const Ipv4Address source = input_.below(2) == 0 ? plan_.pipe : plan_.gateway;
    static_cast<void>(network_->open_stream(new_client(), {source, 5432, 1}));
  }

  void client_acts() {
    if (clients_.empty()) return;
    Socket& client = clients_[input_.below(8) % clients_.size()];
    std::error_code ignored;
    std::vector<std::uint8_t> bytes(1 + input_.below(50'000));
    switch (input_.below(4)) {
      case 0:
        client.write_some(asio::buffer(bytes), ignored);
        break;
      case 1:
        client.read_some(asio::buffer(bytes), ignored);
        break;
      case 2:
        client.shutdown(Socket::shutdown_send, ignored);
        break;
      default:
        client.close(ignored);
    }
    run_loop();
  }

  void check() {
    for (const StreamInfo& info : network_->streams()) {
      SG_ASSERT(info.unacknowledged <= config_.tcp.send_buffer, "send buffer over its limit");
      SG_ASSERT(info.undelivered <= 2 * config_.tcp.receive_buffer,
                "receive buffer over its limit");
    }
  }

  AddressPlan plan_;
  std::vector<std::uint8_t> saved_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(data, size).run();
  return 0;
}
