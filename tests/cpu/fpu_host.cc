// tests/cpu/fpu_host.cc - a stub around the instruction loads and stores the whole state; a fault
// is caught by a signal handler that goes on behind it.
#include "tests/cpu/fpu_host.h"

#include "base/check.h"

#include <csignal>
#include <cstddef>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

namespace snowglobe::vm::test {
namespace {

constexpr std::size_t kPage = 4096;

// Read by the signal handler, on the thread that runs the stub.
struct Running {
  const u8* begin = nullptr;
  const u8* end = nullptr;
  int vector = -1;
};
Running running;

void on_fault(int signal, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (reinterpret_cast<const u8*>(registers[REG_RIP]) != running.begin) {
    std::signal(signal, SIG_DFL);  // not ours: fault again
    return;
  }
  running.vector = static_cast<int>(registers[REG_TRAPNO]);
  registers[REG_RIP] = reinterpret_cast<greg_t>(running.end);
}

class Emitter {
 public:
  void bytes(std::initializer_list<u8> values) { code_.insert(code_.end(), values); }
  void bytes(base::ConstBytes values) { code_.insert(code_.end(), values.begin(), values.end()); }
  /// An instruction whose operand is at a displacement from RBX; ends with the ModRM byte.
  void with_displacement(std::initializer_list<u8> values, std::size_t displacement) {
    bytes(values);
    u8 little_endian[4];
    base::store_le(little_endian, static_cast<u32>(displacement));
    bytes(little_endian);
  }
  [[nodiscard]] const std::vector<u8>& code() const { return code_; }

 private:
  std::vector<u8> code_;
};

}  // namespace

struct HostProcessor::Impl {
  u8* page = nullptr;
  std::size_t begin = 0, end = 0;
  struct sigaction old_fpe {
  }, old_segv{};
};

HostProcessor::HostProcessor() : impl_(std::make_unique<Impl>()) {
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SG_ASSERT(page != MAP_FAILED, "no page for the stub");
  impl_->page = static_cast<u8*>(page);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGFPE, &action, &impl_->old_fpe);
  sigaction(SIGSEGV, &action, &impl_->old_segv);
}

HostProcessor::~HostProcessor() {
  sigaction(SIGFPE, &impl_->old_fpe, nullptr);
  sigaction(SIGSEGV, &impl_->old_segv, nullptr);
  munmap(impl_->page, kPage);
}

void HostProcessor::load(base::ConstBytes instruction) {
  Emitter stub;
  stub.bytes({0x53, 0x48, 0x89, 0xFB});  // push rbx; mov rbx, rdi
  stub.bytes({0x0F, 0xAE, 0x0B});        // fxrstor [rbx]
  stub.with_displacement({0x48, 0x8D, 0xB3}, offsetof(HostState, memory));  // lea rsi, ...
  stub.bytes({0x48, 0x89, 0xF7});                                           // mov rdi, rsi
  stub.with_displacement({0x48, 0x8B, 0x83}, offsetof(HostState, rax));     // mov rax, ...
  stub.with_displacement({0x48, 0x8B, 0x8B}, offsetof(HostState, rcx));     // mov rcx, ...
  stub.with_displacement({0x48, 0x8B, 0x93}, offsetof(HostState, rdx));     // mov rdx, ...
  stub.with_displacement({0xFF, 0xB3}, offsetof(HostState, eflags));        // push ...
  stub.bytes({0x9D});                                                       // popfq
  impl_->begin = stub.code().size();
  stub.bytes(instruction);
  impl_->end = stub.code().size();
  stub.bytes({0x9C});                                                    // pushfq
  stub.with_displacement({0x8F, 0x83}, offsetof(HostState, eflags));     // pop ...
  stub.with_displacement({0x48, 0x89, 0x83}, offsetof(HostState, rax));  // mov ..., rax
  stub.with_displacement({0x48, 0x89, 0x8B}, offsetof(HostState, rcx));  // mov ..., rcx
  stub.with_displacement({0x48, 0x89, 0x93}, offsetof(HostState, rdx));  // mov ..., rdx
  stub.bytes({0x0F, 0xAE, 0x03, 0xDB, 0xE3, 0x5B, 0xC3});  // fxsave [rbx]; fninit; pop rbx; ret
  SG_ASSERT(mprotect(impl_->page, kPage, PROT_READ | PROT_WRITE) == 0, "mprotect");
  std::copy(stub.code().begin(), stub.code().end(), impl_->page);
  SG_ASSERT(mprotect(impl_->page, kPage, PROT_READ | PROT_EXEC) == 0, "mprotect");
}

int HostProcessor::run(HostState& state) {
  running = {impl_->page + impl_->begin, impl_->page + impl_->end, -1};
  const auto stub = reinterpret_cast<void (*)(HostState*)>(impl_->page);
  constexpr u32 kUsualMxcsr = 0x1F80;
  stub(&state);
  asm volatile("ldmxcsr %0" : : "m"(kUsualMxcsr) : "memory");
  return running.vector;
}

}  // namespace snowglobe::vm::test
