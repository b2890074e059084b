// cli/shell.h - the `shell` verb: psql on a database of this process.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <string>

namespace snowglobe::cli {

/// Runs the host's psql against `database` through a loopback port that is open as long, with a
/// random password that goes by the environment. Returns psql's exit code. Throws Error if psql can
/// not be run.
int run_psql(Database& database);

}  // namespace snowglobe::cli
