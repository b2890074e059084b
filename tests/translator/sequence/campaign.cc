// tests/translator/sequence/campaign.cc - the loop.
#include "tests/translator/sequence/campaign.h"

#include "vm/cpu/decoder.h"

#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::sequence {

Campaign::Campaign() {
  vm::TranslatorOptions usual;
  usual.code_bytes = std::size_t{4} << 20;
  usual.cold_runs = 0;
  translated_.emplace_back("usual", std::make_unique<Machine>(usual));
  vm::TranslatorOptions mixed = usual;
  mixed.cold_runs = 1;
  translated_.emplace_back("mixed", std::make_unique<Machine>(mixed));
  vm::TranslatorOptions tiny = usual;
  tiny.max_insns = 2;
  tiny.code_bytes = std::size_t{64} << 10;
  translated_.emplace_back("tiny", std::make_unique<Machine>(tiny));
}

std::string Campaign::differs(const Program& program, Machine& translated) {
  reference_.run(program);
  if (!reference_.ending().reason) return {};
  translated.run(program);
  return difference(reference_, translated);
}

// Replaces instructions by NOPs of their length as long as something still differs.
Program Campaign::shrink(Program program, Machine& translated) {
  for (std::size_t i = 0; i + 1 < program.starts.size(); ++i) {
    Program smaller = program;
    constexpr u8 kNop = 0x90;
    std::fill(smaller.code.begin() + program.starts[i],
              smaller.code.begin() + program.starts[i + 1], kNop);
    if (!differs(smaller, translated).empty()) program = std::move(smaller);
  }
  return program;
}

void Campaign::run(u64 seed, u64 index, const std::function<void(const std::string&)>& report) {
  const Program program = make_program(seed, index);
  ++tally_.programs;
  reference_.run(program);
  if (!reference_.ending().reason) {
    ++tally_.abandoned;
    return;
  }
  ++tally_.by_vector[reference_.ending().vector];
  for (auto& [name, machine] : translated_) {
    machine->run(program);
    const std::string first = difference(reference_, *machine);
    if (first.empty()) continue;
    ++tally_.different;
    const Program smaller = shrink(program, *machine);
    const std::string text = differs(smaller, *machine);
    report(fmt::format("{} ({})\n{}", describe(smaller), name,
                       text.empty() ? "  not when run again; at first:\n" + first : text));
    reference_.run(program);
  }
}

std::string describe(const Program& program) {
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  const vm::Decoder decoder;
  std::string text =
      fmt::format("program {}:{}, ring {}{}{}, esp {:08x}\n", program.seed, program.index,
                  program.user ? 3 : 0, program.lazy_code ? ", lazy code" : "",
                  program.task_switched ? ", CR0.TS" : "", program.gpr[vm::kEsp]);
  for (std::size_t at = 0; at < program.code.size();) {
    if (program.code[at] == 0x90) {
      ++at;
      continue;
    }
    vm::Decoded decoded;
    char line[96] = "?";
    const u32 address = program.start + static_cast<u32>(at);
    std::size_t length = 1;
    if (decoder.decode_raw(base::ConstBytes(program.code).subspan(at), decoded)) {
      length = decoded.info.length;
      ZydisFormatterFormatInstruction(&formatter, &decoded.info, decoded.operands,
                                      decoded.info.operand_count_visible, line, sizeof line,
                                      address, nullptr);
    }
    text += fmt::format("  {:08x}  {}\n", address, line);
    at += length;
  }
  return text;
}

}  // namespace snowglobe::sequence
