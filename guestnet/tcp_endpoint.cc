// guestnet/tcp_endpoint.cc - demultiplexing, frames of segments, resets for nobody's segments,
// timers.
#include "guestnet/tcp_endpoint.h"

#include "base/check.h"

#include <algorithm>

namespace snowglobe::net {
namespace {

/// RFC 5961, 7 leaves the figure open; Linux takes 1000 a second for a whole host.
constexpr int kChallengesPerSecond = 100;

constexpr std::size_t kChecksumField = 16;  // in the TCP header

}  // namespace

TcpEndpoint::TcpEndpoint(const Environment& environment, const NetworkConfig& config)
    : environment_(environment),
      plan_(config.addresses),
      settings_(config.tcp),
      checksum_offload_(config.checksum_offload),
      segmentation_offload_(config.segmentation_offload && config.checksum_offload),
      frame_(base::kMaxFrame),
      next_port_(static_cast<std::uint16_t>(kFirstPort + environment.random.next() % kPortCount)) {}

TcpConnection* TcpEndpoint::create(Ipv4Address source, std::uint16_t guest_port, TcpUser& user) {
  FourTuple tuple{source, plan_.guest, 0, guest_port};
  for (std::size_t attempt = 0; attempt < kPortCount; ++attempt) {
    tuple.local_port = next_port_;
    next_port_ = next_port_ == 0xFFFF ? kFirstPort : static_cast<std::uint16_t>(next_port_ + 1);
    if (!may_use(tuple)) continue;
    // RFC 6528 derives the number from clock and secret, so that old segments do not fit; random
    // numbers do it as well where ports are not re-used within TIME-WAIT.
    const SeqNum iss(static_cast<std::uint32_t>(environment_.random.next()));
    auto connection = std::make_unique<TcpConnection>(*this, settings_, tuple, iss, user);
    return connections_.emplace(tuple, std::move(connection)).first->second.get();
  }
  return nullptr;
}

bool TcpEndpoint::may_use(const FourTuple& tuple) const {
  if (restored_port_.has_value()) {
    const std::size_t before = (*restored_port_ + kPortCount - tuple.local_port) % kPortCount;
    if (before >= 1 && before <= kRememberedPorts) return false;
  }
  return !connections_.contains(tuple) && !owed_resets_.contains(tuple) &&
         !avoided_.contains(tuple);
}

bool TcpEndpoint::has_connection(const FourTuple& tuple) const {
  const auto found = connections_.find(tuple);
  return found != connections_.end() && found->second->reset().has_value();
}

void TcpEndpoint::forget_all() {
  connections_.clear();
  owed_resets_.clear();
  avoided_.clear();
  restored_port_.reset();
  reap_ = false;
  turn_ = {};
  alarm_at_ = kNever;
  environment_.alarm.set(kNever);
}

TcpConnection& TcpEndpoint::resume(const FourTuple& tuple, const TcpControlBlock& block,
                                   TcpUser& user) {
  auto connection = std::make_unique<TcpConnection>(*this, settings_, tuple, block, user);
  const auto [at, added] = connections_.emplace(tuple, std::move(connection));
  SG_ASSERT(added, "two connections with one tuple");
  return *at->second;
}

void TcpEndpoint::reset_later(const FourTuple& tuple, const TcpReset& reset) {
  owed_resets_.insert_or_assign(tuple, reset);
  avoided_.insert(tuple);
}

void TcpEndpoint::send_owed_resets() {
  while (!owed_resets_.empty() && environment_.link.ready()) {
    const auto first = owed_resets_.begin();
    const auto& mac = environment_.arp.guest_mac();
    if (mac.has_value()) {
      if (!environment_.link.send(write_reset(first->first, first->second, *mac), {})) return;
      ++environment_.statistics.tcp_resets_sent;
    }
    owed_resets_.erase(first);
  }
}

bool TcpEndpoint::on_packet(const Ipv4Packet& packet, const base::FrameOffload& offload) {
  reap();
  const ChecksumSum sum =
      pseudo_header_sum(packet.source, packet.destination, kProtocolTcp, packet.payload.size());
  if (!upper_checksum_good(sum, packet.payload, kEthernetHeader + packet.header.size(),
                           kChecksumField, offload)) {
    return false;
  }
  const auto segment = parse_tcp(packet.payload);
  if (!segment.has_value()) return false;
  const FourTuple tuple{packet.destination, packet.source, segment->destination_port,
                        segment->source_port};
  const auto found = connections_.find(tuple);
  if (found == connections_.end() || found->second->state() == TcpState::kClosed) {
    answer_stranger(tuple, *segment);
  } else {
    found->second->on_segment(*segment);
  }
  return true;
}

void TcpEndpoint::answer_stranger(const FourTuple& tuple, const TcpSegment& segment) {
  if (segment.has(kTcpRst)) return;  // RFC 9293, 3.10.7.1
  const auto& mac = environment_.arp.guest_mac();
  if (!mac.has_value()) return;
  TcpReset reset;
  if (segment.has(kTcpAck)) {
    reset.seq = segment.ack;
  } else {
    reset.ack = segment.seq + segment.length();
  }
  ++environment_.statistics.tcp_resets_sent;
  environment_.link.send_or_queue(write_reset(tuple, reset, *mac));  // asked again if it is lost
}

void TcpEndpoint::on_ready() {
  reap();
  send_owed_resets();
  auto next = connections_.lower_bound(turn_);
  for (std::size_t left = connections_.size(); left > 0 && environment_.link.ready(); --left) {
    if (next == connections_.end()) next = connections_.begin();
    TcpConnection& connection = *next->second;
    ++next;
    connection.on_wire_ready();
    // One that is refused again comes last next time, so that a busy one can not starve the others.
    if (connection.waits_for_wire()) turn_ = next == connections_.end() ? FourTuple{} : next->first;
  }
}

bool TcpEndpoint::waits() const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const auto& entry) { return entry.second->waits_for_wire(); });
}

void TcpEndpoint::on_alarm() {
  reap();
  const base::Nanoseconds time = now();
  alarm_at_ = time;  // no use to set the alarm while looking for the next deadline
  environment_.arp.on_time(time, waits());
  base::Nanoseconds next = kNever;
  for (const auto& [tuple, connection] : connections_) {
    connection->on_time(time);
    next = std::min(next, connection->deadline());
  }
  next = std::min(next, environment_.arp.deadline());
  alarm_at_ = kNever;
  if (next != kNever) wake_at(next);
}

void TcpEndpoint::wake_at(base::Nanoseconds when) {
  if (when >= alarm_at_) return;
  alarm_at_ = when;
  environment_.alarm.set(when);
}

void TcpEndpoint::reap() {
  if (!reap_) return;
  reap_ = false;
  std::erase_if(connections_, [](const auto& entry) { return entry.second->reapable(); });
}

std::size_t TcpEndpoint::payload_limit(std::uint16_t segment_size) const {
  if (!segmentation_offload_) return segment_size;
  return 65535 - kIpv4Header - kTcpHeader;  // what an IPv4 packet can hold
}

std::size_t TcpEndpoint::write_headers(const FourTuple& tuple, const TcpSegment& segment,
                                       const MacAddress& to, std::size_t payload_length) {
  write_ethernet(frame_.data(), to, plan_.host_mac, kEtherTypeIpv4);
  const std::size_t tcp_length = write_tcp_header(&frame_[kEthernetHeader + kIpv4Header], segment);
  write_ipv4(&frame_[kEthernetHeader], tuple.local, tuple.remote, kProtocolTcp,
             tcp_length + payload_length);
  return kEthernetHeader + kIpv4Header + tcp_length;
}

bool TcpEndpoint::send_segment(const FourTuple& tuple, const TcpSegment& segment,
                               const ByteRing::Pieces& payload, std::uint16_t segment_size) {
  if (!environment_.arp.guest_mac().has_value()) {
    environment_.arp.solicit(now());
    wake_at(environment_.arp.deadline());
    return false;
  }
  if (!environment_.link.ready()) return false;
  const std::size_t length = payload[0].size() + payload[1].size();
  std::size_t at = write_headers(tuple, segment, *environment_.arp.guest_mac(), length);
  SG_ASSERT(at + length <= frame_.size(), "segment larger than a frame");
  const std::size_t header_length = at;
  for (const base::ConstBytes piece : payload) {
    if (piece.empty()) continue;
    std::memcpy(&frame_[at], piece.data(), piece.size());
    at += piece.size();
  }

  base::FrameOffload offload;
  offload.checksum_missing = true;
  offload.checksum_start = kEthernetHeader + kIpv4Header;
  offload.checksum_offset = kChecksumField;
  const ChecksumSum sum = pseudo_header_sum(tuple.local, tuple.remote, kProtocolTcp,
                                            at - kEthernetHeader - kIpv4Header);
  base::store_be(&frame_[offload.checksum_start + kChecksumField], sum.folded());
  const base::Bytes frame = base::Bytes(frame_).first(at);
  if (length > segment_size) {
    offload.segmentation = base::FrameOffload::Segmentation::kTcp4;
    offload.segment_size = segment_size;
    offload.header_length = static_cast<std::uint16_t>(header_length);
  }
  if (!checksum_offload_) {
    complete_checksum(frame, offload);
    offload = {};
  }
  return environment_.link.send(frame, offload);
}

base::Bytes TcpEndpoint::write_reset(const FourTuple& tuple, const TcpReset& reset,
                                     const MacAddress& to) {
  TcpSegment segment;
  segment.source_port = tuple.local_port;
  segment.destination_port = tuple.remote_port;
  segment.seq = reset.seq;
  segment.ack = reset.ack.value_or(SeqNum(0));
  segment.flags = static_cast<std::uint8_t>(reset.ack.has_value() ? kTcpRst | kTcpAck : kTcpRst);
  const std::size_t length = write_headers(tuple, segment, to, 0);
  const base::Bytes tcp = base::Bytes(frame_).subspan(kEthernetHeader + kIpv4Header,
                                                      length - kEthernetHeader - kIpv4Header);
  ChecksumSum sum = pseudo_header_sum(tuple.local, tuple.remote, kProtocolTcp, tcp.size());
  sum.add(tcp);
  base::store_be(&tcp[kChecksumField], sum.checksum());
  return base::Bytes(frame_).first(length);
}

void TcpEndpoint::send_reset(const FourTuple& tuple, const TcpReset& reset) {
  if (!environment_.arp.guest_mac().has_value()) return;  // then the guest has never heard of it
  // Unlike an answer to a stray segment nobody would ask for it again: it waits until it is sent.
  if (owed_resets_.size() < kMostOwedResets) owed_resets_.insert_or_assign(tuple, reset);
  send_owed_resets();
}

bool TcpEndpoint::may_challenge() {
  const base::Nanoseconds time = now();
  if (time - challenge_period_ >= std::chrono::seconds(1)) {
    challenge_period_ = time;
    challenges_ = 0;
  }
  return ++challenges_ <= kChallengesPerSecond;
}

}  // namespace snowglobe::net
