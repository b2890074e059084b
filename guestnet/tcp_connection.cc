// guestnet/tcp_connection.cc - a connection as its user sees it: open, buffers, close, the end.
#include "guestnet/tcp_connection.h"

#include "base/check.h"

#include <algorithm>

namespace snowglobe::net {
namespace {

std::uint8_t scale_for(std::size_t buffer) {
  std::uint8_t scale = 0;
  while (scale < kMaxWindowScale && buffer >> scale > 0xFFFF)
    ++scale;
  return scale;
}

}  // namespace

const char* to_string(TcpState state) {
  switch (state) {
    case TcpState::kClosed:
      return "CLOSED";
    case TcpState::kSynSent:
      return "SYN-SENT";
    case TcpState::kSynReceived:
      return "SYN-RECEIVED";
    case TcpState::kEstablished:
      return "ESTABLISHED";
    case TcpState::kFinWait1:
      return "FIN-WAIT-1";
    case TcpState::kFinWait2:
      return "FIN-WAIT-2";
    case TcpState::kCloseWait:
      return "CLOSE-WAIT";
    case TcpState::kClosing:
      return "CLOSING";
    case TcpState::kLastAck:
      return "LAST-ACK";
    case TcpState::kTimeWait:
      return "TIME-WAIT";
  }
  return "unknown";
}

TcpConnection::TcpConnection(TcpWire& wire, const TcpSettings& settings, const FourTuple& tuple,
                             SeqNum iss, TcpUser& user)
    : wire_(wire),
      settings_(settings),
      tuple_(tuple),
      user_(&user),
      outgoing_(settings.send_buffer),
      incoming_(settings.receive_buffer + kInjectLimit),
      rto_(settings.initial_rto) {
  block_.iss = block_.snd_una = block_.snd_nxt = block_.snd_max = iss;
  block_.rcv_scale = scale_for(settings.receive_buffer);
}

TcpConnection::TcpConnection(TcpWire& wire, const TcpSettings& settings, const FourTuple& tuple,
                             const TcpControlBlock& block, TcpUser& user)
    : TcpConnection(wire, settings, tuple, block.iss, user) {
  block_ = block;
}

bool TcpConnection::quiet() const {
  return block_.state == TcpState::kEstablished && !block_.fin_wanted &&
         !block_.fin_at.has_value() && block_.snd_una == block_.snd_max && outgoing_.empty() &&
         incoming_.empty() && ahead_.empty();
}

std::optional<TcpReset> TcpConnection::reset() const {
  // RFC 9293, 3.10.5: a reset from every state in which the guest may know of the connection.
  switch (block_.state) {
    case TcpState::kClosed:
    case TcpState::kTimeWait:
      return std::nullopt;
    case TcpState::kSynSent:
      if (block_.snd_max == block_.iss) return std::nullopt;  // the wire did not take the SYN yet
      return TcpReset{block_.snd_max, std::nullopt};
    default:
      return TcpReset{block_.snd_max, block_.rcv_nxt};
  }
}

void TcpConnection::open() {
  SG_ASSERT(block_.state == TcpState::kClosed && user_ != nullptr, "opened twice");
  block_.state = TcpState::kSynSent;
  give_up_at_ = wire_.now() + settings_.connect_timeout;
  output();
}

void TcpConnection::flush() {
  output();
}

void TcpConnection::close_send() {
  if (block_.fin_wanted) return;
  block_.fin_wanted = true;
  if (block_.state == TcpState::kEstablished) block_.state = TcpState::kFinWait1;
  if (block_.state == TcpState::kCloseWait) block_.state = TcpState::kLastAck;
  output();  // during the handshake nothing happens yet; become_established() goes on from here
}

void TcpConnection::consume_received(std::size_t count) {
  incoming_.consume(count);
  // RFC 9293, 3.8.6.2.2: the window is opened in large steps only, here of a quarter of the buffer.
  const std::int32_t opened = window_edge() - block_.rcv_edge;
  if (!block_.fin_received && opened >= static_cast<std::int32_t>(settings_.receive_buffer / 4)) {
    ack_now_ = true;
    output();
  }
  if (incoming_.empty()) {
    report_end_of_data();
    report_finished();
  }
}

void TcpConnection::inject(base::ConstBytes bytes) {
  SG_ASSERT(incoming_.empty() && bytes.size() <= kInjectLimit, "injected bytes find no room");
  incoming_.append(bytes);
}

void TcpConnection::abort() {
  user_ = nullptr;
  if (const auto telling = reset(); telling.has_value()) wire_.send_reset(tuple_, *telling);
  end(CloseReason::kRequested);
}

void TcpConnection::end(CloseReason reason) {
  block_.state = TcpState::kClosed;
  retry_at_ = ack_at_ = give_up_at_ = time_wait_until_ = kNever;
  blocked_ = ack_now_ = false;
  outgoing_.clear();
  incoming_.clear();
  ahead_.clear();
  if (TcpUser* user = user_; user != nullptr) {
    user_ = nullptr;
    user->on_closed(reason);
  }
  wire_.note_reapable();
}

void TcpConnection::enter_time_wait() {
  block_.state = TcpState::kTimeWait;
  retry_at_ = kNever;
  time_wait_until_ = wire_.now() + settings_.time_wait;
  done_ = true;
  report_finished();
}

void TcpConnection::report_end_of_data() {
  if (!block_.fin_received || !incoming_.empty() || end_reported_ || user_ == nullptr) return;
  end_reported_ = true;
  user_->on_end_of_data();
}

void TcpConnection::report_finished() {
  if (!done_ || !incoming_.empty()) return;
  if (block_.state == TcpState::kClosed) {
    end(CloseReason::kFinished);
  } else if (TcpUser* user = user_; user != nullptr) {  // TIME-WAIT goes on without a user
    user_ = nullptr;
    user->on_closed(CloseReason::kFinished);
  }
}

void TcpConnection::on_wire_ready() {
  if (!blocked_) return;
  blocked_ = false;  // also if what was refused is not to be sent any more
  output();
}

base::Nanoseconds TcpConnection::deadline() const {
  return std::min({retry_at_, ack_at_, give_up_at_, time_wait_until_});
}

void TcpConnection::on_time(base::Nanoseconds now) {
  if (block_.state == TcpState::kClosed || now < deadline()) return;
  if (now >= give_up_at_) {
    end(CloseReason::kGuestSilent);
    return;
  }
  if (now >= time_wait_until_) {
    time_wait_until_ = kNever;
    block_.state = TcpState::kClosed;
    if (user_ == nullptr) wire_.note_reapable();
    return;
  }
  if (now >= ack_at_) {
    ack_now_ = true;
    ack_at_ = kNever;  // if the wire refuses, it is the wire that wakes us
  }
  busy_ = true;
  if (now >= retry_at_) on_retry(now);
  busy_ = false;
  output();
}

}  // namespace snowglobe::net
