// tests/guestnet/stream_test.cc - streams between real sockets and hand-made TCP segments; limits,
// closing, and what the API is told.
#include "guestnet/byte_ring.h"
#include "guestnet/checksum.h"
#include "guestnet/pipe.h"
#include "guestnet/reassembly.h"
#include "tests/guestnet/bench.h"

#include <fstream>
#include <libpq-fe.h>
#include <unistd.h>

namespace snowglobe::net {
namespace {

class Streams : public Bench {
 protected:
  void SetUp() override {
    Bench::SetUp();
    introduce_guest();
  }
};

TEST_F(Streams, WhatTheClientSaidBeforeIsTheFirstSegment) {
  ClientSocket client = open_stream();
  client.write_some(asio::buffer("startup", 7));
  accept();
  poll();
  const PlainSegment first = segment();
  EXPECT_EQ(first.flags, 0x18);
  EXPECT_EQ(first.payload, (Octets{'s', 't', 'a', 'r', 't', 'u', 'p'}));
  expect_silence();
}

TEST_F(Streams, AQueryIsOneFrameAndItsAnswerCostsNone) {
  ClientSocket client = open_stream();
  accept();
  segment();  // the last step of the handshake
  for (std::uint32_t i = 0; i < 20; ++i) {
    client.write_some(asio::buffer(Octets(60, 'q')));
    poll();
    EXPECT_EQ(segment().payload.size(), 60u);
    acknowledged_ = 1 + 60 * (i + 1);
    guest_sends(0x18, 1 + 90 * i, Octets(90, 'a'));
    EXPECT_EQ(read_all(client), Octets(90, 'a'));
    expect_silence();
  }
}

TEST_F(Streams, TheInfoTellsWhatIsUnderWay) {
  StreamId id = 0;
  ClientSocket client = open_stream(&id);
  EXPECT_EQ(network_->stream(id)->state, StreamState::kConnecting);
  accept();
  EXPECT_EQ(network_->stream(id)->state, StreamState::kOpen);
  clock_.advance(std::chrono::seconds(5));
  client.write_some(asio::buffer(Octets(60, 'q')));
  poll();
  StreamInfo info = network_->stream(id).value();
  EXPECT_EQ(info.source, plan_.pipe);
  EXPECT_EQ(info.source_port, syn_.from_port);
  EXPECT_EQ(info.guest_port, 5432);
  EXPECT_EQ(info.listener, 7u);
  EXPECT_EQ(info.bytes_to_guest, 60u);
  EXPECT_EQ(info.unacknowledged, 60u);
  EXPECT_EQ(info.idle_since, std::chrono::seconds(5));
  acknowledged_ = 61;
  guest_sends(0x18, 1, Octets(10, 'a'));
  info = network_->streams().at(0);
  EXPECT_EQ(info.unacknowledged, 0u);
  EXPECT_EQ(info.bytes_to_client, 10u);
  EXPECT_EQ(info.undelivered, 0u);
}

TEST_F(Streams, AClientThatDoesNotReadHoldsBytesUpToTheLimit) {
  StreamId id = 0;
  ClientSocket client = open_stream(&id);
  accept();
  std::uint32_t sent = 0;
  while (network_->stream(id)->undelivered < config_.tcp.receive_buffer && sent < 100'000'000) {
    guest_sends(0x10, 1 + sent, Octets(1000, 'x'));
    const StreamInfo info = network_->stream(id).value();
    sent = static_cast<std::uint32_t>(info.bytes_to_client + info.undelivered);
    cable_.sent.clear();
  }
  EXPECT_EQ(network_->stream(id)->undelivered, config_.tcp.receive_buffer);
  std::size_t got = 0;
  for (int i = 0; i < 100 && got < sent; ++i) {
    got += read_all(client).size();
    poll();
  }
  EXPECT_EQ(got, sent);
  EXPECT_FALSE(cable_.sent.empty()) << "the window was not opened again";
}

TEST_F(Streams, ABrokenClientResetsTheGuest) {
  {
    ClientSocket client = open_stream();
    accept();
    segment();
  }
  poll();
  EXPECT_EQ(segment().flags, 0x11);  // first it is only the end of what it sends
  acknowledged_ = 2;
  guest_sends(0x18, 1, Octets(10, 'x'));
  EXPECT_EQ(segment().flags & 4, 4);
  ASSERT_EQ(ended_.size(), 1u);
  EXPECT_EQ(ended_[0].close_reason, CloseReason::kClientFailed);
}

TEST_F(Streams, LastWordsAreSaidUnlessSomethingIsUnderWay) {
  StreamId id = 0;
  ClientSocket client = open_stream(&id);
  accept();
  segment();
  const Octets words{'b', 'y', 'e'};
  EXPECT_TRUE(network_->close_stream(id, words));
  bool end = false;
  EXPECT_EQ(read_all(client, &end), words);
  EXPECT_TRUE(end);
  EXPECT_EQ(segment().flags, 0x14);
  EXPECT_EQ(ended_.at(0).close_reason, CloseReason::kRequested);
  EXPECT_FALSE(network_->close_stream(id));
  EXPECT_TRUE(network_->streams().empty());

  ClientSocket busy = open_stream(&id);
  accept();
  segment();
  acknowledged_ = 1;
  guest_sends(0x10, 500, Octets(10, 'x'));  // a part of a message, ahead of what is missing
  EXPECT_GT(network_->stream(id)->undelivered, 0u);
  EXPECT_TRUE(network_->close_stream(id, words));
  EXPECT_TRUE(read_all(busy, &end).empty());
  EXPECT_TRUE(end);
}

TEST_F(Streams, TooManyStreamsAreTurnedAwayAndPlacesBecomeFree) {
  config_.max_streams = 3;
  make_network();
  introduce_guest();
  std::vector<ClientSocket> clients;
  StreamId id = 0;
  for (int i = 0; i < 3; ++i)
    clients.push_back(open_stream(&id));
  ClientSocket ours(loop_);
  ClientSocket client(loop_);
  asio::local::connect_pair(ours, client);
  const auto refused = network_->open_stream(
      asio::generic::stream_protocol::socket(std::move(ours)), {plan_.pipe, 5432, 0});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, base::ErrorCode::kResourceExhausted);
  EXPECT_EQ(network_->statistics().streams_refused, 1u);
  EXPECT_TRUE(network_->close_stream(id));
  open_stream();
}

TEST_F(Streams, IdsAndPortsAreNotUsedAgain) {
  std::vector<std::uint64_t> ids;
  std::vector<std::uint16_t> ports;
  for (int i = 0; i < 100; ++i) {
    StreamId id = 0;
    open_stream(&id);
    ids.push_back(id);
    ports.push_back(network_->stream(id)->source_port);
    EXPECT_GE(ports.back(), 49152);
    network_->close_stream(id);
  }
  std::sort(ports.begin(), ports.end());
  EXPECT_EQ(std::adjacent_find(ports.begin(), ports.end()), ports.end());
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end(), std::less_equal<>()));
}

TEST_F(Streams, ShutdownEndsEverythingAtOnceAndTwice) {
  std::vector<ClientSocket> clients;
  for (int i = 0; i < 5; ++i)
    clients.push_back(open_stream());
  accept();
  auto pipe = PipeListener::create(*network_, {}).value();
  network_->shutdown();
  network_->shutdown();
  EXPECT_EQ(ended_.size(), 5u);
  for (const StreamInfo& info : ended_)
    EXPECT_EQ(info.close_reason, CloseReason::kShutDown);
  for (ClientSocket& client : clients) {
    bool end = false;
    read_all(client, &end);
    EXPECT_TRUE(end);
  }
  EXPECT_FALSE(pipe->is_open());
  EXPECT_EQ(alarm_.when(), kNever);
  cable_.sent.clear();
  from_guest(plan_.gateway, 1, icmp_message(8, 0, Octets(8, 0)));
  network_->on_transmit_ready();
  expect_silence();
}

TEST_F(Streams, ANetworkMayGoBeforeItsListenersAndPendingWork) {
  auto pipe = PipeListener::create(*network_, {}).value();
  asio::local::stream_protocol::socket client(loop_);
  client.connect(asio::local::stream_protocol::endpoint('\0' + pipe->abstract_name()));
  ClientSocket other = open_stream();
  network_.reset();
  poll();
  bool end = false;
  read_all(other, &end);
  EXPECT_TRUE(end);
}

TEST_F(Streams, UnplugAndPlugInAgain) {
  network_->attach(nullptr);
  ClientSocket client = open_stream();
  expect_silence();
  network_->attach(&cable_);
  EXPECT_EQ(segment().flags, 2);
}

TEST_F(Streams, AnObserverMayCloseOtherStreams) {
  std::vector<StreamId> ids(3);
  std::vector<ClientSocket> clients;
  config_.on_stream_closed = nullptr;
  for (StreamId& id : ids)
    clients.push_back(open_stream(&id));
  NetworkConfig config = config_;
  config.on_stream_closed = [this](const StreamInfo&) {
    const auto left = network_->streams();
    if (!left.empty()) network_->close_stream(left[0].id);
  };
  network_ = Network::create(config).value();
  network_->attach(&cable_);
  introduce_guest();
  for (StreamId& id : ids)
    clients.push_back(open_stream(&id));
  network_->shutdown();
  EXPECT_TRUE(network_->streams().empty());
}

TEST_F(Streams, SenselessSettingsAreRefused) {
  const auto code = [](const NetworkConfig& config) {
    return Network::create(config).error().code;
  };
  EXPECT_EQ(code({}), base::ErrorCode::kInvalidArgument);
  NetworkConfig config = config_;
  config.tcp.receive_buffer = 10;
  EXPECT_EQ(code(config), base::ErrorCode::kInvalidArgument);
  config = config_;
  config.tcp.mss = 9000;
  EXPECT_EQ(code(config), base::ErrorCode::kInvalidArgument);
  config = config_;
  config.capture_file = "/nonexistent-directory/x.pcap";
  EXPECT_EQ(code(config), base::ErrorCode::kIo);
}

TEST_F(Streams, ListenersSayWhatIsWrongWithTheirAddress) {
  LoopbackListener::Options options;
  options.address = "not an address";
  EXPECT_EQ(LoopbackListener::create(*network_, options).error().code,
            base::ErrorCode::kInvalidArgument);
  options.address = "192.0.2.1";  // of documentation, not of this host
  EXPECT_EQ(LoopbackListener::create(*network_, options).error().code, base::ErrorCode::kNotFound);
  auto first = LoopbackListener::create(*network_, {}).value();
  options.address = "127.0.0.1";
  options.port = first->port();
  EXPECT_EQ(LoopbackListener::create(*network_, options).error().code,
            base::ErrorCode::kAlreadyExists);
  first->close();
  first->close();
  EXPECT_TRUE(LoopbackListener::create(*network_, options).ok());
}

TEST_F(Streams, ThePipesNameIsWhatLibpqMakesOfHostAndPort) {
  auto pipe = PipeListener::create(*network_, {}).value();
  EXPECT_EQ(pipe->host().substr(0, 11), "@snowglobe-");
  EXPECT_EQ(pipe->host().size(), 11u + 32u);
  EXPECT_EQ(pipe->abstract_name(), pipe->host().substr(1) + "/.s.PGSQL.5432");
  EXPECT_NE(PipeListener::create(*network_, {}).value()->host(), pipe->host());
}

TEST_F(Streams, LibpqComesInByHostAndPortAndItsFirstMessageIsOneFrame) {
  auto pipe = PipeListener::create(*network_, {}).value();
  const std::string where =
      "user=ada dbname=globe host=" + pipe->host() + " port=" + std::to_string(pipe->port());
  const std::unique_ptr<PGconn, void (*)(PGconn*)> connection(PQconnectStart(where.c_str()),
                                                              PQfinish);
  ASSERT_NE(PQstatus(connection.get()), CONNECTION_BAD) << PQerrorMessage(connection.get());
  ASSERT_EQ(PQconnectPoll(connection.get()), PGRES_POLLING_READING)
      << PQerrorMessage(connection.get());
  poll();
  accept();
  poll();
  const PlainSegment startup = segment();
  const std::string text(startup.payload.begin(), startup.payload.end());
  EXPECT_EQ(startup.flags, 0x18);
  EXPECT_NE(text.find(std::string("user\0ada", 8)), std::string::npos);
  expect_silence();
  // An error of the server, and it hangs up: libpq has the message.
  Octets fields;
  for (const std::string& field :
       std::vector<std::string>{"SFATAL", "C57P03", "Mstarting up", ""}) {
    fields.insert(fields.end(), field.begin(), field.end());
    fields.push_back(0);
  }
  const Octets message = Octets{'E'} + be32(static_cast<std::uint32_t>(4 + fields.size())) + fields;
  acknowledged_ = 1 + static_cast<std::uint32_t>(startup.payload.size());
  guest_sends(0x19, 1, message);
  EXPECT_EQ(PQconnectPoll(connection.get()), PGRES_POLLING_FAILED);
  EXPECT_NE(std::string(PQerrorMessage(connection.get())).find("starting up"), std::string::npos);
}

TEST_F(Streams, CaptureHasEveryFrameWithCompleteChecksums) {
  // Another build's tests may run at the same time.
  const std::string path =
      testing::TempDir() + "snowglobe_capture_" + std::to_string(::getpid()) + ".pcap";
  config_.capture_file = path;
  make_network();
  introduce_guest();
  open_stream();
  const PlainSegment syn = segment();
  network_.reset();
  std::ifstream in(path, std::ios::binary);
  const Octets file((std::istreambuf_iterator<char>(in)), {});
  std::remove(path.c_str());
  ASSERT_EQ(file.size(), 24u + 16 + 42 + 16 + 62);
  EXPECT_EQ(base::load_le<std::uint32_t>(&file[0]), 0xA1B23C4Du);
  const Octets frame(file.end() - 62, file.end());
  EXPECT_EQ(read_our_tcp(plan_, frame, {})->seq, syn.seq);  // verifies the checksum
}

class AlarmOnAsio : public testing::Test {
 protected:
  AlarmOnAsio() {
    alarm_.set_handler([this] { ++rings_; });
  }
  base::Nanoseconds in(int milliseconds) {
    return clock_.monotonic() + std::chrono::milliseconds(milliseconds);
  }

  asio::io_context loop_;
  base::SystemClock clock_;
  AsioAlarm alarm_{loop_, clock_};
  int rings_ = 0;
};

TEST_F(AlarmOnAsio, RingsOnceAtTheLastDeadlineThatWasSet) {
  alarm_.set(in(2));
  alarm_.set(in(30));  // later: the timer is left alone, and armed again when it fires
  const base::Nanoseconds last = in(10);
  alarm_.set(last);
  loop_.run();
  EXPECT_EQ(rings_, 1);
  EXPECT_GE(clock_.monotonic(), last);
}

TEST_F(AlarmOnAsio, AnEarlierDeadlineReplacesALaterOne) {
  alarm_.set(in(60'000));
  alarm_.set(in(1));
  loop_.run();
  EXPECT_EQ(rings_, 1);
}

TEST_F(AlarmOnAsio, NeverCancelsAndLetsTheLoopEnd) {
  alarm_.set(in(60'000));
  alarm_.set(kNever);
  loop_.run();
  EXPECT_EQ(rings_, 0);
  alarm_.set(in(1));
  loop_.restart();
  loop_.run();
  EXPECT_EQ(rings_, 1);
}

TEST(AlarmsEnd, AnAlarmMayGoWhileItIsSet) {
  asio::io_context loop;
  const base::SystemClock clock;
  {
    AsioAlarm alarm(loop, clock);
    alarm.set_handler([] { FAIL(); });
    alarm.set(base::Nanoseconds{0});
  }
  loop.run();
}

TEST(ByteRing, WrapsGrowsAndKeepsItsLimit) {
  ByteRing ring(10'000);
  Octets expected;
  base::SeededRandom random(3);
  for (int i = 0; i < 2000; ++i) {
    Octets more(random.next() % 3000);
    random.fill(more);
    const std::size_t taken = ring.append(more);
    EXPECT_EQ(taken, std::min(more.size(), 10'000 - expected.size()));
    expected.insert(expected.end(), more.begin(), more.begin() + static_cast<long>(taken));
    const std::size_t count = random.next() % (expected.size() + 1);
    const auto pieces = ring.peek(0, count);
    Octets got(pieces[0].begin(), pieces[0].end());
    got.insert(got.end(), pieces[1].begin(), pieces[1].end());
    ASSERT_EQ(got, Octets(expected.begin(), expected.begin() + static_cast<long>(count)));
    ring.consume(count);
    expected.erase(expected.begin(), expected.begin() + static_cast<long>(count));
  }
}

TEST(Reassembly, KeepsAtMostSoManyPieces) {
  Reassembly ahead;
  for (std::uint32_t i = 0; i < 10'000; ++i)
    ahead.insert(SeqNum(2 * i + 5), Octets{1});
  EXPECT_EQ(ahead.size(), Reassembly::kMaxPieces);
}

TEST(Reassembly, GivesBackWhatAnySequenceOfPiecesHeld) {
  base::SeededRandom random(4);
  for (int round = 0; round < 500; ++round) {
    const SeqNum start(static_cast<std::uint32_t>(random.next()));
    Octets stream(500);
    random.fill(stream);
    std::vector<bool> known(stream.size());
    Reassembly ahead;
    for (int i = 0; i < 20; ++i) {
      const std::size_t begin = 1 + random.next() % 499;
      const std::size_t length = 1 + random.next() % (stream.size() - begin);
      const auto at = stream.begin() + static_cast<long>(begin);
      ahead.insert(start + static_cast<std::uint32_t>(begin),
                   Octets(at, at + static_cast<long>(length % 60)));
      std::fill_n(known.begin() + static_cast<long>(begin), length % 60, true);
    }
    EXPECT_EQ(ahead.size(), static_cast<std::size_t>(std::count(known.begin(), known.end(), true)));
    const std::size_t from = random.next() % 499;
    std::size_t at = from;
    while (true) {
      const Octets bytes = ahead.take(start + static_cast<std::uint32_t>(at));
      if (bytes.empty()) break;
      ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), stream.begin() + static_cast<long>(at)));
      at += bytes.size();
    }
    EXPECT_TRUE(at == stream.size() || !known[at]);
  }
}

TEST(Checksum, EqualsTheTextbookForAllLengthsAndSplits) {
  base::SeededRandom random(5);
  for (std::size_t size = 0; size < 200; ++size) {
    Octets bytes(size, 0xFF);
    if (size % 3 != 0) random.fill(bytes);
    ChecksumSum sum;
    const std::size_t split = size == 0 ? 0 : (random.next() % size) & ~std::size_t{1};
    sum.add(base::ConstBytes(bytes).first(split));
    sum.add(base::ConstBytes(bytes).subspan(split));
    EXPECT_EQ(sum.checksum(), plain_checksum(bytes)) << size;
  }
}

}  // namespace
}  // namespace snowglobe::net
