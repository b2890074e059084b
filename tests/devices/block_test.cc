// tests/devices/block_test.cc - the disk, driven through its registers.
#include "vm/devices/virtio/block.h"

#include "tests/support/virtio_bench.h"

#include <gtest/gtest.h>
#include <map>

namespace snowglobe::vm {
namespace {

using test::DriverBuffer;

/// A disk in a vector that counts, and fails when told.
class MemoryDisk final : public BlockBackend {
 public:
  explicit MemoryDisk(u64 capacity, bool is_read_only = false)
      : bytes(capacity, 0xAA), read_only_(is_read_only) {}
  u64 capacity() const override { return bytes.size(); }
  bool read_only() const override { return read_only_; }
  base::Result<void> read(u64 offset, base::Bytes out) override {
    if (failing) return base::Error{base::ErrorCode::kIo, "told to fail"};
    EXPECT_EQ(offset % 512 + out.size() % 512, 0u);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  base::Result<void> write(u64 offset, base::ConstBytes from) override {
    if (failing) return base::Error{base::ErrorCode::kIo, "told to fail"};
    EXPECT_EQ(offset % 512 + from.size() % 512, 0u);
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  base::Result<void> flush() override {
    ++flushes;
    return {};
  }
  base::Result<void> discard(u64 offset, u64 length) override {
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), length, u8{0});
    return {};
  }
  std::vector<u8> bytes;
  int flushes = 0;
  bool failing = false;

 private:
  bool read_only_;
};

constexpr u32 kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11, kWriteZeroes = 13;
constexpr u8 kOk = 0, kIoError = 1, kUnsupported = 2;

class BlockTest : public testing::Test {
 protected:
  BlockTest() { start(disk); }

  void start(MemoryDisk& backend) {
    device = std::make_unique<VirtioBlock>(*bench.ram, bench.line, backend, "serial-number");
    if (bench.slot != nullptr) return;
    bench.plug(*device);
    bench.driver.start();
    header = bench.driver.allocate(16);
    status = bench.driver.allocate(1);
  }
  void write_header(u32 type, u64 sector) {
    std::vector<u8> bytes(16, 0);
    base::store_le<u32>(&bytes[0], type);
    base::store_le<u64>(&bytes[8], sector);
    bench.driver.put(header, bytes);
    bench.driver.put(status, std::vector<u8>{0xEE});
  }
  /// Header, then `data`, then the status byte; returns the status.
  u8 request(u32 type, u64 sector, const std::vector<DriverBuffer>& data) {
    write_header(type, sector);
    std::vector<DriverBuffer> chain{{header, 16, false}};
    chain.insert(chain.end(), data.begin(), data.end());
    chain.push_back({status, 1, true});
    bench.driver.queue(0).add(chain);
    bench.driver.kick(0);
    const auto used = bench.driver.queue(0).take_used();
    if (!used) return 0xFF;
    written = used->written;
    return bench.driver.get(status, 1)[0];
  }

  test::VirtioBench bench;
  MemoryDisk disk{1 << 20};
  std::unique_ptr<VirtioBlock> device;
  u32 header = 0, status = 0, written = 0;
};

TEST_F(BlockTest, TellsItsSizeAndFeatures) {
  EXPECT_EQ(bench.driver.config(0, 4), 2048u);
  EXPECT_EQ(bench.driver.config(20, 4), 512u);
  EXPECT_EQ(bench.driver.offered_features() & (1u << 5), 0u);
  EXPECT_NE(bench.driver.offered_features() & (1u << 13), 0u);
  EXPECT_EQ(bench.driver.status(), 7);
}

TEST_F(BlockTest, ReadsAndWrites) {
  const u32 data = bench.driver.allocate(8192);
  std::vector<u8> pattern(8192);
  for (std::size_t i = 0; i < pattern.size(); ++i)
    pattern[i] = static_cast<u8>(i * 7 >> 3);
  bench.driver.put(data, pattern);
  EXPECT_EQ(request(kOut, 8, {{data, 4096, false}, {data + 4096, 4096, false}}), kOk);
  EXPECT_EQ(written, 1u);
  EXPECT_TRUE(bench.take_interrupt());
  EXPECT_TRUE(std::equal(pattern.begin(), pattern.end(), disk.bytes.begin() + 8 * 512));
  const u32 back = bench.driver.allocate(8192);
  EXPECT_EQ(request(kIn, 8, {{back, 512, true}, {back + 512, 7680, true}}), kOk);
  EXPECT_EQ(written, 8193u);
  EXPECT_EQ(bench.driver.get(back, 8192), pattern);
}

TEST_F(BlockTest, PartsThatAreNotWholeSectorsWorkToo) {
  const u32 data = bench.driver.allocate(1024);
  const u32 back = bench.driver.allocate(1024);
  std::vector<u8> pattern(1024, 0x5C);
  pattern[600] = 1;
  bench.driver.put(data, pattern);
  EXPECT_EQ(request(kOut, 0, {{data, 100, false}, {data + 100, 924, false}}), kOk);
  EXPECT_EQ(request(kIn, 0, {{back, 1000, true}, {back + 1000, 24, true}}), kOk);
  EXPECT_EQ(bench.driver.get(back, 1024), pattern);
}

TEST_F(BlockTest, HeaderAndStatusMayShareTheirBuffersWithTheData) {
  const u32 message = bench.driver.allocate(16 + 512);
  const u32 answer = bench.driver.allocate(512 + 1);
  std::vector<u8> bytes(16 + 512, 0x77);
  base::store_le<u32>(&bytes[0], kOut);
  base::store_le<u32>(&bytes[4], 0);
  base::store_le<u64>(&bytes[8], 3);
  bench.driver.put(message, bytes);
  bench.driver.queue(0).add({{message, 528, false}, {status, 1, true}});
  bench.driver.kick(0);
  EXPECT_EQ(disk.bytes[3 * 512 + 511], 0x77);
  write_header(kIn, 3);
  bench.driver.queue(0).add({{header, 16, false}, {answer, 513, true}});
  bench.driver.kick(0);
  EXPECT_EQ(bench.driver.get(answer, 513).back(), kOk);
  EXPECT_EQ(bench.driver.get(answer, 513)[0], 0x77);
}

TEST_F(BlockTest, FlushIdentifyDiscardAndWriteZeroes) {
  EXPECT_EQ(request(kFlush, 0, {}), kOk);
  EXPECT_EQ(disk.flushes, 1);
  const u32 id = bench.driver.allocate(20);
  EXPECT_EQ(request(kGetId, 0, {{id, 20, true}}), kOk);
  const std::vector<u8> serial = bench.driver.get(id, 20);
  EXPECT_EQ(std::string(serial.begin(), serial.begin() + 14), std::string("serial-number\0", 14));
  std::vector<u8> segment(32, 0);
  base::store_le<u64>(&segment[0], 8);
  base::store_le<u32>(&segment[8], 8);
  base::store_le<u64>(&segment[16], 32);
  base::store_le<u32>(&segment[24], 8);
  const u32 at = bench.driver.allocate(32);
  bench.driver.put(at, segment);
  EXPECT_EQ(request(kDiscard, 0, {{at, 32, false}}), kOk);
  EXPECT_EQ(disk.bytes[8 * 512], 0);
  EXPECT_EQ(disk.bytes[39 * 512], 0);
  EXPECT_EQ(disk.bytes[16 * 512], 0xAA);
  EXPECT_EQ(request(kWriteZeroes, 0, {{at, 16, false}}), kOk);
}

TEST_F(BlockTest, AnswersBadRequestsWithAnError) {
  const u32 data = bench.driver.allocate(4096);
  EXPECT_EQ(request(kIn, 2048, {{data, 512, true}}), kIoError);
  EXPECT_EQ(request(kIn, 2047, {{data, 1024, true}}), kIoError);
  EXPECT_EQ(request(kIn, ~u64{0}, {{data, 512, true}}), kIoError);
  EXPECT_EQ(request(kIn, u64{1} << 55, {{data, 512, true}}), kIoError);
  EXPECT_EQ(request(kIn, 0, {{data, 100, true}}), kIoError);
  EXPECT_EQ(request(kOut, 2048, {{data, 512, false}}), kIoError);
  EXPECT_EQ(request(99, 0, {}), kUnsupported);
  EXPECT_EQ(request(kDiscard, 0, {{data, 15, false}}), kUnsupported);
  std::vector<u8> segment(16, 0xFF);
  bench.driver.put(data, segment);
  EXPECT_EQ(request(kDiscard, 0, {{data, 16, false}}), kIoError);
  disk.failing = true;
  EXPECT_EQ(request(kIn, 0, {{data, 512, true}}), kIoError);
  EXPECT_EQ(request(kOut, 0, {{data, 512, false}}), kIoError);
  EXPECT_TRUE(bench.broken.empty());
  EXPECT_EQ(device->statistics().failures, 11u);
}

TEST_F(BlockTest, RequestsWithoutHeaderOrStatusStopTheDeviceUntilItsReset) {
  bench.driver.queue(0).add({{header, 16, false}});
  bench.driver.kick(0);
  EXPECT_EQ(bench.broken.size(), 1u);
  EXPECT_EQ(bench.driver.status() & 0x40, 0x40);
  EXPECT_TRUE(bench.sink.level);
  EXPECT_EQ(request(kFlush, 0, {}), 0xFF);
  bench.driver.start();
  EXPECT_EQ(bench.driver.status() & 0x40, 0);
  EXPECT_FALSE(bench.sink.level);
  EXPECT_EQ(request(kFlush, 0, {}), kOk);
  EXPECT_EQ(device->broken_count(), 1u);
}

TEST_F(BlockTest, AMalformedChainStopsTheDevice) {
  bench.driver.queue(0).add({{test::VirtioBench::kMemory, 16, false}, {status, 1, true}});
  bench.driver.kick(0);
  EXPECT_EQ(bench.broken.size(), 1u);
  bench.driver.kick(0);
  EXPECT_EQ(bench.broken.size(), 1u);
}

TEST_F(BlockTest, ManyLargeRequestsAreServedInTurns) {
  const u32 data = bench.driver.allocate(1 << 20);
  constexpr int kRequests = 20;  // 20 MiB in one kick: the guest must run in between
  write_header(kIn, 0);
  for (int i = 0; i < kRequests; ++i) {
    bench.driver.queue(0).add({{header, 16, false}, {data, 1 << 20, true}, {status, 1, true}});
  }
  bench.driver.kick(0);
  int served = 0;
  while (bench.driver.queue(0).take_used())
    ++served;
  EXPECT_LT(served, 6);
  bool busy = true;
  for (int turns = 0; busy && turns < 100; ++turns)
    busy = device->poll();
  while (bench.driver.queue(0).take_used())
    ++served;
  EXPECT_EQ(served, kRequests);
}

TEST_F(BlockTest, NothingHappensBeforeTheDriverIsReady) {
  bench.driver.reset();
  bench.driver.kick(0);
  bench.driver.kick(7);
  EXPECT_EQ(device->statistics().requests, 0u);
}

TEST_F(BlockTest, RequestsMadeBeforeDriverOkAreServedThen) {
  bench.driver.start();
  bench.ports.out(test::VirtioBench::kBar + 18, 1, 1 | 2);
  EXPECT_EQ(request(kFlush, 0, {}), 0xFF);
  bench.driver.set_driver_ok();
  EXPECT_TRUE(bench.driver.queue(0).take_used());
}

TEST_F(BlockTest, StateSurvivesARoundTrip) {
  EXPECT_EQ(request(kFlush, 0, {}), kOk);
  const VirtioState state = device->state();
  VirtioBlock other(*bench.ram, bench.line, disk, "x");
  other.restore(state);
  EXPECT_EQ(other.state(), state);
}

TEST_F(BlockTest, TellsItsDriverWhenItHasGrown) {
  constexpr u8 kConfigurationChanged = 2;
  const u32 data = bench.driver.allocate(512);
  const auto read_behind = [&] { return request(kIn, 2048, {{data, 512, true}}); };
  EXPECT_EQ(read_behind(), kIoError);
  static_cast<void>(bench.driver.take_interrupt());
  disk.bytes.resize(3 << 20);
  device->capacity_changed();
  EXPECT_EQ(bench.driver.take_interrupt(), kConfigurationChanged);
  EXPECT_EQ(bench.driver.config(0, 4), 6144u);
  EXPECT_EQ(read_behind(), kOk);

  bench.driver.reset();
  disk.bytes.resize(4 << 20);
  device->capacity_changed();
  EXPECT_EQ(bench.driver.take_interrupt(), 0) << "no driver is there to be told";
  EXPECT_EQ(bench.driver.config(0, 4), 8192u);
}

TEST(ReadOnlyBlock, RefusesWritesAndDoesNotOfferDiscard) {
  test::VirtioBench bench;
  MemoryDisk disk(4096, true);
  VirtioBlock device(*bench.ram, bench.line, disk, "");
  bench.plug(device);
  bench.driver.start();
  EXPECT_NE(bench.driver.features() & (1u << 5), 0u);
  EXPECT_EQ(bench.driver.features() & (1u << 13), 0u);
  const u32 header = bench.driver.allocate(16), data = bench.driver.allocate(512),
            status = bench.driver.allocate(1);
  bench.driver.put(header, std::vector<u8>{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  bench.driver.queue(0).add({{header, 16, false}, {data, 512, false}, {status, 1, true}});
  bench.driver.kick(0);
  EXPECT_EQ(bench.driver.get(status, 1)[0], kIoError);
}

}  // namespace
}  // namespace snowglobe::vm
