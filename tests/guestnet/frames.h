// tests/guestnet/frames.h - frames made and read by hand, independently of guestnet/'s own code.
#pragma once

#include "base/clock.h"
#include "base/frame.h"
#include "guestnet/addresses.h"
#include "guestnet/alarm.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

namespace snowglobe::net {

using Octets = std::vector<std::uint8_t>;

inline const MacAddress kGuestMac{{0x02, 0x53, 0x47, 0x00, 0x00, 0x01}};

Octets operator+(Octets left, const Octets& right);
Octets be16(unsigned value);
Octets be32(std::uint32_t value);

/// The textbook Internet checksum, word by word.
std::uint16_t plain_checksum(const Octets& bytes);

Octets ethernet(const MacAddress& to, const MacAddress& from, std::uint16_t type,
                const Octets& payload);
/// IPv4 packet with a right header checksum.
Octets ipv4_packet(Ipv4Address from, Ipv4Address to, std::uint8_t protocol, const Octets& payload,
                   const Octets& options = {});
Octets icmp_message(std::uint8_t type, std::uint8_t code, const Octets& rest);
Octets udp_datagram(Ipv4Address from, std::uint16_t from_port, Ipv4Address to,
                    std::uint16_t to_port, const Octets& payload);

/// A TCP segment in plain fields.
struct PlainSegment {
  std::uint16_t from_port = 0;
  std::uint16_t to_port = 0;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  Octets options;  // padded to four by the writer
  Octets payload;
};

Octets tcp_bytes(Ipv4Address from, Ipv4Address to, const PlainSegment& segment);
/// Whole frame from the guest to one of our addresses.
Octets guest_tcp_frame(const AddressPlan& plan, Ipv4Address to, const PlainSegment& segment);

/// Reads a TCP frame that we sent; verifies lengths, the IP checksum and the TCP checksum, which
/// may be left to the receiver. Nothing (and a test failure) if something is wrong.
std::optional<PlainSegment> read_our_tcp(const AddressPlan& plan, const Octets& frame,
                                         const base::FrameOffload& offload);
/// The value of an option of the segment, if it has that option.
std::optional<std::uint32_t> tcp_option(const PlainSegment& segment, std::uint8_t kind);

/// The guest's card as a list of frames.
class FakeCable final : public base::FrameTransmitter {
 public:
  struct Sent {
    Octets frame;
    base::FrameOffload offload;
  };

  bool transmit(base::ConstBytes frame, const base::FrameOffload& offload) override;
  /// The oldest frame that was not taken yet.
  std::optional<Sent> take();

  std::deque<Sent> sent;
  bool refuse = false;
  std::size_t capacity = SIZE_MAX;  ///< frames that may wait in `sent`
};

class ManualAlarm final : public Alarm {
 public:
  void set_handler(std::function<void()> handler) override { handler_ = std::move(handler); }
  void set(base::Nanoseconds when) override { when_ = when; }
  [[nodiscard]] base::Nanoseconds when() const { return when_; }
  /// Moves the clock on, stopping at each deadline.
  void advance(base::ManualClock& clock, base::Nanoseconds by);

 private:
  std::function<void()> handler_;
  base::Nanoseconds when_ = kNever;
};

}  // namespace snowglobe::net
