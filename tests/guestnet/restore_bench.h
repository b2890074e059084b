// tests/guestnet/restore_bench.h - the bench with a guest of one connection that can be rolled
// back.
#pragma once

#include "guestnet/network_state.h"
#include "tests/guestnet/bench.h"

#include <algorithm>
#include <utility>

namespace snowglobe::net {

using State = std::vector<std::uint8_t>;

inline constexpr std::uint8_t kAck = 0x10;
inline constexpr std::uint8_t kPush = 0x18;
inline constexpr std::uint8_t kFinAck = 0x11;
inline constexpr std::uint8_t kResetAck = 0x14;
inline constexpr std::uint8_t kReset = 0x04;

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

}  // namespace snowglobe::net
