// api/src/session_registry.h - all connections to one server, and how a save or a restore holds
// them still.
#pragma once

#include <snowglobe/export.hpp>

#include <mutex>
#include <vector>

namespace snowglobe::detail {

class Connection;

/// Thread rule: any thread, but never the machine's: whoever holds the sessions waits for that one.
class SessionRegistry {
 public:
  /// For as long as a connection is there, from before its first byte on.
  void add(Connection& connection);
  void remove(Connection& connection) noexcept;

  /// While it lives no connection comes or goes, none begins a call, and none that is between two
  /// calls is looked at by its user. Waits for nobody's statement: see Connection::in_call().
  class Hold {
   public:
    explicit Hold(SessionRegistry& registry);
    [[nodiscard]] const std::vector<Connection*>& connections() const {
      return registry_.connections_;
    }

   private:
    SessionRegistry& registry_;
    std::unique_lock<std::mutex> lock_;
    std::vector<std::unique_lock<std::mutex>> gates_;
  };

 private:
  std::mutex mutex_;  // taken before any connection's gate
  std::vector<Connection*> connections_;
};

}  // namespace snowglobe::detail
