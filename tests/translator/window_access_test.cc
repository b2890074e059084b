// tests/translator/window_access_test.cc - what instructions with GS and 32-bit addresses reach:
// inside of the window they wrap at 4 GiB, across its end they fault in the guard, and nothing
// leaves it.
#include "tests/support/window_map.h"
#include "tests/translator/faulting_code.h"
#include "vm/cpu/translator/host_support.h"
#include "vm/memory/window.h"

#include <array>
#include <gtest/gtest.h>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

#if defined(__x86_64__)

namespace snowglobe::vm {
namespace {

constexpr u32 kLastPage = (1u << 20) - 1;
constexpr u64 kEnd = u64{1} << 32;

/// An instruction at the address in edi (through ecx), with esi as a second operand.
struct Form {
  const char* name;
  u32 size;    ///< bytes that it touches
  bool write;  ///< also writes
  std::vector<int> bytes;
  /// The CPU may reach for it in parts, each with an address that wraps: between two parts the end
  /// is passed without a fault (seen on AMD Zen: FLD m80 as 8 + 2 bytes).
  bool in_parts = false;
};

const std::array<Form, 12> kForms = {{
    {"mov al, [ecx]", 1, false, {0x65, 0x67, 0x8A, 0x01}},
    {"mov ax, [ecx]", 2, false, {0x66, 0x65, 0x67, 0x8B, 0x01}},
    {"mov eax, [ecx]", 4, false, {0x65, 0x67, 0x8B, 0x01}},
    {"mov [ecx], esi", 4, true, {0x65, 0x67, 0x89, 0x31}},
    {"lock xadd [ecx], esi", 4, true, {0x65, 0x67, 0xF0, 0x0F, 0xC1, 0x31}},
    {"movups xmm0, [ecx]", 16, false, {0x65, 0x67, 0x0F, 0x10, 0x01}},
    {"movups [ecx], xmm0", 16, true, {0x65, 0x67, 0x0F, 0x11, 0x01}},
    {"fld tbyte [ecx]; fstp st0", 10, false, {0x65, 0x67, 0xDB, 0x29, 0xDD, 0xD8}, true},
    {"xor edx, edx; xor eax, eax; cmpxchg8b [ecx]",
     8,
     true,
     {0x31, 0xD2, 0x31, 0xC0, 0x65, 0x67, 0x0F, 0xC7, 0x09}},
    {"mov r8d, ecx; mov eax, [r8d]", 4, false, {0x41, 0x89, 0xC8, 0x65, 0x67, 0x41, 0x8B, 0x00}},
    {"mov esi, ecx; lodsd", 4, false, {0x89, 0xCE, 0x65, 0x67, 0xAD}},
    {"fnsave [ecx]; fninit", 108, true, {0x65, 0x67, 0xDD, 0x31, 0xDB, 0xE3}, true},
}};

class WindowAccessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!translator_support().usable) GTEST_SKIP() << translator_support().why_not;
    file_ = ::memfd_create("ram", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(file_, 4 * kPageSize), 0);
    auto window = Window::create(budget_);
    ASSERT_TRUE(window.ok()) << window.error().message;
    window_ = std::move(window).value();
  }
  void TearDown() override {
    if (file_ >= 0) ::close(file_);
  }

  /// mov eax, 7; mov ecx, edi; the instruction; ret -- landing: mov eax, 0xFA017; ret
  [[nodiscard]] static std::unique_ptr<Code> code_of(const std::vector<int>& form) {
    std::vector<int> bytes = {0xB8, 7, 0, 0, 0, 0x89, 0xF9};
    bytes.insert(bytes.end(), form.begin(), form.end());
    bytes.push_back(0xC3);
    auto code = std::make_unique<Code>(bytes, std::vector<int>{0xB8, 0x17, 0xA0, 0x0F, 0, 0xC3});
    code->guard();
    return code;
  }
  /// False if it faulted.
  [[nodiscard]] bool run(const Code& code, u32 address, u32 second = 0) {
    u64 before = 0;
    asm volatile("rdgsbase %0" : "=r"(before));
    asm volatile("wrgsbase %0" : : "r"(window_->base()) : "memory");
    result_ = static_cast<u32>(code.call(address, second));
    asm volatile("wrgsbase %0" : : "r"(before) : "memory");
    return result_ != 0xFA017;
  }
  [[nodiscard]] u64 offset_of(const HostFault& fault) const {
    return fault.address - reinterpret_cast<u64>(window_->base());
  }
  [[nodiscard]] u32& word(u32 address) const {
    return *reinterpret_cast<u32*>(window_->base() + address);
  }

  int file_ = -1;
  MappingBudget budget_{100};
  std::unique_ptr<Window> window_;
  u32 result_ = 0;
};

TEST_F(WindowAccessTest, EachFormReachesTheEndAndFaultsBehindIt) {
  ASSERT_TRUE(map_pages(*window_, file_, kLastPage, 1, 1, true, true));
  ASSERT_TRUE(map_pages(*window_, file_, 0, 0, 1, true, true));
  for (const Form& form : kForms) {
    const auto code = code_of(form.bytes);
    EXPECT_TRUE(run(*code, static_cast<u32>(kEnd - form.size))) << form.name;
    EXPECT_TRUE(run(*code, 0)) << form.name;
    for (u32 behind = 1; behind < form.size; ++behind) {
      if (run(*code, static_cast<u32>(kEnd - form.size + behind))) {
        EXPECT_TRUE(form.in_parts) << form.name;
        continue;
      }
      EXPECT_EQ(code->fault().signal, SIGSEGV) << form.name;
      EXPECT_EQ(offset_of(code->fault()), kEnd) << form.name << ", " << behind;
      EXPECT_EQ(code->fault().write, form.write) << form.name;
    }
  }
}

TEST_F(WindowAccessTest, EachFormFaultsWhereNothingIsMappedOrOnlyToRead) {
  ASSERT_TRUE(map_pages(*window_, file_, 16, 2, 1, false, true));
  for (const Form& form : kForms) {
    const auto code = code_of(form.bytes);
    for (const u32 address : {0u, 0x7FFF'F000u, 0x8000'0000u, 0xFFFF'F000u}) {
      ASSERT_FALSE(run(*code, address)) << form.name;
      EXPECT_EQ(offset_of(code->fault()), address) << form.name;
    }
    EXPECT_EQ(run(*code, 16 * kPageSize), !form.write) << form.name;
    if (form.write) {
      EXPECT_EQ(offset_of(code->fault()), 16 * kPageSize);
    }
  }
}

TEST_F(WindowAccessTest, AddressesWrapInside) {
  ASSERT_TRUE(map_pages(*window_, file_, kLastPage, 1, 1, true, true));
  ASSERT_TRUE(map_pages(*window_, file_, 0, 0, 1, true, true));
  word(0x10) = 0x1111;
  word(0xFFFF'FFF0) = 0x2222;
  const auto expect = [this](const std::vector<int>& form, u32 address, u32 second, u32 wanted) {
    EXPECT_TRUE(run(*code_of(form), address, second));
    EXPECT_EQ(result_, wanted);
  };
  expect({0x65, 0x67, 0x8B, 0x41, 0x20}, 0xFFFF'FFF0, 0, 0x1111);       // [ecx + 20h]
  expect({0x65, 0x67, 0x8B, 0x41, 0xE0}, 0x10, 0, 0x2222);              // [ecx - 20h]
  expect({0x65, 0x67, 0x8B, 0x04, 0x31}, 0xFFFF'FFF0, 0x20, 0x1111);    // [ecx + esi]
  expect({0x65, 0x67, 0x8B, 0x04, 0xB1}, 0x20, 0x3FFF'FFF4, 0x2222);    // [ecx + esi * 4]
  expect({0x65, 0x67, 0x8B, 0x04, 0x25, 0xF0, 0xFF, 0xFF, 0xFF}, 0, 0,  // [FFFFFFF0h], no base
         0x2222);
  expect({0x65, 0x67, 0x8B, 0x81, 0xF0, 0xFF, 0xFF, 0x7F}, 0x8000'0000, 0,  // [ecx + 7FFFFFF0h]
         0x2222);
  // bt [ecx], esi with a negative bit offset; setc al; movzx eax, al
  expect({0x65, 0x67, 0x0F, 0xA3, 0x31, 0x0F, 0x92, 0xC0, 0x0F, 0xB6, 0xC0}, 0,
         static_cast<u32>(-127), 1);
  // bts [ecx], esi at the end, with an offset that leads to the begin
  expect({0x65, 0x67, 0x0F, 0xAB, 0x31, 0x31, 0xC0}, 0xFFFF'FFFC, 32, 0);
  EXPECT_EQ(word(0) & 1, 1u);
}

TEST_F(WindowAccessTest, FollowsEachChangeOfTheWindow) {
  const auto load = code_of({0x65, 0x67, 0x8B, 0x01});
  const auto store = code_of({0x65, 0x67, 0x89, 0x31});
  constexpr u32 kAddress = 0x0804'8000;
  constexpr u32 kPage = kAddress >> kPageShift;
  EXPECT_FALSE(run(*load, kAddress));
  ASSERT_TRUE(map_pages(*window_, file_, kPage, 1, 1, false, true));
  EXPECT_TRUE(run(*load, kAddress));
  EXPECT_FALSE(run(*store, kAddress, 5));
  ASSERT_TRUE(map_pages(*window_, file_, kPage, 1, 1, true, true));
  EXPECT_TRUE(run(*store, kAddress, 5));
  EXPECT_TRUE(run(*load, kAddress));
  EXPECT_EQ(result_, 5u);
  window_->protect_physical(1, 1);
  EXPECT_FALSE(run(*store, kAddress, 6));
  EXPECT_TRUE(run(*load, kAddress));
  EXPECT_EQ(result_, 5u);
  ASSERT_TRUE(map_pages(*window_, file_, kPage, 2, 1, true, true));
  EXPECT_TRUE(run(*load, kAddress));
  EXPECT_EQ(result_, 0u);
  window_->clear();
  EXPECT_FALSE(run(*load, kAddress));
}

}  // namespace
}  // namespace snowglobe::vm

#endif
