// tests/guestnet/waiting_test.cc - what happens around a restore: streams that wait for a client,
// frames that are held back, bytes that are put in by hand.
#include "guestnet/pipe.h"
#include "tests/guestnet/restore_bench.h"

#include <functional>
#include <set>

namespace snowglobe::net {
namespace {

class Waiting : public Restore {};

TEST_F(Waiting, NothingPassesWhileHeldAndEverythingAfterwards) {
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

TEST_F(Waiting, WhatIsHeldOfTheGuestIsBounded) {
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

TEST_F(Waiting, AWaitingStreamIsAdopted) {
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

TEST_F(Waiting, AGuestThatDoesNotWaitIsReset) {
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

TEST_F(Waiting, WaitingStreamsCountAsStreams) {
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

TEST_F(Waiting, InjectedBytesComeInTheirTurn) {
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

TEST_F(Waiting, InjectedBytesOfAFullSocketComeBeforeTheGuestsNext) {
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

TEST_F(Waiting, TheInfoTellsWhyAStreamIsNotQuiet) {
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

TEST_F(Waiting, AListenerMayHandItsClientsOver) {
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
