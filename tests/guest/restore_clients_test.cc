// tests/guest/restore_clients_test.cc - clients that are not ours across restores and in forks, as
// they see it on the wire: TLS, replication that streams, ports that come again, keys to cancel by.
#include "tests/guest/machine_fixture.h"

#include <array>
#include <cstring>
#include <libpq-fe.h>
#include <map>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <set>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::MachineTest;
using RestoreClients = MachineTest;
using PgConnection = std::unique_ptr<PGconn, void (*)(PGconn*)>;

std::string ask(const PgConnection& connection, const char* sql) {
  const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQexec(connection.get(), sql),
                                                              PQclear);
  if (PQresultStatus(result.get()) == PGRES_TUPLES_OK) return PQgetvalue(result.get(), 0, 0);
  return PQerrorMessage(connection.get());
}

/// PostgreSQL's protocol by hand, through the pipe, for what libpq keeps to itself.
class WireClient {
 public:
  /// Of a libpq connection string with an abstract socket in it.
  explicit WireClient(const std::string& conninfo) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string name;
    std::string port;
    PQconninfoOption* const options = PQconninfoParse(conninfo.c_str(), nullptr);
    for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
      if (option->val == nullptr) continue;
      if (std::strcmp(option->keyword, "host") == 0) name = option->val;
      if (std::strcmp(option->keyword, "port") == 0) port = option->val;
    }
    PQconninfoFree(options);
    // libpq's name for it; '@' stands for the byte 0.
    name += "/.s.PGSQL." + port;
    std::memcpy(address.sun_path, name.data(), name.size());
    address.sun_path[0] = '\0';
    socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::connect(socket_, static_cast<sockaddr*>(static_cast<void*>(&address)), length), 0)
        << std::strerror(errno);
  }
  ~WireClient() { ::close(socket_); }
  WireClient(const WireClient&) = delete;
  WireClient& operator=(const WireClient&) = delete;

  /// Until ReadyForQuery.
  void log_in() {
    std::string body = number(196608);
    body += std::string("user\0postgres\0database\0postgres\0\0", 33);
    send(number(static_cast<std::uint32_t>(body.size()) + 4) + body);
    for (;;) {
      const auto [type, payload] = message();
      if (type == 'K') {
        pid = value(payload, 0);
        key = value(payload, 4);
      }
      if (type == 'Z' || type == 0) break;
    }
  }
  void query(const std::string& sql) {
    send("Q" + number(static_cast<std::uint32_t>(sql.size()) + 5) + sql + std::string(1, '\0'));
  }
  /// The next of these types; 0 at the end of the connection or after the limit.
  char wait_for(const std::string& types, std::chrono::milliseconds limit) {
    limit_ = limit;
    for (;;) {
      const auto [type, payload] = message();
      if (type == 0 || types.find(type) != std::string::npos) return type;
    }
  }
  void cancel(std::uint32_t other_pid, std::uint32_t other_key) {
    send(number(16) + number(80877102) + number(other_pid) + number(other_key));
    char byte = 0;
    EXPECT_EQ(::read(socket_, &byte, 1), 0) << "a cancel request is not answered";
  }

  std::uint32_t pid = 0;
  std::uint32_t key = 0;

 private:
  static std::string number(std::uint32_t value) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8)
      bytes += static_cast<char>(value >> shift & 0xFF);
    return bytes;
  }
  static std::uint32_t value(const std::string& bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value = value << 8 | static_cast<std::uint8_t>(bytes.at(at + i));
    return value;
  }
  void send(const std::string& bytes) {
    EXPECT_EQ(::write(socket_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  bool receive(std::string& into, std::size_t length) {
    while (into.size() < length) {
      pollfd waiting{socket_, POLLIN, 0};
      if (::poll(&waiting, 1, static_cast<int>(limit_.count())) != 1) return false;
      std::array<char, 4096> piece{};
      const ssize_t got =
          ::read(socket_, piece.data(), std::min(piece.size(), length - into.size()));
      if (got <= 0) return false;
      into.append(piece.data(), static_cast<std::size_t>(got));
    }
    return true;
  }
  std::pair<char, std::string> message() {
    std::string head;
    std::string payload;
    if (!receive(head, 5) || !receive(payload, value(head, 1) - 4)) return {'\0', ""};
    return {head[0], payload};
  }

  int socket_ = -1;
  std::chrono::milliseconds limit_ = 20s;
};

TEST_F(RestoreClients, SeeOtherKeysInEachLifeAndOldOnesDoNothing) {
  const Snapshot before = db().save();
  std::map<std::uint32_t, std::set<std::uint32_t>> keys;  // by backend
  const int lives = 4;
  std::uint32_t old_key = 0;
  for (int life = 0; life < lives; ++life) {
    db().restore(before);
    WireClient client(db().conninfo());
    client.log_in();
    keys[client.pid].insert(client.key);
    client.query("select pg_sleep(30)");
    std::this_thread::sleep_for(50ms);
    if (life > 0) {
      WireClient(db().conninfo()).cancel(client.pid, old_key);
      EXPECT_EQ(client.wait_for("EC", 300ms), 0) << "the key of another life cancelled";
    }
    WireClient(db().conninfo()).cancel(client.pid, client.key);
    EXPECT_EQ(client.wait_for("EC", 20s), 'E');
    old_key = client.key;
  }
  for (int life = 0; life < lives; ++life) {
    Database fork = db().fork(before);
    WireClient client(fork.conninfo());
    client.log_in();
    keys[client.pid].insert(client.key);
  }
  std::size_t different = 0;
  for (const auto& [pid, found] : keys)
    different += found.size();
  EXPECT_EQ(different, 2U * lives);
  EXPECT_LT(keys.size(), 2U * lives) << "no two lives gave the same backend: nothing is compared";
}

TEST_F(RestoreClients, APortThatComesAgainIsNotTheSameClient) {
  const Snapshot nobody = db().save();
  std::optional<Session> first(db().session());
  const int port = first->one<int>("select inet_client_port()");
  first->script("create temp table of_the_first(n int)");
  const Snapshot with_first = db().save();
  db().restore(nobody);
  EXPECT_THROW((void)first->query("select 1"), StaleSession);
  Session second = db().session();
  ASSERT_EQ(second.one<int>("select inet_client_port()"), port) << "the case is not met";
  db().restore(with_first);
  EXPECT_THROW((void)second.query("select 1"), StaleSession);
  // Nor is it a client that the snapshot has, and that has gone since.
  db().restore(nobody);
  Session third = db().session();
  ASSERT_EQ(third.one<int>("select inet_client_port()"), port);
  EXPECT_EQ(third.one<bool>("select to_regclass('of_the_first') is null"), true);
}

TEST_F(RestoreClients, AReplicationThatStreamsEnds) {
  const PgConnection walsender(PQconnectdb((db().conninfo() + " replication=true").c_str()),
                               PQfinish);
  ASSERT_EQ(PQstatus(walsender.get()), CONNECTION_OK) << PQerrorMessage(walsender.get());
  std::string position;
  {
    const std::unique_ptr<PGresult, void (*)(PGresult*)> system(
        PQexec(walsender.get(), "IDENTIFY_SYSTEM"), PQclear);
    ASSERT_EQ(PQresultStatus(system.get()), PGRES_TUPLES_OK);
    position = PQgetvalue(system.get(), 0, 2);
  }
  ASSERT_EQ(PQsendQuery(walsender.get(), ("START_REPLICATION PHYSICAL " + position).c_str()), 1);
  const std::unique_ptr<PGresult, void (*)(PGresult*)> streaming(PQgetResult(walsender.get()),
                                                                 PQclear);
  ASSERT_EQ(PQresultStatus(streaming.get()), PGRES_COPY_BOTH) << PQerrorMessage(walsender.get());
  const Snapshot before = db().save();
  db().script("create table streamed(n int); insert into streamed values (1)");
  char* row = nullptr;
  EXPECT_GT(PQgetCopyData(walsender.get(), &row, 0), 0);
  PQfreemem(row);
  db().restore(before);
  int pieces = 0;
  while (PQgetCopyData(walsender.get(), &row, 0) > 0) {
    PQfreemem(row);
    ASSERT_LT(++pieces, 1000) << "it goes on";
  }
  while (PGresult* rest = PQgetResult(walsender.get())) {
    PQclear(rest);
    if (PQstatus(walsender.get()) == CONNECTION_BAD) break;
  }
  EXPECT_EQ(PQstatus(walsender.get()), CONNECTION_BAD);
}

/// A key and a certificate that signs itself, as PEM.
std::pair<std::string, std::string> certificate() {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, void (*)(X509*)> cert(X509_new(), X509_free);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), 3600 * 24);
  X509_set_pubkey(cert.get(), key.get());
  X509_sign(cert.get(), key.get(), EVP_sha256());
  const auto text = [](const auto& write) {
    const std::unique_ptr<BIO, int (*)(BIO*)> out(BIO_new(BIO_s_mem()), BIO_free);
    EXPECT_EQ(write(out.get()), 1);
    char* bytes = nullptr;
    const long length = BIO_get_mem_data(out.get(), &bytes);
    return std::string(bytes, static_cast<std::size_t>(length));
  };
  return {text([&](BIO* out) {
            return PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          }),
          text([&](BIO* out) { return PEM_write_bio_X509(out, cert.get()); })};
}

TEST_F(RestoreClients, OneInsideOfTlsSeesACleanEndAtOnce) {
  const std::string data = "/var/lib/postgresql/data/";
  const auto [key, cert] = certificate();
  db().guest().put(data + "server.key", key, 0600);
  db().guest().put(data + "server.crt", cert, 0600);
  ASSERT_EQ(
      db().guest().exec({"chown", "postgres", data + "server.key", data + "server.crt"}).exit_code,
      0);
  db().execute("alter system set ssl = on");
  db().execute("select pg_reload_conf()");
  const Endpoint endpoint = db().expose();
  const auto connect = [&] {
    return PgConnection(PQconnectdb((endpoint.uri() + "?sslmode=require").c_str()), PQfinish);
  };
  PgConnection client = connect();
  for (int i = 0; i < 100 && PQstatus(client.get()) != CONNECTION_OK; ++i) {
    std::this_thread::sleep_for(20ms);
    client = connect();
  }
  ASSERT_EQ(PQsslInUse(client.get()), 1) << PQerrorMessage(client.get());
  const Snapshot before = db().save();
  EXPECT_EQ(ask(client, "select 'sealed'"), "sealed");
  db().restore(before);
  const auto start = std::chrono::steady_clock::now();
  const std::string last = ask(client, "select 1");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
  EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
  // Its key is the guest's: words from outside would be taken for damage, so none are said.
  EXPECT_NE(last.find("EOF detected"), std::string::npos) << last;
  PgConnection again = connect();
  EXPECT_EQ(PQsslInUse(again.get()), 1) << PQerrorMessage(again.get());
  db().hide();
}

}  // namespace
}  // namespace snowglobe
