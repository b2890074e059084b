// tests/guestnet/guest_stack.cc - the copyable guest.
#include "tests/guestnet/guest_stack.h"

#include <algorithm>

namespace snowglobe::net {
namespace {

constexpr std::uint8_t kFin = 1;
constexpr std::uint8_t kSyn = 2;
constexpr std::uint8_t kRst = 4;
constexpr std::uint8_t kAck = 16;
constexpr std::uint32_t kWindow = 40'000;
constexpr std::uint8_t kScale = 3;
constexpr std::uint16_t kServerPort = 5432;

std::int32_t distance(std::uint32_t from, std::uint32_t to) {
  return static_cast<std::int32_t>(to - from);
}

}  // namespace

std::uint8_t pattern_byte(std::uint64_t key, std::uint64_t offset) {
  std::uint64_t x = key * 0x9E3779B97F4A7C15 + offset;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return static_cast<std::uint8_t>(x >> 56);
}

void GuestStack::send(std::uint16_t port, std::uint8_t flags, std::uint32_t seq,
                      const Octets& payload) {
  const Connection& connection = connections.at(port);
  PlainSegment segment;
  segment.from_port = kServerPort;
  segment.to_port = port;
  segment.seq = seq;
  segment.ack = connection.expected;
  segment.flags = static_cast<std::uint8_t>(flags | kAck);
  const bool syn = (flags & kSyn) != 0;
  segment.window = static_cast<std::uint16_t>(syn ? kWindow : kWindow >> kScale);
  if (syn) segment.options = Octets{2, 4} + be16(kMss) + Octets{1, 3, 3, kScale};
  segment.payload = payload;
  out.push_back(segment);
}

void GuestStack::on_segment(const PlainSegment& segment, base::Nanoseconds now, std::uint64_t key) {
  const std::uint16_t port = segment.from_port;
  if (connections.contains(port)) {
    on_synchronized(port, segment, now);
    return;
  }
  if ((segment.flags & kRst) != 0) return;
  if ((segment.flags & (kSyn | kAck)) == kSyn) {
    Connection connection;
    connection.key = key;
    connection.isn = connection.una = static_cast<std::uint32_t>(key * 0x9E3779B9);
    connection.next = connection.isn + 1;
    connection.expected = segment.seq + 1;
    connection.peer_scale = static_cast<std::uint8_t>(tcp_option(segment, 3).value_or(0));
    connection.deadline = now + kTimeout;
    connections.emplace(port, connection);
    send(port, kSyn, connection.isn);
    return;
  }
  PlainSegment reset;  // RFC 9293, 3.10.7.1
  reset.from_port = kServerPort;
  reset.to_port = port;
  reset.flags = kRst;
  reset.seq = segment.ack;
  out.push_back(reset);
}

void GuestStack::on_synchronized(std::uint16_t port, const PlainSegment& segment,
                                 base::Nanoseconds now) {
  Connection& connection = connections.at(port);
  if ((segment.flags & kRst) != 0) {  // RFC 5961, 3.2
    if (segment.seq == connection.expected) {
      connections.erase(port);
    } else {
      send(port, 0, connection.next);
    }
    return;
  }
  if ((segment.flags & kSyn) != 0) {
    if (connection.open) {
      send(port, 0, connection.next);  // RFC 5961, 4.2
    } else {
      send(port, kSyn, connection.isn);
    }
    return;
  }
  take_ack(connection, segment);
  const bool had_text = !segment.payload.empty() || (segment.flags & kFin) != 0;
  take_text(connection, segment);
  if (connection.ended && connection.ends && connection.una == connection.end()) {
    send(port, 0, connection.next);
    connections.erase(port);  // no TIME-WAIT: a late segment is answered with a reset
    return;
  }
  const std::uint32_t before = connection.next;
  send_window(port, now);
  if (had_text && connection.next == before) send(port, 0, connection.next);
}

void GuestStack::take_ack(Connection& connection, const PlainSegment& segment) {
  connection.peer_window = std::uint32_t{segment.window} << connection.peer_scale;
  const std::int32_t advance = distance(connection.una, segment.ack);
  if (advance <= 0 || advance > distance(connection.una, connection.end())) return;
  connection.open = true;
  connection.una = segment.ack;
  if (distance(connection.una, connection.next) < 0) connection.next = connection.una;
  connection.deadline = kNever;
}

bool GuestStack::take_text(Connection& connection, const PlainSegment& segment) {
  const std::int32_t known = distance(segment.seq, connection.expected);
  const auto length = static_cast<std::int32_t>(segment.payload.size());
  const bool fin = (segment.flags & kFin) != 0;
  if (known < 0 || known >= length + (fin ? 1 : 0) || connection.ended) return false;
  connection.inbox.insert(connection.inbox.end(), segment.payload.begin() + known,
                          segment.payload.end());
  connection.expected = segment.seq + static_cast<std::uint32_t>(length) + (fin ? 1 : 0);
  connection.ended = fin;
  return true;
}

void GuestStack::send_window(std::uint16_t port, base::Nanoseconds now) {
  Connection& connection = connections.at(port);
  if (!connection.open) return;
  while (connection.next != connection.end()) {
    const std::uint64_t offset = connection.next - (connection.isn + 1);
    const std::uint32_t in_flight = connection.next - connection.una;
    const std::uint32_t room =
        connection.peer_window > in_flight ? connection.peer_window - in_flight : 0;
    const std::uint64_t left = connection.written - offset;
    const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>({left, room, kMss}));
    const bool fin = connection.ends && length == left && room > length;
    if (length == 0 && !fin) break;
    Octets payload(length);
    for (std::uint32_t i = 0; i < length; ++i)
      payload[i] = pattern_byte(connection.key, offset + i);
    send(port, fin ? kFin : 0, connection.next, payload);
    connection.next += length + (fin ? 1 : 0);
  }
  if (connection.una != connection.end() && connection.deadline == kNever) {
    connection.deadline = now + kTimeout;
  }
}

void GuestStack::on_time(base::Nanoseconds now) {
  for (auto& [port, connection] : connections) {
    if (now < connection.deadline) continue;
    connection.deadline = now + kTimeout;
    if (!connection.open) {
      send(port, kSyn, connection.isn);
      continue;
    }
    connection.next = connection.una;  // go back N
    send_window(port, now);
    // Their window is closed: an old number makes them tell about it.
    if (connection.next == connection.una) send(port, 0, connection.una - 1);
  }
}

base::Nanoseconds GuestStack::deadline() const {
  base::Nanoseconds first = kNever;
  for (const auto& [port, connection] : connections)
    first = std::min(first, connection.deadline);
  return first;
}

void GuestStack::write(std::uint16_t port, std::size_t count, base::Nanoseconds now) {
  Connection& connection = connections.at(port);
  if (connection.ends) return;
  connection.written += count;
  send_window(port, now);
}

void GuestStack::hang_up(std::uint16_t port, base::Nanoseconds now) {
  connections.at(port).ends = true;
  send_window(port, now);
}

void GuestStack::shift_time(base::Nanoseconds by) {
  for (auto& [port, connection] : connections) {
    if (connection.deadline != kNever) connection.deadline += by;
  }
}

}  // namespace snowglobe::net
