// api/src/database_state.h - what a Database points at: the server, and the pool of its auto-commit
// sessions.
#pragma once

#include "api/src/connection.h"
#include "api/src/exposure.h"
#include "api/src/server.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <sys/types.h>
#include <vector>

namespace snowglobe::detail {

/// Thread rule: any thread.
class DatabaseState : public std::enable_shared_from_this<DatabaseState> {
 public:
  DatabaseState(std::shared_ptr<Server> server, const Options& options);

  [[nodiscard]] Server& server() const { return *server_; }
  [[nodiscard]] const std::shared_ptr<Server>& server_handle() const { return server_; }
  /// A new connection of the caller's own.
  std::shared_ptr<Connection> connect(const SessionOptions& options);
  /// One of the pool; goes back when the last copy is gone. Waits at most the statement limit for
  /// one.
  std::shared_ptr<Connection> acquire();
  void close() noexcept;
  [[nodiscard]] bool in_owner_process() const noexcept;
  [[nodiscard]] Exposure& exposure() { return exposure_; }

 private:
  /// Takes an idle one, or the right to open one (null).
  std::shared_ptr<Connection> take_idle();
  void give_back(std::shared_ptr<Connection> connection) noexcept;

  std::shared_ptr<Server> server_;
  const std::chrono::milliseconds limit_;
  const unsigned pool_size_;
  const pid_t owner_;
  Exposure exposure_;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Connection>> idle_;  // the last one used is at the back
  unsigned lent_ = 0;
  bool closed_ = false;
};

}  // namespace snowglobe::detail
