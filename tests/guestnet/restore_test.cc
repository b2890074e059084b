// tests/guestnet/restore_test.cc - save and restore of our end of the cable, with hand-made frames
// of a guest that rolls back as well: who goes on, who ends and how, and which states are refused.
#include "tests/guestnet/restore_bench.h"

#include <functional>
#include <set>

namespace snowglobe::net {
namespace {

TEST_F(Restore, AQuietStreamGoesOnWithTheSavedNumbers) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  talk(client, 40, 90);
  const Guest then = guest();
  const State state = network_->save();
  EXPECT_TRUE(saved_as_quiet(state, id));
  talk(client, 500, 7000);
  talk(client, 1, 1);

  restore(state, {.keep = {id}});
  roll_back(then);
  EXPECT_TRUE(network_->held());
  network_->hold(false);
  cable_.sent.clear();  // an acknowledgement that was still to come then
  talk(client, 60, 300);
  const StreamInfo info = network_->stream(id).value();
  EXPECT_EQ(info.source_port, syn_.from_port);
  EXPECT_EQ(info.bytes_to_guest, 40u + 500 + 1 + 60);  // of the socket, which did not roll back
  EXPECT_TRUE(ended_.empty());
}

TEST_F(Restore, ItCanBeDoneAThousandTimes) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  talk(client, 10, 10);
  const Guest then = guest();
  const State state = network_->save();
  for (int round = 0; round < 1000 && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    for (std::uint64_t i = random_.next() % 4; i > 0; --i)
      talk(client, 1 + random_.next() % 1400, 1 + random_.next() % 9000);
    clock_.advance(base::Nanoseconds(static_cast<std::int64_t>(random_.next() % 100'000'000)));
    restore(state, {.keep = {id}});
    roll_back(then);
    network_->hold(false);
    EXPECT_EQ(segment().ack, 77'000 + sent_);  // the answer of then is acknowledged
    expect_silence();
  }
  const TcpControlBlock block = decode(network_->save()).value().streams.at(0).block;
  const TcpControlBlock saved = decode(state).value().streams.at(0).block;
  EXPECT_EQ(block.snd_max, saved.snd_max);
  EXPECT_EQ(block.rcv_nxt, saved.rcv_nxt);
  EXPECT_TRUE(ended_.empty());
}

TEST_F(Restore, AnAcknowledgementThatWasStillToComeComesAtOnce) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  talk(client, 10, 10);
  const State owing = network_->save();
  alarm_.advance(clock_, std::chrono::seconds(1));
  EXPECT_EQ(segment().flags, kAck);
  const State even = network_->save();
  EXPECT_NE(owing, even);
  restore(owing, {.keep = {id}});
  expect_silence();
  network_->hold(false);
  const PlainSegment ack = segment();
  EXPECT_EQ(ack.flags, kAck);
  EXPECT_EQ(ack.ack, 77'000 + sent_);
  restore(even, {.keep = {id}});
  network_->hold(false);
  expect_silence();
  EXPECT_EQ(alarm_.when(), kNever);
}

TEST_F(Restore, NoTimerOfBeforeFires) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  const State state = network_->save();
  ClientSocket connecting = open_stream();
  segment();
  client.write_some(asio::buffer(noise(100)));  // never acknowledged
  poll();
  segment();
  EXPECT_NE(alarm_.when(), kNever);
  acknowledged_ += 100;
  guest_sends(kAck, 1);
  restore(state, {.keep = {id}});
  network_->hold(false);
  EXPECT_EQ(alarm_.when(), kNever);
  alarm_.advance(clock_, std::chrono::hours(1));
  expect_silence();
  EXPECT_EQ(network_->stream(id)->state, StreamState::kOpen);
}

TEST_F(Restore, WhatWasNotQuietIsResetAndClosed) {
  struct Case {
    const char* name;
    std::function<void(ClientSocket&)> disturb;
    std::uint32_t seq;  // of the reset, counted from our SYN
    std::uint32_t ack;  // ... and from the guest's
  };
  const std::vector<Case> cases{
      {"a request under way",
       [this](ClientSocket& client) {
         client.write_some(asio::buffer(noise(100)));
         poll();
       },
       101, 1},
      {"a request that the card did not take",
       [this](ClientSocket& client) {
         cable_.refuse = true;
         client.write_some(asio::buffer(noise(50'000)));
         poll();
         cable_.refuse = false;
       },
       1, 1},
      {"an answer that the client does not read",
       [this](ClientSocket&) {
         StreamInfo info;
         for (std::uint32_t sent = 0; info.undelivered == 0; sent += 1000) {
           guest_sends(kAck, 1 + sent, Octets(1000, 'x'));
           info = network_->streams().back();
           sent_ = 1 + sent + 1000;
         }
       },
       1, 0},
      {"a gap", [this](ClientSocket&) { guest_sends(kAck, 500, Octets(9, 'x')); }, 1, 1},
      {"the end of the guest's side", [this](ClientSocket&) { guest_sends(kFinAck, 1); }, 1, 2},
      {"the end of the client's side",
       [this](ClientSocket& client) {
         client.shutdown(ClientSocket::shutdown_send);
         poll();
       },
       2, 1},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    ended_.clear();
    StreamId id = 0;
    ClientSocket client = open_quiet(&id);
    one.disturb(client);
    cable_.sent.clear();
    EXPECT_FALSE(network_->stream(id)->quiet);
    const State state = network_->save();
    EXPECT_FALSE(saved_as_quiet(state, id));
    EXPECT_EQ(restore_fails(state, {.keep = {id}}), base::ErrorCode::kInvalidArgument);
    EXPECT_EQ(restore_fails(state, {.wait = {id}}), base::ErrorCode::kInvalidArgument);
    restore(state, {});
    ASSERT_EQ(ended_.size(), 1u);
    EXPECT_EQ(ended_[0].id, id);
    EXPECT_EQ(ended_[0].close_reason, CloseReason::kRolledBack);
    bool end = false;
    read_all(client, &end);
    EXPECT_TRUE(end);
    expect_silence();
    network_->hold(false);
    const PlainSegment reset = segment();
    EXPECT_EQ(reset.flags, kResetAck);
    EXPECT_EQ(reset.from_port, syn_.from_port);
    EXPECT_EQ(reset.seq, syn_.seq + one.seq);
    EXPECT_EQ(reset.ack, 77'000 + (one.ack == 0 ? sent_ : one.ack));
    expect_silence();
  }
}

TEST_F(Restore, AHandshakeThatWasUnderWayIsReset) {
  ClientSocket client = open_stream();
  syn_ = segment();
  const State state = network_->save();
  restore(state, {});
  network_->hold(false);
  const PlainSegment reset = segment();
  EXPECT_EQ(reset.flags, kReset);
  EXPECT_EQ(reset.seq, syn_.seq + 1);
  guest_sends(0x12, 0);  // the guest had not seen the reset yet
  EXPECT_EQ(segment().flags, kReset);
  expect_silence();
}

TEST_F(Restore, StaleSegmentsAreAnsweredWithAReset) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  const State state = network_->save();
  restore(state, {});
  network_->hold(false);
  segment();
  guest_sends(kPush, 1, noise(10));
  const PlainSegment reset = segment();
  EXPECT_EQ(reset.flags, kReset);
  EXPECT_EQ(reset.seq, syn_.seq + acknowledged_);
}

TEST_F(Restore, TheGuestOfBeforeHearsNothing) {
  ClientSocket kept = open_quiet(nullptr);
  const State state = network_->save();
  std::vector<ClientSocket> clients;
  for (int i = 0; i < 5; ++i) {
    StreamId id = 0;
    clients.push_back(open_quiet(&id));
  }
  clients[0].write_some(asio::buffer(noise(100)));
  poll();
  cable_.refuse = true;
  from_guest(plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0)));  // its answer waits
  cable_.refuse = false;
  cable_.sent.clear();
  restore(state, {});
  expect_silence();
  EXPECT_EQ(ended_.size(), 6u);
  EXPECT_TRUE(network_->streams().empty());
  network_->on_transmit_ready();
  expect_silence();
  network_->hold(false);
  EXPECT_EQ(segment().flags, kResetAck);  // the one that the restored guest knows
  expect_silence();
}

TEST_F(Restore, LastWordsAreSaidWhereNoMessageIsCut) {
  StreamId id = 0;
  StreamId busy_id = 0;
  ClientSocket client = open_quiet(&id);
  const State state = network_->save();
  client.write_some(asio::buffer(noise(50'000)));  // unread ones must not cost it the words
  ClientSocket busy = open_quiet(&busy_id);
  guest_sends(kAck, 500, Octets(9, 'x'));
  const Octets words{'b', 'y', 'e'};
  restore(state, {.last_words = {{id, words}, {busy_id, words}}});
  bool end = false;
  EXPECT_EQ(read_all(client, &end), words);
  EXPECT_TRUE(end);
  EXPECT_TRUE(read_all(busy, &end).empty());
  EXPECT_TRUE(end);
}

TEST_F(Restore, PlansThatCanNotBeAreRefused) {
  StreamId id = 0;
  StreamId gone = 0;
  ClientSocket client = open_quiet(&id);
  const State early = network_->save();
  ClientSocket other = open_quiet(&gone);
  const State state = network_->save();
  EXPECT_EQ(restore_fails(state, {.keep = {id, id}}), base::ErrorCode::kInvalidArgument);
  EXPECT_EQ(restore_fails(state, {.keep = {id}, .wait = {id}}), base::ErrorCode::kInvalidArgument);
  EXPECT_EQ(restore_fails(state, {.keep = {id + 100}}), base::ErrorCode::kInvalidArgument);
  EXPECT_EQ(restore_fails(early, {.wait = {gone}}), base::ErrorCode::kInvalidArgument);
  network_->close_stream(gone);
  segment();
  EXPECT_EQ(restore_fails(state, {.keep = {gone}}), base::ErrorCode::kInvalidArgument);
  EXPECT_TRUE(network_->check_restore(state, {.keep = {id}, .wait = {gone}}).ok());
  client.write_some(asio::buffer(noise(10)));
  poll();
  segment();
  EXPECT_EQ(restore_fails(state, {.keep = {id}}), base::ErrorCode::kInvalidArgument);
  network_->shutdown();
  EXPECT_EQ(network_->restore(state, {}).error().code, base::ErrorCode::kUnavailable);
  EXPECT_EQ(network_->adopt(gone, socket_pair().first).error().code, base::ErrorCode::kUnavailable);
}

TEST_F(Restore, DamagedStatesAreRefusedAndChangeNothing) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  ClientSocket busy = open_stream();
  segment();
  const State state = network_->save();
  for (std::size_t length = 0; length < state.size(); ++length) {
    const State cut(state.begin(), state.begin() + static_cast<long>(length));
    ASSERT_EQ(restore_fails(cut, {.keep = {id}}), base::ErrorCode::kCorrupt) << length;
  }
  for (std::size_t bit = 0; bit < state.size() * 8; ++bit) {
    State damaged = state;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    ASSERT_EQ(restore_fails(damaged, {.keep = {id}}), base::ErrorCode::kCorrupt) << bit;
    ASSERT_FALSE(Network::saved_streams(damaged).ok());
  }
  State longer = state;
  longer.push_back(0);
  EXPECT_EQ(restore_fails(longer, {.keep = {id}}), base::ErrorCode::kCorrupt);
  restore(state, {.keep = {id}});
}

TEST_F(Restore, StatesThatNoNetworkHasAreRefusedAlthoughTheirChecksumIsRight) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  ClientSocket busy = open_stream();
  segment();
  const NetworkState good = decode(network_->save()).value();
  ASSERT_EQ(good.streams.size(), 1u);
  ASSERT_EQ(good.resets.size(), 1u);
  const std::vector<std::function<void(NetworkState&)>> lies{
      [](NetworkState& s) { s.guest_mac = kBroadcastMac; },
      [](NetworkState& s) { s.guest_mac.reset(); },
      [](NetworkState& s) { s.next_port = 80; },
      [](NetworkState& s) { s.streams[0].id = 0; },
      [](NetworkState& s) { s.resets[0].id = s.streams[0].id; },
      [](NetworkState& s) { s.resets[0].tuple = s.streams[0].tuple; },
      [](NetworkState& s) { s.streams.push_back(s.streams[0]); },
      [](NetworkState& s) { s.streams[0].tuple.local = Ipv4Address(8, 8, 8, 8); },
      [](NetworkState& s) { s.resets[0].tuple.remote = s.plan.pipe; },
      [](NetworkState& s) { s.streams[0].tuple.local_port = 5432; },
      [](NetworkState& s) { s.streams[0].block.state = TcpState::kCloseWait; },
      [](NetworkState& s) { s.streams[0].block.state = static_cast<TcpState>(99); },
      [](NetworkState& s) { s.streams[0].block.snd_una += 1; },
      [](NetworkState& s) { s.streams[0].block.snd_nxt += 1; },
      [](NetworkState& s) { s.streams[0].block.fin_wanted = true; },
      [](NetworkState& s) { s.streams[0].block.fin_at = SeqNum(1); },
      [](NetworkState& s) { s.streams[0].block.mss = 0; },
      [](NetworkState& s) { s.streams[0].block.mss = 9000; },
      [](NetworkState& s) { s.streams[0].block.snd_scale = 15; },
      [](NetworkState& s) { s.streams[0].block.scaling = false; },
      [](NetworkState& s) { s.streams[0].block.snd_wnd = s.streams[0].block.max_snd_wnd + 1; },
      [](NetworkState& s) { s.streams[0].block.max_snd_wnd = 0xFFFFFFFF; },
      [](NetworkState& s) { s.streams[0].block.rcv_edge = s.streams[0].block.rcv_nxt - 1; },
      [](NetworkState& s) { s.streams[0].block.rcv_edge += 1u << 30; },
      [](NetworkState& s) { s.streams[0].block.last_ack_sent += 1u << 20; },
  };
  for (std::size_t i = 0; i < lies.size(); ++i) {
    NetworkState bad = good;
    lies[i](bad);
    EXPECT_EQ(restore_fails(encode(bad), {}), base::ErrorCode::kCorrupt) << i;
  }
  NetworkState generous = good;
  generous.streams[0].block.rcv_edge = generous.streams[0].block.rcv_nxt + (1u << 20);
  EXPECT_EQ(restore_fails(encode(generous), {}), base::ErrorCode::kUnsupported);
  NetworkState elsewhere = good;
  elsewhere.plan.host_mac.octets[5] ^= 1;
  EXPECT_EQ(restore_fails(encode(elsewhere), {}), base::ErrorCode::kUnsupported);
}

TEST_F(Restore, AnotherNetworkTakesTheStateOver) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  talk(client, 10, 10);
  StreamId other_id = 0;
  ClientSocket other = open_quiet(&other_id);
  const PlainSegment other_syn = syn_;
  const State state = network_->save();

  network_.reset();
  ended_.clear();
  make_network();  // nothing is known of the guest, not even its address
  EXPECT_EQ(restore_fails(state, {.keep = {id}}), base::ErrorCode::kInvalidArgument);
  restore(state, {.wait = {other_id}});
  auto [ours, adopted] = socket_pair();
  const StreamId mine = network_->adopt(other_id, std::move(ours)).value();
  EXPECT_NE(mine, id);
  network_->hold(false);
  EXPECT_EQ(segment().flags, kResetAck);  // the first has no client here
  talk(adopted, 100, 100);
  EXPECT_EQ(syn_.from_port, other_syn.from_port);

  // A guest that changes its address is followed from its next packet on.
  Octets frame = guest_tcp_frame(plan_, plan_.pipe, to_stream(kAck, sent_));
  frame[11] = 0x77;
  from_guest(frame);
  adopted.write_some(asio::buffer(noise(5)));
  poll();
  EXPECT_EQ(cable_.take()->frame[5], 0x77);
}

/// Random numbers of which the first is given: a network's first port.
class FirstGiven final : public base::RandomSource {
 public:
  FirstGiven(std::uint64_t first, base::RandomSource& rest) : first_(first), rest_(rest) {}
  void fill(base::Bytes out) override {
    rest_.fill(out);
    if (!std::exchange(given_, true)) base::store_le(out.data(), first_);
  }

 private:
  std::uint64_t first_;
  base::RandomSource& rest_;
  bool given_ = false;
};

TEST_F(Restore, NewStreamsKeepAwayFromPortsThatTheGuestRemembers) {
  std::vector<ClientSocket> clients;
  std::vector<StreamId> ids(40);
  std::set<std::uint16_t> taken;
  for (StreamId& id : ids) {
    clients.push_back(open_quiet(&id));
    taken.insert(syn_.from_port);
  }
  for (std::size_t i = 0; i < 20; ++i)
    network_->close_stream(ids[i]);
  cable_.sent.clear();
  const State state = network_->save();
  const std::uint16_t next = decode(state).value().next_port;
  // A network whose own ports are about to come just where the others were.
  FirstGiven random(next - 49152u + 16384u - 100u, random_);
  network_.reset();
  NetworkConfig config = config_;
  config.random = &random;
  network_ = Network::create(config).value();
  network_->attach(&cable_);
  EXPECT_EQ(decode(network_->save()).value().next_port % 16384u, (next + 16384u - 100u) % 16384u);
  restore(state, {.wait = {ids[39]}});
  network_->hold(false);
  cable_.sent.clear();
  for (int i = 0; i < 200; ++i) {
    StreamId id = 0;
    open_stream(&id);
    const std::uint16_t port = segment().from_port;
    EXPECT_FALSE(taken.contains(port));
    const unsigned behind = (next + 16384u - port) % 16384u;
    EXPECT_TRUE(behind == 0 || behind > 1024) << port;
    network_->close_stream(id);
    cable_.sent.clear();
  }
}

TEST_F(Restore, NewStreamsKeepAwayFromOldEndsWhateverTheirAge) {
  std::vector<ClientSocket> clients;
  std::set<std::uint16_t> taken;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(open_quiet(nullptr));
    taken.insert(syn_.from_port);
  }
  NetworkState state = decode(network_->save()).value();
  FirstGiven random(state.streams[0].tuple.local_port - 49152u, random_);
  state.next_port ^= 0x2000;  // half of all ports have been given out since
  network_.reset();
  NetworkConfig config = config_;
  config.random = &random;
  network_ = Network::create(config).value();
  network_->attach(&cable_);
  restore(encode(state), {});
  network_->hold(false);
  EXPECT_EQ(cable_.sent.size(), 5u);  // resets
  cable_.sent.clear();
  for (int i = 0; i < 10; ++i) {
    clients.push_back(open_stream());
    EXPECT_FALSE(taken.contains(segment().from_port));
  }
}

TEST_F(Restore, AHandshakeThatOwesAResetIsSavedOnce) {
  ClientSocket client = open_stream();
  syn_ = segment();
  cable_.refuse = true;
  acknowledged_ = 1000;
  guest_sends(kAck, 1);  // of an older connection, it seems: RFC 9293, 3.10.7.3
  const State state = network_->save();
  EXPECT_EQ(decode(state).value().resets.size(), 1u);
  restore(state, {});
}

TEST_F(Restore, ResetsThatTheCardDidNotTakeAreNotLost) {
  std::vector<ClientSocket> clients;
  std::vector<StreamId> ids(200);
  for (StreamId& id : ids)
    clients.push_back(open_quiet(&id));
  cable_.refuse = true;
  for (const StreamId id : ids)
    network_->close_stream(id);
  const State state = network_->save();
  EXPECT_EQ(decode(state).value().resets.size(), ids.size());
  restore(state, {});
  cable_.refuse = false;
  network_->hold(false);
  EXPECT_EQ(cable_.sent.size(), ids.size());
  while (!cable_.sent.empty())
    EXPECT_EQ(segment().flags, kResetAck);
  EXPECT_TRUE(decode(network_->save()).value().resets.empty());
}

TEST_F(Restore, AnObserverMayCloseEvenWhatWasKept) {
  StreamId id = 0;
  NetworkConfig config = config_;
  config.loop = &loop_;
  config.on_stream_closed = [&](const StreamInfo& info) {
    ended_.push_back(info);
    network_->close_stream(id);
    network_->hold(false);
  };
  network_ = Network::create(config).value();
  network_->attach(&cable_);
  introduce_guest();
  ClientSocket client = open_quiet(&id);
  const State state = network_->save();
  ClientSocket other = open_quiet(nullptr);
  ClientSocket third = open_quiet(nullptr);
  restore(state, {.keep = {id}});
  EXPECT_EQ(ended_.size(), 3u);
  EXPECT_TRUE(network_->streams().empty());
  EXPECT_EQ(segment().flags, kResetAck);
}

}  // namespace
}  // namespace snowglobe::net
