// guestnet/acceptor.h - a listening socket of any kind that hands its clients on. Inside of a
// Listener.
#pragma once

#include "base/error.h"

#include <asio/basic_socket_acceptor.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>

namespace snowglobe::net {

/// Thread rule: as Network.
class Acceptor final : public std::enable_shared_from_this<Acceptor> {
 public:
  using Protocol = asio::generic::stream_protocol;
  using Deliver = std::function<void(Protocol::socket)>;
  /// Whether a client may come in; may also prepare its socket.
  using Admit = std::function<bool(Protocol::socket&)>;

  Acceptor(asio::io_context& loop, Deliver deliver);
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// Errors: kAlreadyExists (address in use), kInvalidArgument (address not of this host), kIo.
  base::Result<void> listen(const Protocol::endpoint& endpoint, int backlog);
  [[nodiscard]] Protocol::endpoint local_endpoint() const;
  void set_admit(Admit admit) { admit_ = std::move(admit); }

  void pause();
  void resume();
  void close();
  [[nodiscard]] bool is_open() const { return socket_.is_open(); }
  [[nodiscard]] std::uint64_t strangers() const { return strangers_; }

 private:
  void accept_next();
  void on_accepted(const std::error_code& error, Protocol::socket client);

  Deliver deliver_;
  Admit admit_;
  asio::basic_socket_acceptor<Protocol> socket_;
  asio::steady_timer retry_timer_;
  std::uint64_t strangers_ = 0;
  bool paused_ = true;
  bool waiting_ = false;  // an asynchronous accept, or the pause before one, is under way
};

}  // namespace snowglobe::net
