// tests/api/native_server.h - a native PostgreSQL of the host behind the face, to test the SQL
// layer in seconds. Started once a test program under a temporary folder; tests are skipped where
// PostgreSQL is not installed.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <optional>

namespace snowglobe::testing {

/// Nothing if the host has no PostgreSQL server.
std::optional<Database> open_native(const Options& options = {});

}  // namespace snowglobe::testing
