// tests/api/asio_loop_test.cc - the machine's loop waits, is woken, and never loses a wake.
#include "api/src/asio_loop.h"

#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <gtest/gtest.h>
#include <thread>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;

double seconds_of(const auto& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(AsioLoop, WaitLastsAsLongAsItsLimitWhenThereIsNothing) {
  AsioLoop loop;
  EXPECT_GE(seconds_of([&] { loop.wait(30ms); }), 0.029);
  EXPECT_GE(seconds_of([&] { loop.wait(30ms); }), 0.029);
}

TEST(AsioLoop, AWakeBeforeTheWaitIsNotLost) {
  AsioLoop loop;
  loop.wake();
  EXPECT_LT(seconds_of([&] { loop.wait(10s); }), 5);
  EXPECT_GE(seconds_of([&] { loop.wait(30ms); }), 0.029) << "one wake ends one wait";
}

TEST(AsioLoop, AWakeFromAnotherThreadEndsTheWait) {
  AsioLoop loop;
  for (int i = 0; i < 1000; ++i) {
    std::thread other([&] { loop.wake(); });
    EXPECT_LT(seconds_of([&] { loop.wait(10s); }), 5);
    other.join();
    loop.poll();
    // A wake that came while nobody waited holds for the next wait only.
    loop.wait(0ms);
  }
}

TEST(AsioLoop, PostedWorkAndTimersRunInPollAndWait) {
  AsioLoop loop;
  int ran = 0;
  asio::post(loop.context(), [&] { ++ran; });
  loop.poll();
  EXPECT_EQ(ran, 1);
  asio::steady_timer timer(loop.context(), 20ms);
  timer.async_wait([&](const auto&) { ++ran; });
  EXPECT_LT(seconds_of([&] { loop.wait(10s); }), 5);
  EXPECT_EQ(ran, 2);
  std::thread other([&] { asio::post(loop.context(), [&] { ++ran; }); });
  EXPECT_LT(seconds_of([&] { loop.wait(10s); }), 5);
  other.join();
  EXPECT_EQ(ran, 3);
}

}  // namespace
}  // namespace snowglobe::detail
