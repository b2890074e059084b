// tests/devices/console_test.cc - named ports: the handshake, bytes both ways, and back-pressure.
#include "vm/devices/virtio/console.h"

#include "tests/support/virtio_bench.h"
#include "vm/devices/virtio/entropy.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

class Backend final : public PortBackend {
 public:
  std::size_t on_data(base::ConstBytes data) override {
    const std::size_t taken = std::min(room, data.size());
    text.append(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken));
    room -= taken;
    return taken;
  }
  void on_open(bool is_open) override { open = is_open; }
  void on_send_ready() override { ++ready; }
  std::string text;
  std::size_t room = ~std::size_t{0};
  bool open = false;
  int ready = 0;
};

struct Control {
  u32 port;
  u16 event;
  u16 value;
  std::string text;
  bool operator==(const Control&) const = default;
};

class ConsoleTest : public testing::Test {
 protected:
  static constexpr u16 kControlIn = 2, kControlOut = 3;

  ConsoleTest() : device(*bench.ram, bench.line, {{"snowglobe.agent", &agent}, {"other", &other}}) {
    bench.plug(device);
    bench.driver.start();
    for (int i = 0; i < 16; ++i) {
      control_buffers.push_back(bench.driver.allocate(64));
      bench.driver.queue(kControlIn).add({{control_buffers.back(), 64, true}});
    }
    bench.driver.kick(kControlIn);
  }
  void tell(u32 port, u16 event, u16 value) {
    std::vector<u8> bytes(8);
    base::store_le(&bytes[0], port);
    base::store_le(&bytes[4], event);
    base::store_le(&bytes[6], value);
    const u32 at = bench.driver.allocate(8);
    bench.driver.put(at, bytes);
    bench.driver.queue(kControlOut).add({{at, 8, false}});
    bench.driver.kick(kControlOut);
  }
  std::vector<Control> told() {
    std::vector<Control> messages;
    while (const auto used = bench.driver.queue(kControlIn).take_used()) {
      const std::vector<u8> bytes =
          bench.driver.get(control_buffers[next_control++], used->written);
      messages.push_back({base::load_le<u32>(&bytes[0]), base::load_le<u16>(&bytes[4]),
                          base::load_le<u16>(&bytes[6]),
                          std::string(bytes.begin() + 8, bytes.end())});
    }
    return messages;
  }
  void open_port(u32 id) {
    tell(id, 3, 1);
    tell(id, 6, 1);
  }
  void guest_writes(u16 queue, const std::vector<std::string>& parts) {
    std::vector<test::DriverBuffer> chain;
    for (const std::string& part : parts) {
      const u32 at = bench.driver.allocate(static_cast<u32>(part.size()));
      bench.driver.put(at, {reinterpret_cast<const u8*>(part.data()), part.size()});
      chain.push_back({at, static_cast<u32>(part.size()), false});
    }
    bench.driver.queue(queue).add(chain);
    bench.driver.kick(queue);
  }
  std::size_t send(std::size_t index, const std::string& text) {
    return device.send(index, {reinterpret_cast<const u8*>(text.data()), text.size()});
  }

  test::VirtioBench bench;
  Backend agent, other;
  VirtioConsole device;
  std::vector<u32> control_buffers;
  std::size_t next_control = 0;
};

TEST_F(ConsoleTest, AnnouncesItsPortsWithNames) {
  EXPECT_EQ(bench.driver.config(4, 4), 3u);  // ports 0 (unused), 1, 2
  EXPECT_EQ(bench.driver.queue_count(), 8u);
  tell(0, 0, 1);
  EXPECT_EQ(told(), (std::vector<Control>{{1, 1, 1, ""}, {2, 1, 1, ""}}));
  tell(1, 3, 1);
  EXPECT_EQ(told(), (std::vector<Control>{{1, 7, 1, "snowglobe.agent"}, {1, 6, 1, ""}}));
}

TEST_F(ConsoleTest, OpenAndCloseReachTheBackend) {
  open_port(1);
  EXPECT_TRUE(agent.open);
  EXPECT_TRUE(device.port_open(0));
  EXPECT_FALSE(device.port_open(1));
  tell(1, 6, 0);
  EXPECT_FALSE(agent.open);
  open_port(1);
  bench.driver.reset();
  EXPECT_FALSE(agent.open);
  EXPECT_FALSE(device.port_open(0));
}

TEST_F(ConsoleTest, BytesOfTheGuestArriveInOrder) {
  open_port(1);
  guest_writes(5, {"hello ", "world"});
  guest_writes(7, {"elsewhere"});
  EXPECT_EQ(agent.text, "hello world");
  EXPECT_EQ(other.text, "elsewhere");
  EXPECT_TRUE(bench.driver.queue(5).take_used());
}

TEST_F(ConsoleTest, WhatTheHostDoesNotTakeWaitsInTheQueue) {
  open_port(1);
  agent.room = 4;
  guest_writes(5, {"abc", "defgh"});
  guest_writes(5, {"ij"});
  EXPECT_EQ(agent.text, "abcd");
  EXPECT_FALSE(bench.driver.queue(5).take_used());
  EXPECT_FALSE(device.poll());  // stalled, not busy: the machine may sleep
  agent.room = 2;
  device.poll();
  EXPECT_EQ(agent.text, "abcdef");
  agent.room = 100;
  device.poll();
  EXPECT_EQ(agent.text, "abcdefghij");
  EXPECT_TRUE(bench.driver.queue(5).take_used());
  EXPECT_TRUE(bench.driver.queue(5).take_used());
}

TEST_F(ConsoleTest, BytesToTheGuestNeedAnOpenPortAndBuffers) {
  EXPECT_EQ(send(0, "early"), 0u);
  open_port(1);
  EXPECT_EQ(agent.ready, 1);
  EXPECT_EQ(send(0, "no buffer"), 0u);
  const u32 buffer = bench.driver.allocate(4);
  bench.driver.queue(4).add({{buffer, 4, true}});
  bench.driver.kick(4);
  EXPECT_EQ(agent.ready, 2);
  EXPECT_EQ(send(0, "four+"), 4u);
  EXPECT_EQ(bench.driver.queue(4).take_used()->written, 4u);
  EXPECT_EQ(bench.driver.get(buffer, 4), (std::vector<u8>{'f', 'o', 'u', 'r'}));
  EXPECT_EQ(send(7, "no such port"), 0u);
}

TEST_F(ConsoleTest, NonsenseOnTheControlQueueIsIgnored) {
  tell(99, 3, 1);
  tell(0, 6, 1);
  tell(1, 77, 1);
  const u32 at = bench.driver.allocate(4);
  bench.driver.queue(kControlOut).add({{at, 4, false}});
  bench.driver.kick(kControlOut);
  EXPECT_TRUE(told().empty());
  EXPECT_TRUE(bench.broken.empty());
}

TEST_F(ConsoleTest, ADriverThatAsksForEverDoesNotFillTheHostsMemory) {
  for (int i = 0; i < 2000; ++i)
    tell(0, 0, 1);  // 4000 answers, 16 buffers for them
  EXPECT_EQ(told().size(), 16u);
  EXPECT_TRUE(bench.broken.empty());
}

TEST_F(ConsoleTest, StateSurvivesARoundTripAndTheHostHearsOfItWithTheNextPoll) {
  open_port(1);
  agent.room = 3;
  guest_writes(5, {"abcdef"});
  const ConsoleState ports = device.console_state();
  const VirtioState state = device.state();
  Backend again;
  VirtioConsole restored(*bench.ram, bench.line, {{"snowglobe.agent", &again}, {"other", &other}});
  ASSERT_TRUE(restored.could_be(state) && restored.could_be_console(ports));
  restored.restore(state);
  restored.restore_console(ports);
  EXPECT_EQ(restored.state(), state);
  EXPECT_EQ(restored.console_state(), ports);
  EXPECT_TRUE(restored.port_open(0));
  EXPECT_FALSE(again.open);
  restored.poll();
  EXPECT_TRUE(again.open);
  EXPECT_EQ(again.text, "def");
  EXPECT_EQ(again.ready, 1) << "whoever waited before the restore tries again";
  EXPECT_EQ(restored.send(0, std::vector<u8>(4)), 0u) << "the guest has no buffer";
  bench.driver.queue(4).add({{bench.driver.allocate(4), 4, true}});
  restored.notify(4);
  EXPECT_EQ(again.ready, 2);
}

TEST_F(ConsoleTest, MessagesThatWaitForABufferAreSaved) {
  for (int i = 0; i < 10; ++i)
    tell(0, 0, 1);  // 20 answers, 16 buffers
  const ConsoleState ports = device.console_state();
  ASSERT_EQ(ports.outgoing.size(), 4u);
  const VirtioState state = device.state();
  bench.driver.reset();
  EXPECT_TRUE(device.console_state().outgoing.empty());
  device.restore(state);
  device.restore_console(ports);
  EXPECT_EQ(device.console_state(), ports);
  ConsoleState forged = ports;
  forged.outgoing[0].port = 3;
  EXPECT_FALSE(device.could_be_console(forged));
  forged = ports;
  forged.ports.pop_back();
  EXPECT_FALSE(device.could_be_console(forged));
}

TEST(Entropy, FillsBuffersWithDifferentBytes) {
  test::VirtioBench bench;
  base::SeededRandom random(42);
  VirtioEntropy device(*bench.ram, bench.line, random);
  bench.plug(device);
  bench.driver.start();
  const u32 first = bench.driver.allocate(64), second = bench.driver.allocate(64);
  bench.driver.queue(0).add({{first, 64, true}});
  bench.driver.queue(0).add({{second, 64, true}});
  bench.driver.kick(0);
  EXPECT_EQ(bench.driver.queue(0).take_used()->written, 64u);
  EXPECT_NE(bench.driver.get(first, 64), bench.driver.get(second, 64));
  EXPECT_NE(bench.driver.get(first, 64), std::vector<u8>(64, 0));
  bench.driver.queue(0).add({{first, 64, false}});  // nothing to fill: given back empty
  bench.driver.kick(0);
  bench.driver.queue(0).take_used();
  EXPECT_EQ(bench.driver.queue(0).take_used()->written, 0u);
}

}  // namespace
}  // namespace snowglobe::vm
