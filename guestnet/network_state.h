// guestnet/network_state.h - a network at rest: plain data, and its form as bytes.
// docs/guestnet.md, "Saved and restored", says what is in it, and why the rest is not.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "guestnet/addresses.h"
#include "guestnet/stream_info.h"
#include "guestnet/tcp_connection.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace snowglobe::net {

/// A stream that can go on: nothing of it was under way.
struct SavedStream {
  StreamId id = 0;
  FourTuple tuple;
  std::uint64_t bytes_to_guest = 0;
  std::uint64_t bytes_to_client = 0;
  TcpControlBlock block;
  bool owes_ack = false;  ///< the guest waits for an acknowledgement
};

/// A connection that can not go on; the guest's end of it must be told.
struct SavedReset {
  StreamId id = 0;  ///< 0: its stream was closed before
  FourTuple tuple;
  TcpReset reset;
};

struct NetworkState {
  AddressPlan plan;
  std::optional<MacAddress> guest_mac;
  std::uint16_t next_port = 0;  ///< the guest may remember those just before it
  std::vector<SavedStream> streams;
  std::vector<SavedReset> resets;
};

[[nodiscard]] std::vector<std::uint8_t> encode(NetworkState state);
/// Checks everything that can be checked without a network to put it into. Errors: kCorrupt.
[[nodiscard]] base::Result<NetworkState> decode(base::ConstBytes bytes);

/// The last 8 bytes of an encoded state: FNV-1a of what is before them. Against accidents, not
/// against anybody.
[[nodiscard]] std::uint64_t state_digest(base::ConstBytes body);

}  // namespace snowglobe::net
