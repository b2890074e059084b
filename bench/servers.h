// bench/servers.h - brings the sides up with one set of settings, and checks that it is one.
#pragma once

#include "bench/native_server.h"
#include "bench/plan.h"
#include "bench/report.h"
#include "bench/row.h"
#include <memory>

namespace bench {

/// The native servers, for as long as they are wanted.
using NativeServers = Sides<std::unique_ptr<NativeServer>>;

/// Boots a machine to ask it for its image and its server's settings, starts the native servers
/// with these, fills in the plan, and writes the report's head. A native server that can not be had
/// is a line there; without a machine it throws std::runtime_error.
NativeServers start_servers(Plan& plan, Report& report);

/// Others like those, of this process alone, for rows that restart them. Throws std::runtime_error.
NativeServers own_servers(const Plan& plan);

}  // namespace bench
