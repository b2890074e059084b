// tests/guest/citizen_test.cc - a machine on the translator inside an application that has plans of
// its own: signal handlers, limits, filters.
#include <snowglobe/snowglobe.hpp>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe {
namespace {

constexpr const char* kSum = "select sum(i)::int from generate_series(1, 20000) i";
constexpr int kTotal = 200010000;

int total(Database& db) {
  return db.one<int>(kSum);
}

/// Runs `work` in a child process; its exit code.
template <class Work>
int in_child(Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 99;
    try {
      code = work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

std::atomic<int> caught{0};
std::atomic<unsigned char*> forbidden{nullptr};

void allow(int, siginfo_t*, void*) {
  ++caught;
  ::mprotect(forbidden, 4096, PROT_READ | PROT_WRITE);
}

struct sigaction handler_of_application() {
  struct sigaction action {};
  action.sa_sigaction = allow;
  action.sa_flags = SA_SIGINFO;
  return action;
}

void touch_forbidden_page() {
  forbidden = static_cast<unsigned char*>(
      ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  *static_cast<volatile unsigned char*>(forbidden.load()) = 1;
  ::munmap(forbidden, 4096);
}

TEST(Citizen, AHandlerInstalledBeforeOpenGetsTheApplicationsFaults) {
  EXPECT_EQ(0, in_child([] {
              const struct sigaction action = handler_of_application();
              ::sigaction(SIGSEGV, &action, nullptr);
              Database db = Database::open_in_memory();
              if (total(db) != kTotal) return 1;
              touch_forbidden_page();
              if (caught != 1) return 2;
              return total(db) == kTotal ? 0 : 3;
            }));
}

TEST(Citizen, AHandlerInstalledAfterOpenSendsTheMachineToTheInterpreter) {
  EXPECT_EQ(0, in_child([] {
              Database db = Database::open_in_memory();
              if (total(db) != kTotal) return 1;
              const struct sigaction action = handler_of_application();
              ::sigaction(SIGSEGV, &action, nullptr);
              if (total(db) != kTotal) return 2;
              if (caught != 0) return 3;  // the machine's own faults never reach it
              touch_forbidden_page();
              return caught == 1 ? 0 : 4;
            }));
}

TEST(Citizen, WithoutAHandlerTheApplicationDiesOfItsFault) {
  EXPECT_EQ(1000 + SIGSEGV, in_child([] {
              const rlimit no_core{0, 0};
              ::setrlimit(RLIMIT_CORE, &no_core);
              Database db = Database::open_in_memory();
              static_cast<void>(total(db));
              touch_forbidden_page();
              return 0;
            }));
}

long address_space_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kib = 0;
    if (word == "VmSize:" && status >> kib) return kib;
  }
  return 0;
}

TEST(Citizen, ALimitOfAddressSpaceLeavesTheInterpreter) {
  EXPECT_EQ(0, in_child([] {
              const rlim_t limit = static_cast<rlim_t>(address_space_kib() + 1'500'000) * 1024;
              const rlimit addresses{limit, limit};
              ::setrlimit(RLIMIT_AS, &addresses);
              Database db = Database::open_in_memory();
              if (db.info().executor != "interpreter") return 1;
              if (db.info().why_interpreted.empty()) return 2;
              return total(db) == kTotal ? 0 : 3;
            }));
}

// What container engines refuse by default, as far as it could concern us.
bool refuse_system_calls() {
  constexpr auto kArchitecture = static_cast<unsigned>(offsetof(seccomp_data, arch));
  constexpr auto kNumber = static_cast<unsigned>(offsetof(seccomp_data, nr));
  constexpr unsigned kRefuse = SECCOMP_RET_ERRNO | EPERM;
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArchitecture),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 425, 0, 1),  // io_uring_setup, _enter, _register
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 428, 0, 3),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_perf_event_open, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, kRefuse),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(Citizen, AContainersFilterOfSystemCallsDoesNotMatter) {
  EXPECT_EQ(0, in_child([] {
              if (!refuse_system_calls()) return 1;
              if (::syscall(425, 1, nullptr) != -1 || errno != EPERM) return 2;
              Database db = Database::open_in_memory();
              return total(db) == kTotal ? 0 : 3;
            }));
}

// An empty /dev/shm in which nobody can make anything. False: this host gives no namespaces away.
bool take_shared_memory_away() {
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return ::mount("none", "/dev/shm", "tmpfs", MS_RDONLY, "size=4k,mode=0") == 0;
}

TEST(Citizen, AHostWithoutSharedMemoryFilesDoesNotMatter) {
  constexpr int kNoNamespace = 50;
  const int code = in_child([] {
    if (!take_shared_memory_away()) return kNoNamespace;
    if (::shm_open("/snowglobe-test", O_CREAT | O_RDWR, 0600) != -1) return 1;
    Database db = Database::open_in_memory();
    return total(db) == kTotal ? 0 : 2;
  });
  if (code == kNoNamespace) GTEST_SKIP() << "this host lets nobody mount, or has no /dev/shm";
  EXPECT_EQ(code, 0);
}

TEST(Citizen, TwoMachinesRunAtOnceOnTheirOwnThreads) {
  Database first = Database::open_in_memory();
  Database second = Database::open_in_memory();
  std::atomic<int> right{0};
  const auto work = [&right](Database& db) {
    for (int i = 0; i < 5; ++i)
      right += total(db) == kTotal ? 1 : 0;
  };
  std::thread other([&] { work(first); });
  work(second);
  other.join();
  EXPECT_EQ(right, 10);
  EXPECT_EQ(first.info().executor, second.info().executor);
}

}  // namespace
}  // namespace snowglobe
