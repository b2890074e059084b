// tests/cpu/privileged/privileged_oracle_test.cc - runs random cases of privileged instructions in
// Bochs and in our interpreter and compares what their handlers saw and what memory changed.
//
// SNOWGLOBE_SEED and SNOWGLOBE_CASES choose other cases than the fixed ones.
#include "tests/cpu/privileged/cases.h"
#include "tests/cpu/privileged/executors.h"
#include "tests/support/temporary_folder.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/translator/host_support.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sstream>

namespace snowglobe::vm::privileged {
namespace {

std::uint64_t environment_number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

struct Field {
  const char* name;
  u32 Record::*member;
};
constexpr Field kFields[] = {
    {"vector", &Record::vector}, {"esp", &Record::esp}, {"edi", &Record::edi},
    {"esi", &Record::esi},       {"ebp", &Record::ebp}, {"ebx", &Record::ebx},
    {"edx", &Record::edx},       {"ecx", &Record::ecx}, {"eax", &Record::eax},
    {"eflags", &Record::eflags}, {"ds", &Record::ds},   {"es", &Record::es},
    {"fs", &Record::fs},         {"gs", &Record::gs},   {"ss", &Record::ss},
    {"cs", &Record::cs},         {"cr0", &Record::cr0}, {"cr2", &Record::cr2},
    {"cr4", &Record::cr4},       {"tr", &Record::tr},   {"ldtr", &Record::ldtr},
    {"dr6", &Record::dr6},       {"dr7", &Record::dr7},
};

// Whether the flags that a double fault pushes have RF is open (Intel SDM Vol. 3B, 17.3.1.1: an
// abort pushes what EFLAGS had, and the first fault may have set it): Bochs says yes, we say no.
void forget_resume_flag_of_double_fault(Report& report) {
  if (report.record.vector != static_cast<u32>(Vector::kDoubleFault)) return;
  constexpr u32 kFlagsInFrame = 3;
  report.record.frame[kFlagsInFrame] &= ~u32{kFlagRf};
  for (Poke& change : report.changes) {
    if (change.address == report.record.esp + 4 * kFlagsInFrame) change.value &= ~u32{kFlagRf};
  }
}

// The translator looks at the page behind when a block starts close to the end of its page, so that
// the accessed bit may be set early (Intel SDM Vol. 3A, 4.8, allows it).
void forget_early_accessed_bits(Report& translated, const Report& interpreted) {
  constexpr u32 kAccessed = 1 << 5;
  const auto in_table = [](u32 address) {
    return address - kPageDirectory < 2 * kPageSize || address - kTestTable < kPageSize;
  };
  for (Poke& change : translated.changes) {
    if (!in_table(change.address)) continue;
    const auto same =
        std::find_if(interpreted.changes.begin(), interpreted.changes.end(),
                     [&](const Poke& other) { return other.address == change.address; });
    if (same != interpreted.changes.end() && change.value == (same->value | kAccessed))
      change.value = same->value;
  }
}

// One line a difference; empty if there is none.
std::string difference(Report bochs, Report ours) {
  forget_resume_flag_of_double_fault(bochs);
  forget_resume_flag_of_double_fault(ours);
  std::ostringstream out;
  out << std::hex;
  const auto line = [&out](const std::string& what, u32 theirs, u32 own) {
    if (theirs != own) out << "  " << what << ": bochs " << theirs << ", ours " << own << "\n";
  };
  for (const Field& field : kFields)
    line(field.name, bochs.record.*field.member, ours.record.*field.member);
  for (unsigned i = 0; i < 6; ++i)
    line("frame[" + std::to_string(i) + "]", bochs.record.frame[i], ours.record.frame[i]);
  std::map<u32, std::pair<u32, u32>> memory;
  constexpr u32 kUnchanged = 0x7E3217A7;
  for (const Poke& change : bochs.changes)
    memory[change.address] = {change.value, kUnchanged};
  for (const Poke& change : ours.changes) {
    const auto [entry, added] = memory.try_emplace(change.address, kUnchanged, change.value);
    entry->second.second = change.value;
  }
  for (const auto& [address, values] : memory) {
    std::ostringstream name;
    name << "[" << std::hex << address << "]";
    line(name.str(), values.first, values.second);
  }
  return out.str();
}

std::string describe(const Case& c, std::size_t index) {
  std::ostringstream out;
  out << "case " << index << " (" << c.kind << ", ring " << (c.header.cs & 3) << "), code";
  out << std::hex;
  for (const u8 byte : c.code)
    out << " " << u32{byte};
  out << "\n  eax " << c.header.eax << " ecx " << c.header.ecx << " eflags " << c.header.eflags
      << " cr0 " << c.header.cr0 << " cr4 " << c.header.cr4 << "; pokes";
  for (const Poke& poke : c.pokes)
    out << " " << poke.address << "=" << poke.value;
  out << "\n";
  return out.str();
}

TEST(PrivilegedOracle, BochsAndTheInterpreterAgree) {
  const std::uint64_t seed = environment_number("SNOWGLOBE_SEED", 1);
  const std::size_t count = environment_number("SNOWGLOBE_CASES", 3000);
  const std::vector<u8> runner = read_file(SNOWGLOBE_RUNNER);
  const std::vector<u8> reset = read_file(SNOWGLOBE_RESET);
  ASSERT_FALSE(runner.empty());
  ASSERT_FALSE(reset.empty());
  const std::vector<Case> cases = make_cases(seed, count);
  const std::vector<u8> payload = make_payload(runner, cases);

  const snowglobe::test::TemporaryFolder folder;
  const auto from_bochs = run_in_bochs(payload, reset, folder.path());
  ASSERT_TRUE(from_bochs.ok()) << from_bochs.error().message;
  const std::vector<Report> theirs = parse_reports(from_bochs.value());
  const std::vector<Report> ours = parse_reports(run_here(payload));

  std::set<u32> endings;  // vectors that ended cases
  std::map<std::string, unsigned> failures;
  constexpr unsigned kShown = 5;
  for (std::size_t i = 0; i < std::min(theirs.size(), ours.size()); ++i) {
    endings.insert(theirs[i].record.vector);
    const std::string text = difference(theirs[i], ours[i]);
    if (text.empty()) continue;
    if (++failures[cases[i].kind] > kShown) continue;
    ADD_FAILURE() << "seed " << seed << ", " << describe(cases[i], i) << text;
  }
  constexpr std::size_t kWaysToEnd = 12;  // of 15 or more with the default number of cases
  if (count >= 3000) {
    EXPECT_GE(endings.size(), kWaysToEnd) << "the cases have become too much alike";
  }
  for (const auto& [kind, number] : failures)
    std::cout << kind << ": " << number << " differ\n";
  ASSERT_EQ(theirs.size(), count) << "Bochs stopped in "
                                  << describe(cases[theirs.size()], theirs.size());
  ASSERT_EQ(ours.size(), count) << "we stopped in " << describe(cases[ours.size()], ours.size());
}

// No Bochs is needed for this, so that many more cases can be had.
TEST(PrivilegedOracle, TheTranslatorAndTheInterpreterAgree) {
  if (const HostSupport& host = translator_support(); !host.usable) GTEST_SKIP() << host.why_not;
  const std::uint64_t seed = environment_number("SNOWGLOBE_SEED", 1);
  const std::size_t count = environment_number("SNOWGLOBE_CASES", 3000);
  const std::vector<Case> cases = make_cases(seed, count);
  const std::vector<u8> payload = make_payload(read_file(SNOWGLOBE_RUNNER), cases);
  const std::vector<Report> expected = parse_reports(run_here(payload));
  std::vector<Report> actual = parse_reports(run_here(payload, true));
  unsigned differ = 0;
  for (std::size_t i = 0; i < std::min(expected.size(), actual.size()); ++i) {
    forget_early_accessed_bits(actual[i], expected[i]);
    const std::string text = difference(expected[i], actual[i]);
    if (text.empty() || ++differ > 5) continue;
    ADD_FAILURE() << "seed " << seed << ", " << describe(cases[i], i) << text;
  }
  EXPECT_EQ(differ, 0u) << "\"bochs\" is the interpreter here, \"ours\" the translator";
  EXPECT_EQ(actual.size(), count);
}

}  // namespace
}  // namespace snowglobe::vm::privileged
