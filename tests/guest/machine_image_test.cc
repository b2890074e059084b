// tests/guest/machine_image_test.cc - a real guest saved at random moments of its boot: what is put
// back is the same to the bit, and goes on, in the same machine and in one with the other executor.
#include "api/src/disks.h"
#include "base/clock.h"
#include "base/random.h"
#include "guest/agent/protocol.h"
#include "tests/support/event_loop.h"
#include "tests/support/read_file.h"
#include "vm/machine.h"
#include "vm/memory/ram_image.h"

#include <chrono>
#include <cstdlib>
#include <gtest/gtest.h>
#include <mutex>
#include <thread>

namespace snowglobe::vm {
namespace {

using detail::DiskImage;
using detail::FileDisk;
using detail::OverlayDisk;
using detail::SparseDisk;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string image_folder() {
  const char* const chosen = std::getenv("SNOWGLOBE_IMAGE");  // NOLINT(concurrency-mt-unsafe)
  return chosen != nullptr ? chosen : SNOWGLOBE_BUILD_TREE_IMAGE;
}

template <class T>
T must(base::Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message;
    std::abort();
  }
  return std::move(result).value();
}

std::vector<u8> must_read(const std::string& name) {
  auto bytes = snowglobe::test::read_file(image_folder() + "/" + name);
  EXPECT_TRUE(bytes.has_value()) << name << ": run ./dev guest";
  return bytes.value_or(std::vector<u8>{});
}

/// Remembers all that the agent said.
class ListeningPort final : public PortBackend {
 public:
  std::size_t on_data(base::ConstBytes data) override {
    const std::lock_guard lock(mutex_);
    heard_.insert(heard_.end(), data.begin(), data.end());
    return data.size();
  }
  void on_open(bool) override {}
  void on_send_ready() override {}

  [[nodiscard]] std::vector<u8> heard() const {
    const std::lock_guard lock(mutex_);
    return heard_;
  }
  void set_heard(std::vector<u8> heard) {
    const std::lock_guard lock(mutex_);
    heard_ = std::move(heard);
  }
  /// True if one of the agent's frames says that PostgreSQL is ready.
  [[nodiscard]] bool postgres_ready() const {
    const std::lock_guard lock(mutex_);
    for (u64 at = 0; at + SNOWGLOBE_HEADER_SIZE <= heard_.size();) {
      if (base::load_le<u16>(&heard_[at + 8]) == SNOWGLOBE_POSTGRES_READY) return true;
      at += SNOWGLOBE_HEADER_SIZE + base::load_le<u32>(&heard_[at]);
    }
    return false;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<u8> heard_;
};

class DeadNetwork final : public base::FrameReceiver {
 public:
  void on_frame(base::ConstBytes, const base::FrameOffload&) override {}
  void on_transmit_ready() override {}
};

/// All of a machine at one instant, with what its host knew.
struct Picture {
  MachineImage machine;
  std::shared_ptr<const DiskImage> disk;
  std::vector<u8> heard;
};

std::shared_ptr<const SparseDisk> cluster() {
  static const auto disk = must(SparseDisk::unpack(must_read("cluster.disk.zst"), u64{1} << 30));
  return disk;
}

class Pc {
 public:
  explicit Pc(Executor executor, const Picture* from = nullptr)
      : root_(must(FileDisk::open(image_folder() + "/root.erofs"))),
        data_(from == nullptr ? std::make_unique<OverlayDisk>(cluster(), 0)
                              : std::make_unique<OverlayDisk>(from->disk, 0)) {
    const std::vector<u8> kernel = must_read("vmlinux");
    MachineConfig config;
    config.memory_bytes = u64{128} << 20;
    config.kernel = kernel;
    config.command_line =
        "console=ttyS0 quiet root=/dev/vda ro rootfstype=erofs init=/sbin/init tsc=reliable "
        "tsc_early_khz=1000000 reboot=t panic=-1 norandmaps random.trust_bootloader=on";
    config.disks = {{root_.get(), "root"}, {data_.get(), "data"}};
    config.network = &network_;
    config.ports = {{"snowglobe.agent", &port_}};
    config.clock = &clock_;
    config.random = &random_;
    config.loop = &loop_;
    config.executor = executor;
    if (from != nullptr) {
      config.start_from = &from->machine;
      port_.set_heard(from->heard);
    }
    machine_ = must(Machine::create(config));
  }

  void start() {
    ASSERT_TRUE(machine_->start([this](MachineEnd) { ended_ = true; }).ok());
  }
  /// Runs for that long, or until PostgreSQL is ready; then stands still.
  void run(milliseconds time) {
    machine_->resume();
    const auto until = steady_clock::now() + time;
    while (steady_clock::now() < until && !port_.postgres_ready() && !ended_)
      std::this_thread::sleep_for(milliseconds(1));
    machine_->pause();
    ASSERT_FALSE(ended_) << "the guest is dead";
  }
  [[nodiscard]] bool ready() const { return port_.postgres_ready(); }

  Picture capture() { return {must(machine_->capture()), data_->capture().value(), port_.heard()}; }
  void restore(const Picture& picture) {
    ASSERT_TRUE(machine_->restore(picture.machine).ok());
    ASSERT_TRUE(data_->restore(picture.disk).ok());
    port_.set_heard(picture.heard);
  }

 private:
  base::SystemClock clock_;
  base::SystemRandom random_;
  test::PostLoop loop_;
  ListeningPort port_;
  DeadNetwork network_;
  std::unique_ptr<FileDisk> root_;
  std::unique_ptr<OverlayDisk> data_;
  std::atomic<bool> ended_ = false;
  std::unique_ptr<Machine> machine_;
};

u64 mix(u64 hash, base::ConstBytes bytes) {
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    hash = (hash ^ base::load_le<u64>(&bytes[i])) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 29;
  }
  return hash;
}

/// Of memory and disk, content not names; the state of processor and devices is compared as it is.
u64 hash_of(const Picture& picture) {
  u64 hash = 1;
  std::vector<u8> page(kPageSize);
  for (u32 i = 0; i < picture.machine.memory->page_count(); ++i) {
    EXPECT_TRUE(picture.machine.memory->read(i, page));
    hash = mix(hash, page);
  }
  constexpr u64 kChunk = 64 << 10;
  std::vector<u8> chunk(kChunk);
  picture.disk->for_each_difference(nullptr, kChunk, [&](u64 offset, u64 length) {
    picture.disk->read(offset, base::Bytes(chunk).first(length));
    hash = mix(hash ^ offset, base::ConstBytes(chunk).first(length));
  });
  return hash;
}

void expect_equal(const Picture& a, const Picture& b) {
  EXPECT_TRUE(a.machine.state == b.machine.state) << "processor or devices differ";
  EXPECT_EQ(hash_of(a), hash_of(b)) << "memory or disk differ";
  EXPECT_TRUE(a.heard == b.heard);
}

class MachineImagesOn : public testing::TestWithParam<Executor> {};
INSTANTIATE_TEST_SUITE_P(Executors, MachineImagesOn,
                         testing::Values(Executor::kAutomatic, Executor::kInterpreter),
                         [](const auto& executor) {
                           return executor.param == Executor::kInterpreter ? "Interpreter"
                                                                           : "Automatic";
                         });

constexpr auto kPatience = std::chrono::minutes(4);

TEST_P(MachineImagesOn, WhatIsPutBackIsTheSameToTheBitAndGoesOn) {
  Pc pc(GetParam());
  base::SeededRandom random(11);
  const auto until = steady_clock::now() + kPatience;
  const auto moment = [&] { return milliseconds(random.next() % 50); };
  pc.start();
  int moved = 0;  // rounds in which there was something to put back
  for (int round = 0; round < 10; ++round) {
    pc.run(moment());
    const Picture before = pc.capture();
    const u64 hash = hash_of(before);
    expect_equal(pc.capture(), before);
    pc.run(moment());
    const Picture elsewhere = pc.capture();
    moved += hash_of(elsewhere) != hash ? 1 : 0;
    pc.restore(before);
    expect_equal(pc.capture(), before);
    EXPECT_EQ(hash_of(before), hash) << "an image changed";
    if (round % 3 == 2) {  // to and fro
      pc.restore(elsewhere);
      expect_equal(pc.capture(), elsewhere);
    }
    if (HasFailure()) FAIL() << "round " << round;
  }
  EXPECT_GE(moved, 5);
  while (!pc.ready() && steady_clock::now() < until)
    pc.run(milliseconds(200));
  EXPECT_TRUE(pc.ready()) << "PostgreSQL did not come up after the last restore";
}

TEST(MachineImages, GoOnInTheOtherExecutorWhereverTheyWereTaken) {
  base::SeededRandom random(5);
  const auto until = steady_clock::now() + kPatience;
  auto pc = std::make_unique<Pc>(Executor::kAutomatic);
  pc->start();
  int moves = 0;
  while (!pc->ready() && steady_clock::now() < until) {
    pc->run(milliseconds(20 + random.next() % 200));
    if (pc->ready()) break;
    const Picture picture = pc->capture();
    pc = nullptr;  // the picture lives on by itself
    const bool interpreter = ++moves % 2 == 1;
    pc =
        std::make_unique<Pc>(interpreter ? Executor::kInterpreter : Executor::kAutomatic, &picture);
    expect_equal(pc->capture(), picture);
    pc->start();
    if (HasFailure()) FAIL() << "move " << moves;
  }
  EXPECT_TRUE(pc->ready()) << "PostgreSQL did not come up after " << moves << " moves";
  EXPECT_GT(moves, 3);
}

TEST(MachineImages, ManyMachinesGoOnFromOneMoment) {
  Picture picture;
  {
    Pc pc(Executor::kAutomatic);
    pc.start();
    const auto until = steady_clock::now() + kPatience;
    while (pc.capture().disk->bytes() == 0 && steady_clock::now() < until)
      pc.run(milliseconds(50));
    ASSERT_FALSE(pc.ready()) << "nothing is left for the forks to do";
    picture = pc.capture();
  }
  const u64 hash = hash_of(picture);
  std::vector<std::unique_ptr<Pc>> forks;
  for (int i = 0; i < 4; ++i) {
    forks.push_back(std::make_unique<Pc>(Executor::kAutomatic, &picture));
    forks.back()->start();
  }
  const auto until = steady_clock::now() + kPatience;
  for (const auto& fork : forks) {
    while (!fork->ready() && steady_clock::now() < until)
      fork->run(milliseconds(200));
    EXPECT_TRUE(fork->ready());
  }
  EXPECT_EQ(hash_of(picture), hash) << "a fork wrote into what all share";
}

}  // namespace
}  // namespace snowglobe::vm
