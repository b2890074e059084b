// tests/guestnet/guest_stack.h - a guest with many TCP connections as one plain value: it can be
// copied, and so be saved and rolled back. Go-back-N, no reassembly; shares no code with guestnet/.
#pragma once

#include "base/clock.h"
#include "tests/guestnet/frames.h"

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace snowglobe::net {

class GuestStack {
 public:
  static constexpr base::Nanoseconds kTimeout = std::chrono::milliseconds(300);
  static constexpr std::uint16_t kMss = 1460;

  struct Connection {
    std::uint64_t key = 0;  ///< which bytes it sends: see pattern_byte()
    std::uint32_t isn = 0;
    std::uint32_t una = 0;
    std::uint32_t next = 0;
    std::uint32_t expected = 0;
    std::uint32_t peer_window = 0;
    std::uint8_t peer_scale = 0;
    std::uint64_t written = 0;  ///< by the program, from the start of the stream
    bool open = false;          ///< the handshake is over
    bool ends = false;          ///< the program has hung up after `written`
    bool ended = false;         ///< the other side has, in order
    Octets inbox;               ///< what the program has not read yet
    base::Nanoseconds deadline = kNever;

    [[nodiscard]] std::uint32_t end() const {
      return isn + 1 + static_cast<std::uint32_t>(written) + (ends ? 1 : 0);
    }
  };

  /// A frame's segment gets in. `key` is for a connection that it opens.
  void on_segment(const PlainSegment& segment, base::Nanoseconds now, std::uint64_t key);
  void on_time(base::Nanoseconds now);
  [[nodiscard]] base::Nanoseconds deadline() const;
  /// The program writes so many bytes more.
  void write(std::uint16_t port, std::size_t count, base::Nanoseconds now);
  /// The program has no more to say.
  void hang_up(std::uint16_t port, base::Nanoseconds now);
  /// All of it was brought back after so much time.
  void shift_time(base::Nanoseconds by);

  /// By the port of the other side.
  std::map<std::uint16_t, Connection> connections;
  /// Segments for the card.
  std::deque<PlainSegment> out;

 private:
  void on_synchronized(std::uint16_t port, const PlainSegment& segment, base::Nanoseconds now);
  void take_ack(Connection& connection, const PlainSegment& segment);
  bool take_text(Connection& connection, const PlainSegment& segment);
  void send(std::uint16_t port, std::uint8_t flags, std::uint32_t seq, const Octets& payload = {});
  void send_window(std::uint16_t port, base::Nanoseconds now);
};

/// Byte number `offset` of the stream with this key: such that no other place of any stream is
/// likely to go on the same way.
std::uint8_t pattern_byte(std::uint64_t key, std::uint64_t offset);

}  // namespace snowglobe::net
