// tests/devices/boot_test.cc - loading kernels, damaged ones above all, and what the kernel finds.
#include "tests/support/elf_builder.h"
#include "vm/boot/elf.h"
#include "vm/boot/linux.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

using base::ErrorCode;

constexpr u32 kProgramHeader = 52;

TEST(Elf, ReadsTheSegmentsOfAnExecutable) {
  const std::vector<u8> file = test::build_elf({1, 2, 3}, 0x200000);
  const auto image = parse_elf(file);
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image.value().entry, 0x200000u);
  EXPECT_EQ(image.value().end, 0x200003u);
  ASSERT_EQ(image.value().segments.size(), 1u);
  EXPECT_EQ(image.value().segments[0].file[2], 3);
}

TEST(Elf, RefusesAFileCutAnywhere) {
  const std::vector<u8> file = test::build_elf({1, 2, 3});
  for (std::size_t length = 0; length < file.size(); ++length) {
    const auto image = parse_elf(base::ConstBytes(file).first(length));
    ASSERT_FALSE(image.ok()) << length;
    EXPECT_EQ(image.error().code, ErrorCode::kCorrupt);
  }
}

TEST(Elf, SurvivesEveryDamagedByte) {
  const std::vector<u8> good = test::build_elf(std::vector<u8>(16, 0x90));
  const auto ram = GuestRam::create(32u << 20);
  base::SeededRandom random(7);
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const u8 value : {u8{0}, u8{1}, u8{0x7F}, u8{0x80}, u8{0xFF}}) {
      std::vector<u8> bad = good;
      bad[i] = value;
      // Loaded or refused, but with nothing outside of memory touched (sanitizers watch).
      static_cast<void>(
          load_linux(*ram.value(), {.kernel = bad, .command_line = "", .random = &random}).ok());
    }
  }
}

TEST(Elf, RefusesAnEntryOutsideOfTheCode) {
  std::vector<u8> file = test::build_elf({1, 2, 3});
  base::store_le<u32>(&file[24], 0x100003);
  EXPECT_FALSE(parse_elf(file).ok());
}

TEST(Elf, RefusesSegmentsThatWrapAround) {
  std::vector<u8> file = test::build_elf({1, 2, 3});
  base::store_le<u32>(&file[kProgramHeader + 12], 0xFFFFFFFE);
  EXPECT_FALSE(parse_elf(file).ok());
  file = test::build_elf({1, 2, 3});
  base::store_le<u32>(&file[kProgramHeader + 4], 0xFFFFFFF0);
  EXPECT_FALSE(parse_elf(file).ok());
  file = test::build_elf({1, 2, 3});
  base::store_le<u32>(&file[kProgramHeader + 20], 2);  // more in the file than in memory
  EXPECT_FALSE(parse_elf(file).ok());
}

class LinuxTest : public testing::Test {
 protected:
  base::Result<PhysicalAddress> load(const std::vector<u8>& file, const std::string& line = "a b") {
    return load_linux(*ram, {.kernel = file, .command_line = line, .random = &random});
  }
  template <class T>
  T at(u32 address) {
    return base::load_le<T>(ram->read(address, sizeof(T)).data());
  }
  std::unique_ptr<GuestRam> ram = GuestRam::create(32u << 20).value();
  base::SeededRandom random{1};
};

TEST_F(LinuxTest, TheKernelFindsItsMemoryMapCommandLineAndSeed) {
  const auto entry = load(test::build_elf({0xF4}), "quiet root=/dev/vda");
  ASSERT_TRUE(entry.ok());
  CpuState state;
  enter_linux(state, entry.value());
  EXPECT_EQ(state.eip, 0x100000u);
  EXPECT_EQ(state.cr0 & (kCr0Pe | kCr0Pg), u32{kCr0Pe});
  EXPECT_EQ(state.eflags & kFlagIf, 0u);
  EXPECT_EQ(state.segment[kCs].selector, 0x10);
  EXPECT_EQ(state.segment[kSs].selector, 0x18);
  const u32 params = state.gpr[kEsi];
  EXPECT_EQ(at<u32>(params + 0x202), 0x53726448u);  // "HdrS"
  EXPECT_EQ(at<u8>(params + 0x1EF), 0);             // sentinel: boot_params are clean
  EXPECT_EQ(at<u8>(params + 0x1E8), 2);
  EXPECT_EQ(at<u64>(params + 0x2D0 + 20), 0x100000u);
  EXPECT_EQ(at<u64>(params + 0x2D0 + 28), ram->size() - 0x100000);
  const u32 line = at<u32>(params + 0x228);
  EXPECT_STREQ(reinterpret_cast<const char*>(ram->read(line, 32).data()), "quiet root=/dev/vda");
  const auto setup = static_cast<u32>(at<u64>(params + 0x250));
  EXPECT_EQ(at<u64>(setup), 0u);
  EXPECT_EQ(at<u32>(setup + 8), 9u);
  EXPECT_GE(at<u32>(setup + 12), 32u);
  EXPECT_NE(at<u64>(setup + 16), 0u);
  EXPECT_EQ(at<u64>(state.gdtr.base + 0x10), 0x00CF9B000000FFFFu);
}

TEST_F(LinuxTest, TooLittleMemoryIsSaidInMebibytes) {
  const auto entry = load(test::build_elf({0xF4}, 24u << 20));
  ASSERT_FALSE(entry.ok());
  EXPECT_EQ(entry.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(entry.error().message.find("32 MiB"), std::string::npos) << entry.error().message;
  EXPECT_NE(entry.error().message.find("41 MiB"), std::string::npos) << entry.error().message;
}

TEST_F(LinuxTest, KernelsInLowMemoryAndEndlessCommandLinesAreRefused) {
  EXPECT_EQ(load(test::build_elf({0xF4}, 0x8000)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(load(test::build_elf({0xF4}), std::string(2048, 'x')).error().code,
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace snowglobe::vm
