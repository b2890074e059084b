// vm/cpu/translator/vector_state.h - between CpuState's x87, MMX and SSE state and the FXSAVE image
// that the host's registers are loaded from.
#pragma once

#include "vm/cpu/state.h"
#include "vm/cpu/translator/context.h"

namespace snowglobe::vm {

void load_vector_state(const TranslatorContext& context, CpuState& state);
/// Instruction and operand pointers are zero in the image: on the host they would be the host's.
void store_vector_state(const CpuState& state, TranslatorContext& context);

}  // namespace snowglobe::vm
