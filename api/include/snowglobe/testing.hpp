// snowglobe/testing.hpp - GoogleTest fixtures with a fresh database for each test. Includes
// GoogleTest, which the library itself does not need; header only.
//
//   class ShopTest : public snowglobe::testing::FreshDatabaseOf<ShopTest> {
//    public:
//     static void set_up_database(snowglobe::Database& db) { db.script(kSchema); }   // once
//   };
//   TEST_F(ShopTest, AnOrderTakesFromStock) { db().execute("insert into orders ..."); ... }
//   TEST_F(ShopTest, StockIsFull) { ... }                       // the order is not there
//
// One machine a process and fixture; every test finds it as set_up_database() left it.
// FreshDatabaseOf puts it back (milliseconds; connections of the pool live on). ForkedDatabaseOf
// gives each test a machine of its own instead: for tests that run side by side on threads, or that
// break it. Safe under `ctest -j`: processes share nothing.
//
// SNOWGLOBE_KEEP_FAILED=FOLDER keeps the state at the end of each failed test in a store there, by
// the name "Suite.Test": SnapshotStore::open(FOLDER).find("Suite.Test").
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <cstdlib>
#include <exception>
#include <gtest/gtest.h>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace snowglobe::testing {

namespace detail {

/// A machine with what a suite set up in it, and how to get back there.
struct Ready {
  explicit Ready(Database opened) : database(std::move(opened)) {}

  Database database;
  std::optional<Snapshot> start;
};

/// The one of fixture `Suite`, made at its first use. A failed set-up throws for each test anew.
template <class Suite>
Ready& ready() {
  static std::mutex mutex;
  static std::unique_ptr<Ready> made;
  const std::lock_guard lock(mutex);
  if (!made) {
    auto fresh = std::make_unique<Ready>(Database::open_in_memory(Suite::database_options()));
    Suite::set_up_database(fresh->database);
    fresh->start = fresh->database.save("start of the tests");
    made = std::move(fresh);
  }
  return *made;
}

/// What SNOWGLOBE_KEEP_FAILED asks for.
inline void keep_failed(Database& database) {
  const ::testing::TestInfo* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  const char* const folder = std::getenv("SNOWGLOBE_KEEP_FAILED");  // NOLINT(concurrency-mt-unsafe)
  if (folder == nullptr || test == nullptr || !test->result()->Failed()) return;
  const std::string name = std::string(test->test_suite_name()) + '.' + test->name();
  try {
    SnapshotStore store = SnapshotStore::open(folder);
    store.put(database.save(name, {.note = "state at the end of the failed test"}));
    std::cerr << "snowglobe: the state is kept as '" << name << "' in " << folder << '\n';
  } catch (const std::exception& error) {
    std::cerr << "snowglobe: the state could not be kept: " << error.what() << '\n';
  }
}

/// What a suite may say about its database: hide these in the fixture.
class Defaults : public ::testing::Test {
 public:
  static Options database_options() { return {}; }
  /// Runs once; all tests start from what it leaves.
  static void set_up_database(Database&) {}
};

}  // namespace detail

/// Each test finds the database as set_up_database() left it. Tests of one process run one after
/// another, as GoogleTest does it. `Suite` is the fixture itself.
template <class Suite>
class FreshDatabaseOf : public detail::Defaults {
 protected:
  void SetUp() override {
    ready_ = &detail::ready<Suite>();
    if (dirty()) ready_->database.restore(*ready_->start);
    dirty() = true;
  }
  void TearDown() override {
    if (ready_ != nullptr) detail::keep_failed(ready_->database);
  }
  [[nodiscard]] Database& db() { return ready_->database; }

 private:
  /// A test has run since the database was as it should be.
  static bool& dirty() {
    static bool since = false;
    return since;
  }
  detail::Ready* ready_ = nullptr;
};

/// Each test has a machine of its own, forked from what set_up_database() left.
template <class Suite>
class ForkedDatabaseOf : public detail::Defaults {
 protected:
  void SetUp() override { fork_.emplace(fork()); }
  void TearDown() override {
    if (fork_) detail::keep_failed(*fork_);
    fork_.reset();
  }
  [[nodiscard]] Database& db() { return *fork_; }
  /// One more, from any thread.
  [[nodiscard]] static Database fork() {
    detail::Ready& ready = detail::ready<Suite>();
    return ready.database.fork(*ready.start);
  }

 private:
  std::optional<Database> fork_;
};

}  // namespace snowglobe::testing
