// tests/api/picture_test.cc - the client's end of a session for snapshots, against a native server
// (whose end does not roll back: tests/guest/restore_test.cc has both).
#include "api/src/connection.h"
#include "api/src/pg_wire.h"
#include "api/src/session_registry.h"
#include "tests/api/native_server.h"
#include "tests/api/server_stub.h"

#include <algorithm>
#include <atomic>
#include <gtest/gtest.h>
#include <thread>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;

class PictureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto native = testing::open_native();
    if (!native) GTEST_SKIP() << "no PostgreSQL server is installed on this host";
    const std::string where = native->conninfo();
    const std::size_t at = where.find("port=") + 5;
    server_ = std::make_shared<testing::ServerStub>(
        static_cast<std::uint16_t>(std::stoi(where.substr(at))));
    connection_ = Connection::open(server_, {.statement_limit = 20s}, Deadline(20s));
  }

  /// As a save does it.
  std::optional<SessionPicture> picture() {
    const SessionRegistry::Hold hold(server_->sessions());
    if (!connection_->settle()) return std::nullopt;
    return connection_->picture();
  }
  void put_back(const SessionPicture& back) {
    const SessionRegistry::Hold hold(server_->sessions());
    connection_->put_back(back);
  }

  std::shared_ptr<testing::ServerStub> server_;
  std::shared_ptr<Connection> connection_;
};

TEST_F(PictureTest, AnIdleSessionHasParametersAndPreparedStatements) {
  const std::string name = connection_->prepare("select 1");
  connection_->run_simple("set timezone = 'Asia/Tokyo'");
  const auto found = picture();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->adoption, Adoption::nobody);
  EXPECT_EQ(found->backend_pid, connection_->backend_pid());
  EXPECT_EQ(found->prepared, std::vector<std::string>{name});
  const std::pair<std::string, std::string> zone{"TimeZone", "Asia/Tokyo"};
  EXPECT_NE(std::find(found->parameters.begin(), found->parameters.end(), zone),
            found->parameters.end());
}

TEST_F(PictureTest, NothingButIdleOutsideOfATransactionIsSettled) {
  connection_->run_simple("begin");
  EXPECT_FALSE(picture());
  connection_->run_simple("rollback");
  EXPECT_TRUE(picture());
  connection_->run_simple("create temporary table copied(n int)");
  connection_->copy_in_begin("copy copied from stdin");
  EXPECT_FALSE(picture());
  connection_->copy_in_abort();
  EXPECT_TRUE(picture());
  connection_->make_stale();
  EXPECT_FALSE(picture());
}

TEST_F(PictureTest, AStatementUnderWayIsSeenWithoutWaitingForIt) {
  std::atomic<bool> done = false;
  std::thread runner([&] {
    connection_->run_simple("select pg_sleep(0.5)");
    done = true;
  });
  bool busy = false;
  while (!busy && !done) {
    const SessionRegistry::Hold hold(server_->sessions());
    busy = connection_->in_call();
    if (busy) {
      EXPECT_FALSE(connection_->settle());
      EXPECT_FALSE(done);
    }
  }
  EXPECT_TRUE(busy);
  runner.join();
  EXPECT_TRUE(picture());
}

TEST_F(PictureTest, StatementsMadeSinceArePreparedAgainAndDroppedOnesForgotten) {
  const std::string dropped = connection_->prepare("select 'dropped'");
  const auto before = picture();
  ASSERT_TRUE(before);
  connection_->forget(dropped);
  const std::string since = connection_->prepare("select 'since'");
  // What a restore does at the other end.
  connection_->run_simple("deallocate " + since);
  put_back(*before);
  EXPECT_EQ(connection_->run_prepared(since, {})[0][0].as<std::string>(), "since");
  // Enough of them that the server is told to forget: it must know all of these names.
  for (int i = 0; i < 20; ++i)
    connection_->forget(connection_->prepare("select 1"));
  (void)connection_->prepare("select 2");
  EXPECT_EQ(connection_
                ->run_simple("select count(*) from pg_prepared_statements where name = '" +
                             dropped + "'")[0][0]
                .as<int>(),
            0);
}

TEST_F(PictureTest, NotificationsThatWereNotReadComeBack) {
  connection_->run_simple("listen news");
  connection_->run_simple("notify news, 'old'");
  const auto before = picture();
  ASSERT_TRUE(before);
  ASSERT_EQ(before->notifications.size(), 1U);
  ASSERT_TRUE(connection_->wait_notification(5s));
  connection_->run_simple("notify news, 'undone'");
  put_back(*before);
  const auto again = connection_->wait_notification(5s);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->payload, "old");
  EXPECT_FALSE(connection_->wait_notification(0s));
}

TEST_F(PictureTest, AMarkThatWasNotSentIsNotRead) {
  const SessionRegistry::Hold hold(server_->sessions());
  ASSERT_TRUE(connection_->settle());
  EXPECT_FALSE(connection_->reads_mark("1"));
}

TEST_F(PictureTest, AStaleSessionThrowsItsOwnError) {
  connection_->make_stale();
  EXPECT_FALSE(connection_->usable());
  EXPECT_THROW(connection_->run_simple("select 1"), StaleSession);
  EXPECT_THROW(connection_->prepare("select 1"), StaleSession);
  EXPECT_THROW(connection_->wait_notification(1s), StaleSession);
  EXPECT_THROW(connection_->copy_in_begin("copy t from stdin"), StaleSession);
}

}  // namespace
}  // namespace snowglobe::detail
