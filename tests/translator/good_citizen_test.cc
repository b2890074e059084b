// tests/translator/good_citizen_test.cc - an application does not notice the translator's parts in
// its process: its signals, stacks, children, descriptors and addresses are what they would be
// without.
#include "tests/support/window_map.h"
#include "tests/translator/faulting_code.h"
#include "vm/cpu/translator/code_memory.h"
#include "vm/cpu/translator/host_support.h"
#include "vm/memory/window.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <memory>
#include <spawn.h>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#if defined(__x86_64__)

namespace snowglobe::vm {
namespace {

constexpr std::size_t kCodeSize = std::size_t{1} << 20;

/// What a machine with a translator holds in its process.
struct Parts {
  MappingBudget budget{1000};
  int ram = -1;
  std::unique_ptr<Window> window;
  std::unique_ptr<CodeMemory> code_memory;
  std::unique_ptr<Code> code = std::make_unique<Code>(kLoad, kAdd35);

  Parts() {
    ram = ::memfd_create("ram", MFD_CLOEXEC);
    if (::ftruncate(ram, 64 * kPageSize) != 0) ::_exit(90);
    window = std::move(Window::create(budget)).value();
    code_memory = std::move(CodeMemory::create(kCodeSize)).value();
    for (u32 i = 0; i < 10; ++i) {
      if (!map_pages(*window, ram, 100 + 3 * i, 2 * i, 2, true, true)) ::_exit(91);
      window->base()[(100 + 3 * i) * kPageSize] = 1;
    }
    code->guard();
  }
  ~Parts() {
    window.reset();
    ::close(ram);
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
};

using GoodCitizenTest = ProcessTest;

std::vector<struct sigaction> dispositions() {
  std::vector<struct sigaction> all(static_cast<std::size_t>(SIGRTMAX) + 1);
  for (int signal = 1; signal <= SIGRTMAX; ++signal)
    ::sigaction(signal, nullptr, &all[static_cast<std::size_t>(signal)]);
  return all;
}

TEST_F(GoodCitizenTest, TakesFourSignalsNoTimerAndNoMask) {
  EXPECT_EXIT(
      {
        translator_support();
        const auto before = dispositions();
        const Parts parts;
        const auto after = dispositions();
        for (int signal = 1; signal <= SIGRTMAX; ++signal) {
          const auto index = static_cast<std::size_t>(signal);
          const bool ours =
              signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
          if ((before[index].sa_handler != after[index].sa_handler) != ours) ::_exit(signal);
          if (is_blocked(signal)) ::_exit(100);
        }
        for (const auto timer : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) {
          itimerval value = {};
          ::getitimer(timer, &value);
          if (value.it_value.tv_sec != 0 || value.it_value.tv_usec != 0) ::_exit(101);
        }
        ::_exit(0);
      },
      ::testing::ExitedWithCode(0), "");
}

[[gnu::noinline]] u64 use_stack_without_end(u64 depth) {
  volatile u64 frame[512];
  frame[depth % 512] = depth;
  return depth == ~u64{0} ? 0 : use_stack_without_end(depth + 1) + frame[(depth * 7) % 512];
}

TEST_F(GoodCitizenTest, AnApplicationSeesItsStackOverflowOnItsOwnAlternateStack) {
  EXPECT_EXIT(
      {
        static std::vector<u8> memory(64u << 10);
        stack_t stack = {};
        stack.ss_sp = memory.data();
        stack.ss_size = memory.size();
        ::sigaltstack(&stack, nullptr);
        install(
            SIGSEGV,
            [](int, siginfo_t*, void*) {
              const volatile u8 here = 0;
              const auto* place = const_cast<const u8*>(&here);
              ::_exit(place >= memory.data() && place < memory.data() + memory.size() ? 7 : 8);
            },
            SA_ONSTACK);
        const Parts parts;
        if (parts.code->call(kNowhere) != 42) ::_exit(9);
        use_stack_without_end(0);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(GoodCitizenTest, FaultsOfBothKindsOnTwoThreadsDoNotMix) {
  EXPECT_EXIT(
      {
        static thread_local sigjmp_buf back;
        install(
            SIGSEGV, [](int, siginfo_t*, void*) { siglongjmp(back, 1); }, 0);
        static const Parts* parts = new Parts();
        static std::atomic<bool> stop{false};
        static std::atomic<int> wrong{0};
        std::thread machine([] {
          auto stack = SignalStack::create();
          if (!stack.ok()) ++wrong;
          while (!stop) {
            if (parts->code->call(kNowhere) != 42) ++wrong;
          }
        });
        static int recovered = 0;
        while (recovered < 2000) {
          if (sigsetjmp(back, 1) == 0) {
            fault_outside();
            ++wrong;
          }
          ++recovered;
        }
        stop = true;
        machine.join();
        ::_exit(wrong == 0 ? 7 : 8);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(GoodCitizenTest, AHandlerInstalledLaterThatChainsLeavesFaultsToUs) {
  EXPECT_EXIT(
      {
        const Parts parts;
        static struct sigaction former;
        ::sigaction(SIGSEGV, nullptr, &former);
        install(
            SIGSEGV,
            [](int signal, siginfo_t* info, void* context) {
              if (reinterpret_cast<u64>(info->si_addr) == kNowhere + 1) ::_exit(7);
              former.sa_sigaction(signal, info, context);
            },
            0);
        if (fault_handlers_in_place()) ::_exit(8);
        if (parts.code->call(kNowhere) != 42) ::_exit(9);
        fault_outside(kNowhere + 1);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(GoodCitizenTest, AFaultWhileTheSignalIsBlockedKills) {
  EXPECT_EXIT(
      {
        install(
            SIGSEGV, [](int, siginfo_t*, void*) { ::_exit(8); }, 0);
        const Parts parts;
        sigset_t blocked;
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGSEGV);
        ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
        fault_outside();
      },
      ::testing::KilledBySignal(SIGSEGV), "");
}

// ---- Children of the application
// -----------------------------------------------------------------

int status_of(pid_t child) {
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

bool is_mapped(const u8* address) {
  unsigned char present = 0;
  return ::mincore(const_cast<u8*>(address), kPageSize, &present) == 0;
}

TEST_F(GoodCitizenTest, AForkedChildDiesOfItsFaultsAndHasNoTranslatedCode) {
  const Parts parts;
  pid_t child = ::fork();
  if (child == 0) {
    const CodeMemory& code = *parts.code_memory;
    ::_exit(!is_mapped(code.executable()) && !is_mapped(code.writable()) ? 7 : 8);
  }
  int status = status_of(child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  child = ::fork();
  if (child == 0) {
    const rlimit no_core = {};
    ::setrlimit(RLIMIT_CORE, &no_core);
    fault_outside();
    ::_exit(9);
  }
  status = status_of(child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
}

TEST_F(GoodCitizenTest, AStartedProgramHasDefaultSignalsAndNoDescriptorOfOurs) {
  const Parts parts;
  const std::string script = "test -e /proc/self/fd/" + std::to_string(parts.ram) +
                             " && exit 9; ulimit -c 0; kill -SEGV $$";
  const std::array<const char*, 4> arguments = {"sh", "-c", script.c_str(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(::posix_spawn(&child, "/bin/sh", nullptr, nullptr,
                          const_cast<char* const*>(arguments.data()), environ),
            0);
  const int status = status_of(child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
}

// ---- Addresses
// -----------------------------------------------------------------------------------

std::size_t lines_of(const char* path) {
  std::ifstream file(path);
  return static_cast<std::size_t>(
      std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n'));
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

TEST_F(GoodCitizenTest, GivesEverythingBack) {
  { const Parts warm_up; }
  const std::size_t mappings = lines_of("/proc/self/maps");
  const std::size_t descriptors = open_descriptors();
  for (int i = 0; i < 50; ++i) {
    const Parts parts;
    ASSERT_GT(lines_of("/proc/self/maps"), mappings + 20);
  }
  EXPECT_EQ(lines_of("/proc/self/maps"), mappings);
  EXPECT_EQ(open_descriptors(), descriptors);
}

/// The kernel dumps a mapping unless it says "dd" or has no page of its own.
TEST_F(GoodCitizenTest, NothingOfTheGuestIsInACoreDump) {
  const Parts parts;
  const auto window = reinterpret_cast<u64>(parts.window->base());
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  std::size_t seen = 0;
  u64 resident = 0;
  std::string head;
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0;
    unsigned long to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
      head = line;
      inside = (from < window + (u64{1} << 32) && to > window) ||
               line.find("memfd:snowglobe-code") != std::string::npos;
    }
    if (!inside) continue;
    std::sscanf(line.c_str(), "Rss: %lu", &resident);
    if (line.rfind("VmFlags:", 0) != 0) continue;
    ++seen;
    EXPECT_TRUE(resident == 0 || line.find(" dd") != std::string::npos) << head << "\n" << line;
  }
  EXPECT_EQ(seen, parts.window->mappings() + 2);
}

TEST_F(GoodCitizenTest, AReservationCostsNoMemory) {
  const std::size_t before = lines_of("/proc/self/maps");
  MappingBudget budget(1000);
  std::vector<std::unique_ptr<Window>> windows;
  const int ram = ::memfd_create("ram", MFD_CLOEXEC);
  for (int i = 0; i < 200; ++i) {
    auto window = Window::create(budget);
    ASSERT_TRUE(window.ok()) << window.error().message;
    windows.push_back(std::move(window).value());
  }
  EXPECT_LE(lines_of("/proc/self/maps"), before + budget.used());
  std::ifstream status("/proc/self/statm");
  u64 size = 0;
  u64 resident = 0;
  status >> size >> resident;
  EXPECT_GT(size, u64{200} << 20);    // pages: 800 GiB
  EXPECT_LT(resident, u64{64} << 8);  // 64 MiB
  ::close(ram);
}

}  // namespace
}  // namespace snowglobe::vm

#endif
