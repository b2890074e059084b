// tests/api/pg_wire_test.cc - first packets of clients, and what we say in the server's place:
// libpq is the judge.
#include "api/src/pg_wire.h"

#include "tests/api/speaking_server.h"

#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <memory>
#include <random>

namespace snowglobe::detail {
namespace {

std::vector<std::uint8_t> packet(const std::vector<std::string>& words) {
  std::vector<std::uint8_t> bytes(8);
  for (const std::string& word : words) {
    bytes.insert(bytes.end(), word.begin(), word.end());
    bytes.push_back(0);
  }
  bytes.push_back(0);
  base::store_be(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
  base::store_be(bytes.data() + 4, std::uint32_t{3} << 16);
  return bytes;
}

TEST(PgWire, AStartupPacketNamesOurSessionAndIsOtherwiseAsItWas) {
  const std::string setting = token_setting(0xabc, true);
  StartupPacket ours;
  ASSERT_EQ(read_startup(packet({"user", "ada", "options", "-c geqo=on " + setting}), ours),
            StartupState::startup);
  EXPECT_EQ(ours.token, 0xabcU);
  EXPECT_TRUE(ours.pooled);
  EXPECT_EQ(ours.parameters["options"], "-c geqo=on ");
  StartupPacket second;
  ASSERT_EQ(
      read_startup(packet({"options", "-c geqo=on " + token_setting(7, false), "user", "ada"}),
                   second),
      StartupState::startup);
  EXPECT_EQ(second.key(), ours.key());
  EXPECT_FALSE(second.pooled);
  StartupPacket strange;
  ASSERT_EQ(read_startup(packet({"user", "ada", "options", "-c geqo=on"}), strange),
            StartupState::startup);
  EXPECT_EQ(strange.token, 0U);
  EXPECT_NE(strange.key(), ours.key());
}

TEST(PgWire, OtherFirstPacketsAreLeftAlone) {
  StartupPacket ignored;
  const auto whole = packet({"user", "ada"});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(read_startup(base::ConstBytes(whole).first(size), ignored), StartupState::partial);
  }
  std::vector<std::uint8_t> ssl(8);
  base::store_be(ssl.data(), std::uint32_t{8});
  base::store_be(ssl.data() + 4, std::uint32_t{80877103});
  EXPECT_EQ(read_startup(ssl, ignored), StartupState::other);
  auto unterminated = whole;
  unterminated.back() = 'x';
  EXPECT_EQ(read_startup(unterminated, ignored), StartupState::other);
  for (const char* bad :
       {"-c snowglobe.session=", "-c snowglobe.session=p", "-c snowglobe.session=q1",
        "-c snowglobe.session=p0", "-c snowglobe.session=p1 -c geqo=off",
        "-c snowglobe.session=p11111111111111111"}) {
    StartupPacket stranger;
    ASSERT_EQ(read_startup(packet({"options", bad}), stranger), StartupState::startup);
    EXPECT_EQ(stranger.token, 0U) << bad;
  }
}

TEST(PgWire, NoBytesAreTooStrange) {
  std::mt19937 random(7);
  for (int i = 0; i < 20'000; ++i) {
    auto bytes = packet({"user", "ada", "options", token_setting(random(), true)});
    for (unsigned flips = random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] ^= static_cast<std::uint8_t>(1u << (random() % 8));
    bytes.resize(random() % (bytes.size() + 1));
    StartupPacket ignored;
    (void)read_startup(bytes, ignored);
  }
}

/// Says `words` to its client as soon as that has sent something.
class Speaker : public testing::SpeakingServer {
 public:
  explicit Speaker(std::string words) : SpeakingServer({std::move(words)}) {}

  [[nodiscard]] std::unique_ptr<PGconn, void (*)(PGconn*)> connect() const {
    return {PQconnectdb(("host=127.0.0.1 sslmode=disable gssencmode=disable user=a port=" +
                         std::to_string(port()))
                            .c_str()),
            PQfinish};
  }
};

TEST(PgWire, LibpqTakesOurGreetingForAServers) {
  SessionPicture session;
  session.backend_pid = 4321;
  session.parameters = {{"client_encoding", "UTF8"}, {"TimeZone", "Europe/Paris"}};
  const Speaker server(greeting(session, 99));
  const auto client = server.connect();
  ASSERT_EQ(PQstatus(client.get()), CONNECTION_OK) << PQerrorMessage(client.get());
  EXPECT_EQ(PQtransactionStatus(client.get()), PQTRANS_IDLE);
  EXPECT_EQ(PQbackendPID(client.get()), 4321);
  EXPECT_STREQ(PQparameterStatus(client.get(), "TimeZone"), "Europe/Paris");
}

TEST(PgWire, LibpqHearsOurLastWords) {
  const Speaker server(last_words());
  const auto client = server.connect();
  EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
  EXPECT_NE(std::string(PQerrorMessage(client.get())).find("FATAL:  terminating connection"),
            std::string::npos)
      << PQerrorMessage(client.get());
}

}  // namespace
}  // namespace snowglobe::detail
