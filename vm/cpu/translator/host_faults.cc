// vm/cpu/translator/host_faults.cc - the signal handler that turns faults of translated code into
// landings, and hands those of anybody else on as if it were not there.
//
// The handler runs wherever a fault happens: on any thread of the application, with a guest's GS
// base in force (GS is not used by user code on x86-64 Linux; FS, which holds the thread's own
// data, is never touched by translated code). It takes no lock, allocates nothing and keeps errno.
#include "vm/cpu/translator/host_faults.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <string>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <system_error>
#include <ucontext.h>
#include <unistd.h>

namespace snowglobe::vm {

using base::Error;
using base::ErrorCode;

namespace {

Error io_error(const char* what, int reason) {
  return Error{ErrorCode::kIo, std::string(what) + ": " + std::system_category().message(reason)};
}

// ---- Regions
// -------------------------------------------------------------------------------------

/// One region. `version` is odd while the slot is free or being written; a reader that sees it odd
/// or changed passes on: the region of code that it is running in does not come or go meanwhile.
struct Slot {
  std::atomic<u64> version{1};
  std::atomic<bool> taken{false};
  std::atomic<u64> begin{0};
  std::atomic<u64> end{0};
  std::atomic<u64> landing{0};
  std::atomic<HostFault*> fault{nullptr};
};

constexpr std::size_t kSlots = 256;
constinit std::array<Slot, kSlots> g_slots;
/// Slots from here on were never used: the handler need not look at them.
constinit std::atomic<std::size_t> g_slots_used{0};

/// Each store is a release, so that none is seen before the version became odd.
void publish(Slot& slot, u64 begin, u64 end, u64 landing, HostFault* fault) {
  slot.begin.store(begin, std::memory_order_release);
  slot.end.store(end, std::memory_order_release);
  slot.landing.store(landing, std::memory_order_release);
  slot.fault.store(fault, std::memory_order_release);
  slot.version.fetch_add(1, std::memory_order_release);  // even: valid
}

void retract(Slot& slot) {
  slot.version.fetch_add(1, std::memory_order_relaxed);  // odd, before any field changes
  slot.taken.store(false, std::memory_order_release);
}

struct Landing {
  u64 address = 0;
  HostFault* fault = nullptr;
};

/// The landing for a fault at `instruction`; address 0 if it is in no region.
[[maybe_unused]] Landing find_landing(u64 instruction) {
  const std::size_t used = g_slots_used.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < used; ++i) {
    const Slot& slot = g_slots[i];
    const u64 version = slot.version.load(std::memory_order_acquire);
    if ((version & 1) != 0) continue;
    const u64 begin = slot.begin.load(std::memory_order_acquire);
    const u64 end = slot.end.load(std::memory_order_acquire);
    const Landing landing{slot.landing.load(std::memory_order_acquire),
                          slot.fault.load(std::memory_order_acquire)};
    if (slot.version.load(std::memory_order_relaxed) != version) continue;
    if (instruction >= begin && instruction < end) return landing;
  }
  return {};
}

// ---- Those who were there before
// -----------------------------------------------------------------

constexpr std::array<int, 4> kSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};

/// What was installed for a signal before us. Written before our handler is, read by the handler.
struct Former {
  struct sigaction action = {};
  std::atomic<bool> spent{false};  ///< SA_RESETHAND, and it has run
};

constinit std::array<Former, kSignals.size()> g_former;

Former& former_of(int signal) {
  std::size_t index = 0;
  while (kSignals[index] != signal)
    ++index;
  return g_former[index];
}

/// Whether going back to the interrupted instruction raises the signal again. Not so for one that
/// was sent (kill, sigqueue, a timer), or for a memory error that the kernel found by itself.
bool comes_again(int signal, const siginfo_t& info) {
  if (info.si_code <= 0) return false;
  return signal != SIGBUS || info.si_code != BUS_MCEERR_AO;
}

/// Lets the signal have its default action: the instruction faults again with nobody in the way, so
/// that the core dump shows the true place; what would not come again is queued again, as it was.
void die_of(int signal, siginfo_t* info) {
  const int kept_errno = errno;
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
  if (!comes_again(signal, *info)) {
    // Blocked until we return; then the default action ends the process.
    ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), signal, info);
  }
  errno = kept_errno;
}

/// Runs the former handler as the kernel would have: with its mask on top of that of the
/// interrupted code. Our own return brings the mask of the interrupted code back.
void run_former(int signal, siginfo_t* info, ucontext_t* context) {
  Former& former = former_of(signal);
  const struct sigaction& action = former.action;
  // sa_handler and sa_sigaction share their place; the special values are the same in both.
  const bool ignored = action.sa_handler == SIG_IGN;
  bool by_default = action.sa_handler == SIG_DFL;
  if ((action.sa_flags & static_cast<int>(SA_RESETHAND)) != 0 && !ignored && !by_default)
    by_default = former.spent.exchange(true);
  if (ignored && !comes_again(signal, *info)) return;
  // The kernel does not let a fault be ignored: signal(7), force_sig_fault().
  if (ignored || by_default) {
    die_of(signal, info);
    return;
  }
  sigset_t mask;
  sigorset(&mask, &context->uc_sigmask, &action.sa_mask);
  if ((action.sa_flags & SA_NODEFER) == 0) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(signal, info, context);
  } else {
    action.sa_handler(signal);
  }
}

// ---- The handler
// ---------------------------------------------------------------------------------

#if defined(__x86_64__)
/// True if the fault was ours and the context now leads to its landing.
bool divert(int signal, const siginfo_t& info, ucontext_t& context) {
  if (info.si_code <= 0) return false;  // somebody sent it: no fault of this instruction
  auto& registers = context.uc_mcontext.gregs;
  const u64 instruction = static_cast<u64>(registers[REG_RIP]);
  const Landing landing = find_landing(instruction);
  if (landing.address == 0) return false;
  constexpr greg_t kWriteAccess = 2;  // Intel SDM Vol. 3A, 4.7, page-fault error code, W/R
  landing.fault->instruction = instruction;
  landing.fault->address = reinterpret_cast<u64>(info.si_addr);
  landing.fault->signal = signal;
  landing.fault->write = signal == SIGSEGV && (registers[REG_ERR] & kWriteAccess) != 0;
  registers[REG_RIP] = static_cast<greg_t>(landing.address);
  return true;
}
#else
bool divert(int /*signal*/, const siginfo_t& /*info*/, ucontext_t& /*context*/) {
  return false;
}
#endif

void on_fault(int signal, siginfo_t* info, void* context) {
  auto* interrupted = static_cast<ucontext_t*>(context);
  if (divert(signal, *info, *interrupted)) return;
  run_former(signal, info, interrupted);
}

/// All signals are blocked while the handler looks (it is short, and a second fault in it must end
/// the process, which a blocked signal does); the former handler gets its own mask. SA_RESTART as
/// the former one had it, since a signal that is sent may interrupt a system call.
base::Result<void> install(int signal) {
  Former& former = former_of(signal);
  // Known before ours is in force: another thread may fault in between.
  if (::sigaction(signal, nullptr, &former.action) != 0)
    return io_error("ask for a signal's handler", errno);
  const bool has_handler =
      former.action.sa_handler != SIG_DFL && former.action.sa_handler != SIG_IGN;
  struct sigaction ours = {};
  ours.sa_sigaction = on_fault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (!has_handler || (former.action.sa_flags & SA_RESTART) != 0) ours.sa_flags |= SA_RESTART;
  sigfillset(&ours.sa_mask);
  if (::sigaction(signal, &ours, nullptr) != 0)
    return io_error("install a handler for faults of translated code", errno);
  return {};
}

constinit std::atomic<bool> g_installed{false};

/// Once a process: never again, since a handler installed after ours may be chaining to us, and the
/// two would then call each other for ever.
base::Result<void> install_once() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (g_installed.load()) return {};
  for (const int signal : kSignals) {
    struct sigaction now = {};
    if (::sigaction(signal, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 &&
        now.sa_sigaction == on_fault) {
      continue;  // an earlier attempt came this far
    }
    if (auto installed = install(signal); !installed.ok()) return installed;
  }
  g_installed.store(true);
  return {};
}

}  // namespace

base::Result<std::unique_ptr<FaultRegion>> FaultRegion::create(const u8* begin, const u8* end,
                                                               const u8* landing,
                                                               HostFault* fault) {
  if (auto installed = install_once(); !installed.ok()) return installed.error();
  for (std::size_t i = 0; i < kSlots; ++i) {
    Slot& slot = g_slots[i];
    if (slot.taken.exchange(true, std::memory_order_acquire)) continue;
    publish(slot, reinterpret_cast<u64>(begin), reinterpret_cast<u64>(end),
            reinterpret_cast<u64>(landing), fault);
    std::size_t used = g_slots_used.load();
    while (used < i + 1 && !g_slots_used.compare_exchange_weak(used, i + 1)) {
    }
    return std::unique_ptr<FaultRegion>(new FaultRegion(i));
  }
  return Error{ErrorCode::kResourceExhausted,
               "no more than " + std::to_string(kSlots) + " translators fit into one process"};
}

FaultRegion::FaultRegion(std::size_t slot) : slot_(slot) {}

FaultRegion::~FaultRegion() {
  retract(g_slots[slot_]);
}

bool fault_handlers_in_place() {
  if (!g_installed.load()) return false;
  struct sigaction now = {};
  if (::sigaction(SIGSEGV, nullptr, &now) != 0) return false;
  return (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_fault;
}

// ---- The alternate stack
// -------------------------------------------------------------------------

namespace {

#if !defined(AT_MINSIGSTKSZ)
constexpr unsigned long AT_MINSIGSTKSZ = 51;  // NOLINT: the name that newer headers give it
#endif

/// The kernel's frame: the vector state (3.4 KiB with AVX-512, 11 KiB with AMX) and registers.
std::size_t frame_size() {
  return std::max<std::size_t>(::getauxval(AT_MINSIGSTKSZ), 4096);
}

/// Enough for our handler, a nested fault, and a modest handler of the application.
constexpr std::size_t kEnoughBeyondFrame = std::size_t{8} << 10;
/// What we give: an application's handler may print a backtrace.
constexpr std::size_t kGivenBeyondFrame = std::size_t{128} << 10;
constexpr std::size_t kGuard = 4096;

}  // namespace

struct SignalStack::Impl {
  stack_t former = {};
  u8* memory = nullptr;  ///< with the guard page in front; null: the former one was good
  std::size_t size = 0;
};

SignalStack::SignalStack() : impl_(std::make_unique<Impl>()) {}

base::Result<std::unique_ptr<SignalStack>> SignalStack::create() {
  std::unique_ptr<SignalStack> stack(new SignalStack());
  Impl& impl = *stack->impl_;
  if (::sigaltstack(nullptr, &impl.former) != 0)
    return io_error("ask for the alternate signal stack", errno);
  if ((impl.former.ss_flags & SS_DISABLE) == 0 &&
      impl.former.ss_size >= frame_size() + kEnoughBeyondFrame) {
    return stack;
  }
  const std::size_t wanted = kGuard + frame_size() + kGivenBeyondFrame;
  const std::size_t size = (wanted + kGuard - 1) / kGuard * kGuard;
  void* memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) {
    return Error{ErrorCode::kResourceExhausted,
                 "map an alternate signal stack: " + std::system_category().message(errno)};
  }
  impl.memory = static_cast<u8*>(memory);
  impl.size = size;
  ::mprotect(memory, kGuard, PROT_NONE);
  const stack_t ours = {.ss_sp = impl.memory + kGuard, .ss_flags = 0, .ss_size = size - kGuard};
  if (::sigaltstack(&ours, nullptr) != 0) {
    const int reason = errno;
    ::munmap(memory, size);
    impl.memory = nullptr;
    return io_error("set the alternate signal stack", reason);
  }
  return stack;
}

SignalStack::~SignalStack() {
  if (impl_->memory == nullptr) return;
  stack_t now = {};
  // Somebody who set another one after us keeps it.
  if (::sigaltstack(nullptr, &now) == 0 && now.ss_sp == impl_->memory + kGuard) {
    stack_t former = impl_->former;
    former.ss_flags &= SS_DISABLE;
    if (::sigaltstack(&former, nullptr) != 0) return;  // in use this moment: better a leak
  }
  ::munmap(impl_->memory, impl_->size);
}

}  // namespace snowglobe::vm
