// tests/translator/code_memory_test.cc - code written at one address runs at another, and no
// address is ever both writable and executable.
#include "vm/cpu/translator/code_memory.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snowglobe::vm {
namespace {

constexpr std::size_t kSize = std::size_t{1} << 20;

/// The lines of /proc/self/smaps about the mapping that starts at `address`.
std::string mapping_at(const u8* address) {
  std::ifstream file("/proc/self/smaps");
  std::array<char, 32> start = {};
  std::snprintf(start.data(), start.size(), "%lx-", reinterpret_cast<unsigned long>(address));
  std::string text;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    const bool is_head = line.find('-') < line.find(' ') && line.find(':') > line.find(' ');
    if (is_head) inside = line.rfind(start.data(), 0) == 0;
    if (inside) text += line + "\n";
  }
  return text;
}

TEST(CodeMemory, ShowsWhatIsWrittenAtTheExecutableAddress) {
  auto memory = CodeMemory::create(kSize);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  CodeMemory& code = *memory.value();
  EXPECT_EQ(code.size(), kSize);
  ASSERT_NE(code.writable(), code.executable());
  code.writable()[0] = 0xC3;
  code.writable()[kSize - 1] = 0x90;
  EXPECT_EQ(code.executable()[0], 0xC3);
  EXPECT_EQ(code.executable()[kSize - 1], 0x90);
}

#if defined(__x86_64__)
TEST(CodeMemory, RunsWhatIsWrittenAndWhatIsWrittenOverIt) {
  auto memory = CodeMemory::create(kSize);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  CodeMemory& code = *memory.value();
  for (const u8 number : {u8{42}, u8{43}}) {
    const std::array<u8, 6> bytes = {0xB8, number, 0, 0, 0, 0xC3};  // mov eax, number; ret
    std::copy(bytes.begin(), bytes.end(), code.writable() + 4000);
    const auto function =
        reinterpret_cast<int (*)()>(reinterpret_cast<u64>(code.executable() + 4000));
    EXPECT_EQ(function(), number);
  }
}
#endif

TEST(CodeMemory, IsNowhereWritableAndExecutableAndStaysOutOfCoreDumps) {
  auto memory = CodeMemory::create(kSize);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  const std::string writable = mapping_at(memory.value()->writable());
  const std::string executable = mapping_at(memory.value()->executable());
  EXPECT_NE(writable.find(" rw-s "), std::string::npos) << writable;
  EXPECT_NE(executable.find(" r-xs "), std::string::npos) << executable;
  for (const std::string& text : {writable, executable}) {
    EXPECT_NE(text.find(" dd "), std::string::npos) << text;  // VmFlags: MADV_DONTDUMP
    EXPECT_NE(text.find(" dc "), std::string::npos) << text;  // MADV_DONTFORK
  }
}

TEST(CodeMemory, GivesItsAddressesAndItsDescriptorBack) {
  const int before = ::dup(0);
  ::close(before);
  const u8* executable = nullptr;
  {
    auto memory = CodeMemory::create(kSize);
    ASSERT_TRUE(memory.ok()) << memory.error().message;
    executable = memory.value()->executable();
    const int during = ::dup(0);
    ::close(during);
    EXPECT_EQ(before, during);
  }
  EXPECT_EQ(mapping_at(executable), "");
}

TEST(CodeMemory, SaysSoWhenThereAreNoAddressesLeft) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit = {.rlim_cur = 64u << 20, .rlim_max = 64u << 20};
    ::setrlimit(RLIMIT_AS, &limit);
    auto memory = CodeMemory::create(std::size_t{1} << 30);
    ::_exit(!memory.ok() && memory.error().code == base::ErrorCode::kResourceExhausted ? 7 : 8);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

}  // namespace
}  // namespace snowglobe::vm
