// tests/translator/host_faults_test.cc - faults of code in a region land; those of anybody else go
// to whoever was there before, or end the process as they would have.
//
// Whatever depends on what was installed before us runs in a process of its own ("threadsafe" death
// tests start the program anew).
#include "vm/cpu/translator/host_faults.h"

#include "tests/translator/faulting_code.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <initializer_list>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#if defined(__x86_64__)

namespace snowglobe::vm {
namespace {

// mov eax, 7; mov [rdi], rdx; ret
const std::initializer_list<int> kStore = {0xB8, 7, 0, 0, 0, 0x48, 0x89, 0x17, 0xC3};
// mov eax, 7; cdq; xor ecx, ecx; div ecx; ret
const std::initializer_list<int> kDivide = {0xB8, 7, 0, 0, 0, 0x99, 0x31, 0xC9, 0xF7, 0xF1, 0xC3};
// mov eax, 7; ud2
const std::initializer_list<int> kUndefined = {0xB8, 7, 0, 0, 0, 0x0F, 0x0B};

TEST(HostFaults, ALoadThatFaultsLandsWithItsRegistersAndItsAddress) {
  Code code(kLoad, kAdd35);
  code.guard();
  EXPECT_EQ(code.call(kNowhere), 42u);
  EXPECT_EQ(code.fault().signal, SIGSEGV);
  EXPECT_EQ(code.fault().address, kNowhere);
  EXPECT_EQ(code.fault().instruction, code.address(kLoadOffset));
  EXPECT_FALSE(code.fault().write);
}

TEST(HostFaults, AStoreIsToldFromALoad) {
  Code code(kStore, kAdd35);
  code.guard();
  EXPECT_EQ(code.call(kNowhere), 42u);
  EXPECT_TRUE(code.fault().write);
}

TEST(HostFaults, ADivisionByZeroLands) {
  Code code(kDivide, kAdd35);
  code.guard();
  EXPECT_EQ(code.call(), 42u);
  EXPECT_EQ(code.fault().signal, SIGFPE);
  EXPECT_EQ(code.fault().instruction, code.address(8));
}

TEST(HostFaults, AnUndefinedInstructionLands) {
  Code code(kUndefined, kAdd35);
  code.guard();
  EXPECT_EQ(code.call(), 42u);
  EXPECT_EQ(code.fault().signal, SIGILL);
}

TEST(HostFaults, AnAccessBehindTheEndOfAFileLands) {
  const int file = ::memfd_create("empty", MFD_CLOEXEC);
  void* page = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0);
  ASSERT_NE(page, MAP_FAILED);
  Code code(kLoad, kAdd35);
  code.guard();
  EXPECT_EQ(code.call(reinterpret_cast<u64>(page)), 42u);
  EXPECT_EQ(code.fault().signal, SIGBUS);
  EXPECT_EQ(code.fault().address, reinterpret_cast<u64>(page));
  ::munmap(page, 4096);
  ::close(file);
}

TEST(HostFaults, VectorAndX87StateAndFlagsReachTheLanding) {
  // movq xmm15, rsi; fld1; stc; mov rdx, [rdi]
  // landing: sbb eax, eax (the carry); fstp st0; movq rax, xmm15; jc +2 / xor eax, eax; ret
  Code code({0x66, 0x4C, 0x0F, 0x6E, 0xFE, 0xD9, 0xE8, 0xF9, 0x48, 0x8B, 0x17},
            {0xDD, 0xD8, 0x66, 0x4C, 0x0F, 0x7E, 0xF8, 0x72, 0x02, 0x31, 0xC0, 0xC3});
  code.guard();
  EXPECT_EQ(code.call(kNowhere, 0x0123'4567'89AB'CDEF), 0x0123'4567'89AB'CDEFu);
}

TEST(HostFaults, FaultsCanBeTakenWithoutEnd) {
  Code code(kLoad, kAdd35);
  code.guard();
  for (int i = 0; i < 10'000; ++i)
    ASSERT_EQ(code.call(kNowhere), 42u);
}

TEST(HostFaults, RegionsOfTwoThreadsDoNotMeet) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 2; ++number) {
    threads.emplace_back([&wrong, number] {
      auto stack = SignalStack::create();
      if (!stack.ok()) ++wrong;
      for (int round = 0; round < 200; ++round) {
        Code code(kLoad, kAdd35);
        code.guard();
        const u64 address = 0x100u * static_cast<u64>(number + 1);
        for (int i = 0; i < 20; ++i) {
          if (code.call(address) != 42 || code.fault().address != address) ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(HostFaults, SlotsAreUsedAgainAndTheirNumberIsLimited) {
  Code code(kLoad, kAdd35);
  for (int i = 0; i < 1000; ++i) {
    code.guard();
    code.unguard();
  }
  HostFault fault;
  std::vector<std::unique_ptr<FaultRegion>> regions;
  const auto* byte = reinterpret_cast<const u8*>(&fault);
  for (;;) {
    auto region = FaultRegion::create(byte, byte + 1, byte, &fault);
    if (!region.ok()) {
      EXPECT_EQ(region.error().code, base::ErrorCode::kResourceExhausted);
      break;
    }
    regions.push_back(std::move(region).value());
    ASSERT_LT(regions.size(), 100'000u);
  }
  EXPECT_GE(regions.size(), 100u);
  regions.pop_back();
  code.guard();
  EXPECT_EQ(code.call(kNowhere), 42u);
}

TEST(HostFaults, AHandlerInstalledAfterUsIsNoticed) {
  Code code(kLoad, kAdd35);
  code.guard();
  EXPECT_TRUE(fault_handlers_in_place());
  struct sigaction theirs = {};
  struct sigaction ours = {};
  theirs.sa_handler = [](int) { ::_exit(1); };
  ::sigaction(SIGSEGV, &theirs, &ours);
  EXPECT_FALSE(fault_handlers_in_place());
  ::sigaction(SIGSEGV, &ours, nullptr);
  EXPECT_TRUE(fault_handlers_in_place());
}

// ---- Those who were there before
// -----------------------------------------------------------------

using HostFaultsOfOthers = ProcessTest;

TEST_F(HostFaultsOfOthers, AnEarlierHandlerGetsItsFaultWithSiginfoAndMask) {
  EXPECT_EXIT(
      {
        install(SIGSEGV,
                [](int signal, siginfo_t* info, void* context) {
                  const bool right =
                      signal == SIGSEGV && info->si_code == SEGV_MAPERR &&
                      reinterpret_cast<u64>(info->si_addr) == kNowhere && is_blocked(SIGSEGV) &&
                      is_blocked(SIGUSR1) && !is_blocked(SIGUSR2) && !is_blocked(SIGBUS) &&
                      static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] != 0;
                  ::_exit(right ? 7 : 8);
                },
                0, {SIGUSR1});
        Code code(kLoad, kAdd35);
        code.guard();
        if (code.call(kNowhere) != 42) ::_exit(9);  // ours first
        fault_outside();
        ::_exit(10);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostFaultsOfOthers, AnEarlierHandlerWithoutSiginfoMayGoOn) {
  EXPECT_EXIT(
      {
        static std::atomic<int> seen{0};
        struct sigaction action = {};
        action.sa_handler = [](int) { ++seen; };
        ::sigaction(SIGFPE, &action, nullptr);
        Code code(kLoad, kAdd35);
        code.guard();
        ::raise(SIGFPE);
        ::kill(::getpid(), SIGFPE);
        ::_exit(seen == 2 && !is_blocked(SIGFPE) ? 7 : 8);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostFaultsOfOthers, AnEarlierHandlerMayJumpOut) {
  EXPECT_EXIT(
      {
        static sigjmp_buf back;
        install(
            SIGSEGV, [](int, siginfo_t*, void*) { siglongjmp(back, 1); }, 0);
        Code code(kLoad, kAdd35);
        code.guard();
        static int round = 0;  // survives the jump
        for (; round < 3; ++round) {
          if (sigsetjmp(back, 1) == 0) {
            fault_outside();
            ::_exit(8);
          }
          if (is_blocked(SIGSEGV) || is_blocked(SIGINT)) ::_exit(9);
        }
        ::_exit(code.call(kNowhere) == 42 ? 7 : 10);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostFaultsOfOthers, AnEarlierHandlerThatDefersNothingIsNested) {
  EXPECT_EXIT(
      {
        static std::atomic<int> depth{0};
        install(
            SIGSEGV,
            [](int, siginfo_t*, void*) {
              if (is_blocked(SIGSEGV)) ::_exit(8);
              if (++depth == 3) ::_exit(7);
              fault_outside();
            },
            SA_NODEFER);
        Code code(kLoad, kAdd35);
        code.guard();
        fault_outside();
        ::_exit(10);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostFaultsOfOthers, AFaultInsideOfAnEarlierHandlerKillsAsItWouldHave) {
  EXPECT_EXIT(
      {
        install(
            SIGSEGV,
            [](int, siginfo_t*, void*) {
              say("once;");
              fault_outside();
            },
            0);
        Code code(kLoad, kAdd35);
        code.guard();
        fault_outside();
      },
      ::testing::KilledBySignal(SIGSEGV), "^once;$");
}

TEST_F(HostFaultsOfOthers, TranslatedCodeMayFaultInsideOfAnEarlierHandlerOfAnotherSignal) {
  EXPECT_EXIT(
      {
        static Code* code = new Code(kLoad, kAdd35);
        install(
            SIGFPE, [](int, siginfo_t*, void*) { ::_exit(code->call(kNowhere) == 42 ? 7 : 8); }, 0);
        code->guard();
        ::raise(SIGFPE);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostFaultsOfOthers, AnEarlierHandlerForOneTimeRunsOnce) {
  EXPECT_EXIT(
      {
        install(
            SIGSEGV, [](int, siginfo_t*, void*) { say("once;"); }, static_cast<int>(SA_RESETHAND));
        Code code(kLoad, kAdd35);
        code.guard();
        fault_outside();
      },
      ::testing::KilledBySignal(SIGSEGV), "^once;$");
}

TEST_F(HostFaultsOfOthers, WithoutAHandlerTheProcessDiesOfItsFault) {
  EXPECT_EXIT(
      {
        Code code(kLoad, kAdd35);
        code.guard();
        if (code.call(kNowhere) != 42) ::_exit(1);
        fault_outside();
      },
      ::testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(HostFaultsOfOthers, AfterTheRegionIsGoneItsCodeIsAnybodysCode) {
  EXPECT_EXIT(
      {
        Code code(kDivide, kAdd35);
        code.guard();
        code.unguard();
        code.call();
      },
      ::testing::KilledBySignal(SIGFPE), "");
}

TEST_F(HostFaultsOfOthers, ASignalThatWasSentKillsWithoutAHandler) {
  EXPECT_EXIT(
      {
        Code code(kLoad, kAdd35);
        code.guard();
        ::kill(::getpid(), SIGBUS);
        ::_exit(1);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

TEST_F(HostFaultsOfOthers, ASignalThatIsSentWhileTranslatedCodeRunsIsNotItsFault) {
  EXPECT_EXIT(
      {
        install(
            SIGSEGV, [](int, siginfo_t* info, void*) { ::_exit(info->si_code == SI_USER ? 7 : 8); },
            0);
        Code code({0xEB, 0xFE}, kAdd35);  // jmp to itself
        code.guard();
        std::thread sender([] {
          ::usleep(50'000);
          ::kill(::getpid(), SIGSEGV);
        });
        sender.detach();
        code.call();
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(HostFaultsOfOthers, AnIgnoredSignalThatWasSentIsIgnoredButAFaultKills) {
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, SIG_IGN);
        Code code(kLoad, kAdd35);
        code.guard();
        ::kill(::getpid(), SIGSEGV);
        ::raise(SIGSEGV);
        say("alive;");
        fault_outside();
      },
      ::testing::KilledBySignal(SIGSEGV), "^alive;$");
}

// ---- The alternate stack
// -------------------------------------------------------------------------

using SignalStackTest = ProcessTest;

/// Runs `body` on a thread, which starts without an alternate stack.
template <class Body>
void on_a_thread(Body body) {
  std::thread(body).join();
}

TEST_F(SignalStackTest, IsGivenToAThreadThatHasNoneAndTakenBack) {
  on_a_thread([] {
    stack_t now = {};
    {
      auto stack = SignalStack::create();
      ASSERT_TRUE(stack.ok()) << stack.error().message;
      ::sigaltstack(nullptr, &now);
      EXPECT_EQ(now.ss_flags & SS_DISABLE, 0);
      EXPECT_GE(now.ss_size, ::getauxval(AT_MINSIGSTKSZ) + (64u << 10));
    }
    ::sigaltstack(nullptr, &now);
    EXPECT_NE(now.ss_flags & SS_DISABLE, 0);
  });
}

TEST_F(SignalStackTest, ThatIsBigEnoughIsKeptAndASmallOneComesBack) {
  on_a_thread([] {
    std::vector<u8> big(256u << 10);
    stack_t theirs = {.ss_sp = big.data(), .ss_flags = 0, .ss_size = big.size()};
    ASSERT_EQ(::sigaltstack(&theirs, nullptr), 0);
    stack_t now = {};
    {
      auto stack = SignalStack::create();
      ASSERT_TRUE(stack.ok());
      ::sigaltstack(nullptr, &now);
      EXPECT_EQ(now.ss_sp, big.data());
    }
    theirs.ss_size = ::getauxval(AT_MINSIGSTKSZ) + 512;
    ASSERT_EQ(::sigaltstack(&theirs, nullptr), 0);
    {
      auto stack = SignalStack::create();
      ASSERT_TRUE(stack.ok());
      ::sigaltstack(nullptr, &now);
      EXPECT_NE(now.ss_sp, big.data());
    }
    ::sigaltstack(nullptr, &now);
    EXPECT_EQ(now.ss_sp, big.data());
    EXPECT_EQ(now.ss_size, theirs.ss_size);
    theirs.ss_flags = SS_DISABLE;
    ::sigaltstack(&theirs, nullptr);
  });
}

TEST_F(SignalStackTest, OfSomebodyElseSetMeanwhileIsLeftAlone) {
  on_a_thread([] {
    std::vector<u8> later(64u << 10);
    auto stack = SignalStack::create();
    ASSERT_TRUE(stack.ok());
    stack_t theirs = {.ss_sp = later.data(), .ss_flags = 0, .ss_size = later.size()};
    ASSERT_EQ(::sigaltstack(&theirs, nullptr), 0);
    std::move(stack).value().reset();
    stack_t now = {};
    ::sigaltstack(nullptr, &now);
    EXPECT_EQ(now.ss_sp, later.data());
    theirs.ss_flags = SS_DISABLE;
    ::sigaltstack(&theirs, nullptr);
  });
}

TEST_F(SignalStackTest, IsBigEnoughForAllVectorStateAndTheFaultDoesNotTouchTheNormalStack) {
  if (!__builtin_cpu_supports("avx512f")) GTEST_SKIP() << "no AVX-512 here";
  on_a_thread([] {
    auto stack = SignalStack::create();
    ASSERT_TRUE(stack.ok());
    // push rbp; mov rbp, rsp; vpbroadcastq zmm31, rsi; xor esp, esp; mov rdx, [rdi]
    // landing: mov rsp, rbp; pop rbp; vmovq rax, xmm31; ret
    Code code(
        {0x55, 0x48, 0x89, 0xE5, 0x62, 0x62, 0xFD, 0x48, 0x7C, 0xFE, 0x31, 0xE4, 0x48, 0x8B, 0x17},
        {0x48, 0x89, 0xEC, 0x5D, 0x62, 0x61, 0xFD, 0x08, 0x7E, 0xF8, 0xC3});
    code.guard();
    EXPECT_EQ(code.call(kNowhere, 0x1122'3344'5566'7788), 0x1122'3344'5566'7788u);
  });
}

}  // namespace
}  // namespace snowglobe::vm

#endif
