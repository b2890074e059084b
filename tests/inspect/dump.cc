// tests/inspect/dump.cc - Zydis as a disassembler, and the lay-out of a block.
#include "tests/inspect/dump.h"

#include <Zydis/Zydis.h>
#include <array>
#include <cstdlib>
#include <cxxabi.h>
#include <fmt/format.h>
#include <memory>

namespace snowglobe::inspect {
namespace {

using vm::u32;

/// Host code in [begin, end) of the block.
std::string host_lines(const vm::Translator::BlockView& view, std::size_t begin, std::size_t end) {
  std::string text;
  while (begin < end) {
    const auto [line, length] =
        disassemble(view.host.subspan(begin), view.host_address + begin, false);
    text += fmt::format("        {:4x}  {}\n", begin, line);
    begin += length;
  }
  return text;
}

}  // namespace

std::pair<std::string, unsigned> disassemble(base::ConstBytes bytes, std::uint64_t address,
                                             bool guest) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, guest ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64,
                   guest ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  ZydisDecodedInstruction info;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
  if (ZYAN_FAILED(
          ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &info, operands.data()))) {
    return {"(bad)", 1};
  }
  std::array<char, 192> text{};
  ZydisFormatterFormatInstruction(&formatter, &info, operands.data(), info.operand_count_visible,
                                  text.data(), text.size(), address, nullptr);
  return {text.data(), info.length};
}

std::string dump(const vm::Translator::BlockView& view) {
  const vm::TranslatedBlock& block = *view.block;
  const u32 page = block.linear & ~vm::kPageMask;
  std::string text = fmt::format("block {:08x}, physical {:08x}, {}, {} bytes at {:x}\n",
                                 block.linear, block.physical, block.user ? "user" : "kernel",
                                 view.host.size(), view.host_address);
  std::size_t position = 0;
  for (std::size_t i = 0; i < block.listing->marks.size(); ++i) {
    const auto& mark = block.listing->marks[i];
    const std::size_t begin = mark.position - block.begin;
    // Where the stack is settled in mid-instruction the mark is repeated.
    const bool again = i > 0 && block.listing->marks[i - 1].offset == mark.offset;
    text += host_lines(view, position, begin);
    position = begin;
    if (again) continue;
    const u32 skipped = page + mark.offset - block.linear;
    const base::ConstBytes bytes =
        view.guest.subspan(std::min<std::size_t>(skipped, view.guest.size()));
    text += fmt::format("  {:08x}  {}\n", page + mark.offset,
                        disassemble(bytes, page + mark.offset, true).first);
  }
  return text + host_lines(view, position, view.host.size());
}

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? std::string(text.get()) : name;
}

}  // namespace snowglobe::inspect
