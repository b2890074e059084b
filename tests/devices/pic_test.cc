// tests/devices/pic_test.cc - the interrupt controller pair, driven as Linux drives it.
#include "vm/devices/pic.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

class PicTest : public testing::Test {
 protected:
  PicTest() : pic([this](bool level) { interrupt = level; }) {
    pic.attach(ports);
    // init_8259A() of arch/x86/kernel/i8259.c
    for (const auto& [port, value] : {std::pair<u16, u8>{0x21, 0xFF},
                                      {0xA1, 0xFF},
                                      {0x20, 0x11},
                                      {0x21, 0x30},
                                      {0x21, 0x04},
                                      {0x21, 0x01},
                                      {0xA0, 0x11},
                                      {0xA1, 0x38},
                                      {0xA1, 0x02},
                                      {0xA1, 0x01},
                                      {0x21, 0x00},
                                      {0xA1, 0x00},
                                      {0x4D0, 0xE8}}) {
      ports.out(port, 1, value);
    }
  }

  void end_of_interrupt(u8 irq) {
    if (irq >= 8) ports.out(0xA0, 1, 0x60 | (irq & 7));
    ports.out(0x20, 1, 0x60 | (irq >= 8 ? 2 : irq));
  }
  void pulse(u8 irq) {
    pic.set_level(irq, true);
    pic.set_level(irq, false);
  }

  PortMap ports;
  bool interrupt = false;
  Pic pic;
};

TEST_F(PicTest, AnEdgeIsLatchedAndServedOnce) {
  pulse(0);
  EXPECT_TRUE(interrupt);
  EXPECT_EQ(pic.acknowledge(), 0x30);
  EXPECT_FALSE(interrupt);
  end_of_interrupt(0);
  EXPECT_FALSE(interrupt);
}

TEST_F(PicTest, ALevelComesAgainAfterEndOfInterruptUntilTheDeviceIsServed) {
  pic.set_level(5, true);
  EXPECT_EQ(pic.acknowledge(), 0x35);
  EXPECT_FALSE(interrupt);
  end_of_interrupt(5);
  EXPECT_TRUE(interrupt);
  pic.set_level(5, false);
  EXPECT_FALSE(interrupt);
}

TEST_F(PicTest, HigherPriorityInterruptsLowerButNotTheOtherWayRound) {
  pulse(4);
  EXPECT_EQ(pic.acknowledge(), 0x34);
  pulse(6);
  EXPECT_FALSE(interrupt);
  pulse(0);
  EXPECT_TRUE(interrupt);
  EXPECT_EQ(pic.acknowledge(), 0x30);
  end_of_interrupt(0);
  EXPECT_FALSE(interrupt);
  end_of_interrupt(4);
}

TEST_F(PicTest, MaskedRequestsWait) {
  ports.out(0x21, 1, 0x08);
  pic.set_level(3, true);
  EXPECT_FALSE(interrupt);
  EXPECT_EQ(ports.in(0x21, 1), 0x08u);
  ports.out(0x21, 1, 0x00);
  EXPECT_TRUE(interrupt);
  EXPECT_EQ(pic.acknowledge(), 0x33);
}

TEST_F(PicTest, SlaveInterruptsComeThroughInputTwo) {
  pulse(12);
  EXPECT_TRUE(interrupt);
  EXPECT_EQ(pic.acknowledge(), 0x3C);
  ports.out(0x20, 1, 0x0B);
  EXPECT_EQ(ports.in(0x20, 1), 0x04u);  // in service at the master: the cascade
  ports.out(0xA0, 1, 0x0B);
  EXPECT_EQ(ports.in(0xA0, 1), 0x10u);
  pulse(8);
  EXPECT_FALSE(interrupt);  // not before the master has seen the end of the first
  end_of_interrupt(12);
  EXPECT_TRUE(interrupt);
  EXPECT_EQ(pic.acknowledge(), 0x38);
  end_of_interrupt(8);
  EXPECT_FALSE(interrupt);
}

TEST_F(PicTest, AnAcknowledgeWithoutRequestIsSpuriousAndLeavesNothingInService) {
  EXPECT_EQ(pic.acknowledge(), 0x37);
  ports.out(0x20, 1, 0x0B);
  EXPECT_EQ(ports.in(0x20, 1), 0u);
}

TEST_F(PicTest, NonSpecificEndOfInterruptEndsTheHighest) {
  pulse(4);
  pic.acknowledge();
  pulse(1);
  pic.acknowledge();
  ports.out(0x20, 1, 0x20);
  ports.out(0x20, 1, 0x0B);
  EXPECT_EQ(ports.in(0x20, 1), 0x10u);
}

TEST_F(PicTest, AutomaticEndOfInterruptLeavesNothingInService) {
  for (const auto& [port, value] :
       {std::pair<u16, u8>{0x20, 0x11}, {0x21, 0x30}, {0x21, 0x04}, {0x21, 0x03}}) {
    ports.out(port, 1, value);
  }
  pulse(4);
  EXPECT_EQ(pic.acknowledge(), 0x34);
  pulse(4);
  EXPECT_TRUE(interrupt);
}

TEST_F(PicTest, PollCommandAcknowledgesBySoftware) {
  pulse(1);
  ports.out(0x20, 1, 0x0C);
  EXPECT_EQ(ports.in(0x20, 1), 0x81u);
  EXPECT_FALSE(interrupt);
  ports.out(0x20, 1, 0x0C);
  EXPECT_EQ(ports.in(0x20, 1), 0x00u);
}

TEST_F(PicTest, RotationMovesThePriority) {
  ports.out(0x20, 1, 0xC3);  // set priority: input 3 the lowest
  pulse(0);
  pulse(4);
  EXPECT_EQ(pic.acknowledge(), 0x34);
}

TEST_F(PicTest, SpecialMaskModeLetsLowerPrioritiesIn) {
  pulse(1);
  pic.acknowledge();
  pulse(4);
  EXPECT_FALSE(interrupt);
  ports.out(0x21, 1, 0x02);
  ports.out(0x20, 1, 0x68);
  EXPECT_TRUE(interrupt);
}

TEST_F(PicTest, TheEdgeLevelRegisterKeepsTheTimerAnEdge) {
  ports.out(0x4D0, 1, 0xFF);
  ports.out(0x4D1, 1, 0xFF);
  EXPECT_EQ(ports.in(0x4D0, 1), 0xF8u);
  EXPECT_EQ(ports.in(0x4D1, 1), 0xDEu);
}

TEST_F(PicTest, StateSurvivesARoundTrip) {
  pulse(4);
  pic.set_level(5, true);
  pic.acknowledge();
  const PicState state = pic.state();
  bool other_interrupt = false;
  Pic other([&](bool level) { other_interrupt = level; });
  other.restore(state);
  EXPECT_EQ(other.state(), state);
  EXPECT_EQ(other_interrupt, interrupt);
}

TEST(InterruptLine, IsAssertedWhileAnyOfItsDevicesAssertsIt) {
  bool interrupt = false;
  Pic pic([&](bool level) { interrupt = level; });
  PortMap ports;
  pic.attach(ports);
  ports.out(0x4D0, 1, 0x20);
  ports.out(0x21, 1, 0);
  InterruptLine::Counts counts{};
  InterruptLine first(pic, counts, 5), second(pic, counts, 5);
  first.set(true);
  second.set(true);
  first.set(false);
  EXPECT_TRUE(interrupt);
  second.set(false);
  EXPECT_FALSE(interrupt);
}

}  // namespace
}  // namespace snowglobe::vm
