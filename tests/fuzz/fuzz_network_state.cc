// tests/fuzz/fuzz_network_state.cc - arbitrary saved states for the other end of the cable:
// whatever is accepted has to live on, with clients that come and a guest that answers, and to be
// savable again.
#include "base/check.h"
#include "guestnet/network_state.h"
#include "guestnet/packet.h"
#include "guestnet/tcp_segment.h"
#include "tests/fuzz/input.h"

#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <vector>

namespace {

using namespace snowglobe;
using namespace snowglobe::net;

using Socket = asio::local::stream_protocol::socket;

class Card final : public base::FrameTransmitter {
 public:
  bool transmit(base::ConstBytes frame, const base::FrameOffload&) override {
    SG_ASSERT(frame.size() >= kEthernetHeader && frame.size() <= base::kMaxFrame, "frame size");
    return !refuse;
  }
  bool refuse = false;
};

class FuzzAlarm final : public Alarm {
 public:
  void set_handler(std::function<void()> handler) override { handler_ = std::move(handler); }
  void set(base::Nanoseconds when) override { when_ = when; }
  void run(base::ManualClock& clock, base::Nanoseconds by) {
    clock.advance(by);
    for (int rounds = 0; when_ <= clock.monotonic(); ++rounds) {
      SG_ASSERT(rounds < 100'000, "the alarm rings without end");
      when_ = kNever;
      handler_();
    }
  }

 private:
  std::function<void()> handler_;
  base::Nanoseconds when_ = kNever;
};

/// A state as a network makes them, for the input to change.
std::vector<std::uint8_t> usual_state() {
  NetworkState state;
  state.guest_mac = MacAddress{{2, 0x53, 0x47, 0, 0, 1}};
  state.next_port = 50'000;
  for (std::uint16_t i = 0; i < 3; ++i) {
    SavedStream stream;
    stream.id = i + 1;
    stream.tuple = {state.plan.pipe, state.plan.guest, static_cast<std::uint16_t>(49'999 - i),
                    5432};
    TcpControlBlock& block = stream.block;
    block.state = TcpState::kEstablished;
    block.snd_una = block.snd_nxt = block.snd_max = SeqNum(1000);
    block.snd_wnd = block.max_snd_wnd = 65'535;
    block.rcv_nxt = block.last_ack_sent = SeqNum(7000);
    block.rcv_edge = SeqNum(7000 + 65'535);
    block.mss = 1460;
    state.streams.push_back(stream);
  }
  state.resets.push_back(
      {9, {state.plan.gateway, state.plan.guest, 60'000, 5432}, {SeqNum(5), SeqNum(6)}});
  return encode(state);
}

class World {
 public:
  World(const std::uint8_t* data, std::size_t size) : input_(data, size) {
    config_.loop = &loop_;
    config_.clock = &clock_;
    config_.random = &random_;
    config_.alarm = &alarm_;
    config_.max_streams = 8;
    network_ = Network::create(config_).value();
    network_->attach(&card_);
  }

  void run() {
    const std::vector<std::uint8_t> state = make_state();
    const auto saved = Network::saved_streams(state);
    RestorePlan plan;
    if (saved.ok()) {
      for (const StreamInfo& info : saved.value()) {
        if (info.quiet && plan.wait.size() < config_.max_streams) plan.wait.push_back(info.id);
      }
    }
    const bool possible = network_->check_restore(state, plan).ok();
    SG_ASSERT(possible == network_->restore(state, plan).ok(), "the check says something else");
    if (!possible) return;
    network_->hold(false);
    check_round_trip();
    for (int steps = 0; !input_.empty() && steps < 300; ++steps)
      step();
    check_round_trip();
    network_->shutdown();
  }

 private:
  std::vector<std::uint8_t> make_state() {
    std::vector<std::uint8_t> body = usual_state();
    body.resize(body.size() - 8);
    if (input_.below(4) == 0) {
      const base::ConstBytes bytes = input_.bytes(input_.below(1000));
      body.assign(bytes.begin(), bytes.end());
    } else {
      for (std::uint32_t changes = input_.below(6); changes > 0; --changes)
        body[input_.below(static_cast<std::uint32_t>(body.size()))] = input_.take<std::uint8_t>();
    }
    std::uint8_t digest[8];
    base::store_le(digest, state_digest(body));
    body.insert(body.end(), digest, digest + 8);
    return body;
  }

  void check_round_trip() {
    const auto again = network_->save();
    SG_ASSERT(Network::saved_streams(again).ok(), "we do not understand our own state");
    SG_ASSERT(network_->check_restore(again, {}).ok(), "our own state can not be restored");
  }

  void step() {
    switch (input_.below(6)) {
      case 0:
        return adopt();
      case 1:
        return client_writes();
      case 2:
        return alarm_.run(clock_, std::chrono::milliseconds(input_.below(3000)));
      case 3:
        card_.refuse = !card_.refuse;
        return network_->on_transmit_ready();
      case 4:
        return network_->hold(input_.below(2) == 0);
      default:
        return segment();
    }
  }

  void adopt() {
    const auto waiting = network_->waiting();
    if (waiting.empty()) return;
    Socket ours(loop_);
    Socket client(loop_);
    asio::local::connect_pair(ours, client);
    client.non_blocking(true);
    clients_.push_back(std::move(client));
    const auto id = network_->adopt(waiting[input_.below(8) % waiting.size()].id,
                                    asio::generic::stream_protocol::socket(std::move(ours)));
    SG_ASSERT(id.ok(), "a waiting stream was not to be had");
    const std::uint8_t words[] = {1, 2, 3};
    network_->inject_to_client(id.value(), words);
  }

  void client_writes() {
    if (clients_.empty()) return;
    std::vector<std::uint8_t> bytes(1 + input_.below(50'000));
    std::error_code ignored;
    clients_[input_.below(8) % clients_.size()].write_some(asio::buffer(bytes), ignored);
    loop_.restart();
    loop_.poll();
  }

  /// Of the guest, to one of the connections of the usual state, near to what it expects.
  void segment() {
    const AddressPlan& plan = config_.addresses;
    TcpSegment segment;
    segment.source_port = 5432;
    segment.destination_port = static_cast<std::uint16_t>(49'999 - input_.below(3));
    segment.seq = SeqNum(7000 + input_.below(8));
    segment.ack = SeqNum(1000 + input_.below(8));
    segment.flags = input_.below(3) == 0 ? input_.take<std::uint8_t>() : kTcpAck;
    segment.window = input_.take<std::uint16_t>();
    const std::size_t length = input_.below(4) == 0 ? input_.below(60'000) : 0;
    std::uint8_t header[kTcpHeaderLimit];
    const std::size_t header_length = write_tcp_header(header, segment);
    std::vector<std::uint8_t> frame(kEthernetHeader + kIpv4Header + header_length + length);
    write_ethernet(frame.data(), plan.host_mac, MacAddress{{2, 0x53, 0x47, 0, 0, 1}},
                   kEtherTypeIpv4);
    write_ipv4(&frame[kEthernetHeader], plan.guest, plan.pipe, kProtocolTcp,
               header_length + length);
    std::copy_n(header, header_length, &frame[kEthernetHeader + kIpv4Header]);
    base::FrameOffload offload;
    offload.checksum_missing = true;
    offload.checksum_start = kEthernetHeader + kIpv4Header;
    offload.checksum_offset = 16;
    network_->on_frame(frame, offload);
    loop_.restart();
    loop_.poll();
  }

  fuzz::Input input_;
  asio::io_context loop_;
  base::ManualClock clock_;
  base::SeededRandom random_{1};
  FuzzAlarm alarm_;
  Card card_;
  NetworkConfig config_;
  std::unique_ptr<Network> network_;
  std::vector<Socket> clients_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(data, size).run();
  return 0;
}
