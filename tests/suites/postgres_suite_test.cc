// tests/suites/postgres_suite_test.cc - PostgreSQL's regression and isolation suites against the
// machine, with their own expected files. ctest runs the subsets and the whole suites apart.
#include "tests/suites/postgres_suite.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <iostream>
#include <iterator>
#include <memory>
#include <set>

namespace snowglobe::testing {
namespace {

using std::chrono::minutes;

const std::filesystem::path kFolder = SNOWGLOBE_TEST_FOLDER;

/// Tests in which psql reads a file that the server wrote, or the server one of psql's: from
/// outside of the machine the two do not share a file system.
const std::set<std::string> kNeedSharedFolder = {"psql", "largeobject"};

class PostgresSuiteTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (PostgresSuite::available()) suite_ = std::make_unique<PostgresSuite>();
  }
  static void TearDownTestSuite() { suite_.reset(); }
  void SetUp() override {
    if (!suite_) GTEST_SKIP() << "the image was built without the suites' files";
  }

  static void expect_all_passed(const SuiteResult& result, std::size_t at_least) {
    std::cout << result.output << result.passed.size() << " passed, " << result.failed.size()
              << " failed\n";
    std::vector<std::string> unexpected;
    std::copy_if(result.failed.begin(), result.failed.end(), std::back_inserter(unexpected),
                 [](const std::string& name) { return !kNeedSharedFolder.contains(name); });
    EXPECT_TRUE(unexpected.empty()) << "results are in " << suite_->folder() << '\n'
                                    << result.differences;
    EXPECT_EQ(result.status == 0, result.failed.empty()) << result.status;
    EXPECT_GE(result.passed.size(), at_least);
  }

  static std::unique_ptr<PostgresSuite> suite_;
};

std::unique_ptr<PostgresSuite> PostgresSuiteTest::suite_;

TEST_F(PostgresSuiteTest, SubsetOfTheRegressionSuitePasses) {
  expect_all_passed(suite_->regress(kFolder / "regress_subset.schedule", minutes(8)), 25);
}

TEST_F(PostgresSuiteTest, SubsetOfTheIsolationSuitePasses) {
  expect_all_passed(suite_->isolation(kFolder / "isolation_subset.schedule", minutes(4)), 10);
}

TEST_F(PostgresSuiteTest, WholeRegressionSuitePasses) {
  expect_all_passed(suite_->regress({}, minutes(110)), 200);
}

TEST_F(PostgresSuiteTest, WholeIsolationSuitePasses) {
  expect_all_passed(suite_->isolation({}, minutes(80)), 100);
}

}  // namespace
}  // namespace snowglobe::testing
