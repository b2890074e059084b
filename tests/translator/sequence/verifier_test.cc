// tests/translator/sequence/verifier_test.cc - the verifier accepts what is emitted, for generated
// and for real code, and refuses what is not: also when a single bit of it is wrong.
#include "vm/cpu/translator/verifier.h"

#include "tests/cpu/oracle/generator.h"
#include "tests/translator/sequence/program.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/translator/block_translator.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iostream>
#include <iterator>
#include <map>

namespace snowglobe::vm {
namespace {

constexpr u64 kCode = 0x7F0000000000;  // where the code would run
constexpr u32 kHot = 0x10000, kCold = 0x80000, kRoom = 32 * 1024;
constexpr Stubs kStubs{.exit = 0x100, .miss = 0x80, .lookup = 0x180};

/// Translates single blocks without a machine.
class Bench {
 public:
  struct Block {
    std::vector<u8> hot, cold;
    std::vector<u64> entries;

    [[nodiscard]] std::optional<VerifierComplaint> verify() const {
      const VerifierPiece pieces[] = {{hot, kCode + kHot}, {cold, kCode + kCold}};
      return vm::verify(pieces,
                        {kCode + kStubs.exit, kCode + kStubs.miss, kCode + kStubs.lookup, entries});
    }
  };

  std::optional<Block> translate(base::ConstBytes bytes, u32 linear, bool user, bool user_site) {
    sites_.clear();
    sites_.push_back({});
    user_site_ = user_site;
    BlockTranslator::Source source;
    source.physical = source.linear = linear;
    source.user = user;
    source.bytes =
        bytes.first(std::min<std::size_t>(bytes.size(), kPageSize - (linear & kPageMask)));
    source.beyond = bytes.subspan(source.bytes.size());
    source.beyond = source.beyond.first(std::min<std::size_t>(source.beyond.size(), 15));
    std::vector<u8> hot(kRoom), cold(kRoom);
    TranslatedBlock block;
    if (!translator_.translate(source, {hot.data(), hot.data() + kRoom, kHot},
                               {cold.data(), cold.data() + kRoom, kCold}, block)) {
      return std::nullopt;
    }
    if (block.end == 0) return std::nullopt;  // reaches beyond what there is
    Block result;
    result.hot.assign(hot.begin(), hot.begin() + (block.end - kHot));
    result.cold.assign(cold.begin(), cold.begin() + (block.cold_end - kCold));
    for (const u32 entry : {block.indirect_entry, block.page_entry, block.body})
      result.entries.push_back(kCode + entry);
    for (const u32 site : block.listing->return_sites)
      result.entries.push_back(kCode + site);
    for (const u32 number : block.listing->sites) {
      if (sites_[number].resume != 0) result.entries.push_back(kCode + sites_[number].resume);
    }
    return result;
  }

 private:
  SiteTable sites_;
  bool user_site_ = false;
  BlockTranslator translator_{reinterpret_cast<const u8*>(kCode), kStubs, sites_,
                              [this](PhysicalAddress) { return user_site_; }};
};

std::string text_of(base::ConstBytes code, u64 address, u64 from) {
  std::string text;
  for (std::size_t at = 0; at < code.size();) {
    ZydisDisassembledInstruction insn;
    if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, address + at,
                                            code.data() + at, code.size() - at, &insn))) {
      break;
    }
    if (address + at + 40 >= from && address + at <= from + 8)
      text += fmt::format("  {:x}  {}\n", address + at, insn.text);
    at += insn.info.length;
  }
  return text;
}

/// Counts blocks and shows the first complaints.
class Acceptance {
 public:
  void check(const std::optional<Bench::Block>& block, const std::string& what) {
    if (!block) return;
    ++blocks;
    bytes += block->hot.size() + block->cold.size();
    const auto complaint = block->verify();
    if (!complaint || ++refused > 5) return;
    ADD_FAILURE() << what << ": " << complaint->reason
                  << fmt::format(" at {:x}\n", complaint->address)
                  << text_of(block->hot, kCode + kHot, complaint->address)
                  << text_of(block->cold, kCode + kCold, complaint->address);
  }
  u64 blocks = 0, bytes = 0, refused = 0;
};

TEST(Verifier, AcceptsTheTranslationOfEveryInstruction) {
  Bench bench;
  Acceptance all;
  const oracle::Generator generator(1);
  oracle::Case test;
  for (u64 index = 0; index < 100'000; ++index) {
    generator.make(index, test);
    const bool user = index % 3 != 0, site = index % 9 == 0;
    all.check(bench.translate(test.bytes(), test.input.eip & ~kPageMask, user, site),
              fmt::format("case 1:{}", index));
  }
  EXPECT_GT(all.blocks, 90'000u);
  EXPECT_EQ(all.refused, 0u);
}

TEST(Verifier, AcceptsTheTranslationOfPrograms) {
  Bench bench;
  Acceptance all;
  for (u64 index = 0; index < 3000; ++index) {
    const auto program = sequence::make_program(1, index);
    for (const u32 start : program.starts) {
      all.check(bench.translate(base::ConstBytes(program.code).subspan(start),
                                program.start + start, program.user, index % 5 == 0),
                fmt::format("program 1:{}", index));
    }
  }
  EXPECT_GT(all.blocks, 30'000u);
  EXPECT_EQ(all.refused, 0u);
}

TEST(Verifier, AcceptsTheTranslationOfTheGuestsCode) {
  const std::string folder = SNOWGLOBE_GUEST_FOLDER;
  Bench bench;
  Acceptance all;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no guest image";
  const std::filesystem::path root = std::filesystem::path(folder) / "root" / "usr";
  for (const auto& name : {std::filesystem::path(folder) / "vmlinux", root / "bin" / "postgres",
                           root / "lib" / "i386-linux-gnu" / "libc.so.6"}) {
    std::ifstream file(name, std::ios::binary);
    const std::vector<u8> bytes{std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>()};
    ASSERT_GT(bytes.size(), 1'000'000u) << name;
    oracle::Random random(1, bytes.size());
    // From anywhere: wrong starts are code as well, and the guest may jump there.
    for (unsigned i = 0; i < 20'000; ++i) {
      const u32 at = random.below(static_cast<u32>(bytes.size() - 2 * kPageSize));
      all.check(
          bench.translate(base::ConstBytes(bytes).subspan(at, kPageSize),
                          0x08048000 + (at & 0xFFFFFF), random.chance(1, 2), random.chance(1, 8)),
          fmt::format("{} at {:x}", name.string(), at));
    }
  }
  std::cout << all.blocks << " blocks, " << all.bytes << " bytes\n";
  EXPECT_EQ(all.refused, 0u);
}

/// What an accepted instruction may touch, said once more in other words. Empty: nothing else.
std::string reaches_outside(base::ConstBytes code, u64 address) {
  for (std::size_t at = 0; at < code.size();) {
    ZydisDisassembledInstruction insn;
    if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, address + at,
                                            code.data() + at, code.size() - at, &insn))) {
      return "not decodable";
    }
    at += insn.info.length;
    const std::string text = insn.text;
    for (const char* bad :
         {"syscall", "sysenter", "int",    "hlt",   "cli",   "sti",   "in ",   "out",
          "rdmsr",   "wrmsr",    "vm",     "fs:",   "rip",   "eip",   "retf",  "iret",
          "wrgs",    "wrfs",     "swapgs", "cpuid", "rdtsc", "rdpmc", "popfq", "std"}) {
      if (text.starts_with(bad) ||
          (bad[std::strlen(bad) - 1] == ':' && text.find(bad) != text.npos))
        return text;
    }
    if (insn.info.mnemonic == ZYDIS_MNEMONIC_LEA || insn.info.mnemonic == ZYDIS_MNEMONIC_NOP)
      continue;
    for (unsigned i = 0; i < insn.info.operand_count; ++i) {
      const ZydisDecodedOperand& operand = insn.operands[i];
      if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
      const auto& mem = operand.mem;
      const bool host_stack =
          mem.base == ZYDIS_REGISTER_RSP && operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
      const bool window = mem.segment == ZYDIS_REGISTER_GS && insn.info.address_width == 32;
      const bool near_state = mem.base == ZYDIS_REGISTER_R15 && mem.index == ZYDIS_REGISTER_NONE &&
                              mem.disp.value >= -i64{sizeof(TranslatorContext)} &&
                              mem.disp.value < i64{sizeof(CpuState)};
      const bool table = mem.base == ZYDIS_REGISTER_R14 && mem.index == ZYDIS_REGISTER_NONE &&
                         mem.disp.value >= 0 && mem.disp.value < 0x400000 &&
                         (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0;
      const bool jumps =
          mem.base == ZYDIS_REGISTER_R13 && mem.index == ZYDIS_REGISTER_R9 && mem.scale == 8;
      const bool user =
          mem.base == ZYDIS_REGISTER_R9 && mem.index == ZYDIS_REGISTER_R8 && mem.disp.value == 0;
      const bool string = (mem.base == ZYDIS_REGISTER_RSI || mem.base == ZYDIS_REGISTER_RDI) &&
                          insn.info.meta.category == ZYDIS_CATEGORY_STRINGOP;
      if (!host_stack && !window && !near_state && !table && !jumps && !user && !string)
        return text;
    }
  }
  return {};
}

TEST(Verifier, RefusesWhatABitTurnsIntoSomethingElse) {
  Bench bench;
  u64 flips = 0, accepted = 0;
  std::map<std::string, u64> reasons;
  for (u64 index = 0; index < 40; ++index) {
    const auto program = sequence::make_program(2, index);
    auto block = bench.translate(program.code, program.start, program.user, index % 4 == 0);
    if (!block) continue;
    ASSERT_FALSE(block->verify());
    for (std::vector<u8>* part : {&block->hot, &block->cold}) {
      const u64 address = kCode + (part == &block->hot ? kHot : kCold);
      for (std::size_t bit = 0; bit < part->size() * 8; ++bit) {
        u8& byte = (*part)[bit / 8];
        byte = static_cast<u8>(byte ^ 1u << bit % 8);
        ++flips;
        if (const auto complaint = block->verify()) {
          ++reasons[complaint->reason];
        } else {
          ++accepted;
          const std::string bad = reaches_outside(*part, address);
          EXPECT_EQ(bad, "") << "program 2:" << index << " bit " << bit;
        }
        byte = static_cast<u8>(byte ^ 1u << bit % 8);
      }
    }
  }
  std::cout << flips << " bits, " << accepted << " give other code that is accepted\n";
  for (const auto& [reason, count] : reasons)
    std::cout << "  " << count << " " << reason << "\n";
  EXPECT_GT(flips, 50'000u);
  EXPECT_LT(accepted, flips);
}

TEST(Verifier, RefusesWhatMustNeverRun) {
  const std::vector<std::vector<u8>> kBad = {
      {0x0F, 0x05},                          // syscall
      {0xCD, 0x80},                          // int 0x80
      {0x0F, 0x34},                          // sysenter
      {0xF4},                                // hlt
      {0xFA},                                // cli
      {0x0F, 0x01, 0xC1},                    // vmcall
      {0x0F, 0xA2},                          // cpuid
      {0x0F, 0x31},                          // rdtsc
      {0xF3, 0x48, 0x0F, 0xAE, 0xD8},        // wrgsbase rax
      {0x8B, 0x00},                          // mov eax, [rax]
      {0x67, 0x8B, 0x00},                    // mov eax, [eax]
      {0x65, 0x8B, 0x00},                    // mov eax, gs:[rax]
      {0x64, 0x67, 0x8B, 0x00},              // mov eax, fs:[eax]
      {0x8B, 0x05, 0, 0, 0, 0},              // mov eax, [rip]
      {0x65, 0x67, 0x8B, 0x05, 0, 0, 0, 0},  // mov eax, gs:[eip]
      {0x48, 0x8D, 0x05, 0, 0, 0, 0},        // lea rax, [rip]
      {0x48, 0xA1, 1, 2, 3, 4, 5, 6, 7, 8},  // mov rax, [moffs64]
      {0x4C, 0x8B, 0xF8},                    // mov r15, rax
      {0x44, 0x8B, 0xF8},                    // mov r15d, eax
      {0x44, 0x8B, 0xE8},                    // mov r13d, eax
      {0x8B, 0xE0},                          // mov esp, eax
      {0x50},                                // push rax
      {0x58},                                // pop rax
      {0x41, 0x58},                          // pop r8, alone
      {0x9C},                                // pushfq, alone
      {0x9D},                                // popfq
      {0xFD},                                // std
      {0xFF, 0xE0},                          // jmp rax
      {0xFF, 0xD0},                          // call rax
      {0xFF, 0x20},                          // jmp [rax]
      {0x41, 0xFF, 0x24, 0xCD, 0, 0, 0, 0},  // jmp [rcx*8]
      {0x43, 0xFF, 0x64, 0xCD, 0x00},        // jmp [r13+r9*8], r9 unknown
      {0xC2, 8, 0},                          // ret 8
      {0xCB},                                // retf
      {0xA4},                                // movsb
      {0xF3, 0xAA},                          // rep stosb
      {0x65, 0x67, 0xAA},                    // stosb with prefixes
      {0x43, 0x8B, 0x04, 0x01},              // mov eax, [r9+r8], both unknown
      {0x41, 0x89, 0x47, 0x28},              // mov [r15+40], eax
      {0x41, 0x89, 0x06},                    // mov [r14], eax
      {0x65, 0x67, 0x48, 0x8B, 0x00},        // mov rax, gs:[eax]
      {0x65, 0x67, 0x0F, 0xAE, 0x00},        // fxsave
      {0x65, 0x67, 0x0F, 0xAE, 0x10},        // ldmxcsr
      {0x65, 0x67, 0x66, 0x0F, 0xF7, 0xC1},  // maskmovdqu
      {0xC5, 0xF8, 0x28, 0xC1},              // vmovaps
      {0x0F, 0xC7, 0xF0},                    // rdrand
      {0xF3, 0x0F, 0xB8, 0xC1},              // popcnt
      {0x66, 0x44, 0x0F, 0x6F, 0xC1},        // movdqa xmm8, xmm1
      {0xE9, 0x00, 0x10, 0x00, 0x00},        // jmp to nowhere
      {0xE8, 0x00, 0x10, 0x00, 0x00},        // call to nowhere
      {0x8E, 0xD8},                          // mov ds, eax
      {0x0F, 0x20, 0xC0},                    // mov rax, cr0
      {0x65, 0x67, 0xF0, 0x01, 0x00},        // lock add
      {0xFF, 0x2C, 0x24},                    // jmp far
  };
  const std::vector<u8> kEnd = {0xE9, 0, 0, 0, 0};
  for (std::vector<u8> code : kBad) {
    const std::string text = text_of(code, kCode + kHot, kCode + kHot);
    code.insert(code.end(), kEnd.begin(), kEnd.end());
    const u64 behind = kHot + code.size();
    base::store_le(&code[code.size() - 4], static_cast<u32>(kStubs.exit - behind));
    const VerifierPiece piece{code, kCode + kHot};
    EXPECT_TRUE(
        verify({&piece, 1}, {kCode + kStubs.exit, kCode + kStubs.miss, kCode + kStubs.lookup, {}}))
        << text;
  }
  // The end alone is fine, and code that runs over its end is not.
  std::vector<u8> code = kEnd;
  base::store_le(&code[1], static_cast<u32>(kStubs.exit - (kHot + 5)));
  VerifierPiece piece{code, kCode + kHot};
  const VerifierContext context{
      kCode + kStubs.exit, kCode + kStubs.miss, kCode + kStubs.lookup, {}};
  EXPECT_FALSE(verify({&piece, 1}, context));
  code = {0x90};
  piece.bytes = code;
  EXPECT_TRUE(verify({&piece, 1}, context));
}

}  // namespace
}  // namespace snowglobe::vm
