// tests/devices/pit_test.cc - the timer against a clock that moves only when told.
#include "vm/devices/pit.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

class HandClock final : public TscSource {
 public:
  u64 ticks() override { return now; }
  u64 now = 0;
};

class CountingSink final : public InterruptSink {
 public:
  void set_level(u8, bool asserted) override { edges += asserted ? 1 : 0; }
  int edges = 0;
};

class PitTest : public testing::Test {
 protected:
  PitTest() : line(sink, counts, 0), pit(clock, line) { pit.attach(ports); }

  void program(unsigned channel, u8 mode, u16 count, u8 extra = 0) {
    ports.out(0x43, 1, channel << 6 | 0x30 | mode << 1 | extra);
    ports.out(static_cast<u16>(0x40 + channel), 1, count & 0xFF);
    ports.out(static_cast<u16>(0x40 + channel), 1, count >> 8);
  }
  u16 read(unsigned channel) {
    const u32 low = ports.in(static_cast<u16>(0x40 + channel), 1);
    return static_cast<u16>(low | ports.in(static_cast<u16>(0x40 + channel), 1) << 8);
  }
  void advance_to(u64 nanoseconds) {
    clock.now = nanoseconds;
    pit.update(nanoseconds);
  }
  static u64 nanoseconds_of(u64 ticks) { return (ticks * 1'000'000'000 + 1193181) / 1193182; }

  HandClock clock;
  CountingSink sink;
  InterruptLine::Counts counts{};
  InterruptLine line;
  Pit pit;
  PortMap ports;
};

TEST_F(PitTest, PeriodicModeInterruptsHundredTimesASecond) {
  program(0, 2, 11932);
  int served = 0;
  while (pit.next_deadline() <= 1'000'000'000) {
    advance_to(pit.next_deadline());
    ++served;
  }
  EXPECT_EQ(served, 99);  // 1193182 / 11932 = 99.998
  EXPECT_EQ(sink.edges, served);
}

TEST_F(PitTest, MissedPeriodsAreOneInterruptAndKeepThePhase) {
  program(0, 2, 1000);
  advance_to(nanoseconds_of(5500));
  EXPECT_EQ(sink.edges, 1);
  EXPECT_EQ(pit.next_deadline(), nanoseconds_of(6000));
}

TEST_F(PitTest, OneShotFiresOnceAtItsTime) {
  clock.now = 123'456'789;
  program(0, 4, 1193);
  const u64 deadline = pit.next_deadline();
  EXPECT_NEAR(static_cast<double>(deadline), 123'456'789 + 1'000'000, 2000);
  advance_to(deadline - 1);
  EXPECT_EQ(sink.edges, 0);
  advance_to(deadline);
  EXPECT_EQ(sink.edges, 1);
  advance_to(deadline + 1'000'000'000);
  EXPECT_EQ(sink.edges, 1);
  EXPECT_EQ(pit.next_deadline(), Pit::kNever);
}

TEST_F(PitTest, AControlWordAloneStopsTheTimer) {
  program(0, 2, 1000);
  ports.out(0x43, 1, 0x30);
  EXPECT_EQ(pit.next_deadline(), Pit::kNever);
}

TEST_F(PitTest, CountZeroIsTheLongest) {
  program(0, 0, 0);
  EXPECT_EQ(pit.next_deadline(), nanoseconds_of(65536));
}

TEST_F(PitTest, CountRunsDownAndCanBeLatched) {
  program(0, 2, 10000);
  clock.now = nanoseconds_of(2500);
  EXPECT_EQ(read(0), 7500);
  ports.out(0x43, 1, 0x00);  // latch
  clock.now = nanoseconds_of(5000);
  EXPECT_EQ(read(0), 7500);
  EXPECT_EQ(read(0), 5000);
}

TEST_F(PitTest, ReadBackGivesStatusAndCount) {
  program(0, 2, 10000);
  clock.now = nanoseconds_of(100);
  ports.out(0x43, 1, 0xC2);  // status and count of channel 0
  EXPECT_EQ(ports.in(0x40, 1), 0x80u | 0x30 | 2 << 1);
  EXPECT_EQ(read(0), 9900);
}

TEST_F(PitTest, ChannelTwoCountsWhileItsGateIsOpen) {
  ports.out(0x61, 1, 0x00);
  program(2, 0, 1000);
  clock.now = nanoseconds_of(5000);
  EXPECT_EQ(ports.in(0x61, 1) & 0x21u, 0u);
  ports.out(0x61, 1, 0x01);
  clock.now += nanoseconds_of(999);
  EXPECT_EQ(ports.in(0x61, 1) & 0x21u, 0x01u);
  clock.now += nanoseconds_of(2);
  EXPECT_EQ(ports.in(0x61, 1) & 0x21u, 0x21u);
  EXPECT_EQ(sink.edges, 0);
}

TEST_F(PitTest, RefreshBitToggles) {
  const u32 first = ports.in(0x61, 1) & 0x10;
  clock.now += 15'085;
  EXPECT_NE(ports.in(0x61, 1) & 0x10, first);
}

TEST_F(PitTest, DecimalCountsAreDecimal) {
  program(0, 2, 0x1000, 1);
  EXPECT_EQ(pit.next_deadline(), nanoseconds_of(1000));
  clock.now = nanoseconds_of(1);
  EXPECT_EQ(read(0), 0x0999);
}

TEST_F(PitTest, SquareWaveCountsDownByTwo) {
  program(0, 3, 1000);
  clock.now = nanoseconds_of(100);
  EXPECT_EQ(read(0), 800);
  EXPECT_EQ(pit.next_deadline(), nanoseconds_of(1000));
}

TEST_F(PitTest, ImpossibleStatesAreToldApart) {
  clock.now = 500'000;
  program(0, 2, 1000);
  advance_to(1'000'000);
  const PitState good = pit.state();
  EXPECT_TRUE(is_valid(good, clock.now));
  EXPECT_FALSE(is_valid(good, 0)) << "counting began in the future";
  const auto with = [&](auto change) {
    PitState state = good;
    change(state.channel[0]);
    return is_valid(state, clock.now);
  };
  EXPECT_FALSE(with([](PitChannelState& channel) { channel.period = 0; })) << "divides";
  EXPECT_FALSE(with([](PitChannelState& channel) { channel.mode = 6; }));
  EXPECT_FALSE(with([](PitChannelState& channel) { channel.access = 0; }));
  EXPECT_FALSE(with([](PitChannelState& channel) { channel.next_edge = u64{1} << 60; }));
}

TEST_F(PitTest, YearsOfRunningTimeDoNotOverflow) {
  clock.now = u64{50} * 365 * 86400 * 1'000'000'000;
  program(0, 4, 1193);
  EXPECT_GT(pit.next_deadline(), clock.now);
  EXPECT_LT(pit.next_deadline(), clock.now + 1'100'000);
}

}  // namespace
}  // namespace snowglobe::vm
