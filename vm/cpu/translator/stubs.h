// vm/cpu/translator/stubs.h - the code between C++ and translated code.
#pragma once

#include "vm/cpu/translator/block_translator.h"

namespace snowglobe::vm {

/// Positions in code memory.
struct BorderCode {
  u32 enter = 0;    ///< void(CpuState*): goes on at TranslatorContext::resume, returns when told to
  u32 landing = 0;  ///< of faults
  u32 underflow = 0;  ///< the oldest word of a return stack leads here
  Stubs stubs;
};

/// Writes the border at the start of code memory. `handler`s are called as bool(object, number):
/// true goes on at TranslatorContext::resume.
BorderCode emit_border(Emitter& out);

}  // namespace snowglobe::vm
