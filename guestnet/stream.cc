// guestnet/stream.cc - pumping between a non-blocking socket and a TCP connection.
#include "guestnet/stream.h"

#include <algorithm>
#include <array>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <utility>

namespace snowglobe::net {
namespace {

constexpr std::size_t kSmallRead = std::size_t{8} << 10;  // grows while reads fill it
constexpr std::size_t kLargeRead = std::size_t{128} << 10;

bool would_block(const std::error_code& error) {
  return error == asio::error::would_block || error == asio::error::try_again ||
         error == asio::error::interrupted;
}

/// What the peer of a Unix socket has not read yet, with the kernel's own expense for it.
std::uint64_t unread_by_peer(int descriptor) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return 0;
  int waiting = 0;  // on TCP this would be what is not acknowledged (tcp(7)): another thing
  if (domain != AF_UNIX || ::ioctl(descriptor, SIOCOUTQ, &waiting) != 0) return 0;
  return static_cast<std::uint64_t>(std::max(waiting, 0));
}

}  // namespace

Stream::Stream(StreamId id, const StreamTarget& target, Socket socket, const base::Clock& clock,
               OnClosed on_closed)
    : socket_(std::move(socket)),
      clock_(clock),
      on_closed_(std::move(on_closed)),
      read_size_(kSmallRead) {
  info_.id = id;
  info_.listener = target.listener;
  info_.source = target.source;
  info_.guest_port = target.guest_port;
  info_.opened_at = info_.idle_since = clock.monotonic();
}

Stream::~Stream() = default;

void Stream::start(TcpConnection& connection) {
  connection_ = &connection;
  begin();
  // What the client has said already goes out together with the last step of the handshake.
  if (connection_ != nullptr) connection.open();
}

void Stream::join(TcpConnection& connection) {
  connection_ = &connection;
  info_.state = StreamState::kOpen;
  begin();
  if (connection_ != nullptr) read_socket();
}

void Stream::begin() {
  info_.source_port = connection_->tuple().local_port;
  std::error_code error;
  socket_.non_blocking(true, error);
  if (error) {
    close(CloseReason::kClientFailed, {});
    return;
  }
  wait_readable();
}

void Stream::switch_to(TcpConnection& connection) {
  connection_ = &connection;
  wait_readable();
}

void Stream::detach() {
  info_ = info();
  connection_ = nullptr;
}

StreamInfo Stream::info() const {
  StreamInfo info = info_;
  if (connection_ == nullptr) return info;
  info.unacknowledged = connection_->unacknowledged();
  info.undelivered = connection_->undelivered();
  std::error_code ignored;
  info.unread = socket_.available(ignored);
  info.unread_by_client = unread_by_peer(socket_.native_handle());
  info.quiet = connection_->quiet() && info.unread == 0 && info.unread_by_client == 0;
  return info;
}

void Stream::close(CloseReason reason, base::ConstBytes last_words) {
  if (info_.state == StreamState::kClosed) return;
  const bool heard = info().undelivered == 0 && !end_to_client_ && !speaks_tls();
  if (!last_words.empty() && heard) say(last_words);
  finish(reason);
}

void Stream::note_opening(base::ConstBytes bytes, std::uint64_t at) {
  if (at >= opening_.size()) return;
  const auto length = std::min(bytes.size(), opening_.size() - static_cast<std::size_t>(at));
  std::copy_n(bytes.begin(), length, opening_.begin() + static_cast<std::ptrdiff_t>(at));
}

/// True if the client began with a handshake of TLS (RFC 8446, 5.1): words from outside would be
/// damage to it. PostgreSQL's clients ask first, with one or two packets of 8 bytes.
bool Stream::speaks_tls() const {
  constexpr std::size_t kAsking = 8;
  for (std::size_t at = 0; at + 4 <= opening_.size(); at += kAsking) {
    if (opening_[at] == 0x16 && opening_[at + 1] == 3) return true;
    if (base::load_be<std::uint32_t>(&opening_[at]) != kAsking) break;
  }
  return false;
}

void Stream::say(base::ConstBytes last_words) {
  std::error_code ignored;  // best effort: the client is being thrown out anyhow
  info_.bytes_to_client +=
      socket_.write_some(asio::buffer(last_words.data(), last_words.size()), ignored);
  // A socket that is closed with something unread resets its peer, which then may lose the words
  // (RFC 9293, 3.6.1).
  socket_.shutdown(Socket::shutdown_send, ignored);
  std::array<std::uint8_t, kSmallRead> rest;
  std::error_code error;
  for (std::size_t left = kLargeRead; left > 0 && !error; left -= rest.size())
    socket_.read_some(asio::buffer(rest), error);
}

bool Stream::inject(base::ConstBytes bytes) {
  if (connection_ == nullptr || info_.state != StreamState::kOpen || end_to_client_ ||
      connection_->undelivered() != 0 || bytes.size() > TcpConnection::kInjectLimit) {
    return false;
  }
  connection_->inject(bytes);
  write_socket();
  return true;
}

void Stream::finish(CloseReason reason) {
  if (info_.state == StreamState::kClosed) return;
  const auto keep = shared_from_this();
  if (connection_ != nullptr) {
    info_ = info();
    std::exchange(connection_, nullptr)->abort();
  }
  info_.quiet = false;
  info_.state = StreamState::kClosed;
  info_.close_reason = reason;
  std::error_code ignored;
  if (reason == CloseReason::kGuestReset) {
    // A TCP client gets a reset as well; on Unix sockets the option does nothing.
    socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  }
  socket_.close(ignored);
  if (on_closed_) std::exchange(on_closed_, nullptr)(*this);
}

void Stream::on_established() {
  info_.state = StreamState::kOpen;
  read_socket();
}

void Stream::wait_readable() {
  if (reading_ || client_ended_ || connection_ == nullptr) return;
  reading_ = true;
  socket_.async_wait(Socket::wait_read, [weak = weak_from_this()](const std::error_code& error) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->reading_ = false;
    if (!error) self->read_socket();
  });
}

void Stream::read_socket() {
  const auto keep = shared_from_this();  // finish() takes us out of the table
  std::size_t total = 0;
  bool drained = false;
  while (connection_ != nullptr && !client_ended_ && !drained && connection_->send_room() > 0) {
    const ByteRing::FreePieces room = connection_->prepare_send(read_size_);
    const std::array<asio::mutable_buffer, 2> buffers{asio::buffer(room[0].data(), room[0].size()),
                                                      asio::buffer(room[1].data(), room[1].size())};
    std::error_code error;
    const std::size_t got = socket_.read_some(buffers, error);
    note_opening(base::ConstBytes(room[0]).first(std::min(got, room[0].size())),
                 info_.bytes_to_guest + total);
    connection_->commit_send(got);
    total += got;
    if (error == asio::error::eof) {
      client_ended_ = true;
    } else if (would_block(error)) {
      drained = true;
    } else if (error) {
      finish(CloseReason::kClientFailed);
      return;
    }
    // A short read means that there is no more for now: no need to ask again.
    if (got < room[0].size() + room[1].size())
      drained = true;
    else
      read_size_ = std::min(read_size_ * 2, kLargeRead);
  }
  if (connection_ == nullptr) return;
  if (total > 0) {
    info_.bytes_to_guest += total;
    touch();
    if (total < kSmallRead) read_size_ = kSmallRead;
  }
  if (client_ended_) {
    connection_->close_send();
  } else if (total > 0) {
    connection_->flush();
  }
  if (connection_ != nullptr && connection_->send_room() > 0) wait_readable();
}

void Stream::on_send_room() {
  read_socket();
}

std::size_t Stream::write_some(const ByteRing::Pieces& pieces) {
  const std::array<asio::const_buffer, 2> buffers{asio::buffer(pieces[0].data(), pieces[0].size()),
                                                  asio::buffer(pieces[1].data(), pieces[1].size())};
  std::error_code error;
  const std::size_t sent = socket_.write_some(buffers, error);
  if (error && !would_block(error)) {
    finish(CloseReason::kClientFailed);
    return 0;
  }
  info_.bytes_to_client += sent;
  touch();
  return sent;
}

std::size_t Stream::on_data(base::ConstBytes bytes) {
  const auto keep = shared_from_this();  // finish() takes us out of the table
  const std::size_t sent = write_some({bytes, {}});
  if (sent < bytes.size()) wait_writable();
  return sent;
}

void Stream::wait_writable() {
  if (writing_ || connection_ == nullptr) return;
  writing_ = true;
  socket_.async_wait(Socket::wait_write, [weak = weak_from_this()](const std::error_code& error) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->writing_ = false;
    if (!error) self->write_socket();
  });
}

void Stream::write_socket() {
  while (connection_ != nullptr) {
    const ByteRing::Pieces pieces = connection_->received();
    if (pieces[0].empty()) return;
    const std::size_t sent = write_some(pieces);
    if (connection_ == nullptr) return;
    if (sent == 0) break;
    connection_->consume_received(sent);
  }
  wait_writable();
}

void Stream::on_end_of_data() {
  end_to_client_ = true;
  std::error_code ignored;  // a client that is gone already shows when it is read
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void Stream::on_closed(CloseReason reason) {
  connection_ = nullptr;
  finish(reason);
}

}  // namespace snowglobe::net
