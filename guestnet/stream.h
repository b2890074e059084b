// guestnet/stream.h - a client's socket joined to a TCP connection into the guest.
#pragma once

#include "guestnet/tcp_endpoint.h"

#include <array>
#include <asio/generic/stream_protocol.hpp>
#include <functional>
#include <memory>

namespace snowglobe::net {

/// Moves bytes both ways without copies of its own: what the socket has goes straight into the
/// connection's send buffer, and what the guest sends goes straight into the socket as long as that
/// takes it. A full send buffer stops reading of the socket; a full socket closes the guest's
/// window.
///
/// Ends by itself, by close() or by the destructor; always in bounded time, since nothing waits for
/// anybody. Thread rule: as Network.
class Stream final : public TcpUser, public std::enable_shared_from_this<Stream> {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  /// Called once, at the end.
  using OnClosed = std::function<void(Stream&)>;

  Stream(StreamId id, const StreamTarget& target, Socket socket, const base::Clock& clock,
         OnClosed on_closed);
  ~Stream() override;

  /// Takes the connection over and opens it. The stream may be closed afterwards.
  void start(TcpConnection& connection);
  /// Takes over a connection that is open already.
  void join(TcpConnection& connection);
  /// Goes on with another connection in place of its own, which is not called any more.
  void switch_to(TcpConnection& connection);
  /// Lets go of its connection, which is not called any more; close() is to follow.
  void detach();
  /// See Network::inject_to_client().
  bool inject(base::ConstBytes bytes);
  /// See Network::close_stream().
  void close(CloseReason reason, base::ConstBytes last_words);

  [[nodiscard]] StreamInfo info() const;
  /// Null at the end.
  [[nodiscard]] const TcpConnection* connection() const { return connection_; }

  void on_established() override;
  std::size_t on_data(base::ConstBytes bytes) override;
  void on_end_of_data() override;
  void on_send_room() override;
  void on_closed(CloseReason reason) override;

 private:
  void begin();
  void say(base::ConstBytes last_words);
  void note_opening(base::ConstBytes bytes, std::uint64_t at);
  [[nodiscard]] bool speaks_tls() const;
  void read_socket();
  void wait_readable();
  void wait_writable();
  void write_socket();
  std::size_t write_some(const ByteRing::Pieces& pieces);
  void finish(CloseReason reason);
  void touch() { info_.idle_since = clock_.monotonic(); }

  StreamInfo info_;
  mutable Socket socket_;  // asio has no descriptor for a const one
  const base::Clock& clock_;
  OnClosed on_closed_;
  TcpConnection* connection_ = nullptr;
  bool client_ended_ = false;  // read to its end
  bool reading_ = false;       // an asynchronous wait is under way
  bool writing_ = false;
  bool end_to_client_ = false;  // the client has been told that there is no more
  std::size_t read_size_;
  std::array<std::uint8_t, 20> opening_{};  // what the client said first
};

}  // namespace snowglobe::net
