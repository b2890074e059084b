// guestnet/tcp_input.cc - segments of the guest, in the order of checks of RFC 9293, 3.10.7.
#include "guestnet/tcp_connection.h"

#include <algorithm>

namespace snowglobe::net {
namespace {

constexpr int kQuickAcks = 16;

}  // namespace

void TcpConnection::on_segment(const TcpSegment& segment) {
  if (block_.state == TcpState::kClosed) return;
  busy_ = true;
  if (block_.state == TcpState::kSynSent) {
    on_segment_in_syn_sent(segment);
  } else {
    on_segment_synchronized(segment);
  }
  busy_ = false;
  output();
}

void TcpConnection::on_segment_in_syn_sent(const TcpSegment& segment) {  // 3.10.7.3
  if (segment.has(kTcpAck) && (segment.ack <= block_.iss || segment.ack > block_.snd_max)) {
    if (!segment.has(kTcpRst)) wire_.send_reset(tuple_, {segment.ack, std::nullopt});
    return;
  }
  if (segment.has(kTcpRst)) {
    if (segment.has(kTcpAck)) end(CloseReason::kGuestRefused);
    return;
  }
  if (!segment.has(kTcpSyn)) return;
  block_.irs = segment.seq;
  block_.rcv_nxt = block_.rcv_edge = block_.last_ack_sent = segment.seq + 1;
  take_options(segment);
  if (!segment.has(kTcpAck)) {  // both opened at once (3.5, figure 7): our SYN again, with an ACK
    block_.state = TcpState::kSynReceived;
    block_.snd_nxt = block_.iss;
    retry_at_ = kNever;
    return;
  }
  block_.rcv_edge = window_edge();  // our SYN offered less, but our next segment says so
  ack_now_ = true;
  block_.snd_wnd = block_.max_snd_wnd = segment.window;  // never scaled in a SYN (RFC 7323, 2.2)
  block_.snd_wl1 = segment.seq;
  block_.snd_wl2 = segment.ack;
  on_new_ack(segment.ack);
  become_established();
  if (block_.state == TcpState::kClosed) return;
  TcpSegment rest = segment;
  rest.seq += 1;
  rest.flags &= static_cast<std::uint8_t>(~kTcpSyn);
  process_text(rest);
}

void TcpConnection::take_options(const TcpSegment& syn) {
  const std::uint16_t offered = syn.options.mss.value_or(536);  // RFC 9293, 3.7.1
  block_.mss = std::clamp(offered, TcpSettings::kSmallestMss,
                          std::max(settings_.mss, TcpSettings::kSmallestMss));
  block_.scaling = syn.options.window_scale.has_value();
  if (block_.scaling) {
    block_.snd_scale = *syn.options.window_scale;
  } else {
    block_.snd_scale = block_.rcv_scale = 0;  // both or none (RFC 7323, 2.2)
  }
}

void TcpConnection::become_established() {
  block_.state = block_.fin_wanted ? TcpState::kFinWait1 : TcpState::kEstablished;
  give_up_at_ = kNever;
  if (user_ != nullptr) user_->on_established();
}

bool TcpConnection::sequence_acceptable(const TcpSegment& segment) const {  // 3.10.7.4, table 6
  const std::uint32_t length = segment.length();
  const std::int32_t window = block_.rcv_edge - block_.rcv_nxt;
  const auto inside = [&](SeqNum seq) {
    return block_.rcv_nxt <= seq && seq - block_.rcv_nxt < window;
  };
  if (length == 0) return segment.seq == block_.rcv_nxt || inside(segment.seq);
  if (length > std::uint32_t{1} << 30 || window <= 0) return false;
  return inside(segment.seq) || inside(segment.seq + (length - 1)) ||
         (segment.seq < block_.rcv_nxt && segment.seq + length > block_.rcv_edge);
}

void TcpConnection::on_segment_synchronized(const TcpSegment& segment) {  // 3.10.7.4
  if (!sequence_acceptable(segment)) {
    on_unacceptable(segment);
    return;
  }
  if (segment.has(kTcpRst)) {  // RFC 5961, 3.2: only the exact number resets
    if (segment.seq != block_.rcv_nxt) {
      challenge();
    } else {
      const bool opening = block_.state == TcpState::kSynReceived;
      end(opening ? CloseReason::kGuestRefused : CloseReason::kGuestReset);
    }
    return;
  }
  if (segment.has(kTcpSyn)) {  // RFC 5961, 4.2
    challenge();
    return;
  }
  if (!segment.has(kTcpAck) || !process_ack(segment)) return;
  process_text(segment);
}

void TcpConnection::on_unacceptable(const TcpSegment& segment) {
  if (segment.has(kTcpRst)) return;
  if (segment.length() == 0) {
    // Without the throttle two ends that disagree would send such answers to each other for ever.
    challenge();
    return;
  }
  const bool probe = segment.seq == block_.rcv_nxt && !segment.has(kTcpSyn);
  if (probe && segment.has(kTcpAck) && !process_ack(segment)) return;  // into our closed window
  if (block_.state == TcpState::kTimeWait) time_wait_until_ = wire_.now() + settings_.time_wait;
  if (!probe) {  // sent again: the guest believes that something was lost
    ++wire_.statistics().tcp_duplicates;
    quick_acks_ = kQuickAcks;
  }
  ack_now_ = true;
}

void TcpConnection::challenge() {
  if (wire_.may_challenge()) ack_now_ = true;
}

bool TcpConnection::process_ack(const TcpSegment& segment) {
  const SeqNum ack = segment.ack;
  if (block_.state == TcpState::kSynReceived) {
    if (ack <= block_.iss || ack > block_.snd_max) {
      wire_.send_reset(tuple_, {ack, std::nullopt});
      return false;
    }
    block_.snd_wl1 = segment.seq;
    block_.snd_wl2 = ack;
    update_send_window(segment);
    on_new_ack(ack);
    become_established();
    return block_.state != TcpState::kClosed;
  }
  // RFC 5961, 5.2: an acknowledgement that can not be is answered and dropped with all it carries.
  const auto far_back = static_cast<std::int32_t>(std::min(block_.max_snd_wnd, 1u << 30));
  if (ack > block_.snd_max || ack - block_.snd_una < -far_back) {
    challenge();
    return false;
  }
  const std::uint32_t old_window = block_.snd_wnd;
  const bool advances = ack > block_.snd_una;
  if (advances) on_new_ack(ack);
  if (ack >= block_.snd_una) update_send_window(segment);
  // RFC 5681, 2: what counts as a duplicate acknowledgement.
  if (!advances && ack == block_.snd_una && segment.length() == 0 && block_.snd_wnd == old_window &&
      block_.snd_max != block_.snd_una) {
    on_duplicate_ack();
  }
  if (!advance_after_fin_acked()) return false;
  if (advances && user_ != nullptr) user_->on_send_room();
  return block_.state != TcpState::kClosed;
}

void TcpConnection::update_send_window(const TcpSegment& segment) {
  const bool newer = block_.snd_wl1 < segment.seq ||
                     (block_.snd_wl1 == segment.seq && block_.snd_wl2 <= segment.ack);
  if (!newer) return;
  block_.snd_wnd = std::uint32_t{segment.window} << block_.snd_scale;
  block_.max_snd_wnd = std::max(block_.max_snd_wnd, block_.snd_wnd);
  block_.snd_wl1 = segment.seq;
  block_.snd_wl2 = segment.ack;
  retries_ = 0;  // it answers: a window may stay closed for as long as it likes (3.8.6.1)
  if (probing_ && block_.snd_wnd > 0) {
    probing_ = false;
    block_.snd_nxt = block_.snd_una;  // the probe was not taken; send it with what follows
    if (block_.snd_una == block_.snd_max) retry_at_ = kNever;
  }
}

void TcpConnection::on_new_ack(SeqNum ack) {
  const auto acked = static_cast<std::uint32_t>(ack - block_.snd_una);
  const bool syn = block_.snd_una == block_.iss && in_handshake();
  const std::uint32_t data = acked - (syn ? 1u : 0u);
  const auto buffered = static_cast<std::uint32_t>(std::min<std::size_t>(data, outgoing_.size()));
  outgoing_.consume(buffered);
  if (data > buffered) block_.fin_acked = true;
  block_.snd_una = ack;
  block_.snd_nxt = later(block_.snd_nxt, ack);
  retries_ = 0;
  duplicate_acks_ = 0;
  if (timing_ && ack > timed_) {
    timing_ = false;
    measure_round_trip(wire_.now() - timed_since_);
  }
  rto_ = measured_rto();  // it gets through again: no more backing off
  if (congestion_window_ < kNoCongestion) congestion_window_ += acked;  // RFC 5681, 3.1: slow start
  if (recovering_ && ack >= recover_) recovering_ = false;
  retry_at_ = kNever;
  if (block_.snd_max != ack) arm_retry();
  // RFC 6582, 3.2: an acknowledgement of a part means that the next segment is missing too.
  if (recovering_) retransmit_first();
}

void TcpConnection::on_duplicate_ack() {
  constexpr int kThreshold = 3;  // RFC 5681, 3.2
  if (++duplicate_acks_ != kThreshold || recovering_ || probing_) return;
  const auto in_flight = static_cast<std::uint32_t>(block_.snd_max - block_.snd_una);
  recovering_ = true;
  recover_ = block_.snd_max;
  congestion_window_ = std::max(in_flight / 2, 2u * block_.mss);
  retransmit_first();
}

bool TcpConnection::advance_after_fin_acked() {
  if (!block_.fin_acked) return true;
  if (block_.state == TcpState::kFinWait1) block_.state = TcpState::kFinWait2;
  if (block_.state == TcpState::kClosing) enter_time_wait();
  if (block_.state == TcpState::kLastAck) {
    block_.state = TcpState::kClosed;
    retry_at_ = ack_at_ = kNever;
    done_ = true;
    report_finished();
  }
  return block_.state != TcpState::kClosed;
}

void TcpConnection::process_text(const TcpSegment& segment) {
  const bool receiving = block_.state == TcpState::kEstablished ||
                         block_.state == TcpState::kFinWait1 || block_.state == TcpState::kFinWait2;
  if (!receiving) return;  // after the guest's FIN nothing counts any more
  SeqNum seq = segment.seq;
  base::ConstBytes payload = segment.payload;
  bool fin = segment.has(kTcpFin);
  if (seq < block_.rcv_nxt) {  // the front is known already
    const auto known = static_cast<std::size_t>(block_.rcv_nxt - seq);
    payload = payload.subspan(std::min(known, payload.size()));
    seq = block_.rcv_nxt;
    quick_acks_ = kQuickAcks;
    ack_now_ = true;
  }
  const auto room = static_cast<std::size_t>(std::max(block_.rcv_edge - seq, 0));
  if (payload.size() > room) {  // more than was offered
    payload = payload.first(room);
    fin = false;
    ack_now_ = true;
  }
  if (fin) block_.fin_at = seq + static_cast<std::uint32_t>(payload.size());
  if (seq != block_.rcv_nxt) {  // RFC 5681, 4.2: tell at once that something is missing
    ++wire_.statistics().tcp_out_of_order;
    if (!payload.empty()) ahead_.insert(seq, payload);
    quick_acks_ = kQuickAcks;
    ack_now_ = true;
    return;
  }
  if (!payload.empty() && !deliver(payload)) return;
  if (block_.fin_at == block_.rcv_nxt) on_fin();
}

bool TcpConnection::deliver(base::ConstBytes bytes) {
  std::vector<std::uint8_t> held;
  while (!bytes.empty()) {
    block_.rcv_nxt += static_cast<std::uint32_t>(bytes.size());
    std::size_t taken = 0;
    if (incoming_.empty() && user_ != nullptr) taken = user_->on_data(bytes);
    if (block_.state == TcpState::kClosed) return false;
    // The window is at most the buffer's room, so that this always fits.
    incoming_.append(bytes.subspan(taken));
    if (ahead_.empty()) break;
    held = ahead_.take(block_.rcv_nxt);
    bytes = held;
    ack_now_ = true;
  }
  note_text_received();
  return true;
}

void TcpConnection::on_fin() {
  block_.rcv_nxt += 1;
  block_.fin_received = true;
  ack_now_ = true;
  ahead_.clear();
  if (block_.state == TcpState::kEstablished) {
    block_.state = TcpState::kCloseWait;
  } else if (block_.state == TcpState::kFinWait1 && !block_.fin_acked) {
    block_.state = TcpState::kClosing;
  } else {
    report_end_of_data();
    if (block_.state != TcpState::kClosed) enter_time_wait();
    return;
  }
  report_end_of_data();
}

}  // namespace snowglobe::net
