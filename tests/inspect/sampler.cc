// tests/inspect/sampler.cc - a POSIX timer aimed at one thread, and its signal handler.
#include "tests/inspect/sampler.h"

#include <array>
#include <atomic>
#include <csignal>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if !defined(sigev_notify_thread_id)
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace snowglobe::inspect {
namespace {

struct Note {
  std::uint64_t host;
  std::uint8_t cpl;
};
constexpr std::size_t kNotes = std::size_t{1} << 16;
std::array<Note, kNotes> notes;
std::atomic<std::size_t> noted{0};
const vm::CpuState* state_of_machine = nullptr;

// On the alternate stack, since RSP may be the translator's stack of returns.
void on_signal(int, siginfo_t*, void* context) {
  const std::size_t at = noted.load(std::memory_order_relaxed);
  if (at < kNotes) {
    const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs;
    notes[at] = {static_cast<std::uint64_t>(registers[REG_RIP]), state_of_machine->cpl};
  }
  noted.store(at + 1, std::memory_order_relaxed);
}

}  // namespace

Sampler::Sampler(vm::MachineCore& core, long period_ns) : core_(core) {
  state_of_machine = &core.cpu().state;
  noted = 0;
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  ::sigfillset(&action.sa_mask);
  ::sigdelset(&action.sa_mask, SIGSEGV);
  ::sigaction(SIGPROF, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGPROF;
  event.sigev_notify_thread_id = static_cast<pid_t>(::syscall(SYS_gettid));
  ::timer_create(CLOCK_MONOTONIC, &event, &timer_);
  const itimerspec period{{0, period_ns}, {0, period_ns}};
  ::timer_settime(timer_, 0, &period, nullptr);
  sigset_t ours;
  ::sigemptyset(&ours);
  ::sigaddset(&ours, SIGPROF);
  ::pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
}

Sampler::~Sampler() {
  ::timer_delete(timer_);
}

void Sampler::collect(Places& places) {
  // A signal that comes while this runs would note this function: it is ours, and is left out.
  const std::size_t count = noted.load(std::memory_order_relaxed);
  const vm::Translator* const translator = core_.translator();
  for (std::size_t i = 0; i < std::min(count, kNotes); ++i) {
    const Note& note = notes[i];
    ++places.samples;
    if (translator == nullptr || !translator->is_translated_code(note.host)) {
      ++(note.cpl == 0 ? places.host_kernel : places.host_user)[note.host];
    } else if (const auto place = translator->place_of(note.host)) {
      ++(place->user ? places.user : places.kernel)[place->eip];
    } else {
      ++places.unknown;
    }
  }
  places.lost += count - std::min(count, kNotes);
  noted = 0;
}

}  // namespace snowglobe::inspect
