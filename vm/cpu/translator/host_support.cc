// vm/cpu/translator/host_support.cc - tries in a child process what translated code does, and says
// in one sentence what does not work here.
//
// The child is a raw clone() without an exit signal: no fork handlers of the application run, it
// gets no SIGCHLD, and none of its wait() calls sees the child. After that the child makes only
// async-signal-safe calls; whatever needs memory or a lock is made before.
#include "vm/cpu/translator/host_support.h"

#include "vm/cpu/translator/code_memory.h"
#include "vm/memory/window.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SNOWGLOBE_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SNOWGLOBE_SANITIZED 1
#endif

namespace snowglobe::vm {

namespace {

HostSupport refusal(std::string why_not) {
  return {.usable = false, .why_not = std::move(why_not)};
}

#if defined(SNOWGLOBE_SANITIZED)

HostSupport decide() {
  return refusal(
      "the program was built with a sanitizer, which does not see what generated code does");
}

#elif !defined(__x86_64__)

HostSupport decide() {
  return refusal("the translator is for x86-64 hosts");
}

#else

std::string reason_text(int error) {
  return std::system_category().message(error);
}

// ---- What the child tries
// ------------------------------------------------------------------------

constexpr u32 kLastPage = (1u << 20) - 1;
constexpr u32 kReadOnlyPage = 16;
constexpr u32 kUnmapped = 32u << kPageShift;
constexpr u32 kFilePages = 4;
constexpr std::size_t kCodeSize = std::size_t{16} << kPageShift;

/// All that the child needs, made by the parent.
struct Trial {
  int file = -1;
  u8* ram = nullptr;  ///< the memory file in a plain mapping: shared by parent and child
  std::unique_ptr<CodeMemory> code;
  std::unique_ptr<Window> window;
  std::vector<u8> signal_stack;

  Trial() = default;
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  ~Trial() {
    window.reset();
    if (ram != nullptr) ::munmap(ram, std::size_t{kFilePages} << kPageShift);
    if (file >= 0) ::close(file);
  }

  [[nodiscard]] u32& word(u32 page, u32 offset) const {
    return *reinterpret_cast<u32*>(ram + (std::size_t{page} << kPageShift) + offset);
  }
  /// The number of the probe at work, for the parent to read when the child is gone.
  [[nodiscard]] volatile u32& progress() const { return word(3, 0); }
};

/// What the child's handler saw. Only the child writes it.
struct Seen {
  u64 code_begin = 0;
  u64 code_end = 0;
  u64 landing = 0;
  int signal = 0;
  u64 address = 0;
  bool write = false;
};
Seen g_seen;

void on_fault_in_child(int signal, siginfo_t* info, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const u64 instruction = static_cast<u64>(registers[REG_RIP]);
  if (instruction < g_seen.code_begin || instruction >= g_seen.code_end) ::_exit(2);
  g_seen.signal = signal;
  g_seen.address = reinterpret_cast<u64>(info->si_addr);
  g_seen.write = (registers[REG_ERR] & 2) != 0;
  registers[REG_RIP] = static_cast<greg_t>(g_seen.landing);
}

/// The first bytes of the code memory: lea rax, [rax + 35]; ret. Code that is to fault sets eax
/// to 7.
constexpr std::array<u8, 5> kLanding = {0x48, 0x8D, 0x40, 35, 0xC3};
constexpr u64 kLanded = 42;
constexpr std::size_t kProbeAt = 64;

/// Writes `bytes` through one mapping and calls them through the other, with two arguments in edi
/// and esi.
u64 run(const Trial& trial, std::initializer_list<u8> bytes, u32 first = 0, u32 second = 0) {
  std::copy(bytes.begin(), bytes.end(), trial.code->writable() + kProbeAt);
  g_seen.signal = 0;
  u8* const entry = const_cast<u8*>(trial.code->executable()) + kProbeAt;
  return reinterpret_cast<u64 (*)(u32, u32)>(entry)(first, second);
}

u64 load(const Trial& trial, u32 address) {
  return run(trial, {0x89, 0xF9, 0x65, 0x67, 0x8B, 0x01, 0xC3}, address);  // mov eax, gs:[ecx]
}

bool faulted(const Trial& trial, u64 result, u64 offset, bool write) {
  return result == kLanded && g_seen.signal == SIGSEGV && g_seen.write == write &&
         g_seen.address == reinterpret_cast<u64>(trial.window->base()) + offset;
}

bool sets_gs_base(const Trial& trial) {
  const auto wanted = reinterpret_cast<u64>(trial.window->base());
  u64 found = 0;
  asm volatile("wrgsbase %0" : : "r"(wanted));
  asm volatile("rdgsbase %0" : "=r"(found));
  return found == wanted;
}

bool runs_code_and_its_next_version(const Trial& trial) {
  return run(trial, {0xB8, 1, 0, 0, 0, 0xC3}) == 1 && run(trial, {0xB8, 2, 0, 0, 0, 0xC3}) == 2;
}

bool has_bmi2(const Trial& trial) {
  return run(trial, {0xC4, 0xE2, 0x49, 0xF7, 0xC7, 0xC3}, 3, 4) == 48;  // shlx eax, edi, esi
}

bool reaches_memory(const Trial& trial) {
  // mov gs:[ecx], esi
  run(trial, {0x89, 0xF9, 0x65, 0x67, 0x89, 0x31, 0xC3}, 0x40, 0x5678);
  return load(trial, 0x10) == 0x1111 && load(trial, 0xFFFF'FFF0) == 0x2222 &&
         load(trial, (kReadOnlyPage << kPageShift) + 8) == 0x3333 &&
         trial.word(0, 0x40) == 0x5678 &&
         // mov eax, gs:[10h], a SIB form; mov esi, edi; gs lodsd
         run(trial, {0x65, 0x67, 0x8B, 0x04, 0x25, 0x10, 0, 0, 0, 0xC3}) == 0x1111 &&
         run(trial, {0x89, 0xFE, 0x65, 0x67, 0xAD, 0xC3}, 0x10) == 0x1111;
}

bool wraps(const Trial& trial) {
  // mov eax, gs:[ecx + 20h]; the same with -20h; bt gs:[ecx], esi; setc al; movzx eax, al
  return run(trial, {0x89, 0xF9, 0x65, 0x67, 0x8B, 0x41, 0x20, 0xC3}, 0xFFFF'FFF0) == 0x1111 &&
         run(trial, {0x89, 0xF9, 0x65, 0x67, 0x8B, 0x41, 0xE0, 0xC3}, 0x10) == 0x2222 &&
         run(trial,
             {0x89, 0xF9, 0x65, 0x67, 0x0F, 0xA3, 0x31, 0x0F, 0x92, 0xC0, 0x0F, 0xB6, 0xC0, 0xC3},
             0, static_cast<u32>(-128 + 1)) == 1;
}

bool faults_in_the_guard(const Trial& trial) {
  // mov eax, 7; mov ecx, edi; mov rdx, gs:[ecx], of which four bytes are behind the end
  const u64 result =
      run(trial, {0xB8, 7, 0, 0, 0, 0x89, 0xF9, 0x65, 0x67, 0x48, 0x8B, 0x11, 0xC3}, 0xFFFF'FFFC);
  return faulted(trial, result, u64{1} << 32, false);
}

bool goes_on_after_segv(const Trial& trial) {
  // mov eax, 7; mov ecx, edi; mov edx, gs:[ecx]
  const u64 result =
      run(trial, {0xB8, 7, 0, 0, 0, 0x89, 0xF9, 0x65, 0x67, 0x8B, 0x11, 0xC3}, kUnmapped);
  return faulted(trial, result, kUnmapped, false);
}

bool protects_from_writes(const Trial& trial) {
  // mov eax, 7; mov ecx, edi; mov gs:[ecx], esi
  const u64 result = run(trial, {0xB8, 7, 0, 0, 0, 0x89, 0xF9, 0x65, 0x67, 0x89, 0x31, 0xC3},
                         kReadOnlyPage << kPageShift, 1);
  return faulted(trial, result, kReadOnlyPage << kPageShift, true) && trial.word(2, 0) == 0;
}

bool goes_on_after_fpe(const Trial& trial) {
  // mov eax, 7; cdq; xor ecx, ecx; div ecx
  return run(trial, {0xB8, 7, 0, 0, 0, 0x99, 0x31, 0xC9, 0xF7, 0xF1, 0xC3}) == kLanded &&
         g_seen.signal == SIGFPE;
}

struct Probe {
  bool (*works)(const Trial& trial);
  const char* why_not;
};

constexpr std::array<Probe, 10> kProbes = {{
    {sets_gs_base, "the kernel does not let user code set the GS base"},
    {runs_code_and_its_next_version,
     "code written at one address and run at another does not run as it was written"},
    {has_bmi2, "the CPU does not have the BMI2 instructions, though it says so"},
    {reaches_memory, "memory is not reached through the GS base as it should be"},
    {wraps, "32-bit addresses above the GS base do not wrap at 4 GiB as they should"},
    {faults_in_the_guard, "an access across the end of 4 GiB does not fault as it should"},
    {goes_on_after_segv, "generated code does not go on after a SIGSEGV"},
    {protects_from_writes, "a write to a read-only page is not reported as it should be"},
    {goes_on_after_segv, "generated code does not go on after a second SIGSEGV"},
    {goes_on_after_fpe, "generated code does not go on after a SIGFPE"},
}};

/// Async-signal-safe calls only. All signals are blocked when it starts.
[[noreturn]] void try_all(const Trial& trial) {
  constexpr std::array<int, 4> kFaults = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core = {};
  ::setrlimit(RLIMIT_CORE, &no_core);
  stack_t stack = {};
  stack.ss_sp = const_cast<u8*>(trial.signal_stack.data());
  stack.ss_size = trial.signal_stack.size();
  ::sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_fault_in_child;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigset_t faults;
  sigemptyset(&faults);
  for (const int signal : kFaults) {
    ::sigaction(signal, &action, nullptr);
    sigaddset(&faults, signal);
  }
  ::pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
  g_seen.landing = reinterpret_cast<u64>(trial.code->executable());
  g_seen.code_begin = g_seen.landing + kProbeAt;
  g_seen.code_end = g_seen.landing + kCodeSize;
  for (const Probe& probe : kProbes) {
    if (!probe.works(trial)) ::_exit(1);
    trial.progress() = trial.progress() + 1;
  }
  ::_exit(0);
}

// ---- What the parent does
// ------------------------------------------------------------------------

/// Makes what the child needs; a sentence if it can not be had.
std::string prepare(Trial& trial) {
  auto code = CodeMemory::create(kCodeSize);
  if (!code.ok()) return "no executable memory is to be had: " + code.error().message;
  trial.code = std::move(code).value();
  // Code memory stays out of forked children, but for this one.
  ::madvise(trial.code->writable(), kCodeSize, MADV_DOFORK);
  ::madvise(const_cast<u8*>(trial.code->executable()), kCodeSize, MADV_DOFORK);
  std::copy(kLanding.begin(), kLanding.end(), trial.code->writable());

  constexpr std::size_t kFileSize = std::size_t{kFilePages} << kPageShift;
  trial.file = ::memfd_create("snowglobe-trial", MFD_CLOEXEC);
  if (trial.file < 0 || ::ftruncate(trial.file, kFileSize) != 0)
    return "no memory file is to be had: " + reason_text(errno);
  void* ram = ::mmap(nullptr, kFileSize, PROT_READ | PROT_WRITE, MAP_SHARED, trial.file, 0);
  if (ram == MAP_FAILED) return "no memory file is to be had: " + reason_text(errno);
  trial.ram = static_cast<u8*>(ram);

  MappingBudget budget(16);
  auto window = Window::create(budget);
  if (!window.ok()) return window.error().message;
  trial.window = std::move(window).value();
  const auto map = [&trial](u32 linear, u32 page, bool writable) {
    return trial.window->map({linear, page, 1, writable, trial.file, page}, true);
  };
  if (!map(0, 0, true) || !map(kLastPage, 1, true) || !map(kReadOnlyPage, 2, false)) {
    return "the host refuses to map memory into a window";
  }
  trial.word(0, 0x10) = 0x1111;
  trial.word(1, kPageSize - 0x10) = 0x2222;
  trial.word(2, 8) = 0x3333;
  trial.signal_stack.resize(::getauxval(AT_MINSIGSTKSZ) + (std::size_t{32} << 10));
  return {};
}

constexpr int kClonePidfd = 0x1000;  // CLONE_PIDFD, Linux 5.2: older than FSGSBASE (5.9)

/// Waits until `pidfd` says that its process is gone; false after five seconds.
bool wait_for_end(int pidfd) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::seconds(5);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd waiting = {.fd = pidfd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, std::max(0, static_cast<int>(left.count())));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

/// Runs the probes in a child; a sentence if one of them does not work.
std::string try_in_child(const Trial& trial) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const long child = ::syscall(SYS_clone, kClonePidfd, nullptr, &pidfd, nullptr, 0);
  if (child == 0) try_all(trial);
  const int reason = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) return "the self-test could not start a process: " + reason_text(reason);

  const bool ended = wait_for_end(pidfd);
  if (!ended) ::kill(static_cast<pid_t>(child), SIGKILL);
  int status = 0;
  while (::waitpid(static_cast<pid_t>(child), &status, __WALL) < 0 && errno == EINTR) {
  }
  ::close(pidfd);
  if (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string why_not = kProbes[std::min<std::size_t>(trial.progress(), 9)].why_not;
  return ended ? why_not : why_not + " (it did not end)";
}

/// Valgrind preloads a library of its own into each program; its client request would need its
/// header.
bool runs_under_valgrind() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("vgpreload_") != std::string::npos) return true;
  }
  return false;
}

HostSupport decide() {
  if (runs_under_valgrind())
    return refusal("the program runs under valgrind, which does not see what generated code does");
  constexpr unsigned long kHwcap2Fsgsbase = 2;  // HWCAP2_FSGSBASE, arch/x86 uapi asm/hwcap2.h
  if ((::getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) == 0)
    return refusal("the CPU or the kernel (before Linux 5.9) has no FSGSBASE");
  if (__builtin_cpu_supports("bmi2") == 0)
    return refusal("the CPU does not have the BMI2 instructions");
  Trial trial;
  std::string why_not = prepare(trial);
  if (why_not.empty()) why_not = try_in_child(trial);
  return {.usable = why_not.empty(), .why_not = why_not};
}

#endif

}  // namespace

const HostSupport& translator_support() {
  static const HostSupport support = decide();
  return support;
}

}  // namespace snowglobe::vm
