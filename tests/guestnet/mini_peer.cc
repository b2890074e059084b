// tests/guestnet/mini_peer.cc - the simple TCP.
#include "tests/guestnet/mini_peer.h"

namespace snowglobe::net {

void MiniPeer::send(std::uint8_t flags, std::uint32_t seq, const Octets& payload,
                    const Octets& options) {
  PlainSegment segment;
  segment.from_port = our_port_;
  segment.to_port = their_port_;
  segment.seq = seq;
  segment.ack = expected_;
  segment.flags = flags;
  const bool closed = random_.next() % 100 < plan_.closed_window_percent;
  const bool syn = (flags & 2) != 0;
  const std::uint32_t window = closed && !syn ? 0 : plan_.window;
  segment.window = static_cast<std::uint16_t>(syn ? window : window >> plan_.window_scale);
  segment.payload = payload;
  segment.options = options;
  send_(segment);
}

void MiniPeer::on_segment(const PlainSegment& segment, base::Nanoseconds now) {
  if ((segment.flags & 4) != 0) {
    reset_ = true;
    deadline_ = kNever;
    return;
  }
  if ((segment.flags & 2) != 0) {
    if (!open_) {
      open_ = true;
      our_port_ = segment.to_port;
      their_port_ = segment.from_port;
      expected_ = segment.seq + 1;
      peer_scale_ = static_cast<std::uint8_t>(tcp_option(segment, 3).value_or(0));
      una_ = plan_.isn;
      next_ = plan_.isn + 1;
    }
    const Octets options = Octets{2, 4} + be16(plan_.mss) + Octets{1, 3, 3, plan_.window_scale};
    send(0x12, plan_.isn, {}, options);
    return;
  }
  if (!open_) return;
  peer_window_ = std::size_t{segment.window} << peer_scale_;
  const auto advance = static_cast<std::int32_t>(segment.ack - una_);
  if (advance > 0 && segment.ack - una_ <= end() - una_) {
    una_ = segment.ack;
    if (static_cast<std::int32_t>(next_ - una_) < 0) next_ = una_;
    deadline_ = kNever;
  }
  const auto known = static_cast<std::int32_t>(expected_ - segment.seq);
  const bool fin = (segment.flags & 1) != 0;
  const auto length = static_cast<std::int32_t>(segment.payload.size());
  if (known >= 0 && known < length + (fin ? 1 : 0) && !fin_received_) {
    received_.insert(received_.end(), segment.payload.begin() + known, segment.payload.end());
    expected_ = segment.seq + static_cast<std::uint32_t>(length);
    if (fin) {
      ++expected_;
      fin_received_ = true;
    }
  }
  const std::uint32_t before = next_;
  send_window(now);
  if (before == next_ && length + (fin ? 1 : 0) > 0) acknowledge();
}

void MiniPeer::send_window(base::Nanoseconds now) {
  if (una_ == plan_.isn) return;  // the handshake is not over
  const std::size_t limit = std::min(peer_window_, plan_.flight);
  while (next_ != end()) {
    const std::size_t offset = next_ - (plan_.isn + 1);
    const std::size_t left = plan_.to_send.size() - offset;
    const std::size_t in_flight = next_ - una_;
    const std::size_t room = limit > in_flight ? limit - in_flight : 0;
    // Sometimes a large frame, as segmentation offload makes them.
    const std::size_t most = random_.next() % 4 == 0 ? plan_.mss * 8u : plan_.mss;
    const std::size_t length = std::min({left, room, most});
    const bool fin = length == left && room > length;
    if (length == 0 && !fin) break;
    const auto begin = plan_.to_send.begin() + static_cast<long>(offset);
    send(static_cast<std::uint8_t>(fin ? 0x11 : 0x10), next_,
         {begin, begin + static_cast<long>(length)}, {});
    next_ += static_cast<std::uint32_t>(length) + (fin ? 1 : 0);
  }
  if (!all_acknowledged() && deadline_ == kNever) deadline_ = now + kTimeout;
}

void MiniPeer::on_time(base::Nanoseconds now) {
  if (now < deadline_) return;
  deadline_ = kNever;
  if (!open_ || reset_ || una_ == plan_.isn) return;  // our SYN-ACK comes again on their SYN
  next_ = una_;                                       // go back N
  send_window(now);
  if (next_ == una_) {  // their window is closed: an old number makes them tell about it
    send(0x10, una_ - 1, {}, {});
    deadline_ = now + kTimeout;
  }
}

}  // namespace snowglobe::net
