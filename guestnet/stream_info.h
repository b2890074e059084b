// guestnet/stream_info.h - what is known about a stream: a client's socket joined to a guest's TCP
// port.
#pragma once

#include "base/clock.h"
#include "guestnet/addresses.h"

#include <cstdint>
#include <functional>
#include <string_view>

namespace snowglobe::net {

/// Never zero and never used twice: ids of a network follow each other from a random number on, so
/// that those of a saved state mean the same streams in another network or process, or none.
using StreamId = std::uint64_t;
/// Likewise, for listeners: tells which listener a stream came in by.
using ListenerId = std::uint64_t;

enum class StreamState : std::uint8_t {
  kConnecting,  ///< the guest has not answered yet
  kOpen,        ///< bytes may flow in at least one direction
  kClosed,      ///< only in the call that reports the end
};

enum class CloseReason : std::uint8_t {
  kNone,          ///< still there
  kFinished,      ///< both directions ended in order
  kGuestRefused,  ///< nobody listens on the guest's port
  kGuestReset,    ///< the guest broke the connection off
  kGuestSilent,   ///< no answer within the time limits
  kClientFailed,  ///< the client's socket broke, or was closed with bytes for it under way
  kRequested,     ///< close_stream()
  kShutDown,      ///< Network::shutdown()
  kRolledBack,    ///< Network::restore(): the guest that it belonged to is gone
};

[[nodiscard]] std::string_view to_string(CloseReason reason);

struct StreamInfo {
  StreamId id = 0;
  ListenerId listener = 0;
  StreamState state = StreamState::kConnecting;
  CloseReason close_reason = CloseReason::kNone;
  Ipv4Address source;             ///< as the guest sees the client
  std::uint16_t source_port = 0;  ///< inet_client_port() in the guest; unique among open streams
  std::uint16_t guest_port = 0;
  std::uint64_t bytes_to_guest = 0;   ///< read from the client, in all
  std::uint64_t bytes_to_client = 0;  ///< written to the client, in all
  std::uint64_t unacknowledged = 0;   ///< read from the client, not yet acknowledged by the guest
  std::uint64_t undelivered = 0;  ///< received from the guest, not yet taken by the client's socket
  std::uint64_t unread = 0;       ///< written by the client, not yet read from its socket
  /// An upper estimate of what the client has not yet read from its socket. Unix sockets only.
  std::uint64_t unread_by_client = 0;
  /// Could go on after a restore: open in both directions, and all the counts from unacknowledged
  /// to unread are 0. What the guest has not sent yet can not be seen from here.
  bool quiet = false;
  base::Nanoseconds opened_at{0};   ///< monotonic time of the network's clock
  base::Nanoseconds idle_since{0};  ///< when the last byte moved in either direction
};

/// Called on the network's thread when a stream has ended; it is already out of the table.
using StreamObserver = std::function<void(const StreamInfo&)>;

}  // namespace snowglobe::net
