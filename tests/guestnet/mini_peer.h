// tests/guestnet/mini_peer.h - a second, much simpler TCP to talk to: go-back-N, one fixed timeout,
// no reassembly. Shares no code with guestnet/ but the addresses.
#pragma once

#include "base/random.h"
#include "tests/guestnet/frames.h"

#include <functional>

namespace snowglobe::net {

/// The guest's side of one connection, opened by the other side.
class MiniPeer {
 public:
  static constexpr base::Nanoseconds kTimeout = std::chrono::milliseconds(300);
  using Send = std::function<void(const PlainSegment&)>;

  struct Plan {
    Octets to_send;
    std::uint32_t isn = 0;
    std::uint16_t mss = 1460;
    std::uint8_t window_scale = 4;
    std::uint32_t window = 30'000;       ///< bytes that it always offers ...
    unsigned closed_window_percent = 0;  ///< ... or none, that often
    std::size_t flight = 20'000;         ///< bytes that it has under way at most
  };

  MiniPeer(Plan plan, base::RandomSource& random, Send send)
      : plan_(std::move(plan)), random_(random), send_(std::move(send)) {}

  void on_segment(const PlainSegment& segment, base::Nanoseconds now);
  void on_time(base::Nanoseconds now);
  [[nodiscard]] base::Nanoseconds deadline() const { return deadline_; }
  /// Both directions have ended and everything of ours is acknowledged, or a reset came.
  [[nodiscard]] bool finished() const { return reset_ || (fin_received_ && all_acknowledged()); }
  [[nodiscard]] bool reset() const { return reset_; }
  [[nodiscard]] const Octets& received() const { return received_; }

 private:
  [[nodiscard]] std::uint32_t end() const {  // sequence number after our FIN
    return plan_.isn + 1 + static_cast<std::uint32_t>(plan_.to_send.size()) + 1;
  }
  [[nodiscard]] bool all_acknowledged() const { return open_ && una_ == end(); }
  void send(std::uint8_t flags, std::uint32_t seq, const Octets& payload, const Octets& options);
  void send_window(base::Nanoseconds now);
  void acknowledge() { send(0x10, next_, {}, {}); }

  Plan plan_;
  base::RandomSource& random_;
  Send send_;
  bool open_ = false;
  bool fin_received_ = false;
  bool reset_ = false;
  std::uint16_t our_port_ = 0;
  std::uint16_t their_port_ = 0;
  std::uint32_t una_ = 0;   // of ours
  std::uint32_t next_ = 0;  // of ours
  std::uint32_t expected_ = 0;
  std::size_t peer_window_ = 0;
  std::uint8_t peer_scale_ = 0;
  Octets received_;
  base::Nanoseconds deadline_ = kNever;
};

}  // namespace snowglobe::net
