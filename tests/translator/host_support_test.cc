// tests/translator/host_support_test.cc - the self-test tells a host that will do from one that
// will not, says why, and leaves nothing behind.
//
// The answer is given once a process, so each case is a process of its own ("threadsafe" death
// tests start the program anew).
#include "vm/cpu/translator/host_support.h"

#include "tests/translator/faulting_code.h"
#include "vm/types.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#if defined(__x86_64__)

namespace snowglobe::vm {
namespace {

bool host_can() {
  return (::getauxval(AT_HWCAP2) & 2) != 0 && __builtin_cpu_supports("bmi2") != 0;
}

class HostSupportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    if (kSanitized || !host_can()) GTEST_SKIP() << translator_support().why_not;
  }
};

/// Ends the process with 7 if the host is usable (or not, as wanted); the reason goes to stderr.
[[noreturn]] void answer(bool wanted) {
  const HostSupport& support = translator_support();
  const std::string text = support.why_not + "\n";
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) ::_exit(9);
  ::_exit(support.usable == wanted && support.usable == support.why_not.empty() ? 7 : 8);
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::string mapped_files() {
  std::ifstream maps("/proc/self/maps");
  std::string found;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:") != std::string::npos) found += line + "\n";
  }
  return found;
}

TEST(HostSupport, IsUsableOrSaysWhyNot) {
  const HostSupport& support = translator_support();
  EXPECT_NE(support.usable, !support.why_not.empty()) << support.why_not;
  EXPECT_EQ(&support, &translator_support());
  EXPECT_FALSE(kSanitized && support.usable);
}

/// Run by a test of ctest that starts this program under valgrind.
TEST(HostSupportUnderValgrind, IsRefused) {
  std::ifstream maps("/proc/self/maps");
  const std::string text(std::istreambuf_iterator<char>(maps), {});
  if (text.find("vgpreload") == std::string::npos) GTEST_SKIP() << "not under valgrind";
  EXPECT_NE(translator_support().why_not.find("valgrind"), std::string::npos)
      << translator_support().why_not;
}

TEST_F(HostSupportTest, IsUsableHere) {
  EXPECT_TRUE(translator_support().usable) << translator_support().why_not;
}

TEST_F(HostSupportTest, LeavesNoProcessDescriptorMappingOrHandler) {
  EXPECT_EXIT(
      {
        const std::size_t descriptors = open_descriptors();
        if (!translator_support().usable) ::_exit(8);
        if (::waitpid(-1, nullptr, WNOHANG | __WALL) != -1 || errno != ECHILD) ::_exit(9);
        if (open_descriptors() != descriptors) ::_exit(10);
        if (!mapped_files().empty()) ::_exit(11);
        for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGCHLD}) {
          struct sigaction now = {};
          ::sigaction(signal, nullptr, &now);
          if (now.sa_handler != SIG_DFL) ::_exit(12);
        }
        sigset_t mask;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        ::_exit(sigismember(&mask, SIGUSR1) == 0 ? 7 : 13);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostSupportTest, DoesNotDisturbAnApplicationThatWatchesItsChildren) {
  EXPECT_EXIT(
      {
        static std::atomic<int> signals{0};
        static std::atomic<bool> stop{false};
        static std::atomic<int> strangers{0};
        ::signal(SIGCHLD, [](int) { ++signals; });
        std::thread reaper([] {
          while (!stop) {
            if (::waitpid(-1, nullptr, WNOHANG) > 0) ++strangers;
          }
        });
        const bool usable = translator_support().usable;
        stop = true;
        reaper.join();
        ::_exit(usable && signals == 0 && strangers == 0 ? 7 : 8);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostSupportTest, WorksWhereChildrenAreIgnored) {
  EXPECT_EXIT(
      {
        ::signal(SIGCHLD, SIG_IGN);
        answer(true);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostSupportTest, WorksWhileOtherThreadsAllocateAndAllAsk) {
  EXPECT_EXIT(
      {
        static std::atomic<bool> stop{false};
        static std::atomic<int> usable{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) {
          threads.emplace_back([] {
            while (!stop)
              std::free(std::malloc(1000));
          });
        }
        for (int i = 0; i < 3; ++i) {
          threads.emplace_back([] {
            if (translator_support().usable) ++usable;
          });
        }
        for (std::size_t i = 3; i < 6; ++i)
          threads[i].join();
        stop = true;
        for (std::size_t i = 0; i < 3; ++i)
          threads[i].join();
        ::_exit(usable == 3 ? 7 : 8);
      },
      ::testing::ExitedWithCode(7), "");
}

// ---- Hosts that will not do
// ----------------------------------------------------------------------

/// From here on system call `number` fails with `error`, if its argument `argument` has a bit of
/// `bits` set (bits 0: always).
void forbid(int number, int error, unsigned argument = 0, unsigned bits = 0) {
  const auto argument_offset =
      static_cast<unsigned>(offsetof(seccomp_data, args) + argument * sizeof(u64));
  std::array<sock_filter, 6> program = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument_offset),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  if (bits == 0) program[3] = BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0, 0, 1);
  const sock_fprog filter = {.len = program.size(), .filter = program.data()};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) ::_exit(99);
}

TEST_F(HostSupportTest, SaysThatExecutableMemoryIsForbidden) {
  EXPECT_EXIT(
      {
        forbid(SYS_mmap, EACCES, 2, PROT_EXEC);
        answer(false);
      },
      ::testing::ExitedWithCode(7), "no executable memory is to be had: .*Permission denied");
}

TEST_F(HostSupportTest, SaysThatThereAreNoMemoryFiles) {
  EXPECT_EXIT(
      {
        forbid(SYS_memfd_create, ENOSYS);
        answer(false);
      },
      ::testing::ExitedWithCode(7), "no executable memory is to be had: .*memory file");
}

TEST_F(HostSupportTest, SaysThatItCanNotStartAProcess) {
  EXPECT_EXIT(
      {
        forbid(SYS_clone, EPERM);
        answer(false);
      },
      ::testing::ExitedWithCode(7), "could not start a process: Operation not permitted");
}

TEST_F(HostSupportTest, SaysThatAddressesAreLimited) {
  EXPECT_EXIT(
      {
        rlimit limit;
        limit.rlim_cur = limit.rlim_max = 2u << 30;
        ::setrlimit(RLIMIT_AS, &limit);
        answer(false);
      },
      ::testing::ExitedWithCode(7), "4 GiB of addresses.*ulimit -v");
}

/// The kernel gives no handler to the child: the probe dies, and the parent says which one it was.
TEST_F(HostSupportTest, SaysWhatDidNotWorkWhenTheChildDies) {
  EXPECT_EXIT(
      {
        forbid(SYS_rt_sigaction, EPERM);
        answer(false);
      },
      ::testing::ExitedWithCode(7),
      "an access across the end of 4 GiB does not fault as it should");
}

TEST_F(HostSupportTest, WorksWhereNothingMayBecomeExecutableLater) {
  constexpr int kSetMdwe =
      65;  // PR_SET_MDWE, Linux 6.3: no mapping may be both, or become executable
  if (::prctl(66, 0, 0, 0, 0) < 0) GTEST_SKIP() << "the kernel does not know PR_SET_MDWE";
  EXPECT_EXIT(
      {
        if (::prctl(kSetMdwe, 1, 0, 0, 0) != 0) ::_exit(98);
        answer(true);
      },
      ::testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace snowglobe::vm

#endif
