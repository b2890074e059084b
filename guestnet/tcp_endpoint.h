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
#include <optional>
#include <set>
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

  // Save and restore.
  /// A port that create() may give to our end.
  [[nodiscard]] static bool is_our_port(std::uint16_t port) { return port >= kFirstPort; }
  /// The next one that create() tries.
  [[nodiscard]] std::uint16_t next_port() const { return next_port_; }
  /// Resets that the wire has not taken yet.
  [[nodiscard]] const std::map<FourTuple, TcpReset>& owed_resets() const { return owed_resets_; }
  /// Whether there is one that the guest may know of.
  [[nodiscard]] bool has_connection(const FourTuple& tuple) const;
  /// Drops all connections and resets without a word to anybody; none of their users may be called
  /// or call any more.
  void forget_all();
  /// The guest of a restored state has given out ports just before `next_port`.
  void set_restored_port(std::uint16_t next_port) { restored_port_ = next_port; }
  /// A connection that was saved while it was quiet. No other has its tuple.
  TcpConnection& resume(const FourTuple& tuple, const TcpControlBlock& block, TcpUser& user);
  /// Sends a reset with what is sent next, and keeps away from its tuple from then on.
  void reset_later(const FourTuple& tuple, const TcpReset& reset);
  /// Sends the resets that the link takes.
  void send_owed_resets();

  bool send_segment(const FourTuple& tuple, const TcpSegment& segment,
                    const ByteRing::Pieces& payload, std::uint16_t segment_size) override;
  void send_reset(const FourTuple& tuple, const TcpReset& reset) override;
  [[nodiscard]] std::size_t payload_limit(std::uint16_t segment_size) const override;
  bool may_challenge() override;
  [[nodiscard]] base::Nanoseconds now() const override { return environment_.clock.monotonic(); }
  void note_reapable() override { reap_ = true; }
  NetworkStatistics& statistics() override { return environment_.statistics; }

 private:
  // RFC 6335, 6: the dynamic ports.
  static constexpr std::uint16_t kFirstPort = 49152;
  static constexpr std::size_t kPortCount = 65536 - kFirstPort;
  /// A guest that hung up first remembers the connection for a minute (TIME-WAIT); in a restored
  /// one that minute begins anew each time.
  static constexpr std::size_t kRememberedPorts = 1024;
  static constexpr std::size_t kMostOwedResets = 1024;

  void reap();
  [[nodiscard]] bool waits() const;
  void answer_stranger(const FourTuple& tuple, const TcpSegment& segment);
  [[nodiscard]] bool may_use(const FourTuple& tuple) const;
  base::Bytes write_reset(const FourTuple& tuple, const TcpReset& reset, const MacAddress& to);
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
  std::map<FourTuple, TcpReset> owed_resets_;
  std::set<FourTuple> avoided_;  // the guest of the restored state had its ends there
  std::optional<std::uint16_t> restored_port_;
  bool reap_ = false;
  FourTuple turn_;  // who is next when the link can take more
  base::Nanoseconds alarm_at_ = kNever;
  base::Nanoseconds challenge_period_{0};  // start of the second in which challenges are counted
  int challenges_ = 0;
};

}  // namespace snowglobe::net
