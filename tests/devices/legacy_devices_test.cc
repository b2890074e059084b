// tests/devices/legacy_devices_test.cc - CMOS clock, serial port, system ports and PCI
// configuration.
#include "vm/devices/pci.h"
#include "vm/devices/pic.h"
#include "vm/devices/rtc.h"
#include "vm/devices/system_ports.h"
#include "vm/devices/uart.h"

#include <gtest/gtest.h>
#include <string>

namespace snowglobe::vm {
namespace {

TEST(Rtc, TellsTheWallClockInBcdWithTheUpdateBitClear) {
  base::ManualClock clock;
  clock.advance(std::chrono::seconds(1795376586));  // 2026-11-22 19:43:06 UTC, a Sunday
  Rtc rtc(clock);
  PortMap ports;
  rtc.attach(ports);
  const auto read = [&](u8 index) {
    ports.out(0x70, 1, index);
    return ports.in(0x71, 1);
  };
  EXPECT_EQ(read(0x00), 0x06u);
  EXPECT_EQ(read(0x02), 0x43u);
  EXPECT_EQ(read(0x04), 0x19u);
  EXPECT_EQ(read(0x06), 1u);
  EXPECT_EQ(read(0x07), 0x22u);
  EXPECT_EQ(read(0x08), 0x11u);
  EXPECT_EQ(read(0x09), 0x26u);
  EXPECT_EQ(read(0x32), 0x20u);
  EXPECT_EQ(read(0x0A) & 0x80, 0u);
  EXPECT_EQ(read(0x0B), 0x02u);
  EXPECT_EQ(read(0x0D), 0x80u);
  ports.out(0x70, 1, 0x0F);  // the shutdown byte is memory
  ports.out(0x71, 1, 0x5A);
  EXPECT_EQ(read(0x0F), 0x5Au);
}

class UartTest : public testing::Test {
 protected:
  UartTest()
      : pic([this](bool level) { interrupt = level; }),
        line(pic, counts, 4),
        uart(0x3F8, line,
             [this](base::ConstBytes data) { text.append(data.begin(), data.end()); }) {
    pic.attach(ports);
    ports.out(0x4D0, 1, 0x10);  // as a level, so that the test sees it fall
    ports.out(0x21, 1, 0);
    uart.attach(ports);
  }
  u32 in(u16 offset) { return ports.in(static_cast<u16>(0x3F8 + offset), 1); }
  void out(u16 offset, u8 value) { ports.out(static_cast<u16>(0x3F8 + offset), 1, value); }

  PortMap ports;
  bool interrupt = false;
  std::string text;
  Pic pic;
  InterruptLine::Counts counts{};
  InterruptLine line;
  Uart uart;
};

TEST_F(UartTest, WritesComeOutByLinesOrWhenFlushed) {
  for (const char c : std::string("hi\nyou"))
    out(0, static_cast<u8>(c));
  EXPECT_EQ(text, "hi\n");
  uart.flush();
  EXPECT_EQ(text, "hi\nyou");
  EXPECT_EQ(in(5) & 0x60, 0x60u);  // always ready for more
}

TEST_F(UartTest, IsFoundToBeA16550AByLinuxAutoconfiguration) {
  out(1, 0x0F);
  EXPECT_EQ(in(1), 0x0Fu);
  out(1, 0);
  out(4, 0x1A);  // loopback: OUT2 and RTS come back as DCD and CTS
  EXPECT_EQ(in(6) & 0xF0, 0x90u);
  out(4, 0);
  out(2, 0x01);
  EXPECT_EQ(in(2) >> 6, 3u);
  out(7, 0xAE);
  EXPECT_EQ(in(7), 0xAEu);
}

TEST_F(UartTest, TheDivisorLatchHidesDataAndInterruptEnable) {
  out(3, 0x80);
  out(0, 1);
  out(1, 0);
  EXPECT_EQ(in(0), 1u);
  out(3, 0x03);
  uart.flush();
  EXPECT_EQ(text, "");
}

TEST_F(UartTest, TransmitterInterruptIsAcknowledgedByReadingItsCause) {
  out(1, 0x02);
  EXPECT_TRUE(interrupt);
  EXPECT_EQ(in(2) & 0x0F, 2u);
  EXPECT_FALSE(interrupt);
  EXPECT_EQ(in(2) & 0x0F, 1u);
  out(0, 'x');
  EXPECT_TRUE(interrupt);
}

TEST_F(UartTest, TypedBytesInterruptUntilTheyAreRead) {
  out(1, 0x01);
  const std::string typed = "ok";
  EXPECT_EQ(uart.receive({reinterpret_cast<const u8*>(typed.data()), 2}), 2u);
  EXPECT_TRUE(interrupt);
  EXPECT_EQ(in(2) & 0x0F, 4u);
  EXPECT_EQ(in(0), u32{'o'});
  EXPECT_EQ(in(5) & 1, 1u);
  EXPECT_EQ(in(0), u32{'k'});
  EXPECT_FALSE(interrupt);
  EXPECT_EQ(in(5) & 1, 0u);
}

TEST_F(UartTest, TypingAheadHasALimit) {
  const std::vector<u8> much(10000, 'x');
  EXPECT_EQ(uart.receive(much), 4096u);
  EXPECT_EQ(uart.receive(much), 0u);
}

TEST(SystemPorts, MeanResetAndPowerOff) {
  std::vector<SystemRequest> requests;
  SystemPorts system([&](SystemRequest request) { requests.push_back(request); });
  PciBus pci([&] { requests.push_back(SystemRequest::kReset); });
  PortMap ports;
  system.attach(ports);
  pci.attach(ports);
  ports.out(0x64, 1, 0xD1);
  ports.out(0x92, 1, 0x02);
  ports.out(0xCF9, 1, 0x02);
  EXPECT_TRUE(requests.empty());
  ports.out(0x64, 1, 0xFE);
  ports.out(0x92, 1, 0x03);
  ports.out(0xCF9, 1, 0x06);
  EXPECT_EQ(requests, std::vector(3, SystemRequest::kReset));
  ports.out(SystemPorts::kPowerOffPort, 1, 0);
  EXPECT_EQ(requests.back(), SystemRequest::kPowerOff);
}

/// Answers with what it is asked.
class Registers final : public PortDevice {
 public:
  u32 in(u16 port, unsigned) override { return port; }
  void out(u16, unsigned, u32) override {}
};

class PciTest : public testing::Test {
 protected:
  PciTest() : bus([] {}), function({.vendor = 0x1AF4, .device = 0x1001, .class_code = 0x010000}) {
    bus.attach(ports);
    function.assign(ports, &registers, 128, 0xC000, 5);
    bus.add(&function);
  }
  u32 read(unsigned device, u8 offset, unsigned size = 4) {
    ports.out(0xCF8, 4, 0x80000000u | device << 11 | (offset & 0xFC));
    return ports.in(static_cast<u16>(0xCFC + (offset & 3)), size);
  }
  void write(unsigned device, u8 offset, u32 value, unsigned size = 4) {
    ports.out(0xCF8, 4, 0x80000000u | device << 11 | (offset & 0xFC));
    ports.out(static_cast<u16>(0xCFC + (offset & 3)), size, value);
  }

  PortMap ports;
  PciBus bus;
  Registers registers;
  PciFunction function;
};

TEST_F(PciTest, IsDetectedAsMechanismOne) {
  ports.out(0xCFB, 1, 1);
  ports.out(0xCF8, 4, 0x80000000);
  EXPECT_EQ(ports.in(0xCF8, 4), 0x80000000u);
  EXPECT_EQ(read(0, 0), 0x12378086u);
  EXPECT_EQ(read(0, 0x0A, 2), 0x0600u);
}

TEST_F(PciTest, EmptySlotsReadAsAllOnes) {
  EXPECT_EQ(read(9, 0), 0xFFFFFFFFu);
  ports.out(0xCF8, 4, 0x80000100 | 1 << 11);  // function 1 of a single-function device
  EXPECT_EQ(ports.in(0xCFC, 4), 0xFFFFFFFFu);
  ports.out(0xCF8, 4, 0x80010000);  // bus 1
  EXPECT_EQ(ports.in(0xCFC, 4), 0xFFFFFFFFu);
  ports.out(0xCF8, 4, 0);  // not enabled
  EXPECT_EQ(ports.in(0xCFC, 4), 0xFFFFFFFFu);
}

TEST_F(PciTest, TheInterruptLineIsWhatTheMachineAssigned) {
  EXPECT_EQ(read(1, 0x3C, 1), 5u);
  EXPECT_EQ(read(1, 0x3D, 1), 1u);
  EXPECT_EQ(read(0, 0x3D, 1), 0u);
}

TEST_F(PciTest, SizingTheBarGivesItsSizeAndLeavesItWorking) {
  const u32 before = read(1, 0x10);
  EXPECT_EQ(before, 0xC001u);
  write(1, 0x10, 0xFFFFFFFF);
  EXPECT_EQ(read(1, 0x10), 0xFFFFFF81u);
  EXPECT_EQ(ports.in(0xC000, 2), 0xFFFFu);
  write(1, 0x10, before);
  EXPECT_EQ(ports.in(0xC000, 2), 0xC000u);
}

TEST_F(PciTest, TheBarMovesAndCanBeSwitchedOff) {
  write(1, 0x10, 0xD000);
  EXPECT_EQ(ports.in(0xC000, 2), 0xFFFFu);
  EXPECT_EQ(ports.in(0xD004, 2), 0xD004u);
  write(1, 0x04, 0, 2);
  EXPECT_EQ(ports.in(0xD004, 2), 0xFFFFu);
  write(1, 0x04, 1, 2);
  EXPECT_EQ(ports.in(0xD004, 2), 0xD004u);
}

TEST_F(PciTest, ABarOverTheBusItselfDoesNotWin) {
  write(1, 0x10, 0x0C80);  // covers 0xCF8
  EXPECT_EQ(read(0, 0), 0x12378086u);
  write(1, 0x10, 0xC000);
  EXPECT_EQ(ports.in(0xC000, 2), 0xC000u);
}

TEST_F(PciTest, ByteWritesChangeOnlyTheirByte) {
  write(1, 0x3C, 0x0B, 1);
  EXPECT_EQ(read(1, 0x3C), 0x010Bu);
  write(1, 0x00, 0);  // read-only
  EXPECT_EQ(read(1, 0x00), 0x10011AF4u);
}

}  // namespace
}  // namespace snowglobe::vm
