// api/src/pg_wire.h - the few messages of PostgreSQL's protocol, version 3, that we read or write
// in the server's place (PostgreSQL's documentation, chapter 55.7).
#pragma once

#include "api/src/session_picture.h"
#include "base/bytes.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace snowglobe::detail {

/// What our own sessions add to their options, and how it is found there again.
std::string token_setting(SessionToken token, bool pooled);

/// How a client opens: the first packet of a connection.
struct StartupPacket {
  std::size_t size = 0;                           ///< bytes that it takes
  std::map<std::string, std::string> parameters;  ///< without our own setting
  SessionToken token = 0;                         ///< 0: not a session of ours
  bool pooled = false;

  /// All that the server makes a difference of. Two sessions with equal keys are alike at their
  /// start.
  [[nodiscard]] std::string key() const;
};

/// How much of a first packet has come.
enum class StartupState : std::uint8_t {
  partial,  ///< there may be more to it
  other,    ///< SSLRequest, CancelRequest, another version, or not the protocol at all
  startup,
};

/// Reads the first packet of a connection; `packet` is filled in for a startup packet.
StartupState read_startup(base::ConstBytes bytes, StartupPacket& packet);
/// No startup packet is longer (MAX_STARTUP_PACKET_LENGTH of PostgreSQL).
inline constexpr std::size_t kMaxStartup = 10'000;

std::string parameter_status(std::string_view name, std::string_view value);
/// "terminating connection", as a server that shuts down says it: 57P01, FATAL.
std::string last_words();
/// All that a server says between a startup packet and the first statement, for a session that is
/// there already. `key`: of its cancel requests.
std::string greeting(const SessionPicture& session, std::uint32_t key);

}  // namespace snowglobe::detail
