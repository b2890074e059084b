// api/src/session_picture.h - what a snapshot keeps of a session besides its backend: the part that
// lives in this process.
#pragma once

#include <snowglobe/session.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace snowglobe::detail {

/// Names a connection of this process to the machine that serves it: goes along with the startup
/// packet as the setting `snowglobe.session`. Never used twice in a process.
using SessionToken = std::uint64_t;

/// Who may go on with a session in a fork, where the client that it had is not.
enum class Adoption : std::uint8_t {
  nobody,   ///< somebody relies on what is in it
  pool,     ///< it was of the database's own pool, and may be again
  anybody,  ///< it is as fresh
};

/// The client's end of a session that was idle outside of a transaction. Plain, and not trusted
/// when it comes from a file: it says what a client is told, never what is done to memory.
struct SessionPicture {
  std::uint64_t stream = 0;  ///< net::StreamId
  Adoption adoption = Adoption::nobody;
  std::int32_t backend_pid = 0;
  std::string startup;  ///< what it opened with: StartupPacket::key()
  std::vector<std::pair<std::string, std::string>> parameters;  ///< that the server reports
  std::vector<std::string> prepared;                            ///< names in the backend
  std::vector<Notification> notifications;                      ///< that came and wait to be read
};

}  // namespace snowglobe::detail
