// tests/api/speaking_server.h - a server that has its lines by heart: for one client.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace snowglobe::testing {

/// Each time that its client has said something, it says its next line; then it hangs up. On a port
/// of the loopback address.
class SpeakingServer {
 public:
  explicit SpeakingServer(std::vector<std::string> lines)
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const generic = static_cast<sockaddr*>(static_cast<void*>(&address));
    EXPECT_EQ(::bind(listener_, generic, length), 0);
    EXPECT_EQ(::getsockname(listener_, generic, &length), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, said = std::move(lines)] {
      const int client = ::accept(listener_, nullptr, nullptr);
      for (const std::string& line : said) {
        char input[1000];
        (void)::recv(client, input, sizeof input, 0);
        (void)::send(client, line.data(), line.size(), MSG_NOSIGNAL);
      }
      ::close(client);
    });
  }
  ~SpeakingServer() {
    thread_.join();
    ::close(listener_);
  }
  SpeakingServer(const SpeakingServer&) = delete;
  SpeakingServer& operator=(const SpeakingServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  int listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace snowglobe::testing
