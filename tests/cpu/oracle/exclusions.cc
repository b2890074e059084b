// tests/cpu/oracle/exclusions.cc - the conditions that have to look into the instruction.
#include "tests/cpu/oracle/exclusions.h"

#include "tests/cpu/oracle/forms.h"

namespace snowglobe::oracle {
namespace {

bool decode(const Case& test, vm::Decoded& decoded) {
  static const GrantedDecoder decoder;
  return decoder.decode(test.bytes(), decoded);
}

/// The count as the processor uses it: five bits.
u32 shift_count(const Case& test, const vm::Decoded& decoded) {
  for (unsigned i = 0; i < decoded.info.operand_count_visible; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return decoded.immediate(i) & 31;
  }
  const u8 opcode = decoded.info.opcode;
  if (decoded.info.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (opcode & 0xFE) == 0xD0) return 1;
  return test.input.gpr[vm::kEcx] & 31;
}

}  // namespace

bool count_is_not_one(const Case& test, const OracleOutput&, const OracleOutput&) {
  vm::Decoded decoded;
  return decode(test, decoded) && shift_count(test, decoded) != 1;
}

bool count_exceeds_width(const Case& test, const OracleOutput&, const OracleOutput&) {
  vm::Decoded decoded;
  return decode(test, decoded) && decoded.info.operand_width == 16 &&
         shift_count(test, decoded) > 16;
}

bool has_repeat_prefix(const Case& test, const OracleOutput&, const OracleOutput&) {
  vm::Decoded decoded;
  if (!decode(test, decoded)) return false;
  for (unsigned i = 0; i < decoded.info.raw.prefix_count; ++i) {
    const u8 prefix = decoded.info.raw.prefixes[i].value;
    if (prefix == 0xF2 || prefix == 0xF3) return true;
  }
  return false;
}

bool is_locked_system_instruction(const Case& test, const OracleOutput&, const OracleOutput&) {
  const base::ConstBytes bytes = test.bytes();
  bool locked = false;
  for (std::size_t i = 0; i + 1 < bytes.size(); ++i) {
    const u8 next = bytes[i + 1];
    if (bytes[i] == 0x0F) return locked && (next == 0 || next == 0x20 || next == 0x22);
    locked = locked || bytes[i] == 0xF0;
  }
  return false;
}

bool has_memory_operand(const Case& test, const OracleOutput&, const OracleOutput&) {
  vm::Decoded decoded;
  return decode(test, decoded) && decoded.is_memory(1);
}

}  // namespace snowglobe::oracle
