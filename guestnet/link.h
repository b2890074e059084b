// guestnet/link.h - our end of the cable itself: sends frames, and waits when the guest has no
// buffer.
#pragma once

#include "base/frame.h"
#include "guestnet/capture.h"
#include "guestnet/network.h"

#include <deque>
#include <vector>

namespace snowglobe::net {

/// Two ways to send. TCP asks with send() and, when refused, makes the segment anew later, so
/// nothing of it waits here. Answers that are made once (ARP, ICMP, DHCP, resets) go through
/// send_or_queue().
///
/// Invariant: at most kQueueLimit frames wait, each at most kSmallFrame bytes.
class Link {
 public:
  static constexpr std::size_t kQueueLimit = 64;
  static constexpr std::size_t kSmallFrame = kMtu + 14;

  Link(NetworkStatistics& statistics, std::unique_ptr<Capture> capture)
      : statistics_(statistics), capture_(std::move(capture)) {}

  /// Null: everything is refused.
  void attach(base::FrameTransmitter* transmitter);
  /// True: everything is refused until hold(false), and on_ready() after it.
  void hold(bool held) { held_ = held; }
  /// Forgets what waits: it was for a guest that is gone.
  void drop_waiting() { queue_.clear(); }
  /// False after a refusal, until on_ready().
  [[nodiscard]] bool ready() const {
    return transmitter_ != nullptr && !held_ && !refused_ && queue_.empty();
  }

  /// False: not taken; on_ready() will follow.
  bool send(base::ConstBytes frame, const base::FrameOffload& offload);
  /// Never fails visibly; a frame that finds the queue full is dropped, as a real wire would.
  void send_or_queue(base::ConstBytes frame);

  /// The transmitter has room: sends what waits. Afterwards ready() tells whether there is more
  /// room.
  void on_ready();

  /// Counts and records a frame of the guest.
  void note_received(base::ConstBytes frame, const base::FrameOffload& offload);

 private:
  bool transmit(base::ConstBytes frame, const base::FrameOffload& offload);

  NetworkStatistics& statistics_;
  std::unique_ptr<Capture> capture_;
  base::FrameTransmitter* transmitter_ = nullptr;
  bool refused_ = false;
  bool held_ = false;
  std::deque<std::vector<std::uint8_t>> queue_;
};

}  // namespace snowglobe::net
