// tests/guestnet/restore_test.cc - save and restore of our end of the cable, with hand-made frames
// of a guest that rolls back as well: who goes on, who ends and how, who waits, and what is held
// back.
#include "guestnet/network_state.h"
#include "guestnet/pipe.h"
#include "tests/guestnet/bench.h"

#include <algorithm>
#include <set>

namespace snowglobe::net {
namespace {

using State = std::vector<std::uint8_t>;

constexpr std::uint8_t kAck = 0x10;
constexpr std::uint8_t kPush = 0x18;
constexpr std::uint8_t kFinAck = 0x11;
constexpr std::uint8_t kResetAck = 0x14;
constexpr std::uint8_t kReset = 0x04;

class Restore : public Bench {
 protected:
  void SetUp() override {
    Bench::SetUp();
    introduce_guest();
  }

  /// What rolls back with the guest: where its one connection is.
  struct Guest {
    PlainSegment syn;
    std::uint32_t acknowledged = 1;
    std::uint32_t sent = 1;
  };
  Guest guest() const { return {syn_, acknowledged_, sent_}; }
  void roll_back(const Guest& to) {
    syn_ = to.syn;
    acknowledged_ = to.acknowledged;
    sent_ = to.sent;
  }

  ClientSocket open_quiet(StreamId* id) {
    acknowledged_ = sent_ = 1;
    ClientSocket client = open_stream(id);
    accept();
    EXPECT_EQ(segment().flags, kAck);
    return client;
  }

  /// The client sends a request, the guest answers; both arrive, and the guest knows it.
  void talk(ClientSocket& client, std::size_t request, std::size_t answer) {
    const Octets question = noise(request);
    client.write_some(asio::buffer(question));
    poll();
    const PlainSegment asked = segment();
    EXPECT_EQ(asked.payload, question);
    EXPECT_EQ(asked.seq, syn_.seq + acknowledged_);
    EXPECT_EQ(asked.ack, 77'000 + sent_);
    acknowledged_ += static_cast<std::uint32_t>(request);
    const Octets reply = noise(answer);
    guest_sends(kPush, sent_, reply);
    sent_ += static_cast<std::uint32_t>(answer);
    EXPECT_EQ(read_all(client), reply);
    expect_silence();
  }

  Octets noise(std::size_t size) {
    Octets bytes(size);
    random_.fill(bytes);
    return bytes;
  }

  void restore(const State& state, const RestorePlan& plan) {
    const auto done = network_->restore(state, plan);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  base::ErrorCode restore_fails(const State& state, const RestorePlan& plan) {
    const State before = network_->save();
    const auto ended = ended_.size();
    EXPECT_FALSE(network_->check_restore(state, plan).ok());
    const auto done = network_->restore(state, plan);
    EXPECT_FALSE(done.ok());
    EXPECT_EQ(network_->save(), before);
    EXPECT_EQ(ended_.size(), ended);
    EXPECT_FALSE(network_->held());
    return done.ok() ? base::ErrorCode::kInternal : done.error().code;
  }
  static bool saved_as_quiet(const State& state, StreamId id) {
    const auto streams = Network::saved_streams(state).value();
    const auto found = std::find_if(streams.begin(), streams.end(),
                                    [id](const StreamInfo& info) { return info.id == id; });
    return found != streams.end() && found->quiet;
  }

  std::pair<asio::generic::stream_protocol::socket, ClientSocket> socket_pair() {
    ClientSocket ours(loop_);
    ClientSocket client(loop_);
    asio::local::connect_pair(ours, client);
    client.non_blocking(true);
    return {asio::generic::stream_protocol::socket(std::move(ours)), std::move(client)};
  }

  std::uint32_t sent_ = 1;  // of the guest, in sequence space
};

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

TEST_F(Restore, NothingPassesWhileHeldAndEverythingAfterwards) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  network_->hold(true);
  EXPECT_TRUE(network_->held());
  client.write_some(asio::buffer(noise(70)));
  ClientSocket newcomer = open_stream();
  poll();
  const Octets reply = noise(30);
  guest_sends(kPush, 1, reply);
  from_guest(plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0)));
  network_->on_transmit_ready();
  expect_silence();
  EXPECT_TRUE(read_all(client).empty());
  alarm_.advance(clock_, std::chrono::seconds(5));
  expect_silence();
  network_->hold(false);
  EXPECT_EQ(read_all(client), reply);
  ASSERT_EQ(cable_.sent.size(), 3u);  // in any order of the streams: request, SYN; then the pong
  std::multiset<std::size_t> payloads{segment().payload.size(), segment().payload.size()};
  EXPECT_EQ(payloads, (std::multiset<std::size_t>{0, 70}));
  EXPECT_EQ(network_->statistics().held_dropped, 0u);
}

TEST_F(Restore, WhatIsHeldOfTheGuestIsBounded) {
  network_->hold(true);
  for (int i = 0; i < 1000; ++i)
    from_guest(plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0)));
  EXPECT_EQ(network_->statistics().held_dropped, 1000u - 256);
  network_->hold(false);
  EXPECT_EQ(cable_.sent.size(), 256u);
  network_->hold(true);
  for (int i = 0; i < 100; ++i)
    from_guest(Octets(60'000, 0));
  EXPECT_EQ(network_->statistics().held_dropped, 1000u - 256 + 100 - 17);
}

TEST_F(Restore, AWaitingStreamIsAdopted) {
  StreamId id = 0;
  {
    ClientSocket client = open_quiet(&id);
    talk(client, 30, 40);
  }
  const State state = network_->save();
  const Guest then = guest();
  for (int round = 0; round < 3; ++round) {
    restore(state, {.wait = {id}});
    roll_back(then);
    EXPECT_TRUE(network_->streams().empty());
    ASSERT_EQ(network_->waiting().size(), 1u);
    EXPECT_EQ(network_->waiting()[0].id, id);
    EXPECT_EQ(network_->waiting()[0].guest_port, 5432);
    EXPECT_EQ(network_->waiting()[0].bytes_to_guest, 30u);
    EXPECT_TRUE(saved_as_quiet(network_->save(), id));
    auto [ours, client] = socket_pair();
    const Octets early = noise(20);
    client.write_some(asio::buffer(early));  // before frames flow, and before it is joined
    const StreamId adopted = network_->adopt(id, std::move(ours)).value();
    EXPECT_NE(adopted, id);
    EXPECT_TRUE(network_->waiting().empty());
    EXPECT_EQ(network_->adopt(id, socket_pair().first).error().code, base::ErrorCode::kNotFound);
    expect_silence();
    network_->hold(false);
    const PlainSegment first = segment();
    EXPECT_EQ(first.payload, early);
    EXPECT_EQ(first.seq, syn_.seq + acknowledged_);
    acknowledged_ += 20;
    talk(client, 100, 2000);
    EXPECT_EQ(network_->stream(adopted)->source_port, syn_.from_port);
    EXPECT_TRUE(saved_as_quiet(network_->save(), adopted));
  }
}

TEST_F(Restore, AGuestThatDoesNotWaitIsReset) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  const State state = network_->save();
  const std::vector<std::function<void()>> impatient{
      [this] { guest_sends(kPush, 1, noise(10)); },
      [this] { guest_sends(kFinAck, 1); },
      [this] { guest_sends(0x19, 1, noise(10)); },
  };
  for (const auto& act : impatient) {
    restore(state, {.wait = {id}});
    network_->hold(false);
    ASSERT_EQ(network_->waiting().size(), 1u);
    act();
    EXPECT_EQ(segment().flags, kResetAck);
    expect_silence();
    EXPECT_TRUE(network_->waiting().empty());
    EXPECT_EQ(network_->adopt(id, socket_pair().first).error().code, base::ErrorCode::kNotFound);
  }
  restore(state, {.wait = {id}});
  network_->hold(false);
  guest_sends(kReset, 1);
  expect_silence();
  EXPECT_TRUE(network_->waiting().empty());

  restore(state, {.wait = {id}});
  EXPECT_TRUE(network_->drop_waiting(id));
  EXPECT_FALSE(network_->drop_waiting(id));
  network_->hold(false);
  EXPECT_EQ(segment().flags, kResetAck);
  expect_silence();
}

TEST_F(Restore, WaitingStreamsCountAsStreams) {
  config_.max_streams = 2;
  make_network();
  introduce_guest();
  StreamId id = 0;
  StreamId other_id = 0;
  ClientSocket client = open_quiet(&id);
  ClientSocket other = open_quiet(&other_id);
  const State state = network_->save();
  restore(state, {.wait = {id, other_id}});
  EXPECT_EQ(network_->open_stream(socket_pair().first, {plan_.pipe, 5432, 0}).error().code,
            base::ErrorCode::kResourceExhausted);
  EXPECT_TRUE(network_->adopt(id, socket_pair().first).ok());
  config_.max_streams = 1;
  make_network();
  EXPECT_EQ(network_->restore(state, {.wait = {id, other_id}}).error().code,
            base::ErrorCode::kInvalidArgument);
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
  for (int attempt = 0; attempt < 5; ++attempt) {
    network_.reset();
    make_network();
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

TEST_F(Restore, InjectedBytesComeInTheirTurn) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  EXPECT_FALSE(network_->inject_to_client(id + 1, noise(1)));
  const Octets said = noise(100);
  EXPECT_TRUE(network_->inject_to_client(id, said));
  EXPECT_EQ(read_all(client), said);
  talk(client, 10, 10);
  guest_sends(kAck, sent_ + 500, noise(10));  // something is on its way
  EXPECT_FALSE(network_->inject_to_client(id, said));
  EXPECT_TRUE(read_all(client).empty());
  EXPECT_FALSE(network_->inject_to_client(id, noise(100'000)));
  cable_.sent.clear();

  ClientSocket ending = open_quiet(&id);
  guest_sends(kFinAck, 1);
  segment();
  EXPECT_FALSE(network_->inject_to_client(id, said));
  ClientSocket connecting = open_stream(&id);
  EXPECT_FALSE(network_->inject_to_client(id, said));
}

TEST_F(Restore, InjectedBytesOfAFullSocketComeBeforeTheGuestsNext) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  Octets expected;
  std::size_t under_way = 0;
  while (under_way == 0) {
    const Octets more = noise(30'000);
    ASSERT_TRUE(network_->inject_to_client(id, more));
    expected = expected + more;
    under_way = network_->stream(id)->undelivered;
  }
  EXPECT_FALSE(network_->inject_to_client(id, noise(1)));
  // The whole window that the guest was offered still fits.
  std::uint32_t sent = 0;
  const std::uint32_t window = 256u << 10;
  while (sent < window) {
    const Octets more = noise(std::min(1000u, window - sent));
    guest_sends(kPush, 1 + sent, more);
    sent += static_cast<std::uint32_t>(more.size());
    expected = expected + more;
  }
  Octets got;
  bool end = false;
  for (int i = 0; i < 200 && !end; ++i) {
    got = got + read_all(client, &end);
    poll();
    guest_sends(kFinAck, 1 + sent);  // as long as the window is closed it does not count
  }
  EXPECT_TRUE(end);
  EXPECT_TRUE(got == expected) << got.size() << " of " << expected.size();
}

TEST_F(Restore, TheInfoTellsWhyAStreamIsNotQuiet) {
  StreamId id = 0;
  ClientSocket client = open_quiet(&id);
  EXPECT_TRUE(network_->stream(id)->quiet);
  client.write_some(asio::buffer(noise(9)));
  EXPECT_EQ(network_->stream(id)->unread, 9u);
  EXPECT_FALSE(network_->stream(id)->quiet);
  poll();
  segment();
  EXPECT_EQ(network_->stream(id)->unread, 0u);
  acknowledged_ += 9;
  guest_sends(kPush, 1, noise(5));
  EXPECT_GE(network_->stream(id)->unread_by_client, 5u);
  EXPECT_FALSE(network_->stream(id)->quiet);
  read_all(client);
  EXPECT_EQ(network_->stream(id)->unread_by_client, 0u);
  EXPECT_TRUE(network_->stream(id)->quiet);
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

TEST_F(Restore, AListenerMayHandItsClientsOver) {
  std::vector<asio::generic::stream_protocol::socket> handed;
  PipeListener::Options options;
  options.on_client = [&](asio::generic::stream_protocol::socket client) {
    handed.push_back(std::move(client));
  };
  auto pipe = PipeListener::create(*network_, options).value();
  EXPECT_EQ(pipe->target().guest_port, 5432);
  EXPECT_EQ(pipe->target().source, plan_.pipe);
  EXPECT_EQ(pipe->target().listener, pipe->id());
  const asio::local::stream_protocol::endpoint where('\0' + pipe->abstract_name());
  ClientSocket client(loop_);
  client.connect(where);
  poll();
  ASSERT_EQ(handed.size(), 1u);
  EXPECT_TRUE(network_->streams().empty());
  const StreamId id = network_->open_stream(std::move(handed[0]), pipe->target()).value();
  EXPECT_EQ(network_->stream(id)->listener, pipe->id());
  ClientSocket late(loop_);
  late.connect(where);
  network_->shutdown();
  poll();
  EXPECT_EQ(handed.size(), 1u);
}

}  // namespace
}  // namespace snowglobe::net
