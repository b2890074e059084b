// tests/cli/interrupts_test.cc - what Ctrl-C does, and when it is too late to do it.
#include "cli/interrupts.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <gtest/gtest.h>
#include <optional>
#include <thread>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

using namespace std::chrono_literals;

void press(Interrupts& interrupts) {
  const auto limit = std::chrono::steady_clock::now() + 10s;
  kill(getpid(), SIGINT);
  while (!interrupts.interrupted() && std::chrono::steady_clock::now() < limit)
    std::this_thread::sleep_for(1ms);
  ASSERT_TRUE(interrupts.interrupted());
}

TEST(Interrupts, TheFirstCancelsAndTheSecondCloses) {
  std::optional<Interrupts> interrupts(std::in_place);
  std::promise<void> cancelled, closed;
  const auto cancel = interrupts->on_cancel([&] { cancelled.set_value(); });
  const auto close = interrupts->on_close([&] { closed.set_value(); });
  press(*interrupts);
  EXPECT_EQ(cancelled.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_FALSE(interrupts->closing().stop_requested());
  kill(getpid(), SIGINT);
  EXPECT_EQ(closed.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_TRUE(interrupts->closing().stop_requested());
}

// The thread that acts on a signal can be as late as it likes.
TEST(Interrupts, OneThatWasDealtWithDoesNothingToWhatRunsNext) {
  std::optional<Interrupts> interrupts(std::in_place);
  const std::stop_token closing = interrupts->closing();
  std::promise<void> began, go_on;
  std::atomic<int> calls = 0;
  {
    const auto slow = interrupts->on_cancel([&] {
      if (++calls > 1) return;
      began.set_value();
      go_on.get_future().wait();
    });
    press(*interrupts);
    began.get_future().wait();
    interrupts->rearm();
    press(*interrupts);  // acted on when the first has been
    interrupts->rearm();
    go_on.set_value();
  }
  interrupts.reset();  // joins all
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(closing.stop_requested());
}

}  // namespace
}  // namespace snowglobe::cli
