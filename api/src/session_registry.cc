// api/src/session_registry.cc - all connections to one server, and how they are held still.
#include "api/src/session_registry.h"

#include "api/src/connection.h"

#include <algorithm>

namespace snowglobe::detail {

void SessionRegistry::add(Connection& connection) {
  const std::lock_guard lock(mutex_);
  connections_.push_back(&connection);
}

void SessionRegistry::remove(Connection& connection) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(connections_, &connection);
}

SessionRegistry::Hold::Hold(SessionRegistry& registry)
    : registry_(registry), lock_(registry.mutex_) {
  gates_.reserve(registry_.connections_.size());
  for (Connection* connection : registry_.connections_)
    gates_.emplace_back(connection->gate());
}

}  // namespace snowglobe::detail
