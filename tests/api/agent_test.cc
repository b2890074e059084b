// tests/api/agent_test.cc - the agent's client against a scripted agent, and against one that lies.
#include "api/src/agent.h"

#include "base/random.h"
#include "tests/api/scripted_agent.h"

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;

using test::AgentTest;
using test::Frame;

TEST_F(AgentTest, EventsArriveHoweverTheBytesAreCut) {
  const std::string stream =
      agent_frame(0, SNOWGLOBE_HELLO,
                  WireWriter().number(SNOWGLOBE_PROTOCOL_VERSION).string("0.1").take()) +
      agent_frame(0, SNOWGLOBE_PROGRESS, WireWriter().string("disks").take()) +
      agent_frame(0, 99, "\x05") +
      agent_frame(
          0, SNOWGLOBE_LOG,
          WireWriter().number(std::uint8_t{1}).number(std::uint32_t{0}).string("line").take()) +
      agent_frame(0, SNOWGLOBE_POSTGRES_READY, std::string(4, '\0'));
  for (const char byte : stream)
    say(std::string_view(&byte, 1));
  EXPECT_EQ(heard_, "hello 0.1;disks;exited 0;Pline;ready;");
}

TEST_F(AgentTest, AnAgentOfAnotherProtocolIsABootFailure) {
  say(agent_frame(0, SNOWGLOBE_HELLO, WireWriter().number(std::uint32_t{7}).string("9").take()));
  EXPECT_NE(heard_.find("failed"), std::string::npos);
}

TEST_F(AgentTest, ExecCollectsOutputAndStatus) {
  script_ = [this](const Frame& frame) {
    if (frame.type != SNOWGLOBE_EXEC) return;
    say(agent_frame(frame.id, SNOWGLOBE_STDOUT, "out"));
    say(agent_frame(frame.id, SNOWGLOBE_STDERR, "err"));
    say(agent_frame(frame.id, SNOWGLOBE_STDOUT, "put"));
    say(agent_frame(frame.id, SNOWGLOBE_OK,
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
    if (frame.payload.empty()) say(agent_frame(frame.id, SNOWGLOBE_OK, std::string(8, '\0')));
  };
  run();
  EXPECT_TRUE(client_->put("/file", contents, 0644, Deadline(10s)).ok());
  EXPECT_TRUE(got == contents);
}

TEST_F(AgentTest, AnErrorKeepsItsWords) {
  script_ = [this](const Frame& frame) {
    say(agent_frame(frame.id, SNOWGLOBE_ERROR,
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

base::ConstBytes bytes_of(const std::string& text) {
  return {static_cast<const std::uint8_t*>(static_cast<const void*>(text.data())), text.size()};
}

TEST_F(AgentTest, AResumptionIsOneFrame) {
  const std::string entropy(SNOWGLOBE_RESUME_ENTROPY, 'e');
  Frame seen{};
  script_ = [&](const Frame& frame) {
    seen = frame;
    say(agent_frame(frame.id, SNOWGLOBE_OK, {}));
  };
  run();
  const Resumption resumption{.clock = base::Nanoseconds(1'700'000'000'000'000'000),
                              .fixed_now = base::Nanoseconds(946'684'800'000'000'000),
                              .secret = 0xFEDCBA98,
                              .disk_bytes = std::uint64_t{2} << 30,
                              .disk_limit = std::uint64_t{96} << 20,
                              .mac = {2, 'S', 1, 2, 3, 4},
                              .entropy = bytes_of(entropy)};
  ASSERT_TRUE(client_->resume(resumption, Deadline(5s)).ok());
  EXPECT_EQ(seen.type, SNOWGLOBE_RESUME);
  EXPECT_EQ(seen.payload, WireWriter()
                              .number(std::uint64_t{1'700'000'000'000'000'000})
                              .number(std::uint64_t{946'684'800'000'000'000})
                              .number(std::uint32_t{0xFEDCBA98})
                              .number(std::uint64_t{2} << 30)
                              .number(std::uint64_t{96} << 20)
                              .raw("\x02S\x01\x02\x03\x04")
                              .raw(entropy)
                              .take());
  ASSERT_TRUE(client_->cancel_statement(4711, Deadline(5s)).ok());
  EXPECT_EQ(seen.type, SNOWGLOBE_CANCEL_STATEMENT);
  EXPECT_EQ(seen.payload, WireWriter().number(std::uint32_t{4711}).take());
  ASSERT_TRUE(client_->quiesce(SNOWGLOBE_QUIESCE_SCRUB, Deadline(5s)).ok());
  EXPECT_EQ(seen.type, SNOWGLOBE_QUIESCE);
  EXPECT_EQ(seen.payload, WireWriter().number(std::uint32_t{8}).take());
}

TEST_F(AgentTest, TheDataDisksSizeIsAskedForAndRead) {
  Frame seen{};
  std::string answer = WireWriter().number(std::uint64_t{1000}).number(std::uint64_t{50}).take();
  script_ = [&](const Frame& frame) {
    seen = frame;
    say(agent_frame(frame.id, SNOWGLOBE_OK, answer));
  };
  run();
  const auto mounted = client_->mount_data(5000, 7, Deadline(5s));
  ASSERT_TRUE(mounted.ok());
  EXPECT_EQ(mounted.value().size, 1000U);
  EXPECT_EQ(mounted.value().used, 50U);
  EXPECT_EQ(seen.type, SNOWGLOBE_MOUNT_DATA);
  EXPECT_EQ(seen.payload, WireWriter().number(std::uint64_t{5000}).number(std::uint64_t{7}).take());
  ASSERT_TRUE(client_->disk_limit(0, 9, Deadline(5s)).ok());
  EXPECT_EQ(seen.type, SNOWGLOBE_DISK_LIMIT);
  answer.pop_back();
  EXPECT_EQ(client_->disk_limit(0, 9, Deadline(5s)).error().code, base::ErrorCode::kGuestCrashed);
  ASSERT_TRUE(client_->unmount_data(Deadline(5s)).ok());
  EXPECT_EQ(seen.type, SNOWGLOBE_UNMOUNT_DATA);
  ASSERT_TRUE(client_->stop_postgres(1, Deadline(5s)).ok());
  EXPECT_EQ(seen.payload, WireWriter().number(std::uint32_t{1}).take());
}

TEST_F(AgentTest, ATrimSaysWhatItGaveBack) {
  std::string words = "/var/lib/postgresql: 123456789 bytes trimmed\n";
  std::uint32_t status = 0;
  script_ = [&](const Frame& frame) {
    say(agent_frame(frame.id, status == 0 ? SNOWGLOBE_STDOUT : SNOWGLOBE_STDERR, words));
    say(agent_frame(frame.id, SNOWGLOBE_OK,
                    WireWriter().number(status).number(std::uint32_t{0}).take()));
  };
  run();
  EXPECT_EQ(client_->trim(5s).value(), 123456789U);
  words = "fstrim: not supported";
  status = 1 << 8;
  EXPECT_NE(client_->trim(5s).error().message.find("not supported"), std::string::npos);
  status = 0;
  EXPECT_FALSE(client_->trim(5s).ok());
}

TEST_F(AgentTest, AResumptionBegunOnTheMachinesThreadReportsOnce) {
  std::string outcomes;
  const auto note = [&](const base::Result<void>& outcome) {
    outcomes += outcome ? "done;" : outcome.error().message + ";";
  };
  script_ = [this](const Frame& frame) {
    say(agent_frame(frame.id, SNOWGLOBE_OK, {}));
    say(agent_frame(frame.id, SNOWGLOBE_OK, {}));
  };
  client_->begin_resume({}, note);
  EXPECT_EQ(outcomes, "done;");
  script_ = nullptr;
  client_->begin_resume({}, note);
  client_->end({base::ErrorCode::kGuestCrashed, "it died"});
  client_->begin_resume({}, note);
  EXPECT_EQ(outcomes, "done;it died;it died;");
}

TEST_F(AgentTest, ASavedConversationGoesOnInTheMiddleOfAFrameInBothDirections) {
  // Of the request the guest takes ten bytes; of the event the host has seen five.
  std::string taken;
  machine_.room = 10;
  machine_.on_host_data = [&](const std::string& data) {
    taken += data;
    machine_.room = 0;
  };
  client_->begin_resume({.secret = 42}, [](const base::Result<void>&) {});
  const std::string event = agent_frame(0, SNOWGLOBE_PROGRESS, WireWriter().string("disks").take());
  say(event.substr(0, 5));
  const std::string state = client_->save();

  AgentEvents events;
  std::string heard;
  const auto note = [&heard](const std::string& text) { heard += text; };
  events.progress = note;
  AgentClient other(loop_.context(), std::move(events));
  other.attach(machine_, 0);
  ASSERT_TRUE(other.restore(bytes_of(state)).ok());
  machine_.room = 1000;
  machine_.on_host_data = [&](const std::string& data) { taken += data; };
  other.begin_resume({.secret = 43}, [](const base::Result<void>&) {});
  other.on_data(bytes_of(event.substr(5)));
  EXPECT_EQ(heard, "disks");
  constexpr std::size_t kSecret = SNOWGLOBE_HEADER_SIZE + 16;
  const std::size_t length = SNOWGLOBE_HEADER_SIZE + 42;
  ASSERT_EQ(taken.size(), 2 * length);
  const auto first = base::load_le<std::uint32_t>(&taken[4]);
  const auto second = base::load_le<std::uint32_t>(&taken[length + 4]);
  EXPECT_NE(first, second) << "the restored guest may still answer the first";
  EXPECT_EQ(base::load_le<std::uint32_t>(&taken[kSecret]), 42u);
  EXPECT_EQ(base::load_le<std::uint32_t>(&taken[length + kSecret]), 43u);
}

TEST_F(AgentTest, ARestoreEndsWhatIsWaitedForAndTheGuestNeverSeesIt) {
  const std::string before = client_->save();
  bool seen = false;
  script_ = [&](const Frame&) { seen = true; };
  std::thread waiter([this] {
    const auto result = client_->get("/file", Deadline(20s));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, base::ErrorCode::kUnavailable);
  });
  // The loop does not run yet: the request is posted, and open, once save() sees its number.
  while (client_->save() == before)
    std::this_thread::yield();
  ASSERT_TRUE(client_->restore(bytes_of(before)).ok());
  waiter.join();
  run();
  script_ = [&](const Frame& frame) {
    seen = seen || frame.type == SNOWGLOBE_GET;
    say(agent_frame(frame.id, SNOWGLOBE_OK, {}));
  };
  ASSERT_TRUE(client_->set_clock(base::Nanoseconds(1), Deadline(5s)).ok());
  EXPECT_FALSE(seen);
}

TEST_F(AgentTest, ADamagedConversationIsRefusedAndNothingChanges) {
  const std::string state = client_->save();
  for (std::size_t length = 0; length < state.size(); ++length) {
    const auto result = client_->restore(bytes_of(state.substr(0, length)));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, base::ErrorCode::kCorrupt);
  }
  const std::string too_much =
      WireWriter()
          .number(std::uint32_t{1})
          .string("")
          .string(std::string(SNOWGLOBE_HEADER_SIZE + SNOWGLOBE_MAX_PAYLOAD, 'x'))
          .take();
  EXPECT_FALSE(client_->restore(bytes_of(too_much)).ok());
  EXPECT_EQ(client_->save(), state);
}

TEST_F(AgentTest, NoiseNeverDoesMoreThanFail) {
  base::SeededRandom random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string noise(random.next() % 64, '\0');
    random.fill({static_cast<std::uint8_t*>(static_cast<void*>(noise.data())), noise.size()});
    // Lengths in range, so that the payloads are looked at too.
    const auto type = static_cast<std::uint16_t>(random.next() % 128);
    say(agent_frame(static_cast<std::uint32_t>(random.next() % 3), type, noise));
  }
  say("\xFF\xFF\xFF\xFF and more bytes than a header has");
  const auto refused = client_->set_clock(base::Nanoseconds(0), Deadline(1s));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, base::ErrorCode::kGuestCrashed);
}

}  // namespace
}  // namespace snowglobe::detail
