// tests/devices/queue_test.cc - a virtqueue against drivers that keep the rules, and those that do
// not.
#include "vm/devices/virtio/queue.h"

#include "tests/support/mock_driver.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

using test::DriverQueue;
using test::kDescIndirect;
using test::kDescNext;
using test::kDescWrite;

constexpr u32 kRings = 0x10000;
constexpr u32 kBuffer = 0x100000;
constexpr u32 kTable = 0x200000;
constexpr u32 kMemory = 4u << 20;
constexpr u16 kSize = 16;
constexpr u32 kChainBytes = 64 << 10;

class QueueTest : public testing::Test {
 protected:
  QueueTest()
      : ram(GuestRam::create(kMemory).value()),
        driver(*ram, kRings, kSize),
        queue(*ram, {.size = kSize, .chain_bytes = kChainBytes}) {
    queue.set_up(kRings, false);
  }
  /// A chain of the one descriptor 0, as given, is refused and breaks the queue.
  void expect_refused(u64 address, u32 length, u16 flags, u16 next = 0) {
    driver.set_descriptor(0, address, length, flags, next);
    driver.make_available(0);
    EXPECT_FALSE(queue.pop(chain));
    EXPECT_TRUE(queue.broken());
    EXPECT_FALSE(queue.pop(chain));
    EXPECT_FALSE(queue.needs_interrupt());
  }

  std::unique_ptr<GuestRam> ram;
  DriverQueue driver;
  Queue queue;
  Chain chain;
};

TEST_F(QueueTest, TakesChainsInOrderAndGivesThemBack) {
  driver.add({{kBuffer, 16, false}, {kBuffer + 0x1000, 512, true}});
  driver.add({{kBuffer + 0x2000, 8, true}});
  ASSERT_TRUE(queue.pop(chain));
  EXPECT_EQ(chain.readable_bytes, 16u);
  EXPECT_EQ(chain.writable_bytes, 512u);
  queue.push(chain.head, 5);
  ASSERT_TRUE(queue.pop(chain));
  EXPECT_EQ(chain.readable.size(), 0u);
  queue.push(chain.head, 8);
  EXPECT_FALSE(queue.pop(chain));
  EXPECT_FALSE(queue.broken());
  EXPECT_EQ(driver.take_used()->written, 5u);
  EXPECT_EQ(driver.take_used()->written, 8u);
  EXPECT_FALSE(driver.take_used());
}

TEST_F(QueueTest, WorksOnBeyondTheWrapOfItsIndices) {
  for (u32 i = 0; i < 70'000; ++i) {
    driver.add({{kBuffer + i % 64, 4, true}});
    ASSERT_TRUE(queue.pop(chain));
    queue.push(chain.head, i);
    ASSERT_EQ(driver.take_used()->written, i);
  }
}

TEST_F(QueueTest, ReadsAndWritesAcrossTheParts) {
  ram->write(kBuffer, 3)[0] = 1;
  ram->write(kBuffer, 3)[2] = 3;
  ram->write(kBuffer + 64, 2)[1] = 5;
  driver.add({{kBuffer, 3, false},
              {kBuffer + 64, 2, false},
              {kBuffer + 128, 2, true},
              {kBuffer + 256, 4, true}});
  ASSERT_TRUE(queue.pop(chain));
  std::vector<u8> out(4);
  EXPECT_EQ(chain.read(2, out), 3u);
  EXPECT_EQ(out, (std::vector<u8>{3, 0, 5, 0}));
  EXPECT_EQ(chain.write(1, std::vector<u8>{7, 8, 9}), 3u);
  EXPECT_EQ(ram->read(kBuffer + 129, 1)[0], 7);
  EXPECT_EQ(ram->read(kBuffer + 256, 2)[1], 9);
  EXPECT_EQ(chain.write(5, std::vector<u8>{1, 1, 1}), 1u);
  EXPECT_EQ(chain.read(5, out), 0u);
}

TEST_F(QueueTest, AcquiresTheRightToWriteWhenTheChainIsTaken) {
  driver.add({{kBuffer, 4, false}, {kBuffer + 0x1000, 0x1001, true}});
  ASSERT_TRUE(queue.pop(chain));
  EXPECT_FALSE(ram->is_writable(kBuffer >> kPageShift));
  EXPECT_TRUE(ram->is_writable((kBuffer >> kPageShift) + 1));
  EXPECT_TRUE(ram->is_writable((kBuffer >> kPageShift) + 2));
}

TEST_F(QueueTest, IndirectTablesAreFollowed) {
  driver.set_indirect(kTable, 0, kBuffer, 8, kDescNext, 2);
  driver.set_indirect(kTable, 2, kBuffer + 8, 4, kDescWrite, 0);
  driver.set_descriptor(0, kTable, 48, kDescIndirect, 0);
  driver.make_available(0);
  ASSERT_TRUE(queue.pop(chain));
  EXPECT_EQ(chain.readable_bytes, 8u);
  EXPECT_EQ(chain.writable_bytes, 4u);
}

TEST_F(QueueTest, AnUntakenChainComesAgain) {
  driver.add({{kBuffer, 4, false}});
  ASSERT_TRUE(queue.pop(chain));
  queue.unpop(1);
  ASSERT_TRUE(queue.pop(chain));
  EXPECT_EQ(chain.head, 0);
}

TEST_F(QueueTest, RefusesAddressesOutsideOfRam) {
  expect_refused(kMemory - 4, 8, 0);
}
TEST_F(QueueTest, RefusesAddressesBeyondFourGigabytes) {
  expect_refused(u64{1} << 32, 8, 0);
}
TEST_F(QueueTest, RefusesAddressesThatWrapAround) {
  expect_refused(~u64{0} - 3, 8, kDescWrite);
}
TEST_F(QueueTest, RefusesLengthsThatWrapAround) {
  expect_refused(kBuffer, ~u32{0}, 0);
}
TEST_F(QueueTest, RefusesEmptyBuffers) {
  expect_refused(kBuffer, 0, 0);
}
TEST_F(QueueTest, RefusesChainsThatAreTooLong) {
  expect_refused(0, kChainBytes + 1, 0);
}
TEST_F(QueueTest, RefusesALoop) {
  expect_refused(kBuffer, 8, kDescNext, 0);
}
TEST_F(QueueTest, RefusesANextBeyondTheTable) {
  expect_refused(kBuffer, 8, kDescNext, kSize);
}
TEST_F(QueueTest, RefusesAnEmptyIndirectTable) {
  expect_refused(kTable, 0, kDescIndirect);
}
TEST_F(QueueTest, RefusesACutIndirectTable) {
  expect_refused(kTable, 24, kDescIndirect);
}
TEST_F(QueueTest, RefusesAnIndirectTableOutsideOfRam) {
  expect_refused(kMemory - 16, 32, kDescIndirect);
}
TEST_F(QueueTest, RefusesAHugeIndirectTable) {
  expect_refused(0, 0xFFFFFFF0, kDescIndirect);
}
TEST_F(QueueTest, RefusesIndirectWithNext) {
  expect_refused(kTable, 16, kDescIndirect | kDescNext, 1);
}
TEST_F(QueueTest, RefusesAnIndirectTableInAnIndirectTable) {
  driver.set_indirect(kTable, 0, kTable, 16, kDescIndirect, 0);
  expect_refused(kTable, 16, kDescIndirect);
}
TEST_F(QueueTest, RefusesALoopInAnIndirectTable) {
  driver.set_indirect(kTable, 0, kBuffer, 1, kDescNext, 1);
  driver.set_indirect(kTable, 1, kBuffer, 1, kDescNext, 0);
  expect_refused(kTable, 32, kDescIndirect);
}
TEST_F(QueueTest, RefusesSomethingToReadAfterSomethingToWrite) {
  driver.set_descriptor(1, kBuffer, 8, 0, 0);
  expect_refused(kBuffer, 8, kDescWrite | kDescNext, 1);
}

TEST_F(QueueTest, RefusesAHeadBeyondTheTable) {
  driver.make_available(kSize);
  EXPECT_FALSE(queue.pop(chain));
  EXPECT_TRUE(queue.broken());
}

TEST_F(QueueTest, RefusesAnIndexThatRunsAhead) {
  driver.set_available_index(kSize + 1);
  EXPECT_FALSE(queue.pop(chain));
  EXPECT_TRUE(queue.broken());
}

TEST_F(QueueTest, RefusesRingsThatDoNotFitIntoRam) {
  queue.set_up(kMemory - 4096, false);
  EXPECT_TRUE(queue.broken());
  queue.set_up(0xFFFFF000, false);
  EXPECT_TRUE(queue.broken());
  queue.reset();
  EXPECT_FALSE(queue.broken());
}

TEST_F(QueueTest, RestoringAForgedStateBreaksTheQueueInsteadOfTheHost) {
  QueueState state = queue.state();
  state.descriptors = kMemory - 8;
  queue.restore(state, false);
  EXPECT_TRUE(queue.broken());
  state = {.ready = true, .size = 3};
  queue.restore(state, false);
  EXPECT_TRUE(queue.broken());
}

TEST_F(QueueTest, InterruptsUnlessTheDriverSaysNo) {
  driver.add({{kBuffer, 4, true}});
  driver.add({{kBuffer, 4, true}});
  ASSERT_TRUE(queue.pop(chain));
  EXPECT_FALSE(queue.needs_interrupt());
  queue.push(chain.head, 0);
  EXPECT_TRUE(queue.needs_interrupt());
  EXPECT_FALSE(queue.needs_interrupt());
  driver.set_no_interrupt(true);
  ASSERT_TRUE(queue.pop(chain));
  queue.push(chain.head, 0);
  EXPECT_FALSE(queue.needs_interrupt());
}

TEST_F(QueueTest, EventIndexSaysWhenToInterrupt) {
  queue.set_up(kRings, true);
  driver.set_used_event(1);  // only when the second is given back
  for (int i = 0; i < 3; ++i)
    driver.add({{kBuffer, 4, true}});
  ASSERT_TRUE(queue.pop(chain));
  queue.push(chain.head, 0);
  EXPECT_FALSE(queue.needs_interrupt());
  ASSERT_TRUE(queue.pop(chain));
  queue.push(chain.head, 0);
  EXPECT_TRUE(queue.needs_interrupt());
  ASSERT_TRUE(queue.pop(chain));
  queue.push(chain.head, 0);
  EXPECT_FALSE(queue.needs_interrupt());
}

TEST_F(QueueTest, EventIndexAsksForTheNextKick) {
  queue.set_up(kRings, true);
  driver.add({{kBuffer, 4, true}});
  EXPECT_TRUE(queue.enable_notifications());  // there is one already
  EXPECT_EQ(driver.available_event(), 1);     // but a kick is wanted for the one after it
  ASSERT_TRUE(queue.pop(chain));
  EXPECT_FALSE(queue.enable_notifications());
}

}  // namespace
}  // namespace snowglobe::vm
