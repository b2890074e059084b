// tests/api/pipeline_test.cc - many statements in one go: results, errors, what is taken back.
#include "tests/api/native_server.h"

#include <gtest/gtest.h>
#include <thread>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;

class PipelineTest : public testing::NativeTest {
 protected:
  void SetUp() override {
    NativeTest::SetUp();
    if (db_) session_.emplace(db_->session());
  }
  [[nodiscard]] const char* schema() const override {
    return "drop table if exists piped; create table piped(i int primary key, t text)";
  }
  Session& session() { return *session_; }
  int count() { return db_->one<int>("select count(*) from piped"); }

  std::optional<Session> session_;
};

TEST_F(PipelineTest, EveryStatementHasItsResult) {
  Pipeline pipeline = session().pipeline();
  const Pending first = pipeline.push("insert into piped values ($1, $2) returning i", 1, "one");
  std::vector<Pending> rest;
  {
    // Parameters are copied.
    const std::string text(100, 'x');
    for (int i = 2; i <= 500; ++i)
      rest.push_back(pipeline.push("insert into piped values ($1, $2)", i, std::string_view(text)));
  }
  const Pending sum = pipeline.push("select sum(i), max(t) from piped where i < $1", 3);
  EXPECT_EQ(pipeline.size(), 501U);
  EXPECT_THROW((void)first.get(), InvalidArgument);
  EXPECT_EQ(count(), 0);
  pipeline.sync();
  EXPECT_EQ(pipeline.size(), 0U);
  EXPECT_EQ(first.one<int>(), 1);
  for (const Pending& pending : rest)
    EXPECT_EQ(pending.affected(), 1U);
  EXPECT_EQ((sum.one<int, std::string>()), std::make_tuple(3, std::string(100, 'x')));
  pipeline.sync();
  EXPECT_EQ(session().one<int>("select 1"), 1);
}

TEST_F(PipelineTest, AnErrorTakesAllOfItBack) {
  Pipeline pipeline = session().pipeline();
  const Pending before = pipeline.push("insert into piped values (1, 'a')");
  const Pending wrong = pipeline.push("insert into piped values (1, 'b')");
  const Pending after = pipeline.push("insert into piped values (2, 'c')");
  EXPECT_THROW(pipeline.sync(), UniqueViolation);
  EXPECT_EQ(before.affected(), 1U);
  EXPECT_THROW((void)wrong.get(), UniqueViolation);
  EXPECT_THROW((void)after.get(), PipelineAborted);
  EXPECT_EQ(count(), 0);
  const Pending again = pipeline.push("insert into piped values (3, 'd')");
  pipeline.sync();
  EXPECT_EQ(again.affected(), 1U);
  EXPECT_EQ(count(), 1);
}

TEST_F(PipelineTest, InsideATransactionItIsPartOfIt) {
  Transaction transaction = session().begin();
  Pipeline pipeline = session().pipeline();
  pipeline.push("insert into piped values (1, 'a')");
  pipeline.sync();
  EXPECT_EQ(count(), 0);
  EXPECT_EQ(session().state(), SessionState::in_transaction);
  pipeline.push("insert into piped values (1, 'a')");
  EXPECT_THROW(pipeline.sync(), UniqueViolation);
  EXPECT_EQ(session().state(), SessionState::failed);
  transaction.rollback();
  EXPECT_EQ(count(), 0);
}

TEST_F(PipelineTest, PreparedStatementsGoAlong) {
  Statement insert = session().prepare("insert into piped values ($1, $2)");
  Pipeline pipeline = session().pipeline();
  for (int i = 0; i < 100; ++i)
    pipeline.push(insert, i, std::nullopt);
  pipeline.sync();
  EXPECT_EQ(count(), 100);
  Session other = db_->session();
  Pipeline elsewhere = other.pipeline();
  EXPECT_THROW(elsewhere.push(insert, 1, "x"), InvalidArgument);
}

// Both ends' buffers are full long before the last statement is written.
TEST_F(PipelineTest, LargeAnswersDoNotStopTheQuestions) {
  Pipeline pipeline = session().pipeline();
  const std::string text(200'000, 'q');
  std::vector<Pending> answers;
  for (int i = 0; i < 60; ++i)
    answers.push_back(pipeline.push("select $1::text || repeat('a', 200000)", text));
  pipeline.sync();
  for (const Pending& answer : answers)
    EXPECT_EQ(answer.one<std::string>().size(), 400'000U);
}

TEST_F(PipelineTest, WhatCannotBeSentIsRefusedAtOnce) {
  using namespace std::string_literals;
  Pipeline pipeline = session().pipeline();
  EXPECT_THROW(pipeline.push("select $1", "a\0b"s), InvalidArgument);
  EXPECT_THROW(pipeline.push("select 1\0"s), InvalidArgument);
  EXPECT_EQ(pipeline.size(), 0U);
  pipeline.push("insert into piped values (1, 'a')");
}

TEST_F(PipelineTest, ACopyEndsTheSessionWithWords) {
  Pipeline pipeline = session().pipeline();
  const Pending copy = pipeline.push("copy piped from stdin");
  EXPECT_THROW(pipeline.sync(), Error);
  EXPECT_THROW((void)copy.get(), Error);
  EXPECT_EQ(count(), 0);
}

TEST_F(PipelineTest, ALimitHoldsForAllOfIt) {
  session().set_statement_limit(500ms);
  Pipeline pipeline = session().pipeline();
  const Pending first = pipeline.push("select 7");
  const Pending slow = pipeline.push("select pg_sleep(30)");
  const Pending after = pipeline.push("select 1");
  EXPECT_THROW(pipeline.sync(), TimeoutError);
  EXPECT_EQ(first.one<int>(), 7);
  EXPECT_THROW((void)slow.get(), TimeoutError);
  EXPECT_THROW((void)after.get(), PipelineAborted);
  EXPECT_EQ(session().one<int>("select 1"), 1);
}

TEST_F(PipelineTest, ASessionThatIsEndedFailsWhatIsLeft) {
  Pipeline pipeline = session().pipeline();
  const Pending first = pipeline.push("select 1");
  const Pending end = pipeline.push("select pg_terminate_backend(pg_backend_pid())");
  const Pending last = pipeline.push("select 2");
  EXPECT_THROW(pipeline.sync(), ConnectionLost);
  EXPECT_EQ(first.one<int>(), 1);
  EXPECT_THROW((void)end.get(), ConnectionLost);
  EXPECT_THROW((void)last.get(), ConnectionLost);
  EXPECT_FALSE(session().usable());
  EXPECT_EQ(session().state(), SessionState::closed);
}

}  // namespace
}  // namespace snowglobe
