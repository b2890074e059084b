// tests/api/session_extras_test.cc - what a session has beside statements: subscriptions, notices,
// its state, libpq's own object, COPY of structs, statements that do not wait.
#include "tests/api/native_server.h"
#include <snowglobe/async.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <mutex>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;

class SessionExtrasTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.statement_limit = 20s;
    options_.on_log = [this](const LogLine& line) {
      const std::lock_guard lock(mutex_);
      log_ += line.text + '\n';
    };
    auto opened = testing::open_native(options_);
    if (!opened) GTEST_SKIP() << "no PostgreSQL server is installed on this host";
    db_.emplace(std::move(*opened));
  }
  Database& db() { return *db_; }
  std::string log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }

  Options options_;
  std::mutex mutex_;
  std::string log_;
  std::optional<Database> db_;
};

/// Until `done`, or for five seconds.
template <class Done>
bool comes_true(const Done& done) {
  for (int i = 0; i < 500; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

TEST_F(SessionExtrasTest, ASubscriptionCallsBackUntilItIsDropped) {
  std::atomic<int> sum = 0;
  {
    const Subscription subscription = db().subscribe(
        "numbers", [&](const Notification& said) { sum += std::stoi(said.payload); });
    Session sender = db().session();
    for (int i = 1; i <= 10; ++i)
      sender.notify("numbers", std::to_string(i));
    sender.notify("others", "1000");
    EXPECT_TRUE(comes_true([&] { return sum == 55; })) << sum;
    EXPECT_TRUE(subscription.active());
  }
  db().session().notify("numbers", "1000");
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ(sum, 55);
}

TEST_F(SessionExtrasTest, WhatACallbackThrowsGoesToTheLog) {
  std::atomic<int> calls = 0;
  const Subscription subscription = db().subscribe("numbers", [&](const Notification& said) {
    ++calls;
    (void)std::stoi(said.payload);
  });
  db().session().notify("numbers", "no number");
  db().session().notify("numbers", "7");
  EXPECT_TRUE(comes_true([&] { return calls == 2; }));
  EXPECT_NE(log().find("callback of channel 'numbers' threw"), std::string::npos);
}

TEST_F(SessionExtrasTest, ACallbackMayEndItsOwnSubscription) {
  std::optional<Subscription> subscription;
  std::atomic<bool> ended = false;
  subscription = db().subscribe("end", [&](const Notification&) {
    subscription.reset();
    ended = true;
  });
  db().session().notify("end");
  EXPECT_TRUE(comes_true([&] { return ended.load(); }));
}

TEST_F(SessionExtrasTest, ASubscriptionOutlivesItsBackend) {
  std::atomic<int> calls = 0;
  const Subscription subscription = db().subscribe("again", [&](const Notification&) { ++calls; },
                                                   {.application_name = "subscriber"});
  const auto backend = [&] {
    return db().maybe<int>(
        "select pid from pg_stat_activity where application_name = 'subscriber'");
  };
  const int first = backend().value_or(0);
  db().execute("select pg_terminate_backend($1)", first);
  ASSERT_TRUE(comes_true([&] { return backend().value_or(first) != first; }));
  EXPECT_TRUE(comes_true([&] {
    db().session().notify("again");
    return calls > 0;
  }));
  db().close();
  EXPECT_TRUE(comes_true([&] { return !subscription.active(); }));
}

TEST_F(SessionExtrasTest, NoticesReachTheSessionsCallback) {
  std::vector<Notice> notices;
  Session session = db().session({.on_notice = [&](const Notice& notice) {
    notices.push_back(notice);
    throw std::runtime_error("is dropped");
  }});
  session.execute("do $$ begin raise warning 'careful' using hint = 'look'; end $$");
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].severity, "WARNING");
  EXPECT_EQ(notices[0].message, "careful");
  EXPECT_EQ(notices[0].hint, "look");
  EXPECT_EQ(notices[0].sqlstate, "01000");
}

TEST_F(SessionExtrasTest, NativeLendsLibpqsObject) {
  Session session = db().session();
  const int version =
      session.native([](PGconn* connection) { return PQserverVersion(connection); });
  EXPECT_GT(version, 100000);
  session.native([](PGconn* connection) { PQclear(PQexec(connection, "begin")); });
  EXPECT_EQ(session.state(), SessionState::in_transaction);
  session.script("rollback");
  EXPECT_EQ(session.state(), SessionState::idle);
  EXPECT_THROW(session.native([](PGconn* connection) { PQsendQuery(connection, "select 1"); }),
               InvalidArgument);
  EXPECT_FALSE(session.usable());
}

struct Item {
  int id = 0;
  std::optional<std::string> name;
  std::vector<int> parts;
};

TEST_F(SessionExtrasTest, StructsGoThroughCopy) {
  db().script("drop table if exists items; create table items(id int, name text, parts int[])");
  Session session = db().session();
  CopyWriter writer = session.copy_in("copy items from stdin");
  EXPECT_EQ(session.state(), SessionState::busy);
  writer.row(Item{1, "a\tb\\", {1, 2}});
  writer.row(2, std::nullopt, std::vector<int>{});
  EXPECT_EQ(writer.finish(), 2U);
  std::vector<Item> items;
  CopyReader reader = session.copy_out("copy (select * from items order by id) to stdout");
  for (const Item& item : reader.rows<Item>())
    items.push_back(item);
  ASSERT_EQ(items.size(), 2U);
  EXPECT_EQ(items[0].name, "a\tb\\");
  EXPECT_EQ(items[0].parts, (std::vector<int>{1, 2}));
  EXPECT_EQ(items[1].name, std::nullopt);
}

// --- async.hpp

#ifdef ASIO_HAS_CO_AWAIT  // not of Clang 14 with this library
TEST_F(SessionExtrasTest, CoroutinesAwaitStatements) {
  asio::io_context context;
  AsyncSession session(db().session(), context.get_executor());
  int answer = 0;
  bool refused = false;
  asio::co_spawn(
      context,
      [&]() -> asio::awaitable<void> {
        const Result result =
            co_await session.async_query("select $1::int + $2", 40, 2, asio::use_awaitable);
        answer = result.get<int>(0, 0);
        try {
          co_await session.async_query("select 1/0", asio::use_awaitable);
        } catch (const DivisionByZero&) {
          refused = true;
        }
      },
      asio::detached);
  context.run();
  EXPECT_EQ(answer, 42);
  EXPECT_TRUE(refused);
}
#endif

TEST_F(SessionExtrasTest, AnyExecutorWillDoAndOrderIsKept) {
  asio::thread_pool pool(1);
  AsyncSession session(db().session(), pool.get_executor());
  session.async_run(
      [](Session& mine) {
        mine.script("create temporary table counted(i serial, n int)");
        return Result();
      },
      asio::detached);
  for (int i = 0; i < 20; ++i)
    session.async_query("insert into counted(n) values ($1)", i, asio::detached);
  std::future<Result> wrong =
      session.async_query("select count(*) from counted where i <> n + 1", asio::use_future);
  EXPECT_EQ(wrong.get().get<int>(0, 0), 0);
  std::atomic<bool> on_pool = false;
  session.async_query("select 1", [&](const std::exception_ptr& error, const Result& result) {
    on_pool = !error && result.size() == 1 && pool.get_executor().running_in_this_thread();
  });
  EXPECT_TRUE(comes_true([&] { return on_pool.load(); }));
}

TEST_F(SessionExtrasTest, AnAsynchronousStatementCanBeCancelled) {
  asio::io_context context;
  AsyncSession session(db().session(), context.get_executor());
  asio::cancellation_signal running;
  asio::cancellation_signal waiting;
  std::vector<std::string> ends;
  const auto ended = [&ends](std::exception_ptr error, const Result&) {
    try {
      if (error) std::rethrow_exception(error);
      ends.emplace_back("done");
    } catch (const QueryCanceled&) {
      ends.emplace_back("cancelled");
    } catch (const Cancelled&) {
      ends.emplace_back("dropped");
    }
  };
  session.async_query("select pg_sleep(30)", asio::bind_cancellation_slot(running.slot(), ended));
  session.async_query("select 2", asio::bind_cancellation_slot(waiting.slot(), ended));
  session.async_query("select 3", ended);
  ASSERT_TRUE(comes_true([&] {
    return db().one<int>(
               "select count(*) from pg_stat_activity where state = 'active' and query "
               "like 'select pg_sleep(30)%'") == 1;
  }));
  waiting.emit(asio::cancellation_type::terminal);
  running.emit(asio::cancellation_type::terminal);
  context.run();
  EXPECT_EQ(ends, (std::vector<std::string>{"cancelled", "dropped", "done"}));
}

TEST_F(SessionExtrasTest, TheEndOfAnAsyncSessionDoesNotWaitForItsStatement) {
  asio::io_context context;
  int ends = 0;
  const auto start = std::chrono::steady_clock::now();
  {
    AsyncSession session(db().session(), context.get_executor());
    for (int i = 0; i < 3; ++i)
      session.async_query("select pg_sleep(20)", [&](std::exception_ptr error, const Result&) {
        if (error) ++ends;
      });
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  context.run();
  EXPECT_EQ(ends, 3);
}

}  // namespace
}  // namespace snowglobe
