// tests/cpu/oracle/compare.cc - comparing outcomes, with the exclusions applied.
#include "tests/cpu/oracle/compare.h"

#include "tests/cpu/oracle/exclusions.h"
#include "tests/cpu/oracle/forms.h"
#include "tests/cpu/oracle/fx_state.h"
#include "vm/cpu/cpu.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace snowglobe::oracle {
namespace {

constexpr const char* kGprNames[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
constexpr const char* kSegmentNames[] = {"es", "cs", "ss", "ds", "fs", "gs"};

/// Flags that a process can see: the arithmetic ones, TF, IF, DF, IOPL, NT, AC, ID.
constexpr u32 kVisibleFlags = vm::kArithmeticFlags | vm::kFlagTf | vm::kFlagIf | vm::kFlagDf |
                              vm::kFlagIopl | vm::kFlagNt | vm::kFlagAc | vm::kFlagId;

std::string flag_names(u32 flags) {
  constexpr std::pair<u32, const char*> kNames[] = {
      {vm::kFlagCf, "CF"}, {vm::kFlagPf, "PF"}, {vm::kFlagAf, "AF"}, {vm::kFlagZf, "ZF"},
      {vm::kFlagSf, "SF"}, {vm::kFlagTf, "TF"}, {vm::kFlagIf, "IF"}, {vm::kFlagDf, "DF"},
      {vm::kFlagOf, "OF"}, {vm::kFlagNt, "NT"}, {vm::kFlagAc, "AC"}, {vm::kFlagId, "ID"}};
  std::string text;
  for (const auto& [flag, name] : kNames) {
    if ((flags & flag) != 0) text += std::string(text.empty() ? "" : " ") + name;
  }
  return text.empty() ? "none" : text;
}

std::string trap_text(const OracleOutput& raw) {
  if (raw.trap == ORACLE_NO_TRAP) return "none";
  if (raw.trap != static_cast<u32>(vm::Vector::kPageFault)) {
    return fmt::format("vector {} error {:x}", raw.trap, raw.error_code);
  }
  return fmt::format("vector 14 error {:x} address {:08x}", raw.error_code, raw.address);
}

class Comparison {
 public:
  Comparison(const Case& test, const OracleOutput& expected, const Outcome& actual)
      : test_(test),
        expected_(expected),
        actual_(actual.raw),
        dead_flags_lost_(actual.dead_flags_lost && actual.trapped()) {
    for (const Exclusion& exclusion : kExclusions) {
      if (exclusion.mnemonic != test.mnemonic) continue;
      if (exclusion.when == nullptr || exclusion.when(test, expected, actual.raw)) {
        active_.push_back(&exclusion);
      }
    }
  }

  std::vector<Difference> run() {
    if (is_excluded(Field::kEverything)) return {};
    trap();
    registers();
    memory();
    if ((test_.input.options & ORACLE_USES_FX) != 0) fx();
    return std::move(found_);
  }

 private:
  void note(std::string field, u64 expected, u64 actual, int digits = 8) {
    if (expected == actual) return;
    found_.push_back({std::move(field), fmt::format("{:0{}x}", expected, digits),
                      fmt::format("{:0{}x}", actual, digits)});
  }

  [[nodiscard]] bool is_excluded(Field field) const {
    return std::any_of(active_.begin(), active_.end(),
                       [field](const Exclusion* exclusion) { return exclusion->field == field; });
  }

  void trap() {
    if (expected_.trap == actual_.trap && expected_.error_code == actual_.error_code &&
        expected_.address == actual_.address) {
      return;
    }
    const bool both = expected_.trap != ORACLE_NO_TRAP && actual_.trap != ORACLE_NO_TRAP;
    if (both && is_excluded(Field::kFault)) return;
    found_.push_back({"trap", trap_text(expected_), trap_text(actual_)});
  }

  void registers() {
    if (!is_excluded(Field::kRegisters)) {
      for (unsigned i = 0; i < 8; ++i)
        note(kGprNames[i], expected_.gpr[i], actual_.gpr[i]);
    }
    note("eip", expected_.eip, actual_.eip);
    for (unsigned i = 0; i < 6; ++i) {
      note(kSegmentNames[i], expected_.selectors[i], actual_.selectors[i], 4);
    }
    u32 compared = kVisibleFlags;
    for (const Exclusion* exclusion : active_) {
      if (exclusion->field == Field::kFlags) compared &= ~exclusion->mask;
    }
    if (dead_flags_lost_) compared &= ~overwritten_flags();
    if (((expected_.eflags ^ actual_.eflags) & compared) != 0) {
      found_.push_back({"eflags", flag_names(expected_.eflags & compared),
                        flag_names(actual_.eflags & compared)});
    }
  }

  /// The arithmetic flags that are dead ahead of the instruction: all or none.
  [[nodiscard]] u32 overwritten_flags() const {
    const GrantedDecoder decoder;
    vm::Decoded decoded;
    if (!decoder.decode(test_.bytes(), decoded) || decoded.info.cpu_flags == nullptr) return 0;
    const ZydisAccessedFlags& flags = *decoded.info.cpu_flags;
    const u32 written = flags.modified | flags.set_0 | flags.set_1 | flags.undefined;
    return (written & vm::kArithmeticFlags) == vm::kArithmeticFlags ? u32{vm::kArithmeticFlags}
                                                                    : 0u;
  }

  /// The bytes of the operand that are excluded, as a set of addresses.
  [[nodiscard]] bool excluded_byte(u32 address) {
    return std::any_of(active_.begin(), active_.end(), [&](const Exclusion* exclusion) {
      return exclusion->field == Field::kMemory &&
             address - operand_address() - exclusion->offset < exclusion->size;
    });
  }

  [[nodiscard]] u32 selector_of(ZydisRegister segment) const {
    switch (segment) {
      case ZYDIS_REGISTER_ES:
        return test_.input.selectors[0];
      case ZYDIS_REGISTER_DS:
        return test_.input.selectors[1];
      case ZYDIS_REGISTER_FS:
        return test_.input.selectors[2];
      case ZYDIS_REGISTER_GS:
        return test_.input.selectors[3];
      default:
        return ORACLE_DS;
    }
  }

  /// Where the first explicit operand in memory lies. Worked out only when something differs.
  u32 operand_address() {
    if (operand_address_ != 0) return operand_address_;
    const GrantedDecoder decoder;
    vm::Decoded decoded;
    if (!decoder.decode(test_.bytes(), decoded)) return 0;
    ZydisRegisterContext values{};
    constexpr ZydisRegister kRegisters[] = {
        ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_ECX, ZYDIS_REGISTER_EDX, ZYDIS_REGISTER_EBX,
        ZYDIS_REGISTER_ESP, ZYDIS_REGISTER_EBP, ZYDIS_REGISTER_ESI, ZYDIS_REGISTER_EDI};
    for (unsigned i = 0; i < 8; ++i) {
      const u32 value = test_.input.gpr[i];
      values.values[kRegisters[i]] = value;
      values.values[ZYDIS_REGISTER_AX + static_cast<int>(i)] = value & 0xFFFF;
    }
    for (unsigned i = 0; i < decoded.info.operand_count; ++i) {
      const ZydisDecodedOperand& operand = decoded.operands[i];
      if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
      ZyanU64 address = 0;
      ZydisCalcAbsoluteAddressEx(&decoded.info, &operand, 0, &values, &address);
      operand_address_ = static_cast<u32>(address);
      if (selector_of(operand.mem.segment) == ORACLE_GS) operand_address_ += ORACLE_GS_BASE;
      break;
    }
    return operand_address_;
  }

  void memory() {
    for (u32 w = 0; w < test_.input.window_count; ++w) {
      const OracleWindow& window = test_.input.windows[w];
      const u8* expected = expected_.memory + window.offset;
      const u8* actual = actual_.memory + window.offset;
      if (std::memcmp(expected, actual, window.size) == 0) continue;
      for (u32 i = 0; i < window.size; ++i) {
        if (expected[i] == actual[i] || excluded_byte(window.address + i)) continue;
        note(fmt::format("[{:08x}]", window.address + i), expected[i], actual[i], 2);
      }
    }
  }

  void fx() {
    const u8* expected = expected_.fx;
    const u8* actual = actual_.fx;
    const auto word = [](const u8* at) { return base::load_le<u16>(at); };
    note("x87 control", word(expected + kFxControl), word(actual + kFxControl), 4);
    note("mxcsr", base::load_le<u32>(expected + kFxMxcsr), base::load_le<u32>(actual + kFxMxcsr));
    if (!is_excluded(Field::kX87)) {
      note("x87 status", word(expected + kFxStatus), word(actual + kFxStatus), 4);
      note("x87 tag", expected[kFxTag], actual[kFxTag], 2);
      for (unsigned i = 0; i < 8; ++i) {
        const unsigned at = kFxRegisters + i * 16;
        wide(fmt::format("st({})", i), expected + at, actual + at, 10);
      }
    }
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned at = kFxXmm + i * 16;
      wide(fmt::format("xmm{}", i), expected + at, actual + at, 16);
    }
  }

  void wide(std::string field, const u8* expected, const u8* actual, unsigned size) {
    if (std::memcmp(expected, actual, size) == 0) return;
    const auto text = [size](const u8* bytes) {
      std::string digits;
      for (unsigned i = size; i-- > 0;)
        digits += fmt::format("{:02x}", bytes[i]);
      return digits;
    };
    found_.push_back({std::move(field), text(expected), text(actual)});
  }

  const Case& test_;
  const OracleOutput& expected_;
  const OracleOutput& actual_;
  bool dead_flags_lost_;
  std::vector<const Exclusion*> active_;
  std::vector<Difference> found_;
  u32 operand_address_ = 0;
};

/// True when nothing differs, to the bit. The usual case, so it is to be quick.
bool identical(const Case& test, const OracleOutput& expected, const OracleOutput& actual) {
  if (std::memcmp(&expected, &actual, offsetof(OracleOutput, eflags)) != 0) return false;
  if (((expected.eflags ^ actual.eflags) & kVisibleFlags) != 0) return false;
  constexpr std::size_t kRest = offsetof(OracleOutput, selectors);
  if (std::memcmp(expected.selectors, actual.selectors, offsetof(OracleOutput, unused) - kRest) !=
      0) {
    return false;
  }
  if ((test.input.options & ORACLE_USES_FX) == 0) return true;
  const auto same = [&](unsigned at, unsigned size) {
    return std::memcmp(expected.fx + at, actual.fx + at, size) == 0;
  };
  if (!same(kFxControl, kFxTag + 1) || !same(kFxMxcsr, 4)) return false;
  for (unsigned i = 0; i < 8; ++i) {
    if (!same(kFxRegisters + i * 16, 10)) return false;
  }
  return same(kFxXmm, kFxEnd - kFxXmm);
}

}  // namespace

std::vector<Difference> compare(const Case& test, const Outcome& expected, const Outcome& actual) {
  if (expected.lost || actual.lost) {
    return {{"executor", expected.lost ? "lost" : "alive", actual.lost ? "lost" : "alive"}};
  }
  if (identical(test, expected.raw, actual.raw) && !memory_differs(test, expected, actual)) {
    return {};
  }
  return Comparison(test, expected.raw, actual).run();
}

bool memory_differs(const Case& test, const Outcome& expected, const Outcome& actual) {
  const std::span windows(test.input.windows, test.input.window_count);
  return std::any_of(windows.begin(), windows.end(), [&](const OracleWindow& window) {
    return std::memcmp(expected.raw.memory + window.offset, actual.raw.memory + window.offset,
                       window.size) != 0;
  });
}

Outcome refusal(const Case& test) {
  Outcome outcome{};
  OracleOutput& raw = outcome.raw;
  std::memcpy(raw.gpr, test.input.gpr, sizeof raw.gpr);
  raw.eip = test.input.eip;
  raw.eflags = test.input.eflags;
  const auto& selectors = test.input.selectors;
  const u32 after[] = {selectors[0], ORACLE_CS,    ORACLE_DS,
                       selectors[1], selectors[2], selectors[3]};
  std::memcpy(raw.selectors, after, sizeof after);
  raw.trap = static_cast<u32>(vm::Vector::kInvalidOpcode);
  return outcome;
}

std::string describe(u64 seed, const Case& test, std::span<const Difference> differences) {
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  const GrantedDecoder decoder;
  vm::Decoded decoded;
  char text[96] = "(no encoding that Zydis knows)";
  if (decoder.decode(test.bytes(), decoded)) {
    ZydisFormatterFormatInstruction(&formatter, &decoded.info, decoded.operands,
                                    decoded.info.operand_count_visible, text, sizeof text,
                                    test.input.eip, nullptr);
  }
  std::string bytes;
  for (const u8 byte : test.bytes())
    bytes += fmt::format("{:02x} ", byte);
  std::string out = fmt::format("case {}:{}  {} {}\n", seed, test.index, bytes, text);
  out += " ";
  for (unsigned i = 0; i < 8; ++i) {
    out += fmt::format(" {} {:08x}", kGprNames[i], test.input.gpr[i]);
  }
  out += fmt::format("\n  eip {:08x}  flags {}  es {:x} ds {:x} fs {:x} gs {:x}\n", test.input.eip,
                     flag_names(test.input.eflags), test.input.selectors[0],
                     test.input.selectors[1], test.input.selectors[2], test.input.selectors[3]);
  for (u32 w = 0; w < test.input.window_count; ++w) {
    const OracleWindow& window = test.input.windows[w];
    out += fmt::format("  [{:08x}]", window.address);
    for (u32 i = 0; i < std::min<u32>(window.size, 64); ++i) {
      out += fmt::format("{}{:02x}", i % 4 == 0 ? " " : "", test.input.memory[window.offset + i]);
    }
    out += window.size > 64 ? " ...\n" : "\n";
  }
  if ((test.input.options & ORACLE_USES_FX) != 0) {
    const u8* fx = test.input.fx;
    out += fmt::format("  control {:04x} status {:04x} tag {:02x} mxcsr {:04x}\n",
                       base::load_le<u16>(fx), base::load_le<u16>(fx + kFxStatus), fx[kFxTag],
                       base::load_le<u32>(fx + kFxMxcsr));
    for (unsigned i = 0; i < 8; ++i) {
      const u8* st = fx + kFxRegisters + i * 16;
      const u8* xmm = fx + kFxXmm + i * 16;
      out += fmt::format("  st({}) {:04x} {:016x}  xmm{} {:016x}{:016x}\n", i,
                         base::load_le<u16>(st + 8), base::load_le<u64>(st), i,
                         base::load_le<u64>(xmm + 8), base::load_le<u64>(xmm));
    }
  }
  for (const Difference& difference : differences) {
    out += fmt::format("  {:12} expected {}  got {}\n", difference.field, difference.expected,
                       difference.actual);
  }
  return out;
}

}  // namespace snowglobe::oracle
