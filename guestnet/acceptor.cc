// guestnet/acceptor.cc - asynchronous accepting that survives a lack of descriptors.
#include "guestnet/acceptor.h"

#include <asio/error.hpp>
#include <cerrno>
#include <fcntl.h>
#include <utility>

namespace snowglobe::net {

using base::Error;
using base::ErrorCode;

namespace {

// A program that the application starts must not inherit our sockets: it would keep connections
// open that both ends have left. asio does not ask for this when it opens and accepts.
void close_on_exec(int descriptor) {
  ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
}

}  // namespace

Acceptor::Acceptor(asio::io_context& loop, Deliver deliver)
    : deliver_(std::move(deliver)), socket_(loop), retry_timer_(loop) {}

base::Result<void> Acceptor::listen(const Protocol::endpoint& endpoint, int backlog) {
  std::error_code error;
  socket_.open(endpoint.protocol(), error);
  if (!error) close_on_exec(socket_.native_handle());
  if (!error) socket_.bind(endpoint, error);
  if (!error) socket_.listen(backlog, error);
  if (!error) return {};
  std::error_code ignored;
  socket_.close(ignored);
  ErrorCode code = ErrorCode::kIo;
  if (error.value() == EADDRINUSE) code = ErrorCode::kAlreadyExists;
  if (error.value() == EADDRNOTAVAIL) code = ErrorCode::kNotFound;
  return Error{code, error.message()};
}

Acceptor::Protocol::endpoint Acceptor::local_endpoint() const {
  std::error_code ignored;
  return socket_.local_endpoint(ignored);
}

void Acceptor::pause() {
  paused_ = true;
  std::error_code ignored;
  socket_.cancel(ignored);
}

void Acceptor::resume() {
  paused_ = false;
  accept_next();
}

void Acceptor::close() {
  std::error_code ignored;
  socket_.close(ignored);
  retry_timer_.cancel();
}

void Acceptor::accept_next() {
  if (waiting_ || paused_ || !socket_.is_open()) return;
  waiting_ = true;
  socket_.async_accept(
      [weak = weak_from_this()](const std::error_code& error, Protocol::socket client) {
        const auto self = weak.lock();
        if (self != nullptr) self->on_accepted(error, std::move(client));
      });
}

void Acceptor::on_accepted(const std::error_code& error, Protocol::socket client) {
  waiting_ = false;
  if (!error) {
    close_on_exec(client.native_handle());
    if (admit_ && !admit_(client)) {
      ++strangers_;
    } else {
      deliver_(std::move(client));
    }
  } else if (error != asio::error::operation_aborted && socket_.is_open()) {
    // No descriptor or memory is left: the client stays in the backlog, so accepting again at once
    // would fail again at once.
    waiting_ = true;
    retry_timer_.expires_after(std::chrono::milliseconds(100));
    retry_timer_.async_wait([weak = weak_from_this()](const std::error_code&) {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->waiting_ = false;
      self->accept_next();
    });
    return;
  }
  accept_next();
}

}  // namespace snowglobe::net
