// api/src/conninfo.h - connection parameters that leave nothing to the user's PG* environment.
#pragma once

#include "api/src/server.h"

#include <string>
#include <utility>
#include <vector>

namespace snowglobe::detail {

using ConnectionParameters = std::vector<std::pair<std::string, std::string>>;

/// Every parameter that libpq would else take from the environment, a service file or a password
/// file. `settings`: more of "-c name=value".
ConnectionParameters connection_parameters(const ServerAddress& address,
                                           const SessionOptions& options,
                                           const std::string& settings);

/// The same as one string, for other libraries.
std::string conninfo_string(const ServerAddress& address, std::string_view database,
                            std::string_view user);

/// What PGDATESTYLE, PGTZ and PGGEQO did to a session at its start, taken back; empty if they are
/// not set.
std::string undo_environment();

}  // namespace snowglobe::detail
