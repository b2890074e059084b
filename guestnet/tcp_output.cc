// guestnet/tcp_output.cc - what a connection sends and when: data, acknowledgements, retries.
#include "base/check.h"
#include "guestnet/tcp_connection.h"

#include <algorithm>

namespace snowglobe::net {
namespace {

/// A response that is shorter than this is acknowledged together with the next request. Less than
/// the 10 segments that Linux sends before it needs an acknowledgement (RFC 6928), so that it never
/// waits.
constexpr std::uint32_t kSegmentsPerAck = 8;

}  // namespace

void TcpConnection::output() {
  if (busy_ || block_.state == TcpState::kClosed) return;
  if (in_handshake()) {
    if (block_.snd_nxt == block_.iss) send_syn();
  } else {
    while (send_next()) {
    }
  }
  // BSD's rule: snd_max rather than snd_nxt, which may have gone back, so that the guest accepts
  // it.
  if (ack_now_ && block_.state != TcpState::kSynSent) transmit(kTcpAck, block_.snd_max, 0, 0);
  schedule();
}

void TcpConnection::schedule() {
  const base::Nanoseconds when = deadline();
  if (when != kNever) wire_.wake_at(when);
}

bool TcpConnection::send_syn() {
  const bool answering = block_.state == TcpState::kSynReceived;
  const auto flags = static_cast<std::uint8_t>(answering ? kTcpSyn | kTcpAck : kTcpSyn);
  if (!transmit(flags, block_.iss, 0, 0)) return false;
  timing_ = block_.snd_max == block_.iss;  // Karn: not if sent before (RFC 6298, 3)
  timed_ = block_.iss;
  timed_since_ = wire_.now();
  block_.snd_nxt = block_.iss + 1;
  block_.snd_max = later(block_.snd_max, block_.snd_nxt);
  if (retry_at_ == kNever) arm_retry();
  return true;
}

bool TcpConnection::send_next() {
  const auto offset = static_cast<std::size_t>(block_.snd_nxt - block_.snd_una);
  const std::size_t queued = outgoing_.size();
  if (offset > queued || block_.state == TcpState::kTimeWait) return false;  // our FIN is out
  const std::size_t unsent = queued - offset;
  const bool fin_left = block_.fin_wanted && !block_.fin_acked;
  if (unsent == 0 && !fin_left) return false;

  const std::size_t window = std::min(block_.snd_wnd, congestion_window_);
  const std::size_t usable = window > offset ? window - offset : 0;
  std::size_t length = std::min({unsent, usable, wire_.payload_limit(block_.mss)});
  const bool last = length == unsent;
  if (!last && length > block_.mss) length -= length % block_.mss;
  const bool fin = fin_left && last && usable > length;
  // RFC 9293, 3.8.6.2.1: no silly small segments because of the window.
  const bool worth_it = (last && (length > 0 || fin)) || length >= block_.mss ||
                        (length > 0 && length >= block_.max_snd_wnd / 2);
  if (worth_it) return send_range(offset, length, fin);
  if (offset == 0 && retry_at_ == kNever) arm_retry();  // then on_retry() probes the window
  return false;
}

bool TcpConnection::send_range(std::size_t offset, std::size_t length, bool fin) {
  const SeqNum seq = block_.snd_una + static_cast<std::uint32_t>(offset);
  auto flags = kTcpAck;
  if (length > 0 && offset + length == outgoing_.size()) flags |= kTcpPsh;
  if (fin) flags |= kTcpFin;
  if (!transmit(flags, seq, offset, length)) return false;
  const SeqNum end = seq + static_cast<std::uint32_t>(length) + (fin ? 1u : 0u);
  if (seq < block_.snd_max) {
    ++wire_.statistics().tcp_retransmissions;
  } else if (!timing_) {
    timing_ = true;
    timed_ = seq;
    timed_since_ = wire_.now();
  }
  block_.snd_nxt = end;
  block_.snd_max = later(block_.snd_max, end);
  if (retry_at_ == kNever) arm_retry();
  return true;
}

std::size_t TcpConnection::receive_room() const {
  return settings_.receive_buffer - std::min(settings_.receive_buffer, incoming_.size());
}

SeqNum TcpConnection::window_edge() const {
  const std::uint32_t sayable = std::uint32_t{0xFFFF} << block_.rcv_scale;
  return block_.rcv_nxt + std::min(static_cast<std::uint32_t>(receive_room()), sayable);
}

bool TcpConnection::transmit(std::uint8_t flags, SeqNum seq, std::size_t offset,
                             std::size_t length) {
  TcpSegment segment;
  segment.source_port = tuple_.local_port;
  segment.destination_port = tuple_.remote_port;
  segment.seq = seq;
  segment.flags = flags;
  SeqNum edge = block_.rcv_edge;
  if ((flags & kTcpSyn) != 0) {
    segment.options.mss = settings_.mss;
    if (block_.state == TcpState::kSynSent || block_.scaling) {
      segment.options.window_scale = block_.rcv_scale;
    }
    segment.window = static_cast<std::uint16_t>(std::min<std::size_t>(receive_room(), 0xFFFF));
    if ((flags & kTcpAck) != 0) edge = block_.rcv_nxt + segment.window;
  } else {
    // RFC 9293, 3.8.6.2.2: the edge moves by at least a segment, and never back.
    const std::int32_t step = window_edge() - block_.rcv_edge;
    if (step >= std::min<std::int32_t>(block_.mss,
                                       static_cast<std::int32_t>(settings_.receive_buffer / 2))) {
      edge = window_edge();
    }
    const auto window = static_cast<std::uint32_t>(std::max(edge - block_.rcv_nxt, 0));
    segment.window =
        static_cast<std::uint16_t>(std::min(window >> block_.rcv_scale, std::uint32_t{0xFFFF}));
    edge = block_.rcv_nxt + (std::uint32_t{segment.window} << block_.rcv_scale);
  }
  if ((flags & kTcpAck) != 0) segment.ack = block_.rcv_nxt;
  blocked_ = !wire_.send_segment(tuple_, segment, outgoing_.peek(offset, length), block_.mss);
  if (blocked_) return false;
  if ((flags & kTcpAck) != 0) {
    block_.rcv_edge = later(block_.rcv_edge, edge);
    block_.last_ack_sent = block_.rcv_nxt;
    ack_at_ = kNever;
    ack_now_ = false;
  }
  return true;
}

std::uint32_t TcpConnection::ack_threshold() const {
  return std::min<std::uint32_t>(kSegmentsPerAck * block_.mss,
                                 static_cast<std::uint32_t>(settings_.receive_buffer / 4));
}

void TcpConnection::note_text_received() {
  if (quick_acks_ > 0) {
    --quick_acks_;
    ack_now_ = true;
  }
  const std::int32_t waiting = block_.rcv_nxt - block_.last_ack_sent;
  if (waiting >= static_cast<std::int32_t>(ack_threshold())) ack_now_ = true;
  if (!ack_now_ && ack_at_ == kNever) ack_at_ = wire_.now() + settings_.delayed_ack;
}

void TcpConnection::arm_retry() {
  retry_at_ = wire_.now() + rto_;
}

void TcpConnection::measure_round_trip(base::Nanoseconds sample) {  // RFC 6298, 2.2 and 2.3
  if (!rtt_known_) {
    rtt_known_ = true;
    smoothed_rtt_ = sample;
    rtt_variation_ = sample / 2;
  } else {
    const base::Nanoseconds error = std::chrono::abs(smoothed_rtt_ - sample);
    rtt_variation_ += (error - rtt_variation_) / 4;
    smoothed_rtt_ += (sample - smoothed_rtt_) / 8;
  }
}

base::Nanoseconds TcpConnection::measured_rto() const {
  if (!rtt_known_) return settings_.initial_rto;
  return std::clamp(smoothed_rtt_ + 4 * rtt_variation_, settings_.min_rto, settings_.max_rto);
}

void TcpConnection::on_retry(base::Nanoseconds now) {
  if (blocked_) {  // nothing reaches the guest anyhow: that is not its fault
    retry_at_ = now + rto_;
    return;
  }
  if (++retries_ > settings_.max_retransmissions) {
    end(CloseReason::kGuestSilent);
    return;
  }
  rto_ = std::min(rto_ * 2, settings_.max_rto);  // RFC 6298, 5.5
  retry_at_ = now + rto_;
  timing_ = false;
  if (in_handshake()) {
    ++wire_.statistics().tcp_retransmissions;
    block_.snd_nxt = block_.iss;
    return;
  }
  const bool in_flight = block_.snd_max != block_.snd_una;
  if (!in_flight || block_.snd_wnd < block_.mss) {
    send_probe();
    return;
  }
  // RFC 5681, 3.1: start again with one segment, from the first that is missing.
  congestion_window_ = block_.mss;
  recovering_ = false;
  duplicate_acks_ = 0;
  block_.snd_nxt = block_.snd_una;
}

void TcpConnection::send_probe() {  // RFC 9293, 3.8.6.1
  const std::size_t fits = std::clamp<std::size_t>(block_.snd_wnd, 1, block_.mss);
  const std::size_t length = std::min(fits, outgoing_.size());
  const bool fin = length == 0 && block_.fin_wanted && !block_.fin_acked;
  if (length == 0 && !fin) {
    retry_at_ = kNever;
    return;
  }
  const SeqNum next = block_.snd_nxt;
  if (send_range(0, length, fin)) probing_ = true;
  block_.snd_nxt = later(block_.snd_nxt, next);
}

void TcpConnection::retransmit_first() {
  const std::size_t length = std::min<std::size_t>(block_.mss, outgoing_.size());
  const auto sent = static_cast<std::size_t>(block_.snd_max - block_.snd_una);
  const bool fin = block_.fin_wanted && !block_.fin_acked && length == outgoing_.size() &&
                   sent == outgoing_.size() + 1;
  if (length == 0 && !fin) return;
  const SeqNum next = block_.snd_nxt;
  timing_ = false;
  send_range(0, std::min(length, sent), fin);
  block_.snd_nxt = later(block_.snd_nxt, next);
}

}  // namespace snowglobe::net
