// tests/devices/net_test.cc - the network card in both directions, with what it must refuse.
#include "vm/devices/virtio/net.h"

#include "tests/support/virtio_bench.h"

#include <gtest/gtest.h>
#include <numeric>

namespace snowglobe::vm {
namespace {

using base::FrameOffload;

class Wire final : public base::FrameReceiver {
 public:
  void on_frame(base::ConstBytes frame, const FrameOffload& offload) override {
    frames.emplace_back(frame.begin(), frame.end());
    offloads.push_back(offload);
  }
  void on_transmit_ready() override { ++ready; }
  std::vector<std::vector<u8>> frames;
  std::vector<FrameOffload> offloads;
  int ready = 0;
};

std::vector<u8> frame_of(std::size_t length) {
  std::vector<u8> frame(length);
  std::iota(frame.begin(), frame.end(), u8{0});
  return frame;
}

class NetTest : public testing::Test {
 protected:
  static constexpr u16 kRx = 0, kTx = 1;

  NetTest() : device(*bench.ram, bench.line, {2, 0x53, 0x47, 0, 0, 1}, wire) {
    bench.plug(device);
    bench.driver.start();
  }
  /// Sends header and frame in parts of the given lengths.
  void send(const std::vector<u8>& bytes, const std::vector<u32>& parts) {
    const u32 at = bench.driver.allocate(static_cast<u32>(bytes.size()));
    bench.driver.put(at, bytes);
    std::vector<DriverBuffer> chain;
    u32 offset = 0;
    for (const u32 part : parts) {
      chain.push_back({at + offset, part, false});
      offset += part;
    }
    bench.driver.queue(kTx).add(chain);
    bench.driver.kick(kTx);
  }
  using DriverBuffer = test::DriverBuffer;
  void offer(u32 length, int count = 1) {
    for (int i = 0; i < count; ++i) {
      buffers.push_back(bench.driver.allocate(length));
      bench.driver.queue(kRx).add({{buffers.back(), length, true}});
    }
    bench.driver.kick(kRx);
  }

  test::VirtioBench bench;
  Wire wire;
  VirtioNet device;
  std::vector<u32> buffers;
};

TEST_F(NetTest, HasItsAddressAndALink) {
  EXPECT_EQ(bench.driver.config(0, 4), 0x00475302u);
  EXPECT_EQ(bench.driver.config(4, 2), 0x0100u);
  EXPECT_EQ(bench.driver.config(6, 2), 1u);
}

TEST_F(NetTest, FramesOfTheGuestArriveHoweverTheyAreCut) {
  const std::vector<u8> frame = frame_of(100);
  std::vector<u8> bytes(12, 0);
  bytes.insert(bytes.end(), frame.begin(), frame.end());
  send(bytes, {112});
  send(bytes, {12, 100});
  send(bytes, {5, 57, 50});
  EXPECT_EQ(wire.frames, std::vector(3, frame));
  EXPECT_FALSE(wire.offloads[0].checksum_missing);
}

TEST_F(NetTest, OffloadsOfTheGuestAreHandedOn) {
  std::vector<u8> bytes(12 + 3000, 0);
  bytes[0] = 1;
  bytes[1] = 1;  // TCP over IPv4
  base::store_le<u16>(&bytes[2], 54);
  base::store_le<u16>(&bytes[4], 1460);
  base::store_le<u16>(&bytes[6], 34);
  base::store_le<u16>(&bytes[8], 16);
  send(bytes, {12, 3000});
  ASSERT_EQ(wire.offloads.size(), 1u);
  const FrameOffload& offload = wire.offloads[0];
  EXPECT_TRUE(offload.checksum_missing);
  EXPECT_EQ(offload.checksum_start, 34);
  EXPECT_EQ(offload.checksum_offset, 16);
  EXPECT_EQ(offload.segmentation, FrameOffload::Segmentation::kTcp4);
  EXPECT_EQ(offload.segment_size, 1460);
}

TEST_F(NetTest, MalformedFramesAreDroppedAndTheirBuffersReturned) {
  std::vector<u8> bytes(12 + 60, 0);
  send(bytes, {8});       // not even a header
  send(bytes, {12, 13});  // no Ethernet header
  bytes[0] = 1;
  base::store_le<u16>(&bytes[6], 50);
  base::store_le<u16>(&bytes[8], 9);
  send(bytes, {12, 60});  // checksum field behind the end
  base::store_le<u16>(&bytes[6], 0xFFFF);
  base::store_le<u16>(&bytes[8], 0xFFFF);
  send(bytes, {12, 60});
  bytes.assign(72, 0);
  bytes[1] = 3;  // UDP fragmentation
  send(bytes, {12, 60});
  bytes[1] = 1;  // segmentation without a segment size
  send(bytes, {12, 60});
  EXPECT_TRUE(wire.frames.empty());
  EXPECT_EQ(device.statistics().dropped_from_guest, 6u);
  int returned = 0;
  while (bench.driver.queue(kTx).take_used())
    ++returned;
  EXPECT_EQ(returned, 6);
  EXPECT_TRUE(bench.broken.empty());
}

TEST_F(NetTest, TooLongAFrameIsDropped) {
  const std::vector<u8> bytes(12 + base::kMaxFrame + 1, 0);
  send(bytes, {static_cast<u32>(bytes.size())});
  EXPECT_TRUE(wire.frames.empty());
}

TEST_F(NetTest, FramesToTheGuestFillOneBuffer) {
  offer(1536);
  const std::vector<u8> frame = frame_of(60);
  EXPECT_TRUE(device.transmit(frame, {.checksum_valid = true}));
  EXPECT_TRUE(bench.take_interrupt());
  EXPECT_EQ(bench.driver.queue(kRx).take_used()->written, 72u);
  const std::vector<u8> got = bench.driver.get(buffers[0], 72);
  EXPECT_EQ(got[0], 2);   // data valid
  EXPECT_EQ(got[10], 1);  // one buffer
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), got.begin() + 12));
}

TEST_F(NetTest, LargeFramesAreSpreadOverBuffers) {
  offer(1536, 10);
  const std::vector<u8> frame = frame_of(10'000);
  FrameOffload offload;
  offload.checksum_missing = true;
  offload.checksum_start = 34;
  offload.checksum_offset = 16;
  offload.segmentation = FrameOffload::Segmentation::kTcp4;
  offload.segment_size = 1460;
  EXPECT_TRUE(device.transmit(frame, offload));
  std::vector<u8> joined;
  for (int i = 0; const auto used = bench.driver.queue(kRx).take_used(); ++i) {
    const std::vector<u8> part =
        bench.driver.get(buffers[static_cast<std::size_t>(i)], used->written);
    joined.insert(joined.end(), part.begin(), part.end());
  }
  ASSERT_EQ(joined.size(), 10'012u);
  EXPECT_EQ(joined[0], 1);
  EXPECT_EQ(joined[1], 1);
  EXPECT_EQ(base::load_le<u16>(&joined[10]), 7);
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), joined.begin() + 12));
}

TEST_F(NetTest, AFrameThatDoesNotFitIsRefusedWholeAndAnnouncedLater) {
  offer(1536, 2);
  EXPECT_FALSE(device.transmit(frame_of(5000), {}));
  EXPECT_EQ(wire.ready, 0);
  EXPECT_FALSE(bench.driver.queue(kRx).take_used());
  EXPECT_EQ(bench.driver.queue(kRx).available_event(), 2);  // the next buffer brings a kick
  offer(1536, 2);
  EXPECT_EQ(wire.ready, 1);
  EXPECT_TRUE(device.transmit(frame_of(5000), {}));
  EXPECT_TRUE(bench.broken.empty());
}

TEST_F(NetTest, BeforeTheDriverIsReadyFramesAreRefused) {
  bench.driver.reset();
  EXPECT_FALSE(device.transmit(frame_of(60), {}));
}

TEST_F(NetTest, OffloadsThatTheDriverDidNotNegotiateAreNotUsed) {
  bench.driver.start(0);
  offer(2048, 2);
  EXPECT_TRUE(device.transmit(frame_of(60), {.checksum_missing = true}));
  EXPECT_EQ(device.statistics().dropped_to_guest, 1u);
  EXPECT_FALSE(bench.driver.queue(kRx).take_used());
  EXPECT_TRUE(device.transmit(frame_of(60), {.checksum_valid = true}));
  EXPECT_EQ(bench.driver.queue(kRx).take_used()->written, 70u);  // the short header
}

TEST_F(NetTest, ReceiveBuffersThatCanNotHoldAHeaderStopTheDevice) {
  offer(8);
  EXPECT_FALSE(device.transmit(frame_of(60), {}));
  EXPECT_EQ(bench.broken.size(), 1u);
}

TEST_F(NetTest, AReceiveBufferThatIsReadOnlyStopsTheDevice) {
  bench.driver.queue(kRx).add({{bench.driver.allocate(2048), 2048, false}});
  EXPECT_FALSE(device.transmit(frame_of(60), {}));
  EXPECT_EQ(bench.broken.size(), 1u);
  EXPECT_FALSE(device.transmit(frame_of(60), {}));
}

}  // namespace
}  // namespace snowglobe::vm
