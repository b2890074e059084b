// tests/guest/numbers_test.cc - floating point, numeric and date arithmetic of the emulated
// processor against what the very same PostgreSQL (the image's i686 binaries) gave on a real one:
// numbers.expected has a line of results, separated by '|', for each line of numbers.sql.
#include "tests/guest/machine_fixture.h"

#include <fstream>

namespace snowglobe {
namespace {

std::vector<std::string> lines_of(const char* name) {
  std::ifstream file(std::string(SNOWGLOBE_TEST_FOLDER "/") + name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);)
    lines.push_back(line);
  return lines;
}

using NumbersTest = testing::MachineTest;

TEST_F(NumbersTest, EveryResultIsThatOfARealProcessor) {
  const std::vector<std::string> statements = lines_of("numbers.sql");
  const std::vector<std::string> expected = lines_of("numbers.expected");
  ASSERT_GE(statements.size(), 40U);
  ASSERT_EQ(statements.size(), expected.size());
  Session session = db().session();
  for (std::size_t i = 0; i < statements.size(); ++i) {
    const Result result = session.query(statements[i]);
    ASSERT_EQ(result.size(), 1U) << statements[i];
    std::string row;
    for (std::size_t column = 0; column < result.columns().size(); ++column) {
      if (column > 0) row += '|';
      row += result.text(0, column).value_or("");
    }
    EXPECT_EQ(row, expected[i]) << statements[i];
  }
}

}  // namespace
}  // namespace snowglobe
