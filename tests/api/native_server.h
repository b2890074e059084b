// tests/api/native_server.h - a native PostgreSQL of the host behind the face, to test the SQL
// layer in seconds. Started once a test program under a temporary folder; tests are skipped where
// PostgreSQL is not installed.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <gtest/gtest.h>
#include <optional>

namespace snowglobe::testing {

/// Nothing if the host has no PostgreSQL server.
std::optional<Database> open_native(const Options& options = {});

/// A test on such a server, with a time limit that ends a statement which hangs.
class NativeTest : public ::testing::Test {
 protected:
  void SetUp() override;
  /// Statements that make what the test needs; run before each.
  [[nodiscard]] virtual const char* schema() const { return ""; }
  Database& db() { return *db_; }

  std::optional<Database> db_;  // nothing where the test is skipped
};

}  // namespace snowglobe::testing
