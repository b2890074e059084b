// tests/guest/outside_clients_test.cc - programs that people use, against an exposed port, and
// crowds of clients that behave badly. A program that is not installed is skipped.
#include "tests/guest/machine_fixture.h"

#include <arpa/inet.h>
#include <array>
#include <cstdio>
#include <filesystem>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::testing {
namespace {

using namespace std::chrono_literals;

struct Said {
  int code = -1;
  std::string text;
};

/// Runs a line in a shell; what it writes, errors too.
Said shell(const std::string& line) {
  Said said;
  FILE* const pipe = ::popen(("timeout 60 sh -c '" + line + "' 2>&1").c_str(), "r");  // NOLINT
  if (pipe == nullptr) return said;
  std::array<char, 4096> buffer;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
    said.text.append(buffer.data(), got);
  said.code = WEXITSTATUS(::pclose(pipe));
  return said;
}

bool works(const std::string& line) {
  return shell(line).code == 0;
}

using Client = std::unique_ptr<PGconn, void (*)(PGconn*)>;
using Answer = std::unique_ptr<PGresult, void (*)(PGresult*)>;

Client connect(const Endpoint& endpoint) {
  return {PQconnectdb((endpoint.uri() + "?connect_timeout=60").c_str()), PQfinish};
}

std::string ask(const Client& client, const char* sql) {
  const Answer answer(PQexec(client.get(), sql), PQclear);
  return PQntuples(answer.get()) == 1 ? PQgetvalue(answer.get(), 0, 0)
                                      : PQresultErrorMessage(answer.get());
}

/// A bare connection to the port.
int dial(const Endpoint& endpoint) {
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(endpoint.port());
  const auto* const generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  if (::connect(client, generic, sizeof address) == 0) return client;
  ::close(client);
  return -1;
}

class OutsideClients : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    endpoint_.emplace(db().expose());
    ::setenv("DATABASE_URL", endpoint_->uri().c_str(), 1);
    db().script(
        "drop table if exists people; create table people(id int primary key, name text);"
        "insert into people values (1, 'Ada'), (2, 'Grace')");
  }
  void TearDown() override {
    if (db().is_open()) db().hide();
  }
  [[nodiscard]] const Endpoint& endpoint() const { return *endpoint_; }
  /// Backends of clients from outside.
  int guests() {
    return db().one<int>(
        "select count(*) from pg_stat_activity where client_addr = '10.5.0.1'::inet");
  }
  bool guests_leave(int most) {
    for (int i = 0; i < 300 && guests() > most; ++i)
      std::this_thread::sleep_for(50ms);
    return guests() <= most;
  }

  std::optional<Endpoint> endpoint_;
};

TEST_F(OutsideClients, PsqlListsTablesAndCopies) {
  if (!works("psql --version")) GTEST_SKIP() << "psql is not installed";
  const Said tables = shell("psql \"$DATABASE_URL\" -X -c \"\\\\d people\"");
  EXPECT_EQ(tables.code, 0) << tables.text;
  EXPECT_NE(tables.text.find("people_pkey"), std::string::npos) << tables.text;
  const Said copied = shell(
      "printf \"3,Edsger\\n\" | psql \"$DATABASE_URL\" -X -q -c \"\\\\copy people from stdin csv\" "
      "&& "
      "psql \"$DATABASE_URL\" -X -A -t -c \"select count(*), inet_client_addr() from people\"");
  EXPECT_EQ(copied.text, "3|10.5.0.1\n");
}

/// A pg_dump that is new enough for the guest's server: the host's, or the guest's own on the host.
std::string pg_dump() {
  const std::filesystem::path usr =
      std::filesystem::path(SNOWGLOBE_BUILD_TREE_IMAGE) / "root" / "usr";
  const std::string libraries =
      (usr / "lib").string() + ":" + (usr / "lib/i386-linux-gnu").string();
  const std::string guests = (usr / "lib/ld-linux.so.2").string() + " --library-path " + libraries +
                             " " + (usr / "bin/pg_dump").string();
  for (const std::string& line : {std::string("pg_dump"), guests}) {
    const Said version = shell(line + " --version");
    const std::size_t number = version.text.rfind(") ");
    if (version.code == 0 && number != std::string::npos &&
        std::atoi(version.text.c_str() + number + 2) >= 17) {
      return line;
    }
  }
  return {};
}

TEST_F(OutsideClients, ADumpOfOneMachinePipesIntoPsqlOfAnother) {
  const std::string dump = pg_dump();
  if (dump.empty() || !works("psql --version")) GTEST_SKIP() << "no pg_dump 17, or no psql";
  db().script(
      "drop schema if exists shop cascade; create schema shop; set search_path = shop;"
      "create type colour as enum ('red', 'sea green');"
      "create table item(id bigint generated always as identity primary key, name text not null,"
      "  price numeric(10, 2) check (price >= 0), made date, hue colour, picture bytea, notes "
      "text[]);"
      "create table tag(item bigint references item, word text, primary key (item, word));"
      "create index on item (lower(name));"
      "insert into item(name, price, made, hue, picture, notes) select 'it''s \"' || g || "
      "E'\\t\\\\',"
      "  g / 100.0, date '2024-01-01' + g, (array['red', 'sea green'])[1 + g % 2]::colour,"
      "  decode(md5(g::text), 'hex'), array['a,b', null, g::text] from generate_series(1, 20000) g;"
      "insert into tag select id, 'w' || id % 7 from item where id % 3 = 0;"
      "create view dear as select * from item where price > 150;"
      "create function vat(numeric) returns numeric language sql as 'select $1 * 1.19';"
      "reset search_path");
  Database second = Database::open_in_memory();
  const Endpoint target = second.expose();
  ::setenv("TARGET_URL", target.uri().c_str(), 1);
  const Said piped = shell(dump +
                           " --schema=shop \"$DATABASE_URL\" | "
                           "psql -X -q -v ON_ERROR_STOP=1 \"$TARGET_URL\"");
  EXPECT_EQ(piped.code, 0) << piped.text;
  const auto contents_of = [](Database& database) {
    Session session = database.session();
    session.execute("set search_path = shop");
    return session.one<std::string>(
        "select format('%s|%s|%s|%s|%s', (select count(*) from dear),"
        " (select sum(hashtext(item::text)) from item), (select sum(hashtext(tag::text)) from tag),"
        " nextval('item_id_seq'), vat(100))");
  };
  const std::string there = contents_of(second);
  EXPECT_EQ(there, contents_of(db()));
  EXPECT_EQ(there.substr(0, 5), "5000|");
  EXPECT_EQ(there.substr(there.size() - 12), "20001|119.00");
}

TEST_F(OutsideClients, Psycopg2QueriesAndListens) {
  if (!works("/usr/bin/python3 -c \"import psycopg2\""))
    GTEST_SKIP() << "psycopg2 is not installed";
  const Said said = shell(R"(/usr/bin/python3 -c "
import os, select, psycopg2
c = psycopg2.connect(os.environ[\"DATABASE_URL\"])
with c, c.cursor() as k:
    k.execute(\"insert into people values (%s, %s) returning id\", (4, \"Barbara\"))
    print(k.fetchone()[0])
with c, c.cursor(name=\"wide\") as k:
    k.execute(\"select g from generate_series(1, 5000) g\")
    print(sum(row[0] for row in k))
c.autocommit = True
k = c.cursor()
k.execute(\"listen jobs; notify jobs, \$\$one\$\$\")
select.select([c], [], [], 20)
c.poll()
print(c.notifies[0].payload)
try:
    k.execute(\"insert into people values (4, null)\")
except psycopg2.errors.UniqueViolation as e:
    print(e.pgcode)
"
)");
  EXPECT_EQ(said.text, "4\n12502500\none\n23505\n");
}

TEST_F(OutsideClients, PgcliAnswers) {
  if (!works("pgcli --version")) GTEST_SKIP() << "pgcli is not installed";
  const Said said = shell(
      "printf \"select 6*7 as answer;\\n\\\\q\\n\" | "
      "HOME=/tmp/snowglobe-pgcli PAGER=cat pgcli \"$DATABASE_URL\"");
  EXPECT_NE(said.text.find("42"), std::string::npos) << said.text;
}

TEST_F(OutsideClients, NodePostgresQueries) {
  const std::string node = "NODE_PATH=\"" SNOWGLOBE_NODE_MODULES ":$NODE_PATH\" node -e ";
  if (!works(node + "\"require(\\\"pg\\\")\"")) GTEST_SKIP() << "node-postgres is not installed";
  const Said said = shell(node + R"("
const {Client} = require(\"pg\");
(async () => {
  const c = new Client({connectionString: process.env.DATABASE_URL});
  await c.connect();
  const r = await c.query(\"select name from people where id = \$1\", [2]);
  console.log(r.rows[0].name);
  try { await c.query(\"select 1/0\"); } catch (e) { console.log(e.code); }
  await c.end();
})();
")");
  EXPECT_EQ(said.text, "Grace\n22012\n");
}

TEST_F(OutsideClients, AUnixSocketIsADoorAsWell) {
  char folder[] = "/tmp/snowglobe-door-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const Endpoint door = db().expose({.address = folder});
  EXPECT_EQ(door.host(), folder);
  EXPECT_EQ(door.port(), 5432);
  const Client client = connect(door);
  EXPECT_EQ(ask(client, "select host(inet_client_addr()) || ' ' || current_user"),
            "10.5.0.1 postgres")
      << PQerrorMessage(client.get());
  EXPECT_THROW(db().expose({.address = folder}), AddressInUse);
  EXPECT_EQ(ask(connect(door), "select 1"), "1");
  const Endpoint other = db().expose({.address = folder, .port = 5433});
  EXPECT_EQ(ask(connect(other), "select 2"), "2");
  db().hide(door);
  EXPECT_EQ(PQstatus(connect(door).get()), CONNECTION_BAD);
  EXPECT_FALSE(std::filesystem::exists(std::string(folder) + "/.s.PGSQL.5432"));
  EXPECT_EQ(ask(client, "select 3"), "3");
  db().hide();
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  EXPECT_THROW(db().expose({.address = "/no/such/folder"}), AddressError);
  EXPECT_THROW(db().expose({.address = "/" + std::string(120, 'x')}), InvalidArgument);
  std::filesystem::remove_all(folder);
}

TEST_F(OutsideClients, ASocketThatWasLeftBehindIsReplaced) {
  char folder[] = "/tmp/snowglobe-door-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    // A process that dies without tidying up.
    const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const std::string path = std::string(folder) + "/.s.PGSQL.5432";
    struct sockaddr_storage address {};
    address.ss_family = AF_UNIX;
    path.copy(static_cast<char*>(static_cast<void*>(&address)) + sizeof(sa_family_t), path.size());
    const auto* const generic = static_cast<const sockaddr*>(static_cast<const void*>(&address));
    ::_exit(::bind(left, generic, static_cast<socklen_t>(sizeof(sa_family_t) + path.size() + 1)));
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  const Endpoint door = db().expose({.address = folder});
  EXPECT_EQ(ask(connect(door), "select 1"), "1");
  db().hide();
  std::filesystem::remove_all(folder);
}

TEST_F(OutsideClients, ACancelRequestArrivesByThePort) {
  const Client client = connect(endpoint());
  ASSERT_EQ(PQsendQuery(client.get(), "select pg_sleep(30)"), 1);
  PQflush(client.get());
  const std::unique_ptr<PGcancel, void (*)(PGcancel*)> cancel(PQgetCancel(client.get()),
                                                              PQfreeCancel);
  std::this_thread::sleep_for(200ms);
  std::array<char, 256> words;
  EXPECT_EQ(PQcancel(cancel.get(), words.data(), words.size()), 1) << words.data();
  const Answer answer(PQgetResult(client.get()), PQclear);
  EXPECT_STREQ(PQresultErrorField(answer.get(), PG_DIAG_SQLSTATE), "57014");
}

// More than max_connections: those that are too many are told so, and nobody hangs.
TEST_F(OutsideClients, TwoHundredClientsInAStorm) {
  constexpr int kClients = 200;
  std::atomic<int> served = 0;
  std::atomic<int> refused = 0;
  std::atomic<int> odd = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      const Client client = connect(endpoint());
      if (PQstatus(client.get()) == CONNECTION_OK) {
        const std::string sql = "select " + std::to_string(i) + " * 2";
        ask(client, sql.c_str()) == std::to_string(i * 2) ? ++served : ++odd;
      } else {
        const std::string why = PQerrorMessage(client.get());
        why.find("too many clients") != std::string::npos ||
                why.find("reserved for") != std::string::npos
            ? ++refused
            : ++odd;
        if (odd == 1) ADD_FAILURE() << why;
      }
    });
  }
  for (std::thread& client : clients)
    client.join();
  EXPECT_EQ(odd, 0);
  EXPECT_EQ(served + refused, kClients);
  EXPECT_GE(served, 50);
  EXPECT_TRUE(guests_leave(0));
  EXPECT_EQ(ask(connect(endpoint()), "select 1"), "1");
}

// They take a stream each, and must not keep others out.
TEST_F(OutsideClients, HalfOpenClientsAreNobodysTrouble) {
  std::vector<int> silent;
  for (int i = 0; i < 60; ++i) {
    const int client = dial(endpoint());
    ASSERT_GE(client, 0);
    // Half of them begin a startup packet and do not end it.
    if (i % 2 == 0) {
      EXPECT_EQ(::send(client, "\0\0\1\0\0\3", 6, MSG_NOSIGNAL), 6);
    }
    silent.push_back(client);
  }
  EXPECT_EQ(ask(connect(endpoint()), "select 1"), "1");
  // Some go with a reset, some politely.
  for (std::size_t i = 0; i < silent.size(); ++i) {
    const linger reset{1, 0};
    if (i % 3 == 0) ::setsockopt(silent[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    ::close(silent[i]);
  }
  EXPECT_TRUE(guests_leave(0));
  EXPECT_EQ(ask(connect(endpoint()), "select 1"), "1");
}

TEST_F(OutsideClients, ASlowReaderHoldsOnlyItselfUp) {
  const Client slow = connect(endpoint());
  ASSERT_EQ(PQsendQuery(slow.get(), "select repeat('x', 100000) from generate_series(1, 200)"), 1);
  ASSERT_EQ(PQsetSingleRowMode(slow.get()), 1);
  PQflush(slow.get());
  std::this_thread::sleep_for(300ms);
  const auto start = std::chrono::steady_clock::now();
  const Client quick = connect(endpoint());
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(ask(quick, "select 1"), "1");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  // The server waits for the reader, and is not spinning.
  EXPECT_EQ(db().one<std::string>("select wait_event from pg_stat_activity where state = 'active' "
                                  "and client_addr = '10.5.0.1'::inet"),
            "ClientWrite");
  std::size_t rows = 0;
  while (PGresult* const row = PQgetResult(slow.get())) {
    rows += PQntuples(row) == 1 && PQgetlength(row, 0, 0) == 100000 ? 1 : 0;
    PQclear(row);
  }
  EXPECT_EQ(rows, 200u);
}

TEST_F(OutsideClients, TheDatabasesEndIsTheirs) {
  const Client client = connect(endpoint());
  ASSERT_EQ(PQstatus(client.get()), CONNECTION_OK);
  Database other = db().fork();
  EXPECT_EQ(ask(client, "select 1"), "1");
  const Endpoint theirs = other.expose();
  const Client guest = connect(theirs);
  EXPECT_EQ(ask(guest, "select 1"), "1");
  other.close();
  const Answer answer(PQexec(guest.get(), "select 1"), PQclear);
  EXPECT_EQ(PQstatus(guest.get()), CONNECTION_BAD);
  EXPECT_EQ(ask(client, "select 1"), "1");
}

}  // namespace
}  // namespace snowglobe::testing
