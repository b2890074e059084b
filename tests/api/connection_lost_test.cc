// tests/api/connection_lost_test.cc - a connection that ends: whether the server is dead as well is
// asked for as long as its last words leave that open. The server is a script; its end becomes
// known some time after the connection's, as on a loaded host.
#include "api/src/connection.h"
#include "tests/api/server_stub.h"
#include "tests/api/speaking_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;

/// A message of the protocol, version 3 (PostgreSQL's documentation, chapter 55.7).
std::string message(char type, std::string body) {
  const auto length = htonl(static_cast<std::uint32_t>(body.size() + 4));
  std::string out(1, type);
  out.append(static_cast<const char*>(static_cast<const void*>(&length)), sizeof length);
  return out + body;
}

std::string fatal(const std::string& sqlstate, const std::string& words) {
  std::string body;
  for (const std::string& field :
       std::vector<std::string>{"SFATAL", "VFATAL", "C" + sqlstate, "M" + words})
    body += field + '\0';
  return message('E', body + '\0');
}

/// Greets its client, and answers the first statement by `last_words` and the connection's end.
class DyingServer : public testing::SpeakingServer {
 public:
  explicit DyingServer(std::string last_words)
      : SpeakingServer({message('R', std::string(4, '\0')) + message('Z', std::string(1, 'I')),
                        std::move(last_words)}) {}
};

/// The news of the machine's end comes `delay` after somebody begins to wait for it, or never.
class LateVerdict final : public testing::ServerStub {
 public:
  LateVerdict(std::uint16_t port, std::chrono::milliseconds delay)
      : ServerStub(port), delay_(delay) {}

  void check(std::chrono::milliseconds grace) override {
    waited_ = grace;
    if (grace >= delay_) throw GuestCrashed("PostgreSQL exited", {});
  }
  [[nodiscard]] std::chrono::milliseconds waited() const { return waited_; }

 private:
  std::chrono::milliseconds delay_;
  std::chrono::milliseconds waited_{0};
};

/// Runs a statement whose answer is `last_words`. Returns how long the verdict was waited for.
std::chrono::milliseconds run_into(const std::string& last_words, std::chrono::milliseconds delay) {
  const DyingServer dying(last_words);
  const auto server = std::make_shared<LateVerdict>(dying.port(), delay);
  const auto connection = detail::Connection::open(server, {}, detail::Deadline(10s));
  try {
    (void)connection->run_simple("select 1");
  } catch (const ConnectionLost&) {
    EXPECT_FALSE(connection->usable());
    return server->waited();
  }
  ADD_FAILURE() << "the statement was answered";
  return {};
}

constexpr std::chrono::milliseconds kNever = std::chrono::hours(1);

TEST(ConnectionLost, ABackendWithoutPostmasterIsAGuestCrashedHoweverLateTheAgentSaysSo) {
  const std::string orphan =
      fatal("57P01", "terminating connection due to unexpected postmaster exit");
  EXPECT_THROW(run_into(orphan, 3s), GuestCrashed);
  EXPECT_GT(run_into(orphan, kNever), 1s);
}

TEST(ConnectionLost, ABrokenSocketIsAGuestCrashedIfTheNewsComeSoon) {
  EXPECT_THROW(run_into("", 700ms), GuestCrashed);
  EXPECT_LE(run_into("", kNever), 1s);
}

TEST(ConnectionLost, AReasonThatIsNotTheServersEndIsBelievedAtOnce) {
  EXPECT_EQ(run_into(fatal("57P01", "terminating connection due to administrator command"), 1ms),
            0ms);
  EXPECT_EQ(
      run_into(fatal("57P02", "terminating connection because of crash of another server"), 1ms),
      0ms);
}

}  // namespace
}  // namespace snowglobe
