// tests/devices/device_states_test.cc - the states of devices as bytes: every field goes round, and
// what a hostile guest makes of them is always something that can be put back.
#include "base/archive.h"
#include "base/random.h"
#include "tests/support/hostile_guest.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

/// Fills a state with whatever its description lists: a third way to visit it beside writing and
/// reading.
class RandomFiller {
 public:
  explicit RandomFiller(u64 seed) : random_(seed) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (fill(fields), ...);
  }

 private:
  template <class T>
  void fill(T& field) {
    if constexpr (std::is_same_v<T, bool>) {
      field = random_.next() % 2 != 0;
    } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
      field = static_cast<T>(random_.next());
    } else {
      describe(*this, field);
    }
  }
  template <class T, std::size_t kCount>
  void fill(std::array<T, kCount>& field) {
    for (T& element : field)
      fill(element);
  }
  template <class T>
  void fill(std::vector<T>& field) {
    field.resize(random_.next() % 5);
    for (T& element : field)
      fill(element);
  }
  void fill(std::string& field) { field.assign(random_.next() % 9, 'x'); }

  base::SeededRandom random_;
};

template <class State>
class DeviceState : public testing::Test {};
using States = testing::Types<PicState, PitState, DeadlineTimerState, RtcState, UartState,
                              PciBusState, VirtioState, ConsoleState, BoardShape, BoardState>;
TYPED_TEST_SUITE(DeviceState, States);

TYPED_TEST(DeviceState, EveryFieldGoesRound) {
  for (u64 seed = 1; seed <= 200; ++seed) {
    TypeParam state;
    RandomFiller filler(seed);
    filler(state);
    base::ArchiveWriter writer;
    writer(state);
    const std::vector<u8> bytes = writer.take();
    base::ArchiveReader reader(bytes);
    TypeParam read;
    reader(read);
    ASSERT_TRUE(reader.finished());
    ASSERT_EQ(read, state) << "seed " << seed;
  }
}

TEST(BoardStates, WhatAHostileGuestMakesOfThemComesBackAsItWas) {
  for (u64 seed = 1; seed <= 300; ++seed) {
    std::vector<u8> script(3000);
    base::SeededRandom(seed).fill(script);
    fuzz::Input input(script.data(), script.size());
    test::HostileGuest guest(input);
    guest.run();  // saves and loads now and then
    ASSERT_TRUE(guest.load(guest.save())) << "seed " << seed;
  }
}

TEST(BoardStates, FlippedBitsAreRefusedOrMakeAnotherGoodState) {
  int taken = 0, refused = 0;
  for (u64 seed = 1; seed <= 12; ++seed) {
    std::vector<u8> script(3000);
    base::SeededRandom random(seed);
    random.fill(script);
    fuzz::Input input(script.data(), script.size());
    test::HostileGuest guest(input);
    guest.run();
    const std::vector<u8> good = guest.save();
    for (int i = 0; i < 400; ++i) {
      std::vector<u8> flipped = good;
      flipped[random.next() % flipped.size()] ^= static_cast<u8>(1u << random.next() % 8);
      ++(guest.load(flipped) ? taken : refused);
    }
    ASSERT_TRUE(guest.load(good));
  }
  EXPECT_GT(taken, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace snowglobe::vm
