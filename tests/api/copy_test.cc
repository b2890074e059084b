// tests/api/copy_test.cc - COPY in and out: rows, raw text, escapes, errors and giving up half-way.
#include "tests/api/native_server.h"

#include <gtest/gtest.h>

namespace snowglobe {
namespace {

class CopyTest : public testing::NativeTest {
 protected:
  [[nodiscard]] const char* schema() const override {
    return "drop table if exists copied; create table copied(i int primary key, t text, b bytea)";
  }
};

TEST_F(CopyTest, AHundredThousandRowsGoInAndOut) {
  Session session = db().session();
  CopyWriter writer = session.copy_in("copy copied from stdin");
  for (int i = 0; i < 100'000; ++i)
    writer.row(i, "row " + std::to_string(i), std::nullopt);
  EXPECT_EQ(writer.finish(), 100'000U);
  CopyReader reader = session.copy_out("copy (select i, t from copied order by i) to stdout");
  int expected = 0;
  for (const auto& [i, text] : reader.rows<int, std::string>()) {
    ASSERT_EQ(i, expected);
    ASSERT_EQ(text, "row " + std::to_string(i));
    ++expected;
  }
  EXPECT_EQ(expected, 100'000);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(CopyTest, EveryCharacterSurvives) {
  Session session = db().session();
  const std::string odd = "tab\tnewline\nreturn\rback\\slash\\N\b\f\v \x01 ü \"quote\"";
  const Bytes bytes{std::byte{0}, std::byte{'\\'}, std::byte{255}};
  CopyWriter writer = session.copy_in("copy copied from stdin");
  writer.row(1, odd, bytes);
  writer.row(2, "\\N", std::nullopt);
  writer.row(3, "", Bytes{});
  writer.row(4, std::nullopt, bytes);
  EXPECT_EQ(writer.finish(), 4U);
  EXPECT_EQ(session.one<std::string>("select t from copied where i = 1"), odd);
  EXPECT_EQ(session.one<Bytes>("select b from copied where i = 1"), bytes);
  CopyReader reader = session.copy_out("copy (select * from copied order by i) to stdout");
  using Row = std::tuple<int, std::optional<std::string>, std::optional<Bytes>>;
  std::vector<Row> rows;
  while (auto row = reader.next<int, std::optional<std::string>, std::optional<Bytes>>()) {
    rows.push_back(*row);
  }
  EXPECT_EQ(
      rows,
      (std::vector<Row>{
          {1, odd, bytes}, {2, "\\N", std::nullopt}, {3, "", Bytes{}}, {4, std::nullopt, bytes}}));
}

TEST_F(CopyTest, RawTextOfAnyFormatPasses) {
  Session session = db().session();
  CopyWriter writer = session.copy_in("copy copied(i, t) from stdin (format csv)");
  writer.raw("1,\"a,b\"\n2,");
  writer.raw("c\n");
  EXPECT_EQ(writer.finish(), 2U);
  CopyReader reader = session.copy_out("copy (select i, t from copied order by i) to stdout csv");
  EXPECT_EQ(reader.raw(), "1,\"a,b\"\n");
  EXPECT_EQ(reader.raw(), "2,c\n");
  EXPECT_EQ(reader.raw(), std::nullopt);
}

TEST_F(CopyTest, AWriterThatIsDroppedCopiesNothing) {
  Session session = db().session();
  {
    CopyWriter writer = session.copy_in("copy copied from stdin");
    writer.row(1, "x", std::nullopt);
    EXPECT_THROW((void)session.query("select 1"), InvalidArgument);
  }
  EXPECT_EQ(session.one<int>("select count(*) from copied"), 0);
}

TEST_F(CopyTest, AReaderThatIsDroppedLeavesTheSessionUsable) {
  Session session = db().session();
  {
    CopyReader reader = session.copy_out("copy (select generate_series(1, 100000000)) to stdout");
    EXPECT_EQ(reader.raw(), "1\n");
  }
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

TEST_F(CopyTest, ABadRowIsTheServersErrorAtTheEnd) {
  Session session = db().session();
  CopyWriter writer = session.copy_in("copy copied from stdin");
  writer.row(1, "x", std::nullopt);
  writer.row(1, "again", std::nullopt);
  EXPECT_THROW(writer.finish(), UniqueViolation);
  EXPECT_EQ(session.one<int>("select count(*) from copied"), 0);
}

TEST_F(CopyTest, AStatementThatIsNoCopyIsRefused) {
  Session session = db().session();
  EXPECT_THROW((void)session.copy_in("select 1"), InvalidArgument);
  EXPECT_THROW((void)session.copy_in("copy copied to stdout"), InvalidArgument);
  EXPECT_THROW((void)session.copy_out("copy copied from stdin"), InvalidArgument);
  EXPECT_THROW((void)session.copy_out("copy nowhere to stdout"), UndefinedTable);
  EXPECT_EQ(session.one<int>("select 1"), 1);
}

}  // namespace
}  // namespace snowglobe
