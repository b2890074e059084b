// tests/guest/machine_fixture.h - one booted database for all tests of a program: a boot takes
// about a second.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <gtest/gtest.h>
#include <memory>

namespace snowglobe::testing {

/// Boots at the first use. Each test makes the tables that it needs, under names of its own.
class MachineTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  static Database& db();

 private:
  static std::unique_ptr<Database> database_;
};

/// What this process holds of the host.
struct Holdings {
  long resident_kib = 0;
  int threads = 0;
  int descriptors = 0;
};
Holdings holdings();

/// Processor time of this process so far.
std::chrono::nanoseconds processor_time();

}  // namespace snowglobe::testing
