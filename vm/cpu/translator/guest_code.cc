// vm/cpu/translator/guest_code.cc - the white list of what is rewritten, and the analysis of flags.
#include "vm/cpu/translator/guest_code.h"

#include <bit>

namespace snowglobe::vm {
namespace {

bool is_flat(ZydisRegister segment) {
  // CS may be execute-only: its readers are left to the interpreter.
  return segment == ZYDIS_REGISTER_DS || segment == ZYDIS_REGISTER_ES ||
         segment == ZYDIS_REGISTER_SS;
}

// Works on x87, MMX or SSE state. What is not granted was refused before.
bool is_vector(const Decoded& decoded) {
  switch (decoded.info.meta.isa_ext) {
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_MMX:
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
      return true;
    default:
      return decoded.info.mnemonic == ZYDIS_MNEMONIC_FXSAVE ||
             decoded.info.mnemonic == ZYDIS_MNEMONIC_FXRSTOR;
  }
}

Way way_of_vector(const Decoded& decoded) {
  switch (decoded.info.mnemonic) {
    // The state as a whole, in formats that differ in 64-bit mode, or with host pointers in it.
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXRSTOR:
    // Rare, and the host knows bits of MXCSR that are not granted.
    case ZYDIS_MNEMONIC_LDMXCSR:
    // An operand at [EDI] that no ModRM names.
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
      return Way::kHandler;
    default:
      return Way::kCopy;
  }
}

Way way_of_push(const Decoded& decoded) {
  if (decoded.info.operand_width != 32) return Way::kHandler;
  if (decoded.is_memory(0)) return Way::kPushMemory;
  if (decoded.is_immediate(0)) return Way::kPushImmediate;
  const bool general = ZydisRegisterGetClass(decoded.operands[0].reg.value) == ZYDIS_REGCLASS_GPR32;
  return general ? Way::kPushRegister : Way::kPushSegment;
}

Way way_of_pop(const Decoded& decoded) {
  if (decoded.info.operand_width != 32) return Way::kHandler;
  if (decoded.is_memory(0)) return Way::kPopMemory;
  const bool general = ZydisRegisterGetClass(decoded.operands[0].reg.value) == ZYDIS_REGCLASS_GPR32;
  return general ? Way::kPopRegister : Way::kHandler;
}

bool is_general_or_memory(const ZydisDecodedOperand& operand) {
  if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) return true;
  const ZydisRegisterClass kind = ZydisRegisterGetClass(operand.reg.value);
  return kind == ZYDIS_REGCLASS_GPR8 || kind == ZYDIS_REGCLASS_GPR16 ||
         kind == ZYDIS_REGCLASS_GPR32;
}

Way way_of_mov(const Decoded& decoded) {
  if (!is_general_or_memory(decoded.operands[0]) || !is_general_or_memory(decoded.operands[1])) {
    return Way::kHandler;
  }
  const bool modrm = (decoded.info.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
  return !modrm && decoded.info.opcode >= 0xA0 && decoded.info.opcode <= 0xA3 ? Way::kAbsolute
                                                                              : Way::kCopy;
}

Way way_of_string(const Decoded& decoded, Way way) {
  constexpr ZydisInstructionAttributes kRepeated =
      ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;
  const ZydisRegister segment = decoded.operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY
                                    ? decoded.operands[1].mem.segment
                                    : ZYDIS_REGISTER_DS;
  if (!is_flat(segment) || decoded.info.address_width != 32) return Way::kHandler;
  if ((decoded.info.attributes & kRepeated) == 0) return way;
  if (way == Way::kMoveString) return Way::kRepeatMove;
  return way == Way::kStoreString ? Way::kRepeatStore : Way::kHandler;
}

Way way_of_table_lookup(const Decoded& decoded) {
  for (unsigned i = 0; i < decoded.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && !is_flat(operand.mem.segment)) {
      return Way::kHandler;
    }
  }
  return decoded.info.address_width == 32 ? Way::kTableLookup : Way::kHandler;
}

bool is_near(const Decoded& decoded) {
  return decoded.info.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR && decoded.info.operand_width == 32;
}

Way way_of_branch(const Decoded& decoded) {
  if (!is_near(decoded) || decoded.info.address_width != 32) return Way::kHandlerEnd;
  const bool relative = decoded.is_immediate(0);
  switch (decoded.info.mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
      return relative ? Way::kJump : Way::kJumpIndirect;
    case ZYDIS_MNEMONIC_CALL:
      return relative ? Way::kCall : Way::kCallIndirect;
    case ZYDIS_MNEMONIC_RET:
      return Way::kReturn;
    case ZYDIS_MNEMONIC_JECXZ:
      return Way::kJumpIfZeroCount;
    case ZYDIS_MNEMONIC_LOOP:
      return Way::kLoop;
    default:
      return Way::kJumpIf;
  }
}

Way way_of_integer(const Decoded& decoded) {
  switch (decoded.info.mnemonic) {
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_ADC:
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_SBB:
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_CMP:
    case ZYDIS_MNEMONIC_TEST:
    case ZYDIS_MNEMONIC_NOT:
    case ZYDIS_MNEMONIC_NEG:
    case ZYDIS_MNEMONIC_MUL:
    case ZYDIS_MNEMONIC_IMUL:
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR:
    case ZYDIS_MNEMONIC_BSWAP:
    case ZYDIS_MNEMONIC_CBW:
    case ZYDIS_MNEMONIC_CWDE:
    case ZYDIS_MNEMONIC_CWD:
    case ZYDIS_MNEMONIC_CDQ:
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_CMPXCHG8B:
    case ZYDIS_MNEMONIC_XADD:
    case ZYDIS_MNEMONIC_CLC:
    case ZYDIS_MNEMONIC_STC:
    case ZYDIS_MNEMONIC_CMC:
    case ZYDIS_MNEMONIC_SAHF:
    case ZYDIS_MNEMONIC_LAHF:
    case ZYDIS_MNEMONIC_MOVNTI:
      return Way::kCopy;
    case ZYDIS_MNEMONIC_INC:
    case ZYDIS_MNEMONIC_DEC:
      return (decoded.info.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0 ? Way::kCopy : Way::kIncrement;
    case ZYDIS_MNEMONIC_XCHG:
      return decoded.info.operand_width == 32 && (decoded.is_memory(0) || decoded.is_memory(1))
                 ? Way::kExchange
                 : Way::kCopy;
    case ZYDIS_MNEMONIC_MOV:
      return way_of_mov(decoded);
    case ZYDIS_MNEMONIC_LEA:
      return Way::kLea;
    case ZYDIS_MNEMONIC_XLAT:
      return way_of_table_lookup(decoded);
    case ZYDIS_MNEMONIC_PUSH:
      return way_of_push(decoded);
    case ZYDIS_MNEMONIC_POP:
      return way_of_pop(decoded);
    case ZYDIS_MNEMONIC_PUSHFD:
      return Way::kPushFlags;
    case ZYDIS_MNEMONIC_POPFD:
      return Way::kPopFlags;
    case ZYDIS_MNEMONIC_CLI:
      return Way::kClearInterrupts;
    case ZYDIS_MNEMONIC_STI:
      return Way::kSetInterrupts;
    case ZYDIS_MNEMONIC_LEAVE:
      return decoded.info.operand_width == 32 ? Way::kLeave : Way::kHandler;
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
      return way_of_string(decoded, Way::kMoveString);
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
      return way_of_string(decoded, Way::kStoreString);
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
      return way_of_string(decoded, Way::kLoadString);
    // One processor: nothing to order, nothing to fetch ahead.
    // And DF is clear in translated code.
    case ZYDIS_MNEMONIC_CLD:
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_PAUSE:
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
    case ZYDIS_MNEMONIC_PREFETCHNTA:
    case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1:
    case ZYDIS_MNEMONIC_PREFETCHT2:
      return Way::kNothing;
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JCXZ:
      return Way::kHandlerEnd;
    default:
      break;
  }
  switch (decoded.info.meta.category) {
    case ZYDIS_CATEGORY_CMOV:
    case ZYDIS_CATEGORY_SETCC:
      return Way::kCopy;
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
      return way_of_branch(decoded);
    default:
      return Way::kHandler;
  }
}

bool is_shift(const Decoded& decoded) {
  switch (decoded.info.mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
      return true;
    default:
      return false;
  }
}

// A shift by CL, or by 0, may leave all flags as they were.
bool may_keep_flags(const Decoded& decoded) {
  if (!is_shift(decoded)) return false;
  const unsigned count = decoded.info.operand_count_visible - 1;
  return !decoded.is_immediate(count) || (decoded.immediate(count) & 31) == 0;
}

void find_flags(const Decoded& decoded, GuestInsn& insn) {
  const ZydisAccessedFlags* flags = decoded.info.cpu_flags;
  if (flags == nullptr) return;
  insn.flags_read = static_cast<u16>(flags->tested & kArithmeticFlags);
  const u32 written = flags->modified | flags->set_0 | flags->set_1 | flags->undefined;
  insn.flags_written = static_cast<u16>(written & kArithmeticFlags);
  if (!may_keep_flags(decoded)) insn.flags_killed = insn.flags_written;
}

u8 guest_number(ZydisRegister reg) {
  return reg == ZYDIS_REGISTER_NONE ? GuestInsn::kNone : static_cast<u8>(ZydisRegisterGetId(reg));
}

// The operand that ModRM, or the way, names. Null if there is none.
const ZydisDecodedOperandMem* find_memory(const Decoded& decoded, GuestInsn& insn) {
  for (unsigned i = 0; i < decoded.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY ||
        operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
      continue;
    }
    insn.has_memory = true;
    insn.base = guest_number(operand.mem.base);
    insn.index = guest_number(operand.mem.index);
    insn.scale =
        operand.mem.scale <= 1 ? u8{0} : static_cast<u8>(std::countr_zero(operand.mem.scale));
    insn.disp = static_cast<i32>(operand.mem.disp.value);
    insn.in_gs = operand.mem.segment == ZYDIS_REGISTER_GS;
    return &operand.mem;
  }
  return nullptr;
}

void find_register(const Decoded& decoded, unsigned i, GuestInsn& insn) {
  const ZydisDecodedOperand& operand = decoded.operands[i];
  if (insn.reg == GuestInsn::kNone) insn.reg = decoded.register_number(i);
  const ZydisRegister reg = operand.reg.value;
  const ZydisRegisterClass kind = ZydisRegisterGetClass(reg);
  if (kind == ZYDIS_REGCLASS_GPR8 && reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
    insn.byte_high = true;
  }
  const bool general = kind == ZYDIS_REGCLASS_GPR16 || kind == ZYDIS_REGCLASS_GPR32;
  if (!general || ZydisRegisterGetId(reg) != kEsp) return;
  insn.uses_esp = true;
  if (i == 0) insn.esp_first = true;
  if (operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) insn.reg_high = true;
  if (operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
      operand.encoding == ZYDIS_OPERAND_ENCODING_OPCODE) {
    insn.rm_high = true;
  }
}

void find_operands(const Decoded& decoded, GuestInsn& insn) {
  for (unsigned i = 0; i < decoded.info.operand_count_visible; ++i) {
    if (decoded.is_register(i)) find_register(decoded, i, insn);
    if (decoded.is_immediate(i) && !insn.has_immediate) {
      insn.has_immediate = true;
      insn.immediate = decoded.immediate(i);
    }
  }
  switch (decoded.info.mnemonic) {
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
      insn.is_bit_string = decoded.is_memory(0) && decoded.is_register(1);
      return;
    default:
      return;
  }
}

// False if there are more prefixes than there is place for: somebody plays.
bool find_encoding(const Decoded& decoded, GuestInsn& insn) {
  const ZydisDecodedInstruction& info = decoded.info;
  insn.mnemonic = static_cast<u16>(info.mnemonic);
  insn.length = info.length;
  insn.width = info.operand_width;
  insn.wide_map = info.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT;
  if (info.opcode_map == ZYDIS_OPCODE_MAP_0F38) insn.second_map = 0x38;
  if (info.opcode_map == ZYDIS_OPCODE_MAP_0F3A) insn.second_map = 0x3A;
  // 82 is an alias of 80 that 64-bit mode does not know.
  insn.opcode = !insn.wide_map && info.opcode == 0x82 ? u8{0x80} : info.opcode;
  insn.has_modrm = (info.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
  if (insn.has_modrm) {
    insn.modrm =
        static_cast<u8>(info.raw.modrm.mod << 6 | info.raw.modrm.reg << 3 | info.raw.modrm.rm);
  }
  insn.immediate_offset = info.raw.imm[0].offset;
  insn.immediate_bytes = static_cast<u8>((info.raw.imm[0].size + info.raw.imm[1].size) / 8);
  for (unsigned i = 0; i < info.raw.prefix_count; ++i) {
    const auto& prefix = info.raw.prefixes[i];
    const bool size = prefix.value == 0x66 && prefix.type != ZYDIS_PREFIX_TYPE_IGNORED;
    if (!size && prefix.type != ZYDIS_PREFIX_TYPE_MANDATORY) continue;
    if (insn.prefix_count == insn.prefixes.size()) return false;
    insn.prefixes[insn.prefix_count++] = prefix.value;
  }
  return true;
}

// 16-bit addresses, and segments that need not be flat, are the interpreter's.
void choose_handler_for_odd_addresses(const Decoded& decoded, const ZydisDecodedOperandMem* memory,
                                      bool user, GuestInsn& insn) {
  if (memory == nullptr || insn.way == Way::kHandlerEnd) return;
  if (decoded.info.address_width != 32) insn.way = Way::kHandler;
  if (insn.way == Way::kHandler || insn.way == Way::kLea) return;
  if (!is_flat(memory->segment) && !(user && memory->segment == ZYDIS_REGISTER_GS)) {
    const bool branch = insn.way == Way::kJumpIndirect || insn.way == Way::kCallIndirect;
    insn.way = branch ? Way::kHandlerEnd : Way::kHandler;
  }
}

bool is_handler(const GuestInsn& insn) {
  return insn.way == Way::kHandler || insn.way == Way::kHandlerEnd;
}

}  // namespace

GuestInsn classify(const Decoded& decoded, bool user) {
  GuestInsn insn;
  const bool encodable = find_encoding(decoded, insn);
  const ZydisDecodedOperandMem* const memory = find_memory(decoded, insn);
  find_operands(decoded, insn);
  find_flags(decoded, insn);
  insn.way = way_of_integer(decoded);
  // MOVSD and CMPSD are string instructions and SSE2's; FWAIT and EMMS have no operand at all.
  if (insn.way == Way::kNothing) return insn;
  const bool vectors = is_vector(decoded) && decoded.info.mnemonic != ZYDIS_MNEMONIC_MOVNTI;
  if (vectors) insn.way = way_of_vector(decoded);
  choose_handler_for_odd_addresses(decoded, memory, user, insn);
  if (insn.way == Way::kCopy && !encodable) insn.way = Way::kHandler;
  insn.vectors = vectors && !is_handler(insn);
  insn.vectors_in_handler = vectors && is_handler(insn);
  return insn;
}

bool is_alike(const Decoded& decoded, const GuestInsn& insn) {
  if (is_handler(insn)) return false;  // what the handlers refuse may hang on any byte
  if (insn.immediate_bytes == 0) return true;
  return !insn.vectors && !is_shift(decoded);  // a shift by 0 is another one to flags
}

void analyse_flags(std::vector<GuestInsn>& insns) {
  u32 live = kArithmeticFlags;
  for (auto insn = insns.rbegin(); insn != insns.rend(); ++insn) {
    switch (insn->way) {
      case Way::kHandler:
      case Way::kHandlerEnd:
      case Way::kPushFlags:
      case Way::kSetInterrupts:
      case Way::kJumpIf:
      case Way::kJumpIfZeroCount:
      case Way::kLoop:
      case Way::kCall:
      case Way::kCallIndirect:
        live = kArithmeticFlags;
        break;
      default:
        live = (live & ~insn->flags_killed) | insn->flags_read;
        break;
    }
    insn->flags_dead_before = live == 0;
  }
}

}  // namespace snowglobe::vm
