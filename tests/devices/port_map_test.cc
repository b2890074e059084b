// tests/devices/port_map_test.cc - routing and splitting of port accesses.
#include "vm/bus/port_map.h"

#include <gtest/gtest.h>
#include <vector>

namespace snowglobe::vm {
namespace {

class Recorder final : public PortDevice {
 public:
  struct Access {
    u16 port;
    unsigned size;
    u32 value;
    bool operator==(const Access&) const = default;
  };
  u32 in(u16 port, unsigned size) override {
    accesses.push_back({port, size, 0});
    return port & 0xFF;
  }
  void out(u16 port, unsigned size, u32 value) override { accesses.push_back({port, size, value}); }
  std::vector<Access> accesses;
};

TEST(PortMap, UnclaimedPortsReadAsAllOnes) {
  PortMap map;
  EXPECT_EQ(map.in(0x1234, 1), 0xFFu);
  EXPECT_EQ(map.in(0x1234, 2), 0xFFFFu);
  EXPECT_EQ(map.in(0x1234, 4), 0xFFFFFFFFu);
  EXPECT_EQ(map.in(0xFFFF, 4), 0xFFFFFFFFu);
  map.out(0xFFFE, 4, 1);  // ignored
}

TEST(PortMap, WideAccessesToANarrowDeviceAreSplitIntoBytes) {
  PortMap map;
  Recorder device;
  ASSERT_TRUE(map.claim(0x20, 2, 1, &device));
  map.out(0x20, 2, 0xBBAA);
  EXPECT_EQ(device.accesses, (std::vector<Recorder::Access>{{0x20, 1, 0xAA}, {0x21, 1, 0xBB}}));
  EXPECT_EQ(map.in(0x21, 2), 0xFF21u);  // the second byte is nobody's
}

TEST(PortMap, WideDevicesGetWideAccessesWhole) {
  PortMap map;
  Recorder device;
  ASSERT_TRUE(map.claim(0xC000, 128, 4, &device));
  map.out(0xC000, 4, 0xFFFFFFFF);
  map.out(0xC010, 2, 0x12345);
  EXPECT_EQ(device.accesses,
            (std::vector<Recorder::Access>{{0xC000, 4, 0xFFFFFFFF}, {0xC010, 2, 0x2345}}));
}

TEST(PortMap, WhatIsTakenCanNotBeClaimedAndWhatIsReleasedCan) {
  PortMap map;
  Recorder first, second;
  ASSERT_TRUE(map.claim(0x100, 8, 4, &first));
  EXPECT_FALSE(map.claim(0x107, 2, 4, &second));
  EXPECT_FALSE(map.claim(0xFFFF, 2, 4, &second));
  EXPECT_EQ(map.in(0x108, 1), 0xFFu);
  map.release(0x100, 8, &second);  // not his
  EXPECT_EQ(map.in(0x100, 1), 0x00u);
  map.release(0x100, 8, &first);
  EXPECT_TRUE(map.claim(0x107, 2, 4, &second));
}

TEST(PortMap, SlotsAreReusedForEver) {
  PortMap map;
  Recorder device;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(map.claim(static_cast<u16>(16 * i), 16, 4, &device));
    map.release(static_cast<u16>(16 * i), 16, &device);
  }
}

}  // namespace
}  // namespace snowglobe::vm
