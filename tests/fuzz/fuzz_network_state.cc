// tests/fuzz/fuzz_network_state.cc - arbitrary saved states for the other end of the cable:
// whatever is accepted has to live on, with clients that come and a guest that answers, and to be
// savable again.
#include "guestnet/network_state.h"
#include "tests/fuzz/network_world.h"

namespace {

using namespace snowglobe;
using namespace snowglobe::net;

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

class World final : fuzz::NetworkWorld {
 public:
  World(const std::uint8_t* data, std::size_t size) : NetworkWorld(data, size) {
    config_.max_streams = 8;
    create_network();
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
        return adopt_one();
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

  void adopt_one() {
    const auto waiting = network_->waiting();
    if (waiting.empty()) return;
    const StreamId id = adopt(waiting[input_.below(8) % waiting.size()].id);
    const std::uint8_t words[] = {1, 2, 3};
    network_->inject_to_client(id, words);
  }

  void client_writes() {
    if (clients_.empty()) return;
    std::vector<std::uint8_t> bytes(1 + input_.below(50'000));
    std::error_code ignored;
    clients_[input_.below(8) % clients_.size()].write_some(asio::buffer(bytes), ignored);
    run_loop();
  }

  /// Of the guest, to one of the connections of the usual state, near to what it expects.
  void segment() {
    TcpSegment segment;
    segment.source_port = 5432;
    segment.destination_port = static_cast<std::uint16_t>(49'999 - input_.below(3));
    segment.seq = SeqNum(7000 + input_.below(8));
    segment.ack = SeqNum(1000 + input_.below(8));
    segment.flags = input_.below(3) == 0 ? input_.take<std::uint8_t>() : kTcpAck;
    segment.window = input_.take<std::uint16_t>();
    const std::size_t length = input_.below(4) == 0 ? input_.below(60'000) : 0;
    deliver_segment(config_.addresses.pipe, segment, length);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(data, size).run();
  return 0;
}
