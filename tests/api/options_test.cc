// tests/api/options_test.cc - options that can never work are told apart from everything else:
// InvalidArgument, the member's name, and nothing was built.
#include "api/src/deadline.h"
#include "tests/support/temporary_folder.h"
#include <snowglobe/snowglobe.hpp>

#include <gtest/gtest.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;

/// What open_in_memory() says of them, which must not get as far as to look for the image.
std::string complaint(Options options) {
  options.image = "/no/such/image";
  try {
    (void)Database::open_in_memory(options);
  } catch (const InvalidArgument& error) {
    return error.what();
  } catch (const Error& error) {
    return "not an InvalidArgument: " + std::string(error.what());
  }
  return "nothing";
}

::testing::AssertionResult names(const std::string& text, const std::string& member) {
  if (text.find(member) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << text << "' does not name " << member;
}

template <class Enum>
Enum beyond() {
  return static_cast<Enum>(200);
}

TEST(BadOptions, AreNamed) {
  EXPECT_TRUE(names(complaint({.settings = {{"no such", "x"}}}), "'no such'"));
  EXPECT_TRUE(names(complaint({.settings = {{"", "x"}}}), "Options::settings"));
  EXPECT_TRUE(names(complaint({.settings = {{"work_mem", std::string("1\0MB", 4)}}}), "work_mem"));
  EXPECT_TRUE(names(complaint({.executor = beyond<Executor>()}), "Options::executor"));
  EXPECT_TRUE(names(complaint({.start = beyond<Start>()}), "Options::start"));
  EXPECT_TRUE(names(complaint({.create = beyond<Create>()}), "Options::create"));
  EXPECT_TRUE(names(complaint({.durability = beyond<Durability>()}), "Options::durability"));
  EXPECT_TRUE(names(complaint({.restart = beyond<Restart>()}), "Options::restart"));
  using std::chrono::sys_days;
  EXPECT_TRUE(names(complaint({.frozen_time = sys_days(1969y / 12 / 31)}), "frozen_time"));
  EXPECT_TRUE(names(complaint({.frozen_time = sys_days(2038y / 1 / 1)}), "frozen_time"));
  EXPECT_TRUE(names(complaint({.boot_limit = 0ms}), "Options::boot_limit"));
  EXPECT_TRUE(names(complaint({.boot_limit = -1ms}), "Options::boot_limit"));
  EXPECT_TRUE(names(complaint({.statement_limit = -1ms}), "Options::statement_limit"));
  EXPECT_TRUE(names(complaint({.pool_size = 0}), "Options::pool_size"));
  EXPECT_TRUE(names(complaint({.pool_size = 4'000'000'000}), "1 to 1000"));
}

TEST(BadOptions, OfAFolderLeaveNoFolder) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "db";
  EXPECT_THROW((void)Database::open(path, {.pool_size = 0}), InvalidArgument);
  EXPECT_THROW((void)Database::open(path, {.relaxed_window = 1ms}), InvalidArgument);
  EXPECT_THROW((void)Database::open(path, {.relaxed_window = 31s}), InvalidArgument);
  EXPECT_THROW((void)Database::open(path, {.create = Create::never}), Error);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(BadOptions, OfAStoreAreNamed) {
  const test::TemporaryFolder folder;
  for (const unsigned size : {0u, 2u, 3u, 65u, 2048u, 1u << 31}) {
    EXPECT_THROW((void)SnapshotStore::open(folder.path() / "s", {.chunk_kib = size}),
                 InvalidArgument)
        << size;
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "s"));
}

TEST(Limits, OfAnyLengthAreMoments) {
  using detail::Deadline;
  const auto now = std::chrono::steady_clock::now();
  EXPECT_GT(*Deadline(std::chrono::milliseconds::max()).at(), now + std::chrono::hours(24 * 300));
  EXPECT_FALSE(Deadline(std::chrono::milliseconds::max()).passed());
  EXPECT_FALSE(Deadline(0ms).at().has_value());
  EXPECT_FALSE(Deadline(std::chrono::milliseconds::min()).at().has_value());
  EXPECT_LT(detail::moment_after(std::chrono::milliseconds::min()), now);
}

}  // namespace
}  // namespace snowglobe
