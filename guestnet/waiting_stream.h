// guestnet/waiting_stream.h - a restored connection whose client is still to come.
#pragma once

#include "guestnet/network_state.h"
#include "guestnet/tcp_connection.h"

#include <functional>
#include <memory>
#include <utility>

namespace snowglobe::net {

/// Holds a connection that is at rest. There is nowhere to put what the guest might say, and to
/// keep it would make the stream one with bytes under way: so the guest that does not wait is told
/// that nobody is there. Thread rule: as Network.
class WaitingStream final : public TcpUser, public std::enable_shared_from_this<WaitingStream> {
 public:
  /// Takes the stream out of the table of those that wait.
  using OnGone = std::function<void(StreamId)>;

  WaitingStream(const SavedStream& saved, const base::Clock& clock, OnGone on_gone);

  void take(TcpConnection& connection) { connection_ = &connection; }
  /// The connection, for another user.
  [[nodiscard]] TcpConnection& release() { return *std::exchange(connection_, nullptr); }
  /// Resets the guest's end.
  void drop();

  [[nodiscard]] const StreamInfo& info() const { return info_; }
  [[nodiscard]] const TcpConnection& connection() const { return *connection_; }

  void on_established() override {}
  std::size_t on_data(base::ConstBytes bytes) override;
  void on_end_of_data() override { drop(); }
  void on_send_room() override {}
  void on_closed(CloseReason reason) override;

 private:
  StreamInfo info_;
  OnGone on_gone_;
  TcpConnection* connection_ = nullptr;  // not null while it is in the table
};

/// How a saved stream looks to the API.
[[nodiscard]] StreamInfo info_of(const SavedStream& saved);

}  // namespace snowglobe::net
