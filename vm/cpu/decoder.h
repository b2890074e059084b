// vm/cpu/decoder.h - from guest bytes to Insn: Zydis decodes, one table a family binds handlers.
//
// The table is the white list: a mnemonic without a binding, or a form that all its binders refuse,
// is #UD. A mnemonic may have several bindings (MOV of registers, of segment registers, of CRn);
// the first that accepts the form wins. Each family (integer, system, x87, simd) offers its part
// through one function below; the generator of test cases reads the same table.
#pragma once

#include "base/bytes.h"
#include "vm/cpu/insn.h"
#include "vm/types.h"

#include <Zydis/Zydis.h>
#include <span>

namespace snowglobe::vm {

/// What Zydis said about the bytes, for binders.
struct Decoded {
  ZydisDecodedInstruction info;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

  /// Operand `i` among the explicit ones, as written in assembly.
  [[nodiscard]] const ZydisDecodedOperand& operand(unsigned i) const { return operands[i]; }
  [[nodiscard]] bool is_register(unsigned i) const {
    return operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER;
  }
  [[nodiscard]] bool is_memory(unsigned i) const {
    return operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY;
  }
  [[nodiscard]] bool is_immediate(unsigned i) const {
    return operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
  }
  /// Number of the register operand in its class: EAX..EDI, AX.., AL..BH (0-7), ES..GS, MM0..,
  /// XMM0.., ST0.., CR0.., DR0...
  [[nodiscard]] u8 register_number(unsigned i) const;
  /// The segment that a prefix names, DS without one: for operands that ModRM does not name.
  [[nodiscard]] u8 segment_override() const;
  /// Size of operand `i` in bytes.
  [[nodiscard]] unsigned size(unsigned i) const { return operands[i].size / 8u; }
  /// Immediate `i`, sign-extended to 32 bits where the instruction does so.
  [[nodiscard]] u32 immediate(unsigned i) const {
    return static_cast<u32>(operands[i].imm.value.u);
  }
};

/// Chooses the handler for the decoded form and fills in reg, rm, imm, extra. The memory operand
/// (base, index, scale, disp, segment), length and offset are already there. False: this form is
/// #UD.
using Binder = bool (*)(const Decoded& decoded, Insn& insn);

struct Binding {
  ZydisMnemonic mnemonic;
  Binder bind;
  bool ends_block = false;  ///< may set eip or change how the next instruction runs
};

std::span<const Binding> alu_bindings();      // vm/cpu/ops_alu.cc
std::span<const Binding> data_bindings();     // vm/cpu/ops_data.cc
std::span<const Binding> shift_bindings();    // vm/cpu/ops_shift.cc
std::span<const Binding> string_bindings();   // vm/cpu/ops_string.cc
std::span<const Binding> control_bindings();  // vm/cpu/ops_control.cc
/// The five above in one.
std::span<const Binding> integer_bindings();  // vm/cpu/decoder.cc
std::span<const Binding> system_bindings();   // vm/cpu/ops_system.cc
std::span<const Binding> x87_bindings();      // vm/cpu/ops_x87.cc
std::span<const Binding> simd_bindings();     // vm/cpu/ops_simd.cc (MMX, SSE, SSE2)

class Decoder {
 public:
  Decoder();

  enum class Outcome : u8 {
    kOk,
    kTruncated,  ///< the bytes given end inside the instruction
    kTooLong,    ///< more than 15 bytes: #GP(0)
    kInvalid,  ///< #UD: a handler that raises it is in the Insn, with the length that was consumed
  };
  struct Result {
    Outcome outcome = Outcome::kInvalid;
    bool ends_block = true;
    u8 count = 1;  ///< Insns written: 1, or 2 with a helper ahead (16-bit addressing)
  };
  /// Decodes one instruction at the start of `bytes`, which lies at `offset` of its page.
  Result decode(base::ConstBytes bytes, u16 offset, Insn out[2]) const;
  /// The second half of decode(), for who has the raw view already: chooses the handler.
  Result bind(const Decoded& decoded, u16 offset, Insn out[2]) const;
  /// The raw Zydis view, for disassembly and the case generator. False if it is not valid.
  bool decode_raw(base::ConstBytes bytes, Decoded& decoded) const;

 private:
  ZydisDecoder decoder_;
};

}  // namespace snowglobe::vm
