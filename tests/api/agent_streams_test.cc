// tests/api/agent_streams_test.cc - standard input, signals and output as it comes of a program in
// the guest, against an agent that a script plays.
#include "tests/api/scripted_agent.h"

#include <stdexcept>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;
using test::AgentTest;
using test::Frame;

std::string number(std::uint32_t value) {
  return WireWriter().number(value).take();
}

/// The program of EXEC `id` has ended with this code.
std::string ended(std::uint32_t id, std::uint32_t code) {
  return agent_frame(id, SNOWGLOBE_OK,
                     WireWriter().number(std::uint32_t{code << 8}).number(std::uint32_t{0}).take());
}

class AgentStreamsTest : public AgentTest {
 protected:
  /// The agent of a program that reads all of its input, `step` bytes at a time, and ends with it.
  void play_reader(std::size_t step) {
    script_ = [this, step](const Frame& frame) {
      if (frame.type != SNOWGLOBE_STDIN) return;
      read_ += frame.payload;
      unread_ += frame.payload.size();
      most_unread_ = std::max(most_unread_, unread_);
      while (unread_ > 0) {
        const std::size_t taken = std::min(step, unread_);
        unread_ -= taken;
        say(agent_frame(frame.id, SNOWGLOBE_STDIN_TAKEN,
                        number(static_cast<std::uint32_t>(taken))));
      }
      if (frame.payload.empty()) say(ended(frame.id, 0));
    };
  }

  std::string read_;
  std::size_t unread_ = 0, most_unread_ = 0;
};

TEST_F(AgentStreamsTest, InputThatWasWrittenBeforeIsReadToItsEnd) {
  play_reader(1000);
  run();
  GuestInput input;
  EXPECT_TRUE(input.write("one\n"));
  EXPECT_TRUE(input.write("two\n"));
  input.close();
  const auto result = client_->exec({"cat"}, {.input = input});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(read_, "one\ntwo\n");
  EXPECT_FALSE(input.write("three"));  // there is nobody to read it
}

TEST_F(AgentStreamsTest, MuchInputKeepsWithinTheAgentsWindow) {
  play_reader(SNOWGLOBE_STDIN_WINDOW / 3);
  run();
  std::string all;
  for (int i = 0; all.size() < 3'000'000; ++i)
    all += "line " + std::to_string(i) + '\n';
  GuestInput input;
  std::thread feeder([&] {
    for (std::size_t at = 0; at < all.size(); at += 100'000)
      EXPECT_TRUE(input.write(std::string_view(all).substr(at, 100'000)));
    input.close();
  });
  const auto result = client_->exec({"wc"}, {.limit = 60s, .input = input});
  feeder.join();
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(read_ == all);
  EXPECT_LE(most_unread_, SNOWGLOBE_STDIN_WINDOW);
}

TEST_F(AgentStreamsTest, AProgramThatDoesNotReadStopsItsWriterAndItsEndLetsItGo) {
  std::size_t received = 0;
  script_ = [&](const Frame& frame) {
    if (frame.type == SNOWGLOBE_STDIN) received += frame.payload.size();
    // It ends once it has been sent a window of what it never reads.
    if (received == SNOWGLOBE_STDIN_WINDOW) say(ended(frame.id, 1));
  };
  run();
  GuestInput input;
  bool last = true;
  std::thread feeder([&] {
    const std::string part(300'000, 'x');
    for (int i = 0; i < 100 && last; ++i)
      last = input.write(part);
  });
  const auto result = client_->exec({"sleep"}, {.limit = 60s, .input = input});
  feeder.join();
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result.value().exit_code, 1);
  EXPECT_FALSE(last);
  EXPECT_EQ(received, SNOWGLOBE_STDIN_WINDOW);
}

TEST_F(AgentStreamsTest, OutputIsHandedOnAsItComes) {
  std::string seen;
  script_ = [this](const Frame& frame) {
    if (frame.type == SNOWGLOBE_EXEC) say(agent_frame(frame.id, SNOWGLOBE_STDOUT, "name? "));
    // It goes on when it was answered: so the question must have come out before its end.
    if (frame.type == SNOWGLOBE_STDIN && frame.payload == "Ada") {
      say(agent_frame(frame.id, SNOWGLOBE_STDERR, "warning"));
      say(agent_frame(frame.id, SNOWGLOBE_STDOUT, "hello Ada"));
      say(ended(frame.id, 0));
    }
  };
  run();
  GuestInput input;
  ExecOptions options{.limit = 30s, .input = input};
  options.on_out = [&](std::string_view text) {
    seen += text;
    if (seen == "name? ") input.write("Ada");
  };
  options.on_err = [&](std::string_view text) { seen += "[" + std::string(text) + "]"; };
  const auto result = client_->exec({"greet"}, options);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_NE(seen.find("hello Ada"), std::string::npos) << seen;
  EXPECT_NE(seen.find("[warning]"), std::string::npos) << seen;
  EXPECT_EQ(result.value().out + result.value().err, "");
}

TEST_F(AgentStreamsTest, WhatNobodyAskedForAsItComesIsInTheResult) {
  script_ = [this](const Frame& frame) {
    if (frame.type != SNOWGLOBE_EXEC) return;
    say(agent_frame(frame.id, SNOWGLOBE_STDOUT, "out"));
    say(agent_frame(frame.id, SNOWGLOBE_STDERR, "err"));
    say(ended(frame.id, 0));
  };
  run();
  std::string seen;
  ExecOptions options;
  options.on_out = [&](std::string_view text) { seen += text; };
  const auto result = client_->exec({"both"}, options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(seen, "out");
  EXPECT_EQ(result.value().out, "");
  EXPECT_EQ(result.value().err, "err");
}

TEST_F(AgentStreamsTest, ACallbacksExceptionComesOutAndTheProgramIsKilled) {
  std::atomic<std::uint32_t> killed = 0;
  script_ = [&](const Frame& frame) {
    if (frame.type == SNOWGLOBE_EXEC) say(agent_frame(frame.id, SNOWGLOBE_STDOUT, "bad"));
    if (frame.type == SNOWGLOBE_SIGNAL) killed = base::load_le<std::uint32_t>(frame.payload.data());
  };
  run();
  ExecOptions options{.limit = 30s};
  options.on_out = [](std::string_view text) { throw std::out_of_range(std::string(text)); };
  EXPECT_THROW((void)client_->exec({"talk"}, options), std::out_of_range);
  for (int i = 0; i < 500 && killed == 0; ++i)
    std::this_thread::sleep_for(10ms);
  EXPECT_EQ(killed, 9u);
}

TEST_F(AgentStreamsTest, SignalsReachTheProgramInTheirOrder) {
  std::string got;
  script_ = [&](const Frame& frame) {
    if (frame.type != SNOWGLOBE_SIGNAL) return;
    got += std::to_string(base::load_le<std::uint32_t>(frame.payload.data())) + ' ';
    if (got == "2 15 ") say(ended(frame.id, 0));
  };
  run();
  GuestInput input;
  input.signal(2);
  std::thread later([&] {
    std::this_thread::sleep_for(30ms);
    input.signal(15);
  });
  const auto result = client_->exec({"sleep"}, {.limit = 30s, .input = input});
  later.join();
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(got, "2 15 ");
}

TEST_F(AgentStreamsTest, AnAgentThatSaysNoLetsTheWriterGo) {
  script_ = [this](const Frame& frame) {
    if (frame.type != SNOWGLOBE_EXEC) return;
    say(agent_frame(frame.id, SNOWGLOBE_ERROR,
                    WireWriter().number(std::uint32_t{2}).string("no such program").take()));
  };
  run();
  GuestInput input;
  EXPECT_FALSE(client_->exec({"nothing"}, {.input = input}).ok());
  EXPECT_FALSE(input.write("x"));
}

TEST_F(AgentStreamsTest, ATerminalHasItsSizeInTheRequestAndBecomesAnother) {
  const auto size = [](std::uint32_t rows, std::uint32_t columns) {
    return WireWriter().number(rows).number(columns).take();
  };
  std::string asked, resized;
  script_ = [&](const Frame& frame) {
    if (frame.type == SNOWGLOBE_EXEC) asked = frame.payload;
    if (frame.type == SNOWGLOBE_RESIZE) {
      resized = frame.payload;
      say(agent_frame(frame.id, SNOWGLOBE_OK, std::string(8, '\0')));
    }
  };
  run();
  ExecOptions options;
  options.terminal = {.rows = 31, .columns = 97};
  options.input = GuestInput();
  options.input->resize({.rows = 50, .columns = 100'000});
  ASSERT_TRUE(client_->exec({"vi"}, options).ok());
  EXPECT_EQ(resized, size(50, 65535)) << "no terminal is larger";
  ASSERT_GT(asked.size(), 24U);
  EXPECT_EQ(asked.substr(asked.size() - 8), size(31, 97));
  constexpr std::size_t kFlags = 12;  // behind uid, gid and limit
  EXPECT_EQ(asked[kFlags], SNOWGLOBE_EXEC_STDIN | SNOWGLOBE_EXEC_TERMINAL);
}

}  // namespace
}  // namespace snowglobe::detail
