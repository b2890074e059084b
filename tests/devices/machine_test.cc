// tests/devices/machine_test.cc - the machine's thread and its loop, with kernels of a few bytes.
#include "vm/machine.h"

#include "tests/support/elf_builder.h"
#include "tests/support/event_loop.h"
#include "vm/machine_clock.h"

#include <chrono>
#include <condition_variable>
#include <dirent.h>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <mutex>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Code = std::vector<u8>;

// cli; jmp $
const Code kSpin{0xFA, 0xEB, 0xFE};
// cli; hlt
const Code kHalt{0xFA, 0xF4};
// sti; l: hlt; jmp l - nothing will ever interrupt it
const Code kSleep{0xFB, 0xF4, 0xEB, 0xFD};
// mov edi,0x200000; mov ecx,0x700000; rep stosd (28 MiB); jmp back
const Code kLongStores{0xBF, 0x00, 0x00, 0x20, 0x00, 0xB9, 0x00,
                       0x00, 0x70, 0x00, 0xF3, 0xAB, 0xEB, 0xF2};
// mov ecx,-1; rep lodsb (4 GiB, most of it no memory); jmp back
const Code kLongLoads{0xB9, 0xFF, 0xFF, 0xFF, 0xFF, 0xF3, 0xAC, 0xEB, 0xF7};
// l: in al,0x40; jmp l
const Code kPortLoop{0xE4, 0x40, 0xEB, 0xFC};

/// Counts ten interrupts of the timer at 100 Hz, says '!' on the serial port, and halts.
Code timer_program() {
  return {
      0xBC, 0x00, 0x00, 0x30, 0x00,                                // mov esp,0x300000
      0xB8, 0x80, 0x00, 0x10, 0x00,                                // mov eax,handler (at +0x80)
      0x66, 0xA3, 0x00, 0x01, 0x20, 0x00,                          // mov [0x200100],ax
      0xC1, 0xE8, 0x10,                                            // shr eax,16
      0x66, 0xA3, 0x06, 0x01, 0x20, 0x00,                          // mov [0x200106],ax
      0x66, 0xC7, 0x05, 0x02, 0x01, 0x20, 0x00, 0x10, 0x00,        // mov word [0x200102],0x10
      0x66, 0xC7, 0x05, 0x04, 0x01, 0x20, 0x00, 0x00, 0x8E,        // mov word [0x200104],0x8e00
      0x0F, 0x01, 0x1D, 0x90, 0x00, 0x10, 0x00,                    // lidt [0x100090]
      0xB0, 0x11, 0xE6, 0x20, 0xB0, 0x20, 0xE6, 0x21,              // PIC: ICW1, vectors at 0x20,
      0xB0, 0x04, 0xE6, 0x21, 0xB0, 0x01, 0xE6, 0x21,              // ICW3, ICW4,
      0xB0, 0xFE, 0xE6, 0x21,                                      // only the timer
      0xB0, 0x34, 0xE6, 0x43, 0xB0, 0x9C, 0xE6, 0x40,              // PIT: mode 2, count 0x2e9c
      0xB0, 0x2E, 0xE6, 0x40, 0xFB,                                // sti
      0xF4, 0x83, 0x3D, 0x00, 0x00, 0x25, 0x00, 0x0A, 0x72, 0xF6,  // l: hlt; cmp [..],10; jb l
      0x66, 0xBA, 0xF8, 0x03, 0xB0, 0x21, 0xEE, 0xFA, 0xF4,        // '!' to 0x3f8; cli; hlt
  };
}

/// timer_program() with its handler and descriptor of the IDT behind it.
Code timer_kernel() {
  Code code = timer_program();
  code.resize(0x80, 0xCC);
  const Code handler{0xFF, 0x05, 0x00, 0x00, 0x25, 0x00,  // inc dword [0x250000]
                     0xB0, 0x20, 0xE6, 0x20, 0xCF};       // EOI; iret
  code.insert(code.end(), handler.begin(), handler.end());
  code.resize(0x90, 0xCC);
  const Code idt{0xFF, 0x07, 0x00, 0x00, 0x20, 0x00};
  code.insert(code.end(), idt.begin(), idt.end());
  return code;
}

/// A machine without disks, and what became of it.
class TestMachine {
 public:
  explicit TestMachine(const Code& code, bool deterministic = false)
      : kernel_(test::build_elf(code)) {
    MachineConfig config;
    config.memory_bytes = 32u << 20;
    config.kernel = kernel_;
    config.clock = &clock_;
    config.random = &random_;
    config.loop = &loop;
    config.time_by_instructions = deterministic;
    config.serial_output = [this](base::ConstBytes data) {
      serial.append(data.begin(), data.end());
    };
    auto made = Machine::create(config);
    EXPECT_TRUE(made.ok());
    machine = std::move(made).value();
  }
  ~TestMachine() { machine.reset(); }

  void start() {
    ASSERT_TRUE(machine->start([this](MachineEnd end) { end_.set_value(end); }).ok());
  }
  /// How it ended, if it does so soon.
  std::optional<MachineEnd> end() {
    auto future = end_.get_future();
    if (future.wait_for(std::chrono::seconds(10)) != std::future_status::ready) return std::nullopt;
    return future.get();
  }

  test::PostLoop loop;
  std::string serial;
  std::unique_ptr<Machine> machine;

 private:
  std::vector<u8> kernel_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  std::promise<MachineEnd> end_;
};

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

TEST(Machine, HaltWithInterruptsOffIsAShutDown) {
  TestMachine guest(kHalt);
  guest.start();
  EXPECT_EQ(guest.end(), MachineEnd::kShutDown);
}

TEST(Machine, PortsForPowerOffAndResetEndIt) {
  TestMachine off({0xE6, 0xF4, 0xEB, 0xFE});  // out 0xf4,al; jmp $
  off.start();
  EXPECT_EQ(off.end(), MachineEnd::kShutDown);
  TestMachine reset({0xB0, 0xFE, 0xE6, 0x64, 0xEB, 0xFE});  // out 0x64,0xfe
  reset.start();
  EXPECT_EQ(reset.end(), MachineEnd::kReset);
}

TEST(Machine, ATripleFaultIsAReset) {
  TestMachine guest({0x0F, 0x0B});  // ud2 without an IDT
  guest.start();
  EXPECT_EQ(guest.end(), MachineEnd::kReset);
}

TEST(Machine, TimerInterruptsWakeTheGuestInTime) {
  TestMachine guest(timer_kernel());
  const auto begin = steady_clock::now();
  guest.start();
  EXPECT_EQ(guest.end(), MachineEnd::kShutDown);
  const auto took = steady_clock::now() - begin;
  EXPECT_GE(took, milliseconds(95));
  EXPECT_LT(took, milliseconds(2000));
  guest.machine->stop();
  EXPECT_EQ(guest.serial, "!");
  EXPECT_EQ(guest.machine->statistics().interrupts, 10u);
  EXPECT_GT(guest.machine->statistics().idle_nanoseconds, 50'000'000u);
}

TEST(Machine, DeterministicTimeIsTheSameEachTimeAndDoesNotWait) {
  u64 instructions = 0;
  for (int i = 0; i < 3; ++i) {
    TestMachine guest(timer_kernel(), true);
    const auto begin = steady_clock::now();
    guest.start();
    EXPECT_EQ(guest.end(), MachineEnd::kShutDown);
    EXPECT_LT(steady_clock::now() - begin, milliseconds(80));  // of 100 that pass in the guest
    guest.machine->stop();
    if (i == 0) instructions = guest.machine->statistics().instructions;
    EXPECT_EQ(guest.machine->statistics().instructions, instructions);
  }
}

/// stop() must be quick whatever the guest does. The best of several, since the host is shared.
TEST(Machine, StopsWithinTenMilliseconds) {
  for (const Code& code : {kSpin, kSleep, kLongStores, kLongLoads, kPortLoop}) {
    auto best = steady_clock::duration::max();
    for (int i = 0; i < 5; ++i) {
      TestMachine guest(code);
      guest.start();
      std::this_thread::sleep_for(milliseconds(5 + 3 * i));
      const auto begin = steady_clock::now();
      guest.machine->stop();
      best = std::min(best, steady_clock::now() - begin);
      EXPECT_EQ(guest.end(), MachineEnd::kStopped);
    }
    EXPECT_LT(best, milliseconds(10)) << "code starts with " << int{code[0]};
  }
}

TEST(Machine, StandsStillWhilePausedAndServesItsLoop) {
  TestMachine guest(kSpin);
  guest.start();
  ASSERT_TRUE(eventually([&] { return guest.machine->statistics().instructions > 0; }));
  guest.machine->pause();
  const u64 before = guest.machine->statistics().instructions;
  std::promise<void> served;
  guest.loop.post([&] { served.set_value(); });
  EXPECT_EQ(served.get_future().wait_for(std::chrono::seconds(5)), std::future_status::ready);
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(guest.machine->statistics().instructions, before);
  guest.machine->resume();
  EXPECT_TRUE(eventually([&] { return guest.machine->statistics().instructions > before; }));
  guest.machine->pause();
  guest.machine->stop();  // also while it is paused
  EXPECT_EQ(guest.end(), MachineEnd::kStopped);
  guest.machine->stop();
}

TEST(Machine, PausedBeforeItsStartItRunsNothing) {
  TestMachine guest(kHalt);
  guest.machine->pause();
  guest.start();
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(guest.machine->statistics().instructions, 0u);
  guest.machine->resume();
  EXPECT_EQ(guest.end(), MachineEnd::kShutDown);
  guest.machine->pause();  // after its end: returns at once
}

TEST(Machine, StopAndPauseFromItsOwnThreadTakeEffect) {
  TestMachine guest(kSpin);
  guest.start();
  guest.loop.post([&] {
    guest.machine->pause();
    guest.machine->resume();
    guest.machine->stop();
  });
  EXPECT_EQ(guest.end(), MachineEnd::kStopped);
}

TEST(Machine, PostedWorkRunsWhileTheGuestIsBusyAndWhileItSleeps) {
  for (const Code& code : {kSpin, kSleep}) {
    TestMachine guest(code);
    guest.start();
    for (int i = 0; i < 20; ++i) {
      std::promise<void> served;
      const auto begin = steady_clock::now();
      guest.loop.post([&] { served.set_value(); });
      ASSERT_EQ(served.get_future().wait_for(std::chrono::seconds(5)), std::future_status::ready);
      EXPECT_LT(steady_clock::now() - begin, milliseconds(500));
    }
  }
}

TEST(Machine, AnIdleGuestCostsNearlyNothing) {
  TestMachine guest(kSleep);
  guest.start();
  std::this_thread::sleep_for(milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(milliseconds(500));
  const double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(used, 0.005);  // 1 %
}

TEST(Machine, IsStartedOnlyOnce) {
  TestMachine guest(kHalt);
  guest.start();
  EXPECT_EQ(guest.machine->start({}).error().code, base::ErrorCode::kUnavailable);
}

TEST(Machine, ItsThreadTakesNoSignalsOfTheApplication) {
  TestMachine guest(kSpin);
  guest.start();
  bool found = false;
  ASSERT_TRUE(eventually([&] {
    DIR* tasks = opendir("/proc/self/task");
    while (const dirent* task = readdir(tasks)) {
      const std::string path = std::string("/proc/self/task/") + task->d_name + "/";
      std::string name, line;
      std::getline(std::ifstream(path + "comm") >> std::ws, name);
      if (name != "snowglobe-vm") continue;
      found = true;
      std::ifstream status(path + "status");
      while (std::getline(status, line)) {
        if (line.rfind("SigBlk:", 0) != 0) continue;
        const u64 blocked = std::stoull(line.substr(7), nullptr, 16);
        for (const int signal : {SIGINT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1, SIGPROF, SIGPIPE}) {
          EXPECT_NE(blocked >> (signal - 1) & 1, 0u) << signal;
        }
        EXPECT_EQ(blocked >> (SIGSEGV - 1) & 1, 0u);
      }
    }
    closedir(tasks);
    return found;
  }));
}

TEST(Machine, AfterForkTheChildsCopyDoesNothing) {
  TestMachine guest(kSpin);
  guest.start();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(10);  // a hang is a failure
    guest.machine->pause();
    guest.machine->resume();
    guest.machine->stop();
    guest.machine.reset();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  const u64 before = guest.machine->statistics().instructions;
  EXPECT_TRUE(eventually([&] { return guest.machine->statistics().instructions > before; }));
}

std::size_t entries_of(const char* path) {
  std::size_t count = 0;
  DIR* directory = opendir(path);
  while (readdir(directory) != nullptr)
    ++count;
  closedir(directory);
  return count;
}

TEST(Machine, FiftyCyclesLeaveNoThreadAndNoDescriptorBehind) {
  const std::size_t descriptors = entries_of("/proc/self/fd");
  const std::size_t threads = entries_of("/proc/self/task");
  for (int i = 0; i < 50; ++i) {
    TestMachine guest(i % 2 == 0 ? kSpin : kSleep);
    guest.start();
  }
  EXPECT_EQ(entries_of("/proc/self/fd"), descriptors);
  EXPECT_TRUE(eventually([&] { return entries_of("/proc/self/task") == threads; }));
}

TEST(Machine, RefusesImpossibleConfigurations) {
  const std::vector<u8> kernel = test::build_elf(kHalt);
  base::SystemClock clock;
  base::SeededRandom random(1);
  test::PostLoop loop;
  MachineConfig config;
  config.kernel = kernel;
  EXPECT_EQ(Machine::create(config).error().code, base::ErrorCode::kInvalidArgument);
  config.clock = &clock;
  config.random = &random;
  config.loop = &loop;
  config.memory_bytes = 4u << 20;
  EXPECT_EQ(Machine::create(config).error().code, base::ErrorCode::kInvalidArgument);
  config.memory_bytes = (32u << 20) + 1;
  EXPECT_EQ(Machine::create(config).error().code, base::ErrorCode::kInvalidArgument);
  config.memory_bytes = 32u << 20;
  config.disks.push_back({nullptr, ""});
  EXPECT_EQ(Machine::create(config).error().code, base::ErrorCode::kInvalidArgument);
  config.disks.clear();
  config.kernel = base::ConstBytes(kernel).first(kernel.size() - 1);
  EXPECT_EQ(Machine::create(config).error().code, base::ErrorCode::kCorrupt);
  config.kernel = kernel;
  EXPECT_TRUE(Machine::create(config).ok());
}

TEST(GuestClock, StandsStillWhileStoppedAndGoesOnFromThere) {
  base::ManualClock host;
  GuestClock clock(host);
  host.advance(milliseconds(7));
  EXPECT_EQ(clock.ticks(), 0u);
  clock.run();
  host.advance(milliseconds(5));
  EXPECT_EQ(clock.ticks(), 5'000'000u);
  clock.stop();
  host.advance(milliseconds(100));
  EXPECT_EQ(clock.ticks(), 5'000'000u);
  clock.run();
  host.advance(milliseconds(1));
  EXPECT_EQ(clock.ticks(), 6'000'000u);
}

TEST(GuestClock, CountsInstructionsWhenToldAndSkipsOnlyForward) {
  base::ManualClock host;
  GuestClock clock(host);
  u64 instructions = 10;
  clock.count_instructions(&instructions);
  clock.run();
  host.advance(milliseconds(1));
  EXPECT_EQ(clock.ticks(), 10u);
  clock.skip_to(500);
  clock.skip_to(100);
  instructions += 5;
  EXPECT_EQ(clock.ticks(), 505u);
}

}  // namespace
}  // namespace snowglobe::vm
