// guestnet/tcp_endpoint.h - all TCP connections of a network: who gets which segment, ports,
// timers.
#pragma once

#include "base/random.h"
#include "guestnet/alarm.h"
#include "guestnet/arp.h"
#include "guestnet/link.h"
#include "guestnet/packet.h"
#include "guestnet/tcp_connection.h"

#include <map>
#include <memory>
#include <vector>

namespace snowglobe::net {

/// Thread rule: as Network. A connection lives until it is closed and its user has had the last
/// call; then the next event destroys it.
class TcpEndpoint final : public TcpWire {
 public:
  struct Environment {
    Link& link;
    Arp& arp;
    const base::Clock& clock;
    base::RandomSource& random;
    Alarm& alarm;  ///< asked to wake on_alarm()
    NetworkStatistics& statistics;
  };

  TcpEndpoint(const Environment& environment, const NetworkConfig& config);

  /// A connection from one of our addresses to a port of the guest, not opened yet. `user` outlives
  /// it or aborts it. Null if no port is free.
  TcpConnection* create(Ipv4Address source, std::uint16_t guest_port, TcpUser& user);

  /// A TCP packet to one of our addresses. False if it is malformed.
  bool on_packet(const Ipv4Packet& packet, const base::FrameOffload& offload);
  /// The link may take more, or the guest's address became known.
  void on_ready();
  /// Runs what is due, ARP included, and asks the alarm for the next deadline.
  void on_alarm();
  /// Asks the alarm to wake at `when`, unless it will before.
  void wake_at(base::Nanoseconds when) override;

  [[nodiscard]] std::size_t connection_count() const { return connections_.size(); }

  bool send_segment(const FourTuple& tuple, const TcpSegment& segment,
                    const ByteRing::Pieces& payload, std::uint16_t segment_size) override;
  void send_reset(const FourTuple& tuple, SeqNum seq, std::optional<SeqNum> ack) override;
  [[nodiscard]] std::size_t payload_limit(std::uint16_t segment_size) const override;
  bool may_challenge() override;
  [[nodiscard]] base::Nanoseconds now() const override { return environment_.clock.monotonic(); }
  void note_reapable() override { reap_ = true; }
  NetworkStatistics& statistics() override { return environment_.statistics; }

 private:
  void reap();
  [[nodiscard]] bool waits() const;
  void answer_stranger(const FourTuple& tuple, const TcpSegment& segment);
  std::size_t write_headers(const FourTuple& tuple, const TcpSegment& segment, const MacAddress& to,
                            std::size_t payload_length);

  const Environment environment_;
  const AddressPlan& plan_;
  const TcpSettings& settings_;
  const bool checksum_offload_;
  const bool segmentation_offload_;
  std::map<FourTuple, std::unique_ptr<TcpConnection>> connections_;
  std::vector<std::uint8_t> frame_;  // where frames are put together
  std::uint16_t next_port_;
  bool reap_ = false;
  FourTuple turn_;  // who is next when the link can take more
  base::Nanoseconds alarm_at_ = kNever;
  base::Nanoseconds challenge_period_{0};  // start of the second in which challenges are counted
  int challenges_ = 0;
};

}  // namespace snowglobe::net
