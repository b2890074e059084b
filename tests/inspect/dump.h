// tests/inspect/dump.h - a translated block for people: guest code beside what became of it.
#pragma once

#include "vm/cpu/translator/translator.h"

#include <string>

namespace snowglobe::inspect {

/// Each guest instruction, followed by the host's instructions made of it.
std::string dump(const vm::Translator::BlockView& view);

/// One instruction in Intel's syntax, and its length; "(bad)" of length 1 where it is none.
std::pair<std::string, unsigned> disassemble(base::ConstBytes bytes, std::uint64_t address,
                                             bool guest);

std::string demangled(const std::string& name);

}  // namespace snowglobe::inspect
