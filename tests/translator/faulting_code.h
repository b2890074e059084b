// tests/translator/faulting_code.h - a page of host code with a fault region around it, and what
// the tests of signal handlers share: to install one, to look at the mask, to fault elsewhere.
#pragma once

#include "vm/cpu/translator/host_faults.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <initializer_list>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace snowglobe::vm {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SNOWGLOBE_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SNOWGLOBE_TEST_SANITIZED 1
#endif
#endif

/// Sanitizers have handlers, alternate stacks and mappings of their own.
#if defined(SNOWGLOBE_TEST_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// Looks at what a process does of itself, with signals above all.
class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the process is the sanitizer's";
    // Each death test starts the program anew.
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

/// A page of code with a fault region around it. call() enters at offset 0 with two arguments;
/// landing code is at kLanding.
class Code {
 public:
  static constexpr std::size_t kLanding = 2048;

  Code(const std::vector<int>& code, const std::vector<int>& landing) {
    page_ = static_cast<u8*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::transform(code.begin(), code.end(), page_, [](int byte) { return static_cast<u8>(byte); });
    std::transform(landing.begin(), landing.end(), page_ + kLanding,
                   [](int byte) { return static_cast<u8>(byte); });
    ::mprotect(page_, 4096, PROT_READ | PROT_EXEC);
  }
  ~Code() {
    region_.reset();  // before another thread maps its own code there
    ::munmap(page_, 4096);
  }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  void guard() {
    auto region = FaultRegion::create(page_, page_ + kLanding, page_ + kLanding, &fault_);
    ASSERT_TRUE(region.ok()) << region.error().message;
    region_ = std::move(region).value();
  }
  void unguard() { region_.reset(); }
  u64 call(u64 first = 0, u64 second = 0) const {
    return reinterpret_cast<u64 (*)(u64, u64)>(page_)(first, second);
  }
  [[nodiscard]] u64 address(std::size_t offset) const {
    return reinterpret_cast<u64>(page_) + offset;
  }
  [[nodiscard]] const HostFault& fault() const { return fault_; }

 private:
  u8* page_ = nullptr;
  HostFault fault_;
  std::unique_ptr<FaultRegion> region_;
};

// mov eax, 7; mov rdx, [rdi]; ret -- landing: lea rax, [rax + 35]; ret
inline const std::initializer_list<int> kLoad = {0xB8, 7, 0, 0, 0, 0x48, 0x8B, 0x17, 0xC3};
inline const std::initializer_list<int> kAdd35 = {0x48, 0x8D, 0x40, 35, 0xC3};
inline constexpr std::size_t kLoadOffset = 5;
inline constexpr u64 kNowhere = 0x10;  // page 0 is never mapped

inline void install(int signal, void (*handler)(int, siginfo_t*, void*), int flags,
                    std::initializer_list<int> mask = {}) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = flags | SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  for (const int blocked : mask)
    sigaddset(&action.sa_mask, blocked);
  ::sigaction(signal, &action, nullptr);
}

inline bool is_blocked(int signal) {
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
  return sigismember(&now, signal) == 1;
}

inline void say(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) ::_exit(99);
}

/// Faults from the C++ side, outside of any region.
inline void fault_outside(u64 address = kNowhere) {
  volatile u64 place = address;
  *reinterpret_cast<volatile u64*>(place) = 1;
}

}  // namespace snowglobe::vm
