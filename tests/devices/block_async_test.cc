// tests/devices/block_async_test.cc - the disk with a backend that answers when the test says so.
#include "tests/support/virtio_bench.h"
#include "vm/devices/virtio/block.h"

#include <gtest/gtest.h>
#include <map>

namespace snowglobe::vm {
namespace {

using test::DriverBuffer;

constexpr u32 kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11;
constexpr u8 kOk = 0, kIoError = 1, kUntouched = 0xEE;

/// A disk that remembers what it was asked for, and answers at once only when told.
class SlowDisk final : public BlockBackend, public AsyncBlock {
 public:
  struct Asked {
    u32 type;
    u64 ticket, offset, length;
  };

  u64 capacity() const override { return bytes.size(); }
  bool read_only() const override { return false; }
  base::Result<void> read(u64, base::Bytes) override { return not_called(); }
  base::Result<void> write(u64, base::ConstBytes) override { return not_called(); }
  base::Result<void> flush() override { return not_called(); }
  base::Result<void> discard(u64, u64) override { return not_called(); }
  AsyncBlock* asynchronous() override { return this; }

  void attach(std::function<void()> wake) override { wake_ = std::move(wake); }
  BlockAnswer submit_read(u64 ticket, u64 offset, std::span<const base::Bytes> into) override {
    u64 length = 0;
    for (const base::Bytes part : into) {
      if (at_once) std::copy_n(&bytes[offset + length], part.size(), part.begin());
      length += part.size();
    }
    return note({kIn, ticket, offset, length});
  }
  BlockAnswer submit_write(u64 ticket, u64 offset,
                           std::span<const base::ConstBytes> from) override {
    u64 length = 0;
    for (const base::ConstBytes part : from) {
      std::copy(part.begin(), part.end(), &bytes[offset + length]);
      length += part.size();
    }
    return note({kOut, ticket, offset, length});
  }
  BlockAnswer submit_flush(u64 ticket) override { return note({kFlush, ticket, 0, 0}); }
  BlockAnswer submit_discard(u64 ticket, u64 offset, u64 length) override {
    return note({kDiscard, ticket, offset, length});
  }
  bool has_completions() const noexcept override { return !done_.empty(); }
  void take_completions(const std::function<void(const Completion&)>& visit) override {
    for (const auto& [request, ok] : std::exchange(done_, {})) {
      const bool reads = request.type == kIn && ok;
      visit({.ticket = request.ticket,
             .ok = ok,
             .data = reads ? base::ConstBytes(bytes).subspan(request.offset, request.length)
                           : base::ConstBytes()});
    }
  }
  bool wait_idle(base::Nanoseconds) override {
    if (hangs) return false;
    while (!asked.empty())
      finish(0);
    return true;
  }

  /// Ends the request that was asked for as the index-th of those that have not ended.
  void finish(std::size_t index, bool ok = true) {
    done_.emplace_back(asked[index], ok);
    asked.erase(asked.begin() + static_cast<std::ptrdiff_t>(index));
    if (wake_) wake_();
  }
  [[nodiscard]] bool attached() const { return wake_ != nullptr; }

  std::vector<u8> bytes = std::vector<u8>(1 << 20, 0xAA);
  std::vector<Asked> asked;
  bool at_once = false, hangs = false;

 private:
  BlockAnswer note(const Asked& request) {
    if (at_once) return BlockAnswer::kDone;
    asked.push_back(request);
    return BlockAnswer::kLater;
  }
  static base::Result<void> not_called() {
    ADD_FAILURE() << "an asynchronous backend is not called at once";
    return {};
  }

  std::function<void()> wake_;
  std::vector<std::pair<Asked, bool>> done_;
};

class AsyncBlockTest : public testing::Test {
 protected:
  AsyncBlockTest() {
    bench.plug(device);
    bench.driver.start();
    data = bench.driver.allocate(64 << 10);
  }

  struct Sent {
    u32 header, status;
  };
  Sent send(u32 type, u64 sector, const std::vector<DriverBuffer>& buffers) {
    const Sent sent{bench.driver.allocate(16), bench.driver.allocate(1)};
    std::vector<u8> header(16, 0);
    base::store_le<u32>(&header[0], type);
    base::store_le<u64>(&header[8], sector);
    bench.driver.put(sent.header, header);
    bench.driver.put(sent.status, std::vector<u8>{kUntouched});
    std::vector<DriverBuffer> chain{{sent.header, 16, false}};
    chain.insert(chain.end(), buffers.begin(), buffers.end());
    chain.push_back({sent.status, 1, true});
    bench.driver.queue(0).add(chain);
    bench.driver.kick(0);
    return sent;
  }
  u8 status(const Sent& sent) { return bench.driver.get(sent.status, 1)[0]; }

  test::VirtioBench bench;
  SlowDisk disk;
  int wakes = 0;
  VirtioBlock device{*bench.ram, bench.line, disk, "slow", [this] { ++wakes; }};
  u32 data = 0;
};

TEST_F(AsyncBlockTest, AnswersThatComeAtOnceAreGivenAtOnce) {
  disk.at_once = true;
  EXPECT_EQ(status(send(kIn, 1, {{data, 100, true}, {data + 100, 924, true}})), kOk);
  EXPECT_EQ(bench.driver.get(data, 1024), std::vector<u8>(1024, 0xAA));
  EXPECT_EQ(status(send(kOut, 1, {{data, 512, false}})), kOk);
  EXPECT_EQ(status(send(kFlush, 0, {})), kOk);
  EXPECT_EQ(status(send(kGetId, 0, {{data, 20, true}})), kOk);
  EXPECT_EQ(bench.driver.get(data, 4), (std::vector<u8>{'s', 'l', 'o', 'w'}));
  EXPECT_TRUE(bench.take_interrupt());
  EXPECT_EQ(device.statistics().waited, 0u);
}

TEST_F(AsyncBlockTest, AnswersComeInTheOrderInWhichTheBackendEnds) {
  disk.bytes[512] = 0x11;
  const Sent read = send(kIn, 1, {{data, 512, true}});
  const Sent flush = send(kFlush, 0, {});
  EXPECT_FALSE(bench.take_interrupt());
  EXPECT_EQ(status(read), kUntouched);
  disk.finish(1);
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(status(flush), kUntouched) << "not before the machine's thread looks";
  device.take_completions();
  EXPECT_EQ(status(flush), kOk);
  EXPECT_EQ(status(read), kUntouched);
  EXPECT_TRUE(bench.take_interrupt());
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(read), kOk);
  EXPECT_EQ(bench.driver.get(data, 1)[0], 0x11);
  EXPECT_EQ(bench.driver.queue(0).take_used()->written, 1u);
  EXPECT_EQ(bench.driver.queue(0).take_used()->written, 513u);
  EXPECT_EQ(device.statistics().waited, 2u);
}

TEST_F(AsyncBlockTest, FailuresAreAnsweredAsSuch) {
  const Sent read = send(kIn, 1, {{data, 512, true}});
  const Sent write = send(kOut, 1, {{data, 512, false}});
  disk.finish(0, false);
  disk.finish(0, false);
  device.take_completions();
  EXPECT_EQ(status(read), kIoError);
  EXPECT_EQ(status(write), kIoError);
  EXPECT_EQ(bench.driver.queue(0).take_used()->written, 0u) << "nothing was read";
  EXPECT_EQ(device.statistics().failures, 2u);
  EXPECT_EQ(status(send(kIn, 2048, {{data, 512, true}})), kIoError) << "outside";
  EXPECT_TRUE(disk.asked.empty());
}

TEST_F(AsyncBlockTest, ADiscardOfSeveralRangesEndsWithItsLast) {
  std::vector<u8> ranges(48, 0);
  for (u32 i = 0; i < 3; ++i) {
    base::store_le<u64>(&ranges[i * 16], 8 * i);
    base::store_le<u32>(&ranges[i * 16 + 8], 8);
  }
  bench.driver.put(data, ranges);
  const Sent discard = send(kDiscard, 0, {{data, 48, false}});
  ASSERT_EQ(disk.asked.size(), 3u);
  disk.finish(2);
  disk.finish(0, false);
  device.take_completions();
  EXPECT_EQ(status(discard), kUntouched);
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(discard), kIoError) << "one of them failed";
  base::store_le<u64>(&ranges[16], u64{1} << 40);
  bench.driver.put(data, ranges);
  EXPECT_EQ(status(send(kDiscard, 0, {{data, 48, false}})), kIoError);
  EXPECT_TRUE(disk.asked.empty()) << "nothing of a request that can not be is done";
}

TEST_F(AsyncBlockTest, AStateIsOneWithoutRequestsUnderWay) {
  const Sent read = send(kIn, 1, {{data, 512, true}});
  disk.hangs = true;
  EXPECT_FALSE(device.drain({}));
  EXPECT_EQ(status(read), kUntouched);
  disk.hangs = false;
  EXPECT_TRUE(device.drain({}));
  EXPECT_EQ(status(read), kOk);
  const VirtioState state = device.state();
  EXPECT_TRUE(device.could_be(state));
  device.restore(state);
  EXPECT_EQ(device.state(), state);
}

TEST_F(AsyncBlockTest, ARequestAheadOfTheFirstPollAfterARestoreIsAnswered) {
  ASSERT_TRUE(device.drain(base::Nanoseconds(1)));
  device.restore(device.state());
  const Sent flush = send(kFlush, 0, {});
  EXPECT_FALSE(device.poll());
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(flush), kOk);
}

TEST_F(AsyncBlockTest, AResetForgetsWhatIsUnderWay) {
  const Sent before = send(kIn, 1, {{data, 512, true}});
  bench.driver.start();
  const Sent after = send(kIn, 2, {{data, 512, true}});
  ASSERT_EQ(disk.asked.size(), 2u);
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(before), kUntouched);
  EXPECT_FALSE(bench.driver.queue(0).take_used());
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(after), kOk);
}

TEST_F(AsyncBlockTest, AnswersOfAQueueThatWasSetUpAnewAreNobodys) {
  const Sent before = send(kIn, 1, {{data, 512, true}});
  const u32 address = bench.driver.queue(0).address();
  bench.ports.out(test::VirtioBench::kBar + 14, 2, 0);  // the first queue
  bench.ports.out(test::VirtioBench::kBar + 8, 4, 0);
  bench.ports.out(test::VirtioBench::kBar + 8, 4, address / 4096);
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(before), kUntouched);
  EXPECT_TRUE(device.could_be(device.state()));
}

TEST_F(AsyncBlockTest, AnswersComeToADriverThatIsNotReadyAnyMore) {
  const Sent read = send(kIn, 1, {{data, 512, true}});
  bench.ports.out(test::VirtioBench::kBar + 18, 1, 1 | 2);  // all but DRIVER_OK
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(read), kOk);
  EXPECT_TRUE(device.could_be(device.state()));
}

TEST_F(AsyncBlockTest, ADriverThatChangesARequestUnderWayStopsTheDeviceAndNothingElse) {
  send(kIn, 1, {{data, 512, true}});
  bench.driver.queue(0).set_descriptor(1, data, 100, test::kDescNext | test::kDescWrite, 2);
  disk.finish(0);
  device.take_completions();
  ASSERT_EQ(bench.broken.size(), 1u);
  EXPECT_NE(bench.driver.status() & 0x40, 0);
  disk.asked.clear();
  bench.driver.start();
  const Sent again = send(kFlush, 0, {});
  disk.finish(0);
  device.take_completions();
  EXPECT_EQ(status(again), kOk);
}

TEST_F(AsyncBlockTest, NoMoreIsUnderWayThanTheHostHasMemoryFor) {
  constexpr u32 kBytes = 512 << 10;
  const u32 large = bench.driver.allocate(kBytes);
  for (int i = 0; i < 60; ++i)
    send(kIn, 0, {{large, kBytes, true}});
  const std::size_t first = disk.asked.size();
  EXPECT_LT(first, 40u);
  EXPECT_GE(first, 20u);
  std::size_t answered = 0;
  for (int turn = 0; turn < 200 && answered < 60; ++turn) {
    if (!disk.asked.empty()) disk.finish(0);
    device.take_completions();
    device.poll();
    EXPECT_LT(disk.asked.size(), 40u);
    while (bench.driver.queue(0).take_used())
      ++answered;
  }
  EXPECT_EQ(answered, 60u);
}

TEST_F(AsyncBlockTest, IsNotWokenAfterItsEnd) {
  {
    VirtioBlock other(*bench.ram, bench.line, disk, "x", [] {});
    EXPECT_TRUE(disk.attached());
  }
  EXPECT_FALSE(disk.attached());
}

}  // namespace
}  // namespace snowglobe::vm
