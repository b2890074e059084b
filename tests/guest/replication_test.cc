// tests/guest/replication_test.cc - a native PostgreSQL outside subscribes to tables of the
// machine, through an exposed port.
#include "tests/guest/machine_fixture.h"

#include "bench/native_server.h"
#include <libpq-fe.h>
#include <thread>

namespace snowglobe::testing {
namespace {

using namespace std::chrono_literals;

using Client = std::unique_ptr<PGconn, void (*)(PGconn*)>;

std::string ask(const Client& client, const std::string& sql) {
  const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(client.get(), sql.c_str()),
                                                              PQclear);
  return PQntuples(result.get()) == 1 ? PQgetvalue(result.get(), 0, 0)
                                      : PQresultErrorMessage(result.get());
}

/// Asks until it is so.
std::string ask_for(const Client& client, const std::string& sql, const std::string& wanted) {
  std::string said;
  for (int i = 0; i < 300; ++i) {
    said = ask(client, sql);
    if (said == wanted) break;
    std::this_thread::sleep_for(100ms);
  }
  return said;
}

class Replication : public MachineTest {};

TEST_F(Replication, ANativeServerSubscribesToTheMachine) {
  std::string why;
  const auto native = bench::NativeServer::host(why);
  if (native == nullptr && why == "no PostgreSQL server is installed") GTEST_SKIP() << why;
  ASSERT_NE(native, nullptr) << why;
  const Client outside(PQconnectdb(native->conninfo().c_str()), PQfinish);
  ASSERT_EQ(PQstatus(outside.get()), CONNECTION_OK) << PQerrorMessage(outside.get());

  db().script(
      "create table item(id int primary key, name text);"
      "insert into item select g, 'item ' || g from generate_series(1, 1000) g;"
      "create publication everything for table item");
  const Endpoint endpoint = db().expose();
  EXPECT_EQ(ask(outside, "create table item(id int primary key, name text)"), "");
  EXPECT_EQ(ask(outside, "create subscription machine connection '" + endpoint.uri() +
                             "' publication everything"),
            "");
  // What was there is copied, and what changes follows.
  EXPECT_EQ(ask_for(outside, "select count(*) from item", "1000"), "1000");
  db().execute("update item set name = 'seven' where id = 7");
  db().execute("delete from item where id > 900");
  EXPECT_EQ(ask_for(outside, "select count(*) from item", "900"), "900");
  EXPECT_EQ(ask_for(outside, "select name from item where id = 7", "seven"), "seven");
  EXPECT_EQ(db().one<std::string>("select host(client_addr) from pg_stat_replication"), "10.5.0.1");

  EXPECT_EQ(ask(outside, "drop subscription machine"), "");
  EXPECT_EQ(db().one<int>("select count(*) from pg_replication_slots"), 0);
  db().hide();
}

}  // namespace
}  // namespace snowglobe::testing
