// tests/guestnet/kernel_peer_test.cc - the network against the host's own kernel as the guest,
// through a TAP device. Real time and real sockets; skipped where no network namespace can be made.
#include "guestnet/checksum.h"
#include "guestnet/pipe.h"
#include "tests/guestnet/tap.h"

#include <arpa/inet.h>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <future>
#include <gtest/gtest.h>
#include <netinet/ip_icmp.h>
#include <numeric>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::net {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

template <class Address>
const sockaddr* generic(const Address& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

sockaddr_in ipv4(const char* address, std::uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  ::inet_pton(AF_INET, address, &in.sin_addr);
  return in;
}

bool send_all(int socket, base::ConstBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

/// Reads to the end of the stream, or `limit` bytes.
std::vector<std::uint8_t> receive(int socket, std::size_t limit = SIZE_MAX) {
  std::vector<std::uint8_t> all;
  std::vector<std::uint8_t> buffer(65536);
  while (all.size() < limit) {
    const std::size_t wanted = std::min(buffer.size(), limit - all.size());
    const ssize_t got = ::recv(socket, buffer.data(), wanted, 0);
    if (got <= 0) break;
    all.insert(all.end(), buffer.begin(), buffer.begin() + got);
  }
  return all;
}

std::vector<std::uint8_t> pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::uint8_t> bytes(size);
  base::SeededRandom(seed).fill(bytes);
  return bytes;
}

/// A TCP server in the guest: one thread a connection.
class GuestServer {
 public:
  using Serve = std::function<void(int socket, const sockaddr_in& client)>;

  GuestServer(std::uint16_t port, Serve serve)
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), serve_(std::move(serve)) {
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in address = ipv4("10.5.0.15", port);
    EXPECT_EQ(::bind(listener_.get(), generic(address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 128), 0);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~GuestServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    for (std::thread& thread : threads_)
      thread.join();
  }

 private:
  void accept_all() {
    while (true) {
      sockaddr_in client{};
      socklen_t length = sizeof client;
      const int socket =
          ::accept(listener_.get(), static_cast<sockaddr*>(static_cast<void*>(&client)), &length);
      if (socket < 0) return;
      threads_.emplace_back([this, socket, client] {
        const Descriptor owner(socket);
        serve_(socket, client);
      });
    }
  }

  Descriptor listener_;
  Serve serve_;
  std::thread acceptor_;
  std::vector<std::thread> threads_;
};

void echo(int socket, const sockaddr_in&) {
  std::vector<std::uint8_t> buffer(65536);
  while (true) {
    const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (got <= 0) return;
    if (!send_all(socket, base::ConstBytes(buffer).first(static_cast<std::size_t>(got)))) return;
  }
}

class KernelPeer : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto entered = enter_network_namespace(); !entered.ok()) {
      GTEST_SKIP() << entered.error().message;
    }
    auto tap = Tap::create(loop_, AddressPlan{});
    if (!tap.ok()) GTEST_SKIP() << tap.error().message;
    tap_ = std::move(tap).value();
    NetworkConfig config;
    config.loop = &loop_;
    config.clock = &clock_;
    config.random = &random_;
    config.on_stream_closed = [this](const StreamInfo& info) { ended_.push_back(info); };
    if (const char* file = std::getenv("SNOWGLOBE_TEST_CAPTURE")) config.capture_file = file;
    network_ = Network::create(config).value();
    network_->attach(tap_.get());
    tap_->start(*network_);
    thread_ = std::thread([this] { loop_.run(); });
  }

  void TearDown() override {
    if (!thread_.joinable()) return;
    on_loop([this] {
      network_->shutdown();
      tap_->stop();
    });
    guard_.reset();
    thread_.join();
    pipe_.reset();
  }

  template <class Function>
  std::invoke_result_t<Function> on_loop(Function function) {
    std::packaged_task<decltype(function())()> task(function);
    auto result = task.get_future();
    asio::post(loop_, [&task] { task(); });
    return result.get();
  }

  void listen(std::uint16_t guest_port) {
    on_loop([&] {
      PipeListener::Options options;
      options.guest_port = guest_port;
      pipe_ = PipeListener::create(*network_, options).value();
    });
  }

  Descriptor connect_pipe() {
    const std::string name = '\0' + pipe_->abstract_name();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::connect(socket.get(), generic(address), length), 0) << std::strerror(errno);
    return socket;
  }

  /// Waits until the predicate, asked on the loop's thread, holds; at most 20 seconds.
  bool wait_until(const std::function<bool()>& predicate) {
    for (int i = 0; i < 4000; ++i) {
      if (on_loop(predicate)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  /// Waits until the one stream there is looks as wanted.
  bool wait_for_stream(const std::function<bool(const StreamInfo&)>& wanted) {
    return wait_until([&] {
      const auto streams = network_->streams();
      return streams.size() == 1 && wanted(streams[0]);
    });
  }

  /// Waits until `count` streams have ended.
  std::vector<StreamInfo> ended(std::size_t count) {
    wait_until([&] { return ended_.size() >= count; });
    return on_loop([this] { return ended_; });
  }

  asio::io_context loop_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_{loop_.get_executor()};
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::vector<StreamInfo> ended_;
  std::unique_ptr<Tap> tap_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<PipeListener> pipe_;
  std::thread thread_;
};

TEST_F(KernelPeer, EchoesTwentyMegabytesUnchanged) {
  GuestServer server(5432, echo);
  listen(5432);
  const auto sent = pattern(20 << 20, 1);
  const auto started = std::chrono::steady_clock::now();
  const Descriptor client = connect_pipe();
  std::thread writer([&] {
    send_all(client.get(), sent);
    ::shutdown(client.get(), SHUT_WR);
  });
  const auto got = receive(client.get());
  writer.join();
  EXPECT_TRUE(got == sent) << got.size() << " bytes came back";
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  std::printf("%.0f MB/s through both directions\n", 40 / seconds.count());
  const auto info = ended(1);
  ASSERT_EQ(info.size(), 1u);
  EXPECT_EQ(info[0].close_reason, CloseReason::kFinished);
  EXPECT_EQ(info[0].bytes_to_guest, sent.size());
  EXPECT_EQ(info[0].bytes_to_client, sent.size());
  const auto statistics = on_loop([this] { return network_->statistics(); });
  EXPECT_EQ(statistics.malformed, 0u);
  EXPECT_EQ(statistics.tcp_retransmissions, 0u);
  // Segmentation offload is at work both ways: far more than a segment a frame.
  EXPECT_LT(statistics.frames_to_guest, 8000u);
  EXPECT_LT(statistics.frames_from_guest, 8000u);
}

TEST_F(KernelPeer, ARequestAndItsResponseCostOneFrameEach) {
  GuestServer server(5432, echo);
  listen(5432);
  const Descriptor client = connect_pipe();
  const auto request = pattern(100, 2);
  const auto ask = [&] {
    ASSERT_TRUE(send_all(client.get(), request));
    ASSERT_EQ(receive(client.get(), request.size()), request);
  };
  for (int i = 0; i < 50; ++i)
    ask();  // Linux acknowledges at once in the beginning
  const auto before = on_loop([this] { return network_->statistics(); });
  constexpr int kRounds = 500;
  for (int i = 0; i < kRounds; ++i)
    ask();
  const auto after = on_loop([this] { return network_->statistics(); });
  EXPECT_LE(after.frames_to_guest - before.frames_to_guest,
            kRounds + kRounds / 4);  // a busy host is late at times
  EXPECT_LE(after.frames_from_guest - before.frames_from_guest,
            kRounds + kRounds / 4);  // a busy host is late at times
}

TEST_F(KernelPeer, FiftyStreamsAtOnceKeepTheirBytesApart) {
  GuestServer server(5432, echo);
  listen(5432);
  std::vector<std::thread> clients;
  std::atomic<int> good = 0;
  for (int i = 0; i < 50; ++i) {
    clients.emplace_back([this, i, &good] {
      const auto sent = pattern(300'000 + static_cast<std::size_t>(i) * 1000, 100 + i);
      const Descriptor client = connect_pipe();
      std::thread writer([&] { send_all(client.get(), sent); });
      if (receive(client.get(), sent.size()) == sent) ++good;
      writer.join();
    });
  }
  for (std::thread& client : clients)
    client.join();
  EXPECT_EQ(good, 50);
  EXPECT_EQ(ended(50).size(), 50u);
}

TEST_F(KernelPeer, ASlowClientClosesTheWindowAndLosesNothing) {
  const auto sent = pattern(4 << 20, 3);
  GuestServer server(5432, [&](int socket, const sockaddr_in&) { send_all(socket, sent); });
  listen(5432);
  const Descriptor client = connect_pipe();
  EXPECT_TRUE(wait_for_stream([](const StreamInfo& info) {
    return info.undelivered > 0 && info.undelivered <= TcpSettings{}.receive_buffer;
  }));
  EXPECT_TRUE(receive(client.get()) == sent);
}

TEST_F(KernelPeer, ASlowGuestStopsTheReadingOfTheSocket) {
  std::promise<void> go;
  std::promise<std::size_t> received;
  GuestServer server(5432, [&](int socket, const sockaddr_in&) {
    go.get_future().wait();
    received.set_value(receive(socket).size());
  });
  listen(5432);
  const Descriptor client = connect_pipe();
  const auto sent = pattern(16 << 20, 4);
  std::thread writer([&] {
    send_all(client.get(), sent);
    ::shutdown(client.get(), SHUT_WR);
  });
  EXPECT_TRUE(wait_for_stream([&](const StreamInfo& info) {
    return info.unacknowledged == TcpSettings{}.send_buffer && info.bytes_to_guest < sent.size();
  }));
  go.set_value();
  EXPECT_EQ(received.get_future().get(), sent.size());
  writer.join();
}

TEST_F(KernelPeer, EitherSideMayEndItsDirectionFirst) {
  GuestServer server(5432, [](int socket, const sockaddr_in&) {
    const auto request = receive(socket);  // to the client's end
    send_all(socket, request);
  });
  GuestServer talker(5433, [](int socket, const sockaddr_in&) {
    send_all(socket, pattern(1000, 5));
    ::shutdown(socket, SHUT_WR);
    EXPECT_EQ(receive(socket), pattern(500'000, 6));
  });
  listen(5432);
  {
    const Descriptor client = connect_pipe();
    send_all(client.get(), pattern(200'000, 7));
    ::shutdown(client.get(), SHUT_WR);
    EXPECT_EQ(receive(client.get()), pattern(200'000, 7));
  }
  listen(5433);
  {
    const Descriptor client = connect_pipe();
    EXPECT_EQ(receive(client.get()), pattern(1000, 5));
    EXPECT_TRUE(send_all(client.get(), pattern(500'000, 6)));
  }
  for (const StreamInfo& info : ended(2))
    EXPECT_EQ(info.close_reason, CloseReason::kFinished);
}

TEST_F(KernelPeer, NobodyListeningIsToldAtOnce) {
  listen(9);
  const Descriptor client = connect_pipe();
  EXPECT_TRUE(receive(client.get()).empty());
  const auto info = ended(1);
  ASSERT_EQ(info.size(), 1u);
  EXPECT_EQ(info[0].close_reason, CloseReason::kGuestRefused);
}

TEST_F(KernelPeer, AResetOfTheGuestReachesTheClient) {
  GuestServer server(5432, [](int socket, const sockaddr_in&) {
    const linger hard{1, 0};
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  });
  listen(5432);
  const Descriptor client = connect_pipe();
  EXPECT_TRUE(receive(client.get()).empty());
  EXPECT_EQ(ended(1).at(0).close_reason, CloseReason::kGuestReset);
}

TEST_F(KernelPeer, ClosingAStreamSaysTheLastWordsAndResetsTheGuest) {
  std::promise<int> outcome;
  GuestServer server(5432, [&](int socket, const sockaddr_in&) {
    std::uint8_t byte = 0;
    outcome.set_value(::recv(socket, &byte, 1, 0) < 0 ? errno : 0);
  });
  listen(5432);
  const Descriptor client = connect_pipe();
  EXPECT_TRUE(
      wait_for_stream([](const StreamInfo& info) { return info.state == StreamState::kOpen; }));
  const auto words = pattern(30, 8);
  EXPECT_TRUE(on_loop([&] { return network_->close_stream(network_->streams().at(0).id, words); }));
  EXPECT_EQ(receive(client.get()), words);
  EXPECT_EQ(outcome.get_future().get(), ECONNRESET);
  EXPECT_EQ(ended(1).at(0).close_reason, CloseReason::kRequested);
}

TEST_F(KernelPeer, TheGuestSeesTheGatewayForLoopbackClientsAndThePipeForThisProcess) {
  std::mutex mutex;
  std::vector<std::pair<std::uint32_t, std::uint16_t>> seen;
  GuestServer server(5432, [&](int socket, const sockaddr_in& client) {
    {
      const std::lock_guard lock(mutex);
      seen.emplace_back(ntohl(client.sin_addr.s_addr), ntohs(client.sin_port));
    }
    send_all(socket, pattern(1, 1));
  });
  listen(5432);
  auto exposed = on_loop([&] { return LoopbackListener::create(*network_, {}).value(); });
  ASSERT_NE(exposed->port(), 0);
  { receive(connect_pipe().get()); }
  for (int i = 0; i < 2; ++i) {
    const Descriptor client(::socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in address = ipv4("127.0.0.1", exposed->port());
    ASSERT_EQ(::connect(client.get(), generic(address), sizeof address), 0);
    EXPECT_EQ(receive(client.get()).size(), 1u);
  }
  const auto infos = ended(3);
  ASSERT_EQ(infos.size(), 3u);
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0].first, AddressPlan{}.pipe.value);
  EXPECT_EQ(seen[1].first, AddressPlan{}.gateway.value);
  EXPECT_EQ(seen[2].first, AddressPlan{}.gateway.value);
  EXPECT_NE(seen[1].second, seen[2].second);
  EXPECT_EQ(infos[0].source_port, seen[0].second);
  EXPECT_EQ(infos[0].listener, pipe_->id());
  EXPECT_EQ(infos[1].listener, exposed->id());
  on_loop([&] { exposed.reset(); });
}

TEST_F(KernelPeer, AnotherProcessIsTurnedAwayFromThePipe) {
  GuestServer server(5432, echo);
  listen(5432);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const Descriptor client = connect_pipe();
    const std::uint8_t byte = 1;
    ::send(client.get(), &byte, 1, MSG_NOSIGNAL);
    std::uint8_t answer = 0;
    ::_exit(::recv(client.get(), &answer, 1, 0) > 0 ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(on_loop([this] { return pipe_->strangers(); }), 1u);
  EXPECT_EQ(on_loop([this] { return network_->statistics().streams_opened; }), 0u);
}

TEST_F(KernelPeer, APausedListenerKeepsClientsWaitingInsteadOfFailing) {
  on_loop([&] {
    PipeListener::Options options;
    options.paused = true;
    pipe_ = PipeListener::create(*network_, options).value();
  });
  const Descriptor client = connect_pipe();
  const auto request = pattern(50, 9);
  ASSERT_TRUE(send_all(client.get(), request));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(on_loop([this] { return network_->statistics().streams_opened; }), 0u);
  GuestServer server(5432, echo);
  on_loop([this] { pipe_->resume(); });
  EXPECT_EQ(receive(client.get(), request.size()), request);
  ::shutdown(client.get(), SHUT_RDWR);
}

// This guest can not be rolled back: but where nothing was said between save and restore it need
// not be.
TEST_F(KernelPeer, AKeptStreamGoesOnAfterARestore) {
  GuestServer server(5432, echo);
  listen(5432);
  const Descriptor client = connect_pipe();
  for (std::uint64_t round = 0; round < 200; ++round) {
    const auto request = pattern(1 + round * 37, round);
    ASSERT_TRUE(send_all(client.get(), request));
    ASSERT_EQ(receive(client.get(), request.size()), request);
    ASSERT_TRUE(wait_for_stream([](const StreamInfo& info) { return info.quiet; }));
    on_loop([&] {
      RestorePlan plan;
      plan.keep = {network_->streams().at(0).id};
      EXPECT_TRUE(network_->restore(network_->save(), plan).ok());
      network_->hold(false);
    });
  }
  EXPECT_TRUE(on_loop([this] { return ended_.empty(); }));
  EXPECT_EQ(on_loop([this] { return network_->statistics().tcp_resets_sent; }), 0u);
}

TEST_F(KernelPeer, AWaitingStreamIsAdoptedByAnotherClient) {
  std::atomic<int> served = 0;
  GuestServer server(5432, [&](int socket, const sockaddr_in& client) {
    ++served;
    echo(socket, client);
  });
  listen(5432);
  const Descriptor first = connect_pipe();
  const auto request = pattern(5000, 11);
  ASSERT_TRUE(send_all(first.get(), request));
  ASSERT_EQ(receive(first.get(), request.size()), request);
  ASSERT_TRUE(wait_for_stream([](const StreamInfo& info) { return info.quiet; }));
  const auto saved = on_loop([&] {
    const StreamId id = network_->streams().at(0).id;
    RestorePlan plan;
    plan.wait = {id};
    EXPECT_TRUE(network_->restore(network_->save(), plan).ok());
    return id;
  });
  EXPECT_TRUE(receive(first.get()).empty());  // the end of its stream
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const Descriptor second(pair[0]);
  on_loop([&] {
    asio::generic::stream_protocol::socket ours(loop_, asio::generic::stream_protocol(AF_UNIX, 0),
                                                pair[1]);
    EXPECT_TRUE(network_->adopt(saved, std::move(ours)).ok());
    network_->hold(false);
  });
  const auto more = pattern(300'000, 12);
  std::thread writer([&] { send_all(second.get(), more); });
  EXPECT_TRUE(receive(second.get(), more.size()) == more);
  writer.join();
  EXPECT_EQ(served, 1);
  ::shutdown(second.get(), SHUT_RDWR);
  EXPECT_EQ(ended(2).at(0).close_reason, CloseReason::kRolledBack);
}

TEST_F(KernelPeer, WhatDoesNotGoOnIsResetInTheGuest) {
  std::promise<int> failed;
  GuestServer server(5432, [&](int socket, const sockaddr_in&) {
    std::uint8_t byte = 0;
    while (::recv(socket, &byte, 1, 0) > 0) {
    }
    failed.set_value(errno);
  });
  listen(5432);
  const Descriptor client = connect_pipe();
  ASSERT_TRUE(send_all(client.get(), pattern(10, 13)));
  ASSERT_TRUE(wait_for_stream([](const StreamInfo& info) { return info.bytes_to_guest == 10; }));
  on_loop([&] {
    EXPECT_TRUE(network_->restore(network_->save(), {}).ok());
    network_->hold(false);
  });
  EXPECT_EQ(failed.get_future().get(), ECONNRESET);
  EXPECT_TRUE(receive(client.get()).empty());
}

TEST_F(KernelPeer, TheGuestReachesNothingButThePingOfOurAddresses) {
  const auto try_connect = [](const char* address, std::uint16_t port) {
    const Descriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in to = ipv4(address, port);
    return ::connect(socket.get(), generic(to), sizeof to) == 0 ? 0 : errno;
  };
  EXPECT_EQ(try_connect("8.8.8.8", 53), ENETUNREACH);
  EXPECT_EQ(try_connect("192.168.0.1", 80), ENETUNREACH);
  EXPECT_EQ(try_connect("10.5.0.1", 22), ECONNREFUSED);
  EXPECT_EQ(try_connect("10.5.0.2", 5432), ECONNREFUSED);

  const auto ping = [](const char* address) {
    const Descriptor socket(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    const timeval limit{0, 300'000};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::array<std::uint8_t, 16> request{ICMP_ECHO, 0, 0, 0, 1, 2, 3, 4};
    ChecksumSum sum;
    sum.add(request);
    base::store_be(&request[2], sum.checksum());
    const sockaddr_in to = ipv4(address, 0);
    ::sendto(socket.get(), request.data(), request.size(), 0, generic(to), sizeof to);
    std::array<std::uint8_t, 200> answer{};
    const ssize_t got = ::recv(socket.get(), answer.data(), answer.size(), 0);
    return got >= 21 ? static_cast<int>(answer[20]) : -1;
  };
  EXPECT_EQ(ping("10.5.0.1"), ICMP_ECHOREPLY);
  EXPECT_EQ(ping("10.5.0.2"), ICMP_ECHOREPLY);
  EXPECT_EQ(ping("8.8.8.8"), ICMP_DEST_UNREACH);
}

}  // namespace
}  // namespace snowglobe::net
