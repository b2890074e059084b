// tests/guestnet/lossy_wire_test.cc - our TCP against the simple one over a wire that loses,
// doubles and reorders frames. Whatever it does, both streams must arrive unchanged. Seeds are
// fixed; a failure prints its seed, and SNOWGLOBE_TEST_SEED runs one seed alone.
#include "guestnet/packet.h"
#include "guestnet/tcp_endpoint.h"
#include "tests/guestnet/mini_peer.h"

#include <gtest/gtest.h>
#include <map>

namespace snowglobe::net {
namespace {

Octets random_octets(std::size_t size, base::RandomSource& random) {
  Octets bytes(size);
  random.fill(bytes);
  return bytes;
}

/// A user that writes when there is room, and reads in pieces of random size.
class ChattyUser final : public TcpUser {
 public:
  ChattyUser(Octets to_send, base::RandomSource& random)
      : to_send_(std::move(to_send)), random_(random) {}

  void start(TcpConnection& connection) {
    connection_ = &connection;
    connection.open();
    on_send_room();
  }
  void on_established() override {}
  std::size_t on_data(base::ConstBytes bytes) override {
    const std::size_t count =
        random_.next() % 3 == 0 ? random_.next() % (bytes.size() + 1) : bytes.size();
    take(bytes.first(count));
    return count;
  }
  void on_end_of_data() override { ended = true; }
  void on_send_room() override {
    if (connection_ == nullptr || sent_all_) return;
    const std::size_t wanted = std::min(to_send_.size() - sent_, 1 + random_.next() % 20'000);
    for (const base::Bytes piece : connection_->prepare_send(wanted)) {
      std::copy_n(to_send_.begin() + static_cast<long>(sent_), piece.size(), piece.begin());
      connection_->commit_send(piece.size());
      sent_ += piece.size();
    }
    connection_->flush();
    if (sent_ == to_send_.size()) {
      sent_all_ = true;
      connection_->close_send();
    }
  }
  void on_closed(CloseReason why) override {
    reason = why;
    connection_ = nullptr;
  }
  /// Something happens from time to time, whatever the wire does.
  void tick() {
    if (connection_ == nullptr) return;
    on_send_room();
    if (connection_ == nullptr) return;
    const base::ConstBytes held = connection_->received()[0];
    if (held.empty()) return;
    const std::size_t count = 1 + random_.next() % held.size();
    take(held.first(count));
    connection_->consume_received(count);
  }
  [[nodiscard]] TcpConnection* connection() { return connection_; }

  bool ended = false;
  Octets received;
  std::optional<CloseReason> reason;

 private:
  void take(base::ConstBytes bytes) { received.insert(received.end(), bytes.begin(), bytes.end()); }

  Octets to_send_;
  base::RandomSource& random_;
  TcpConnection* connection_ = nullptr;
  std::size_t sent_ = 0;
  bool sent_all_ = false;
};

struct Weather {
  unsigned loss_percent = 0;
  unsigned double_percent = 0;
  unsigned late_percent = 0;
  unsigned refuse_percent = 0;  ///< of our frames: the card has no buffer
};

class Simulation {
 public:
  Simulation(std::uint64_t seed, const Weather& weather, std::size_t bytes)
      : random_(seed),
        weather_(weather),
        to_guest_(random_octets(bytes, random_)),
        from_guest_(random_octets(bytes, random_)),
        cable_(*this),
        user_(to_guest_, random_),
        peer_(peer_plan(), random_, [this](const PlainSegment& s) { guest_sends(s); }) {
    config_.tcp.connect_timeout = std::chrono::hours(1);
    config_.tcp.max_retransmissions = 60;
    config_.tcp.send_buffer = 4096 + random_.next() % 60'000;
    config_.tcp.receive_buffer = 4096 + random_.next() % 60'000;
    config_.segmentation_offload = random_.next() % 2 == 0;
    link_.attach(&cable_);
    arp_.learn(kGuestMac);
    endpoint_.emplace(TcpEndpoint::Environment{link_, arp_, clock_, random_, alarm_, statistics_},
                      config_);
    alarm_.set_handler([this] { endpoint_->on_alarm(); });
  }

  /// Returns how many segments we sent again.
  std::uint64_t run() {
    TcpConnection* connection = endpoint_->create(config_.addresses.pipe, 5432, user_);
    user_.start(*connection);
    const base::Nanoseconds limit = std::chrono::hours(3);
    while (!(user_.reason.has_value() && peer_.finished()) && clock_.monotonic() < limit)
      step();
    EXPECT_TRUE(user_.reason == CloseReason::kFinished)
        << (user_.reason ? to_string(*user_.reason) : "never closed");
    EXPECT_TRUE(peer_.finished());
    EXPECT_TRUE(user_.ended);
    EXPECT_TRUE(user_.received == from_guest_) << user_.received.size();
    EXPECT_TRUE(peer_.received() == to_guest_) << peer_.received().size();
    return statistics_.tcp_retransmissions;
  }

 private:
  struct Wire final : base::FrameTransmitter {
    explicit Wire(Simulation& owner) : simulation(owner) {}
    bool transmit(base::ConstBytes frame, const base::FrameOffload& offload) override {
      return simulation.we_send(frame, offload);
    }
    Simulation& simulation;
  };

  [[nodiscard]] bool chance(unsigned percent) { return random_.next() % 100 < percent; }

  MiniPeer::Plan peer_plan() {
    MiniPeer::Plan plan;
    plan.to_send = from_guest_;
    plan.isn = static_cast<std::uint32_t>(random_.next());
    plan.mss = static_cast<std::uint16_t>(200 + random_.next() % 1260);
    plan.window = static_cast<std::uint32_t>(2000 + random_.next() % 60'000);
    plan.closed_window_percent = random_.next() % 4 == 0 ? 20 : 0;
    return plan;
  }

  void post(std::function<void()> event) {
    if (chance(weather_.loss_percent)) return;
    const int copies = chance(weather_.double_percent) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      auto delay = base::Nanoseconds(50'000);
      if (chance(weather_.late_percent)) {
        delay = base::Nanoseconds(static_cast<std::int64_t>(random_.next() % 20'000'000));
      }
      events_.emplace(clock_.monotonic() + delay, event);
    }
  }

  bool we_send(base::ConstBytes frame, const base::FrameOffload& offload) {
    if (chance(weather_.refuse_percent)) {
      events_.emplace(clock_.monotonic() + std::chrono::milliseconds(3), [this] {
        link_.on_ready();
        endpoint_->on_ready();
      });
      return false;
    }
    const Octets copy(frame.begin(), frame.end());
    const auto segment = read_our_tcp(config_.addresses, copy, offload);
    EXPECT_TRUE(segment.has_value());
    if (segment) post([this, s = *segment] { peer_.on_segment(s, clock_.monotonic()); });
    return true;
  }

  void guest_sends(const PlainSegment& segment) {
    const Octets frame = guest_tcp_frame(config_.addresses, config_.addresses.pipe, segment);
    post([this, frame] {
      const auto packet = parse_ipv4(base::ConstBytes(frame).subspan(14));
      ASSERT_TRUE(packet.has_value());
      EXPECT_TRUE(endpoint_->on_packet(*packet, {}));
    });
  }

  void step() {
    const base::Nanoseconds now = clock_.monotonic();
    base::Nanoseconds next = now + std::chrono::milliseconds(7);
    if (!events_.empty()) next = std::min(next, events_.begin()->first);
    next = std::min({next, peer_.deadline(), alarm_.when()});
    if (next > now) alarm_.advance(clock_, next - now);
    while (!events_.empty() && events_.begin()->first <= clock_.monotonic()) {
      const auto event = events_.begin()->second;
      events_.erase(events_.begin());
      event();
    }
    if (alarm_.when() <= clock_.monotonic()) alarm_.advance(clock_, base::Nanoseconds{0});
    peer_.on_time(clock_.monotonic());
    user_.tick();
    if (const TcpConnection* connection = user_.connection(); connection != nullptr) {
      EXPECT_LE(connection->unacknowledged(), config_.tcp.send_buffer);
      EXPECT_LE(connection->undelivered(), 2 * config_.tcp.receive_buffer);
    }
  }

  base::SeededRandom random_;
  Weather weather_;
  Octets to_guest_;
  Octets from_guest_;
  base::ManualClock clock_;
  ManualAlarm alarm_;
  Wire cable_;
  NetworkStatistics statistics_;
  NetworkConfig config_;
  Link link_{statistics_, nullptr};
  Arp arp_{link_, config_.addresses};
  std::optional<TcpEndpoint> endpoint_;
  ChattyUser user_;
  MiniPeer peer_;
  std::multimap<base::Nanoseconds, std::function<void()>> events_;
};

void run_seeds(std::uint64_t first, int count, const Weather& weather, std::size_t bytes) {
  const char* only = std::getenv("SNOWGLOBE_TEST_SEED");
  if (const char* more = std::getenv("SNOWGLOBE_TEST_SEEDS")) count = std::stoi(more);
  std::uint64_t retransmissions = 0;
  for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
    const std::uint64_t seed =
        only != nullptr ? std::stoull(only) : first + static_cast<unsigned>(i);
    SCOPED_TRACE("seed " + std::to_string(seed));
    retransmissions += Simulation(seed, weather, bytes).run();
    if (only != nullptr) return;
  }
  const bool calm = weather.loss_percent == 0 && weather.late_percent == 0;
  EXPECT_EQ(retransmissions == 0, calm) << "the wire does not do what it should";
}

TEST(LossyWire, APerfectWireCarriesBothStreams) {
  run_seeds(1, 40, {}, 200'000);
}

TEST(LossyWire, ACardThatOftenRefusesLosesNothing) {
  run_seeds(100, 40, {0, 0, 0, 40}, 200'000);
}

TEST(LossyWire, FivePercentLossLosesNothing) {
  run_seeds(200, 40, {5, 2, 0, 0}, 100'000);
}

TEST(LossyWire, ReorderingAndDoublingChangeNothing) {
  run_seeds(300, 40, {0, 20, 30, 5}, 100'000);
}

TEST(LossyWire, ThirtyPercentOfEverythingChangesNothing) {
  run_seeds(400, 40, {30, 30, 30, 10}, 50'000);
}

TEST(LossyWire, EmptyStreamsEndInOrder) {
  run_seeds(500, 60, {30, 30, 30, 0}, 0);
}

TEST(LossyWire, SingleBytesArrive) {
  run_seeds(600, 60, {30, 30, 30, 0}, 1);
}

}  // namespace
}  // namespace snowglobe::net
