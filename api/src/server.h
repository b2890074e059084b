// api/src/server.h - what sessions and the pool need of whoever runs PostgreSQL: a booted machine,
// or in tests a native server.
#pragma once

#include "api/src/session_registry.h"
#include "base/error.h"
#include <snowglobe/database.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::detail {

struct MachinePicture;

/// Where libpq finds the server.
struct ServerAddress {
  std::string host;  ///< "@abstract" or a folder
  std::string port;
  std::string settings = {};  ///< of every session: "-c name=value ..."
};

/// Thread rule: any thread.
class Server {
 public:
  virtual ~Server() = default;

  /// Of all connections that were opened to it.
  [[nodiscard]] SessionRegistry& sessions() { return sessions_; }

  [[nodiscard]] virtual ServerAddress address() const = 0;
  /// Returns while the server is there; throws GuestCrashed or ConnectionLost("closed") if not.
  /// With `grace` it waits that long for the news of an end, since a connection may break before
  /// the reason is known.
  virtual void check(std::chrono::milliseconds grace) = 0;
  /// Notices of the server ("NOTICE: ..."), for Options::on_log.
  virtual void log(const LogLine& line) = 0;
  /// Ends it. Idempotent.
  virtual void close() noexcept = 0;
  [[nodiscard]] virtual bool is_open() const noexcept = 0;

  [[nodiscard]] virtual Info info() const = 0;
  [[nodiscard]] virtual Stats stats() const = 0;
  [[nodiscard]] virtual std::vector<std::string> console() const = 0;

  virtual ExecResult exec(const std::vector<std::string>& arguments,
                          const ExecOptions& options) = 0;
  virtual void put(std::string_view path, std::string_view contents, unsigned mode) = 0;
  virtual std::string get(std::string_view path) = 0;

  /// Lets clients of a TCP port of the host in; port 0: any free one. Returns the port. Throws
  /// InvalidArgument (address), Error (port in use), ConnectionLost, GuestCrashed.
  virtual std::uint16_t listen(const std::string& address, std::uint16_t port) = 0;
  /// Ends that; an empty address: all of them. Clients that are in stay.
  virtual void unlisten(const std::string& address, std::uint16_t port) = 0;

  /// Cancels what a backend runs. False if there is no other way than a cancel request; true does
  /// not say that there was something to cancel.
  virtual bool cancel_statement(int backend_pid, std::chrono::milliseconds limit) noexcept = 0;

  /// The machine as it is. Throws SnapshotError, TimeoutError, ConnectionLost, GuestCrashed.
  virtual std::shared_ptr<const MachinePicture> capture() = 0;
  /// Puts it back and ends the sessions that cannot go on; or throws as capture(), and
  /// InvalidArgument (another image or size), and nothing has changed.
  virtual void restore(const std::shared_ptr<const MachinePicture>& picture) = 0;
  /// Another one, that goes on from there. Throws as Database::open_in_memory().
  virtual std::shared_ptr<Server> fork(const std::shared_ptr<const MachinePicture>& picture,
                                       const Options& options) = 0;
  /// Another size of the data disk: Options::disk_limit_mb. Throws InvalidArgument, and as exec().
  virtual void set_disk_limit(unsigned megabytes) = 0;
  /// Makes the guest's memory fit for a small snapshot. Throws as exec().
  virtual void quiesce() = 0;

 private:
  SessionRegistry sessions_;
};

}  // namespace snowglobe::detail
