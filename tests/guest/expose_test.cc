// tests/guest/expose_test.cc - who gets in by an exposed port, and who does not.
#include "tests/guest/machine_fixture.h"

#include <libpq-fe.h>

namespace snowglobe::testing {
namespace {

using Client = std::unique_ptr<PGconn, void (*)(PGconn*)>;

Client connect(const std::string& uri) {
  return {PQconnectdb((uri + "?connect_timeout=20").c_str()), PQfinish};
}

std::string ask(const Client& client, const char* sql) {
  const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(client.get(), sql), PQclear);
  return PQntuples(result.get()) == 1 ? PQgetvalue(result.get(), 0, 0)
                                      : PQresultErrorMessage(result.get());
}

class Expose : public MachineTest {};

TEST_F(Expose, AnOutsideClientComesInAsTheGateway) {
  const Endpoint endpoint = db().expose();
  EXPECT_EQ(endpoint.host(), "127.0.0.1");
  EXPECT_EQ(endpoint.password().size(), 24u);
  const Client client = connect(endpoint.uri());
  ASSERT_EQ(PQstatus(client.get()), CONNECTION_OK) << PQerrorMessage(client.get());
  EXPECT_EQ(ask(client, "select host(inet_client_addr())"), "10.5.0.1");
  EXPECT_EQ(ask(client, "select left(rolpassword, 13) from pg_authid where rolname = 'postgres'"),
            "SCRAM-SHA-256");
  db().hide(endpoint);
}

TEST_F(Expose, NobodyComesInWithoutThePassword) {
  const Endpoint endpoint = db().expose();
  const Endpoint wrong(endpoint.host(), endpoint.port(), endpoint.user(), "guess");
  const Client client = connect(wrong.uri());
  EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
  EXPECT_NE(std::string(PQerrorMessage(client.get())).find("password authentication failed"),
            std::string::npos);
  db().hide();
}

TEST_F(Expose, HidingKeepsNewClientsOutAndThoseThatAreInStay) {
  const Endpoint first = db().expose();
  const Endpoint second = db().expose({.password = "a b'c/@:%"});
  const Client client = connect(second.uri());
  ASSERT_EQ(PQstatus(client.get()), CONNECTION_OK) << PQerrorMessage(client.get());
  db().hide();
  EXPECT_EQ(PQstatus(connect(first.uri()).get()), CONNECTION_BAD);
  EXPECT_EQ(PQstatus(connect(second.uri()).get()), CONNECTION_BAD);
  EXPECT_EQ(ask(client, "select 7"), "7");
}

TEST_F(Expose, BadOptionsAreRefused) {
  EXPECT_THROW(db().expose({.address = "localhost"}), InvalidArgument);
  EXPECT_THROW(db().expose({.password = ""}), InvalidArgument);
  EXPECT_THROW(db().expose({.user = "nobody at all"}), SqlError);
  const Endpoint endpoint = db().expose();
  EXPECT_THROW(db().expose({.port = endpoint.port()}), AddressInUse);
  EXPECT_THROW(db().expose({.address = "192.0.2.1"}), AddressError);  // RFC 5737: nobody's
  EXPECT_THROW(db().expose({.address = "127.0.0.1", .user = std::string("a\0b", 3)}), Error);
  EXPECT_THROW(db().expose({.password = std::string("a\0b", 3)}), InvalidArgument);
  db().hide();
}

}  // namespace
}  // namespace snowglobe::testing
