// tests/translator/guest_decoder_test.cc - patterns say what Zydis would have said.
#include "vm/cpu/translator/guest_decoder.h"

#include <array>
#include <gtest/gtest.h>
#include <random>

namespace snowglobe::vm {
namespace {

constexpr std::size_t kLength = 20;
using Bytes = std::array<u8, kLength>;

// All that can stand ahead of displacement and immediate, with anything behind it.
class Encodings {
 public:
  explicit Encodings(u64 seed) : random_(seed) {}
  template <class Visit>
  void for_each(const Visit& visit) {
    for (const int prefix : {-1, 0x65, 0x66, 0xF2, 0xF3, 0xF0, 0x67, 0x2E}) {
      for (const bool wide : {false, true}) {
        for (unsigned opcode = 0; opcode < 256; ++opcode)
          with_modrm(prefix, wide, static_cast<u8>(opcode), visit);
      }
    }
  }

 private:
  template <class Visit>
  void with_modrm(int prefix, bool wide, u8 opcode, const Visit& visit) {
    for (unsigned modrm = 0; modrm < 256; ++modrm) {
      Bytes bytes = any();
      std::size_t at = 0;
      if (prefix >= 0) bytes[at++] = static_cast<u8>(prefix);
      if (wide) bytes[at++] = 0x0F;
      bytes[at++] = opcode;
      bytes[at] = static_cast<u8>(modrm);
      visit(bytes, at + 2);
    }
  }
  Bytes any() {
    Bytes bytes;
    for (u8& byte : bytes)
      byte = static_cast<u8>(random_());
    return bytes;
  }
  std::minstd_rand random_;
};

// What a decoder without memory says.
bool ask(base::ConstBytes bytes, bool user, GuestInsn& insn) {
  return GuestDecoder().decode(bytes, user, insn);
}

TEST(GuestDecoder, SaysOfInstructionsThatAreAlikeWhatItSaysOfEachAlone) {
  GuestDecoder decoder;
  std::minstd_rand random(1);
  u64 alike = 0;
  Encodings(7).for_each([&](Bytes bytes, std::size_t head) {
    const bool user = (random() & 1) != 0;
    for (int round = 0; round < 3; ++round) {  // the first may teach it the pattern
      GuestInsn learned, alone;
      const u64 before = decoder.statistics().alike;
      ASSERT_EQ(decoder.decode(bytes, user, learned), ask(bytes, user, alone));
      ASSERT_EQ(learned, alone) << testing::PrintToString(bytes);
      alike += decoder.statistics().alike - before;
      for (std::size_t at = head; at < kLength; ++at)
        bytes[at] = static_cast<u8>(random() >> 8);
    }
  });
  EXPECT_GT(alike, 100'000u);
}

TEST(GuestDecoder, WantsTheWholeOfAnInstruction) {
  GuestDecoder decoder;
  const std::array<u8, 6> add = {0x81, 0xC0, 1, 2, 3, 4};  // add eax, 0x04030201
  GuestInsn insn;
  ASSERT_TRUE(decoder.decode(add, true, insn));
  EXPECT_EQ(insn.length, 6);
  EXPECT_EQ(insn.immediate, 0x04030201u);
  EXPECT_FALSE(decoder.decode(base::ConstBytes(add).first(5), true, insn));
}

TEST(GuestDecoder, TellsUserFromKernelWhereGsIsNamed) {
  GuestDecoder decoder;
  const std::array<u8, 6> load = {0x65, 0x8B, 0x43, 8, 0, 0};  // mov eax, gs:[ebx + 8]
  for (int round = 0; round < 2; ++round) {
    GuestInsn user, kernel;
    ASSERT_TRUE(decoder.decode(load, true, user));
    ASSERT_TRUE(decoder.decode(load, false, kernel));
    EXPECT_EQ(user.way, Way::kCopy);
    EXPECT_TRUE(user.in_gs);
    EXPECT_EQ(kernel.way, Way::kHandler);
  }
  EXPECT_EQ(decoder.statistics().alike, 1u);
}

TEST(GuestDecoder, KnowsThatAShiftByNothingKeepsTheFlags) {
  GuestDecoder decoder;
  for (const u8 count : {u8{3}, u8{0}, u8{32}, u8{5}}) {
    const std::array<u8, 6> shift = {0xC1, 0xE0, count, 0x90, 0x90, 0x90};  // shl eax, count
    GuestInsn insn;
    ASSERT_TRUE(decoder.decode(shift, true, insn));
    EXPECT_EQ(insn.flags_killed != 0, (count & 31) != 0) << int{count};
  }
}

}  // namespace
}  // namespace snowglobe::vm
