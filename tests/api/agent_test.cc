// tests/api/agent_test.cc - the agent's client against a scripted agent, and against one that lies.
#include "api/src/agent.h"

#include "api/src/agent_wire.h"
#include "api/src/asio_loop.h"
#include "base/random.h"
#include "guest/agent/protocol.h"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;

/// A machine that is nothing but its console port: what the host sends goes to a function.
class PortMachine final : public vm::Machine {
 public:
  std::function<void(std::string)> on_host_data;
  std::size_t room = 1000;  ///< bytes taken at a time, as from a guest with few buffers

  base::Result<void> start(std::function<void(vm::MachineEnd)>) override { return {}; }
  void stop() override {}
  void pause() override {}
  void resume() override {}
  base::FrameTransmitter* network() override { return nullptr; }
  std::size_t send_to_port(std::size_t, base::ConstBytes data) override {
    const std::size_t taken = std::min(room, data.size());
    on_host_data(std::string(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken)));
    return taken;
  }
  [[nodiscard]] bool port_open(std::size_t) const override { return true; }
  [[nodiscard]] vm::MachineStatistics statistics() const override { return {}; }
};

struct Frame {
  std::uint32_t id;
  std::uint16_t type;
  std::string payload;
};

std::string encode(std::uint32_t id, std::uint16_t type, std::string_view payload) {
  return WireWriter()
      .number(static_cast<std::uint32_t>(payload.size()))
      .number(id)
      .number(type)
      .number(std::uint16_t{0})
      .raw(payload)
      .take();
}

/// Client, loop with a thread, and the scripted agent.
class AgentTest : public ::testing::Test {
 protected:
  AgentTest() {
    AgentEvents events;
    const auto note = [this](const std::string& text) { heard_ += text + ";"; };
    events.hello = [note](const std::string& version) { note("hello " + version); };
    events.progress = note;
    events.postgres_ready = [note] { note("ready"); };
    events.postgres_exited = [note](int status) { note("exited " + std::to_string(status)); };
    events.boot_failed = [note](const std::string& why) { note("failed " + why); };
    events.log = [note](bool postgres, const std::string& line) {
      note((postgres ? "P" : "A") + line);
    };
    client_ = std::make_unique<AgentClient>(loop_.context(), std::move(events));
    machine_.on_host_data = [this](const std::string& data) { take(data); };
    client_->attach(machine_, 0);
  }
  ~AgentTest() override {
    client_->end({base::ErrorCode::kUnavailable, "over"});
    if (thread_.joinable()) {
      over_ = true;
      loop_.wake();
      thread_.join();
    }
  }
  void run() {
    thread_ = std::thread([this] {
      while (!over_)
        loop_.wait(std::chrono::seconds(1));
    });
  }
  void say(std::string_view bytes) {
    client_->on_data(
        {static_cast<const std::uint8_t*>(static_cast<const void*>(bytes.data())), bytes.size()});
  }
  void take(const std::string& data) {
    received_ += data;
    for (;;) {
      if (received_.size() < SNOWGLOBE_HEADER_SIZE) return;
      const auto length = base::load_le<std::uint32_t>(received_.data());
      if (received_.size() < SNOWGLOBE_HEADER_SIZE + length) return;
      const Frame frame{base::load_le<std::uint32_t>(&received_[4]),
                        base::load_le<std::uint16_t>(&received_[8]),
                        received_.substr(SNOWGLOBE_HEADER_SIZE, length)};
      received_.erase(0, SNOWGLOBE_HEADER_SIZE + length);
      if (script_) script_(frame);
    }
  }

  AsioLoop loop_;
  PortMachine machine_;
  std::unique_ptr<AgentClient> client_;
  std::function<void(const Frame&)> script_;
  std::string received_, heard_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

TEST_F(AgentTest, EventsArriveHoweverTheBytesAreCut) {
  const std::string stream =
      encode(0, SNOWGLOBE_HELLO, WireWriter().number(std::uint32_t{1}).string("0.1").take()) +
      encode(0, SNOWGLOBE_PROGRESS, WireWriter().string("disks").take()) + encode(0, 99, "\x05") +
      encode(0, SNOWGLOBE_LOG,
             WireWriter().number(std::uint8_t{1}).number(std::uint32_t{0}).string("line").take()) +
      encode(0, SNOWGLOBE_POSTGRES_READY, std::string(4, '\0'));
  for (const char byte : stream)
    say(std::string_view(&byte, 1));
  EXPECT_EQ(heard_, "hello 0.1;disks;exited 0;Pline;ready;");
}

TEST_F(AgentTest, AnAgentOfAnotherProtocolIsABootFailure) {
  say(encode(0, SNOWGLOBE_HELLO, WireWriter().number(std::uint32_t{7}).string("9").take()));
  EXPECT_NE(heard_.find("failed"), std::string::npos);
}

TEST_F(AgentTest, ExecCollectsOutputAndStatus) {
  script_ = [this](const Frame& frame) {
    if (frame.type != SNOWGLOBE_EXEC) return;
    say(encode(frame.id, SNOWGLOBE_STDOUT, "out"));
    say(encode(frame.id, SNOWGLOBE_STDERR, "err"));
    say(encode(frame.id, SNOWGLOBE_STDOUT, "put"));
    say(encode(frame.id, SNOWGLOBE_OK,
               WireWriter().number(std::uint32_t{3 << 8}).number(std::uint32_t{0}).take()));
  };
  run();
  const auto result = client_->exec({"program"}, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result.value().out, "output");
  EXPECT_EQ(result.value().err, "err");
  EXPECT_EQ(result.value().exit_code, 3);
}

TEST_F(AgentTest, ALongFileGoesInPiecesThroughASmallPort) {
  std::string contents(200'000, 'x');
  std::string got;
  script_ = [&](const Frame& frame) {
    if (frame.type != SNOWGLOBE_DATA) return;
    got += frame.payload;
    if (frame.payload.empty()) say(encode(frame.id, SNOWGLOBE_OK, std::string(8, '\0')));
  };
  run();
  EXPECT_TRUE(client_->put("/file", contents, 0644, Deadline(10s)).ok());
  EXPECT_TRUE(got == contents);
}

TEST_F(AgentTest, AnErrorKeepsItsWords) {
  script_ = [this](const Frame& frame) {
    say(encode(frame.id, SNOWGLOBE_ERROR,
               WireWriter().number(std::uint32_t{2}).string("open /nothing").take()));
  };
  run();
  const auto result = client_->get("/nothing", Deadline(5s));
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("open /nothing: No such file"), std::string::npos);
}

TEST_F(AgentTest, ASilentAgentIsATimeoutAndAnEndIsToldToWhoeverWaits) {
  run();
  const auto late = client_->set_clock(base::Nanoseconds(0), Deadline(50ms));
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, base::ErrorCode::kTimeout);
  std::thread end([this] { client_->end({base::ErrorCode::kGuestCrashed, "it died"}); });
  const auto dead = client_->set_clock(base::Nanoseconds(0), Deadline(20s));
  end.join();
  ASSERT_FALSE(dead.ok());
  EXPECT_EQ(dead.error().code, base::ErrorCode::kGuestCrashed);
}

TEST_F(AgentTest, NoiseNeverDoesMoreThanFail) {
  base::SeededRandom random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string noise(random.next() % 64, '\0');
    random.fill({static_cast<std::uint8_t*>(static_cast<void*>(noise.data())), noise.size()});
    // Lengths in range, so that the payloads are looked at too.
    const auto type = static_cast<std::uint16_t>(random.next() % 128);
    say(encode(static_cast<std::uint32_t>(random.next() % 3), type, noise));
  }
  say("\xFF\xFF\xFF\xFF and more bytes than a header has");
  const auto refused = client_->set_clock(base::Nanoseconds(0), Deadline(1s));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, base::ErrorCode::kGuestCrashed);
}

}  // namespace
}  // namespace snowglobe::detail
