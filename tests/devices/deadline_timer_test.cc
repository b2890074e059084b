// tests/devices/deadline_timer_test.cc - arming, firing and disarming the one-shot timer.
#include "vm/devices/deadline_timer.h"

#include "vm/bus/port_map.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

class DeadlineTimerTest : public testing::Test {
 protected:
  struct Sink final : InterruptSink {
    void set_level(u8, bool asserted) override { edges += asserted ? 1 : 0; }
    int edges = 0;
  };
  struct Clock final : TscSource {
    u64 ticks() override { return now; }
    u64 now = 1000;
  };

  DeadlineTimerTest() { timer.attach(ports); }

  Sink sink;
  InterruptLine::Counts counts{};
  InterruptLine line{sink, counts, 0};
  Clock clock;
  PortMap ports;
  DeadlineTimer timer{clock, line};
};

TEST_F(DeadlineTimerTest, AKernelCanTellThatItIsThere) {
  EXPECT_EQ(ports.in(DeadlineTimer::kPort, 4), DeadlineTimer::kSignature);
  EXPECT_EQ(ports.in(DeadlineTimer::kPort + 1, 1), u32{'N'});
}

TEST_F(DeadlineTimerTest, FiresOnceWhenItsTimeHasCome) {
  ports.out(DeadlineTimer::kPort, 4, 500);
  EXPECT_EQ(timer.next_deadline(), 1500u);
  timer.update(1499);
  EXPECT_EQ(sink.edges, 0);
  timer.update(1500);
  timer.update(9999);
  EXPECT_EQ(sink.edges, 1);
  EXPECT_EQ(timer.next_deadline(), DeadlineTimer::kNever);
}

TEST_F(DeadlineTimerTest, ZeroDisarmsAndALaterDeadlineReplacesAnEarlierOne) {
  ports.out(DeadlineTimer::kPort, 4, 500);
  ports.out(DeadlineTimer::kPort, 4, 0xFFFFFFFF);
  EXPECT_EQ(timer.next_deadline(), u64{1000} + 0xFFFFFFFF);
  ports.out(DeadlineTimer::kPort, 4, 0);
  EXPECT_EQ(timer.next_deadline(), DeadlineTimer::kNever);
  timer.update(~u64{0} - 1);
  EXPECT_EQ(sink.edges, 0);
}

TEST_F(DeadlineTimerTest, WritesOfSingleBytesAreNoDeadline) {
  ports.out(DeadlineTimer::kPort, 1, 5);
  ports.out(DeadlineTimer::kPort + 2, 2, 5);
  EXPECT_EQ(timer.next_deadline(), DeadlineTimer::kNever);
}

}  // namespace
}  // namespace snowglobe::vm
