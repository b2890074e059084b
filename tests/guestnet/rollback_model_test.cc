// tests/guestnet/rollback_model_test.cc - both ends of the cable are saved and rolled back at
// random moments, under traffic, over a wire that may refuse or lose. Whatever happens, the bytes
// of a stream are the right ones in the right order, nothing is missing where both ends go on, and
// no end of the guest is left over. SNOWGLOBE_TEST_SEED runs one seed alone, SNOWGLOBE_TEST_SEEDS
// more.
#include "guestnet/network.h"
#include "tests/guestnet/guest_stack.h"

#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <cstdlib>
#include <gtest/gtest.h>
#include <memory>
#include <set>

namespace snowglobe::net {
namespace {

using Socket = asio::local::stream_protocol::socket;

struct Weather {
  unsigned loss_percent = 0;
  unsigned refuse_percent = 0;
};

/// A program on the host with its end of a stream.
struct Client {
  Socket socket;
  StreamId id = 0;
  std::uint16_t port = 0;
  std::uint64_t key = 0;
  std::uint64_t written = 0;
  std::uint64_t guest_key = 0;     // 0: the guest has not answered yet
  std::uint64_t guest_offset = 0;  // of the next byte that should come
  Octets injected = {};            // ... after these
  bool hung_up = false;
};

/// A place in a stream: whose bytes are to come, and from where on.
struct Place {
  std::uint64_t key = 0;
  std::uint64_t offset = 0;
};

/// What rolls back: the machine. Nothing in it knows of the host.
struct Machine {
  GuestStack guest;
  std::deque<PlainSegment> to_guest;  // in the card's receive queue
  std::map<std::uint16_t, Place> sources;
};

struct Snapshot {
  std::vector<std::uint8_t> state;
  Machine machine;
  base::Nanoseconds at{0};
  std::map<StreamId, Place> streams;  // the quiet ones: where the guest's side stands
};

class World final : public base::FrameTransmitter {
 public:
  World(std::uint64_t seed, const Weather& weather) : random_(seed), weather_(weather) {
    config_.loop = &loop_;
    config_.clock = &clock_;
    config_.random = &random_;
    config_.alarm = &alarm_;
    config_.on_stream_closed = [this](const StreamInfo& info) { ended_[info.id] = info; };
    config_.tcp.send_buffer = 4096 + random_.next() % 60'000;
    config_.tcp.receive_buffer = 4096 + random_.next() % 60'000;
    config_.tcp.max_retransmissions = 60;
    config_.segmentation_offload = random_.next() % 2 == 0;
    make_network();
  }

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE("step " + std::to_string(i));
      step();
    }
    settle();
  }

  std::size_t restores = 0;
  std::size_t kept = 0;
  std::size_t adopted = 0;

 private:
  static constexpr std::size_t kMostClients = 8;

  std::uint64_t below(std::uint64_t limit) { return random_.next() % limit; }
  bool chance(unsigned percent) { return below(100) < percent; }

  void make_network() {
    network_ = Network::create(config_).value();
    network_->attach(this);
    network_->on_frame(
        ethernet(plan_.host_mac, kGuestMac, 0x0806,
                 be16(1) + be16(0x0800) + Octets{6, 4} + be16(2) +
                     Octets(kGuestMac.octets.begin(), kGuestMac.octets.end()) +
                     be32(plan_.guest.value) + Octets(6, 2) + be32(plan_.gateway.value)),
        {});
  }

  bool transmit(base::ConstBytes frame, const base::FrameOffload& offload) override {
    EXPECT_FALSE(network_->held()) << "a frame passed while frames were held";
    if (chance(weather_.refuse_percent)) {
      refused_ = true;
      return false;
    }
    const auto segment = read_our_tcp(plan_, Octets(frame.begin(), frame.end()), offload);
    EXPECT_TRUE(segment.has_value());
    if (segment && !chance(weather_.loss_percent)) machine_.to_guest.push_back(*segment);
    return true;
  }

  void step() {
    switch (below(24)) {
      case 0:
        if (clients_.size() < kMostClients) open_client();
        break;
      case 1:
        if (!clients_.empty()) hang_up(any_client());
        break;
      case 2:
        if (!machine_.guest.connections.empty() && chance(5)) {
          machine_.guest.hang_up(any_port(), clock_.monotonic());
        }
        break;
      case 3:
        if (chance(40)) network_->hold(!network_->held());
        break;
      case 4:
        if (snapshots_.size() > 4) snapshots_.erase(snapshots_.begin() + long(below(5)));
        if (chance(50)) save();
        break;
      case 5:
        if (!snapshots_.empty() && chance(70)) restore(snapshots_[below(snapshots_.size())]);
        break;
      case 6:
        if (!network_->waiting().empty()) adopt_or_drop();
        break;
      case 7:
        if (!clients_.empty()) inject(any_client());
        break;
      case 8:
        settle();
        if (chance(50)) save();
        break;
      case 9:
      case 10:
        pass_time(std::chrono::milliseconds(below(60)));
        break;
      case 11:
      case 12:
      case 13:
        if (!clients_.empty()) write(any_client());
        break;
      case 14:
      case 15:
        if (!clients_.empty()) read(any_client(), 1 + below(20'000));
        break;
      case 16:
      case 17:
        if (!machine_.guest.connections.empty()) {
          machine_.guest.write(any_port(), below(15'000), clock_.monotonic());
        }
        break;
      case 18:
      case 19:
      case 20:
        guest_sends(1 + below(20));
        break;
      default:
        guest_receives(1 + below(20));
    }
    if (refused_ && chance(30)) {
      refused_ = false;
      network_->on_transmit_ready();
    }
  }

  Client& any_client() { return *clients_[below(clients_.size())]; }
  std::uint16_t any_port() {
    auto at = machine_.guest.connections.begin();
    std::advance(at, below(machine_.guest.connections.size()));
    return at->first;
  }

  // The host's side.

  Client& add_client(asio::generic::stream_protocol::socket* ours) {
    Socket end(loop_);
    Socket socket(loop_);
    asio::local::connect_pair(end, socket);
    socket.non_blocking(true);
    *ours = asio::generic::stream_protocol::socket(std::move(end));
    clients_.push_back(std::make_unique<Client>(Client{std::move(socket)}));
    clients_.back()->key = ++last_key_;
    return *clients_.back();
  }

  void name(Client& client, StreamId id) {
    EXPECT_TRUE(ids_.insert(id).second) << "an id was used twice";
    client.id = id;
    client.port = network_->stream(id)->source_port;
    machine_.sources[client.port] = {client.key, 0};
  }

  void open_client() {
    asio::generic::stream_protocol::socket ours(loop_);
    Client& client = add_client(&ours);
    name(client, network_->open_stream(std::move(ours), {plan_.pipe, 5432, 1}).value());
    EXPECT_FALSE(machine_.guest.connections.contains(client.port)) << "the port is still in use";
  }

  void adopt_or_drop() {
    const auto waiting = network_->waiting();
    const StreamInfo& info = waiting[below(waiting.size())];
    if (chance(20)) {
      EXPECT_TRUE(network_->drop_waiting(info.id));
      return;
    }
    asio::generic::stream_protocol::socket ours(loop_);
    Client& client = add_client(&ours);
    client.guest_key = waiting_.at(info.id).key;
    client.guest_offset = waiting_.at(info.id).offset;
    name(client, network_->adopt(info.id, std::move(ours)).value());
    ++adopted;
  }

  void poll() {
    loop_.restart();
    loop_.poll();
  }

  void write(Client& client) {
    if (client.hung_up) return;
    Octets bytes(1 + below(6000));
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = pattern_byte(client.key, client.written + i);
    std::error_code error;
    client.written += client.socket.write_some(asio::buffer(bytes), error);
    if (chance(80)) poll();
  }

  void hang_up(Client& client) {
    if (!chance(5)) return;
    std::error_code ignored;
    client.socket.shutdown(Socket::shutdown_send, ignored);
    client.hung_up = true;
    poll();
  }

  /// Reads, and takes the client away at the end of its stream.
  void read(Client& client, std::size_t most) {
    Octets buffer(most);
    std::error_code error;
    const std::size_t got = client.socket.read_some(asio::buffer(buffer), error);
    for (std::size_t i = 0; i < got; ++i) {
      std::uint8_t expected = 0;
      if (!client.injected.empty()) {
        expected = client.injected.front();
        client.injected.erase(client.injected.begin());
      } else {
        expected = pattern_byte(client.guest_key, client.guest_offset++);
      }
      if (buffer[i] == expected) continue;
      ADD_FAILURE() << "stream " << client.id << ": a wrong byte";
      return;
    }
    poll();
    if (!error || error == asio::error::would_block) return;
    std::erase_if(clients_, [&](const auto& one) { return one.get() == &client; });
    poll();
  }
  void drain(StreamId id) {
    while (true) {
      Client* client = find(id);
      if (client == nullptr || client->socket.available() == 0) return;
      read(*client, 65'536);
    }
  }
  Client* find(StreamId id) {
    for (const auto& client : clients_) {
      if (client->id == id) return client.get();
    }
    return nullptr;
  }

  void inject(Client& client) {
    drain(client.id);
    Octets bytes(1 + below(300));
    random_.fill(bytes);
    if (network_->inject_to_client(client.id, bytes)) client.injected = client.injected + bytes;
  }

  void pass_time(base::Nanoseconds by) {
    const base::Nanoseconds until = clock_.monotonic() + by;
    while (clock_.monotonic() < until) {
      const base::Nanoseconds next = std::min(until, machine_.guest.deadline());
      alarm_.advance(clock_, std::max(next - clock_.monotonic(), base::Nanoseconds(1)));
      machine_.guest.on_time(clock_.monotonic());
    }
    poll();
  }

  // The guest's side.

  void guest_sends(std::size_t count) {
    for (; count > 0 && !machine_.guest.out.empty(); --count) {
      const PlainSegment segment = machine_.guest.out.front();
      machine_.guest.out.pop_front();
      if (!chance(weather_.loss_percent)) {
        network_->on_frame(guest_tcp_frame(plan_, plan_.pipe, segment), {});
      }
    }
    poll();
  }

  void guest_receives(std::size_t count) {
    for (; count > 0 && !machine_.to_guest.empty(); --count) {
      const PlainSegment segment = machine_.to_guest.front();
      machine_.to_guest.pop_front();
      auto& connections = machine_.guest.connections;
      const bool known = connections.contains(segment.from_port);
      machine_.guest.on_segment(segment, clock_.monotonic(), known ? 0 : ++last_key_);
      if (!connections.contains(segment.from_port)) continue;
      if (!known) introduce(segment.from_port);
      check_inbox(segment.from_port);
    }
  }

  void introduce(std::uint16_t port) {
    for (const auto& client : clients_) {
      if (client->port == port && client->guest_key == 0) {
        client->guest_key = machine_.guest.connections.at(port).key;
      }
    }
  }

  void check_inbox(std::uint16_t port) {
    Octets& inbox = machine_.guest.connections.at(port).inbox;
    Place& source = machine_.sources.at(port);
    for (const std::uint8_t byte : inbox) {
      if (byte == pattern_byte(source.key, source.offset++)) continue;
      ADD_FAILURE() << "the guest got a wrong byte on port " << port;
      break;
    }
    inbox.clear();
  }

  // Back and forth.

  void save() {
    Snapshot snapshot;
    snapshot.state = network_->save();
    snapshot.machine = machine_;
    snapshot.at = clock_.monotonic();
    const auto saved = Network::saved_streams(snapshot.state).value();
    for (const StreamInfo& info : saved) {
      if (!info.quiet) continue;
      drain(info.id);  // what it was given, so that we know where the guest's stream stands
      if (const Client* client = find(info.id); client != nullptr) {
        snapshot.streams[info.id] = {client->guest_key, client->guest_offset};
      } else {
        snapshot.streams[info.id] = waiting_.at(info.id);
      }
    }
    snapshots_.push_back(std::move(snapshot));
  }

  RestorePlan choose(const Snapshot& snapshot) {
    RestorePlan plan;
    for (const auto& [id, place] : snapshot.streams)
      drain(id);
    for (const auto& [id, place] : snapshot.streams) {
      RestorePlan alone;
      alone.keep = {id};
      if (chance(70) && network_->check_restore(snapshot.state, alone).ok()) {
        plan.keep.push_back(id);
      } else if (chance(50)) {
        plan.wait.push_back(id);
      }
    }
    return plan;
  }

  void restore(const Snapshot& snapshot) {
    const RestorePlan plan = choose(snapshot);
    const auto before = network_->streams();
    const auto done = network_->restore(snapshot.state, plan);
    ASSERT_TRUE(done.ok()) << done.error().message;
    ++restores;
    kept += plan.keep.size();
    machine_ = snapshot.machine;
    machine_.guest.shift_time(clock_.monotonic() - snapshot.at);
    refused_ = false;
    const std::set<StreamId> staying(plan.keep.begin(), plan.keep.end());
    for (const StreamInfo& info : before) {
      if (!staying.contains(info.id)) continue;
      Client& client = *find(info.id);
      client.guest_offset = snapshot.streams.at(info.id).offset;
      machine_.sources[client.port] = {client.key, client.written - info.unread};
    }
    for (const StreamInfo& info : before) {
      if (staying.contains(info.id)) continue;
      EXPECT_TRUE(ended_.contains(info.id) &&
                  ended_[info.id].close_reason == CloseReason::kRolledBack);
      if (Client* client = find(info.id); client != nullptr) drain_to_end(*client);
    }
    EXPECT_EQ(network_->streams().size(), staying.size());
    EXPECT_EQ(network_->waiting().size(), plan.wait.size());
    waiting_.clear();
    for (const StreamId id : plan.wait)
      waiting_[id] = snapshot.streams.at(id);
  }

  void drain_to_end(Client& client) {
    const StreamId id = client.id;
    for (int i = 0; i < 100 && find(id) != nullptr; ++i)
      read(*find(id), 65'536);
    EXPECT_EQ(find(id), nullptr) << "a client was left without an end of its stream";
  }

  /// Everything arrives that still can.
  void settle() {
    const Weather weather = std::exchange(weather_, {});
    network_->hold(false);
    refused_ = false;
    network_->on_transmit_ready();
    int rounds = 0;
    while (!at_rest() && ++rounds < 3000 && !testing::Test::HasFailure()) {
      pass_time(std::chrono::milliseconds(rounds < 100 ? 5 : 100));
      guest_receives(SIZE_MAX);
      guest_sends(SIZE_MAX);
      for (const StreamInfo& info : network_->streams())
        drain(info.id);
      for (std::size_t i = clients_.size(); i-- > 0;)
        read(*clients_[i], 1);
    }
    EXPECT_TRUE(at_rest()) << why_not();
    weather_ = weather;
    if (weather_.loss_percent == 0) expect_no_leftovers();
  }

  bool at_rest() { return why_not().empty(); }

  std::string why_not() {
    if (!machine_.to_guest.empty() || !machine_.guest.out.empty()) return "frames under way";
    for (const auto& client : clients_) {
      const auto info = network_->stream(client->id);
      if (!info.has_value()) continue;
      const std::string name = "stream " + std::to_string(client->id) + ": ";
      const auto found = machine_.guest.connections.find(client->port);
      if (found == machine_.guest.connections.end()) return name + "the guest has no end of it";
      const GuestStack::Connection& end = found->second;
      if (machine_.sources[client->port].offset != client->written) return name + "to the guest";
      if (client->guest_key != end.key) return name + "of another end";
      if (client->guest_offset != end.written) return name + "to the client";
    }
    return "";
  }

  void expect_no_leftovers() {
    std::set<std::uint16_t> ports;
    for (const StreamInfo& info : network_->streams())
      ports.insert(info.source_port);
    for (const StreamInfo& info : network_->waiting())
      ports.insert(info.source_port);
    for (const auto& [port, connection] : machine_.guest.connections)
      EXPECT_TRUE(ports.contains(port)) << "the guest's end of port " << port << " is left over";
  }

  base::SeededRandom random_;
  Weather weather_;
  asio::io_context loop_;
  base::ManualClock clock_;
  ManualAlarm alarm_;
  AddressPlan plan_;
  NetworkConfig config_;
  std::map<StreamId, StreamInfo> ended_;
  std::unique_ptr<Network> network_;
  Machine machine_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Snapshot> snapshots_;
  std::map<StreamId, Place> waiting_;
  std::set<StreamId> ids_;
  std::uint64_t last_key_ = 0;
  bool refused_ = false;
};

void run_seeds(std::uint64_t first, int count, const Weather& weather) {
  const char* only = std::getenv("SNOWGLOBE_TEST_SEED");
  if (const char* more = std::getenv("SNOWGLOBE_TEST_SEEDS")) count = std::stoi(more);
  std::size_t restores = 0;
  std::size_t kept = 0;
  std::size_t adopted = 0;
  for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
    const std::uint64_t seed =
        only != nullptr ? std::stoull(only) : first + static_cast<unsigned>(i);
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, weather);
    world.run(1500);
    restores += world.restores;
    kept += world.kept;
    adopted += world.adopted;
    if (only != nullptr) return;
  }
  EXPECT_GT(restores, static_cast<std::size_t>(count) * 5);
  EXPECT_GT(kept, static_cast<std::size_t>(count));
  EXPECT_GT(adopted, static_cast<std::size_t>(count));
}

TEST(RollbackModel, OverAPerfectWire) {
  run_seeds(1, 60, {});
}

TEST(RollbackModel, WithACardThatOftenRefuses) {
  run_seeds(1000, 60, {.loss_percent = 0, .refuse_percent = 30});
}

TEST(RollbackModel, WithAGuestThatLosesFrames) {
  run_seeds(2000, 60, {.loss_percent = 10, .refuse_percent = 10});
}

}  // namespace
}  // namespace snowglobe::net
