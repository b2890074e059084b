// api/src/pipe_clients.h - clients of this process at the guest's door: which of them are our own
// sessions, and which session that waits in a restored machine they can take over.
#pragma once

#include "api/src/pg_wire.h"
#include "api/src/session_picture.h"
#include "guestnet/network.h"

#include <array>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::detail {

/// Looks at the first packet of each client of the private pipe before the guest does. A session of
/// ours names itself there; if one that opened alike waits in the machine, its backend is taken
/// over and the greeting is ours. All others get a connection into the guest.
/// Thread rule: the machine's thread, or any while nobody runs the loop.
class PipeClients {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  /// A session of ours that is open.
  struct Own {
    net::StreamId stream = 0;
    bool pooled = false;
    std::string startup;  ///< StartupPacket::key()
  };

  explicit PipeClients(net::Network& network) : network_(network) {}

  /// Of the pipe's listener.
  void set_target(const net::StreamTarget& target) { target_ = target; }
  void on_client(Socket client);
  /// Sessions that wait in the machine (RestorePlan::wait) and may be taken over.
  void set_waiting(std::vector<SessionPicture> sessions) { waiting_ = std::move(sessions); }
  /// Those that still wait: a backend may end, or say something that nobody was there for.
  [[nodiscard]] const std::vector<SessionPicture>& waiting();
  /// Turns away who has not said anything yet, and everybody from now on.
  void close();

  /// Null if there is no such session, or if its stream has ended.
  [[nodiscard]] const Own* find(SessionToken token) const;
  void stream_closed(net::StreamId stream);

 private:
  struct Newcomer : std::enable_shared_from_this<Newcomer> {
    explicit Newcomer(Socket from) : socket(std::move(from)) {}
    Socket socket;
  };

  void look_at(const std::shared_ptr<Newcomer>& newcomer);
  void let_in(Socket client, const StartupPacket* packet);
  bool take_over(Socket& client, const StartupPacket& packet);
  void note(net::StreamId stream, const StartupPacket& packet);

  net::Network& network_;
  net::StreamTarget target_;
  std::list<std::shared_ptr<Newcomer>> newcomers_;  // who has not said anything yet
  std::map<SessionToken, Own> own_;
  std::vector<SessionPicture> waiting_;
  bool closed_ = false;
};

}  // namespace snowglobe::detail
