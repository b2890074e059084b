// tests/cpu/oracle/fixups.cc - the instructions that need more than random values.
#include "tests/cpu/oracle/fixups.h"

#include "vm/cpu/flags.h"

#include <algorithm>

namespace snowglobe::oracle {
namespace {

using vm::kEax;
using vm::kEbp;
using vm::kEcx;
using vm::kEdi;
using vm::kEdx;
using vm::kEsi;
using vm::kEsp;

/// Selectors of which both descriptor tables (ours and that of 64-bit Linux) say the same. Of the
/// null ones only 0: the host's kernel turns 1 to 3 into 0 when it interrupts the harness.
u16 data_selector(Random& random) {
  constexpr u16 kSelectors[] = {0,    3,    0x2B, 0x2A, 0x28,   0x23, 0x63,
                                0x10, 0x18, 0x1B, 0x40, 0xFFFF, 0x2F};
  return kSelectors[random.below(std::size(kSelectors))];
}
/// The stack must stay where it is: nothing that loads but is not flat.
u16 stack_selector(Random& random) {
  constexpr u16 kSelectors[] = {0, 0x2B, 0x2B, 0x2A, 0x23, 0x10, 0x18, 0x40, 0xFFFB};
  return kSelectors[random.below(std::size(kSelectors))];
}
/// Nothing that would switch to 64-bit mode.
u16 code_selector(Random& random) {
  constexpr u16 kSelectors[] = {0x23, 0x23, 0x23, 0x22, 0x20, 0,
                                0x2B, 0x08, 0x10, 0x18, 0x40, 0xFFFB};
  return kSelectors[random.below(std::size(kSelectors))];
}

u32 landing(Random& random) {
  return ORACLE_LANDING + random.below(ORACLE_LANDING_END - ORACLE_LANDING);
}

void store_code(const Draft& draft, unsigned at, u32 value, unsigned size) {
  for (unsigned i = 0; i < size && at + i < kMaxCode; ++i) {
    const auto byte = static_cast<u8>(value >> (8 * i));
    draft.test.code[at + i] = draft.test.host_code[at + i] = byte;
  }
}

bool has_stack(const vm::Decoded& decoded) {
  for (unsigned i = 0; i < decoded.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
        operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_ESP) {
      return true;
    }
  }
  return false;
}

/// The stack pointer, and the frame pointer where the instruction uses it.
void place_stack(const Draft& draft) {
  const ZydisMnemonic mnemonic = draft.decoded.info.mnemonic;
  const bool frame = mnemonic == ZYDIS_MNEMONIC_ENTER || mnemonic == ZYDIS_MNEMONIC_LEAVE;
  if (frame) {
    draft.place.set(kEbp, draft.place.pick_stack());
    draft.place.cover(draft.input().gpr[kEbp] - 160, 192);
  }
  const bool implicit = has_stack(draft.decoded) || frame || mnemonic == ZYDIS_MNEMONIC_IRET ||
                        mnemonic == ZYDIS_MNEMONIC_IRETD || mnemonic == ZYDIS_MNEMONIC_PUSHA ||
                        mnemonic == ZYDIS_MNEMONIC_PUSHAD || mnemonic == ZYDIS_MNEMONIC_POPA ||
                        mnemonic == ZYDIS_MNEMONIC_POPAD;
  if (implicit) {
    draft.place.set(kEsp, draft.place.pick_stack());
    draft.place.cover(draft.input().gpr[kEsp] - (frame ? 176 : 48), frame ? 192 : 96);
  }
}

bool is_repeated(const Draft& draft) {
  return (draft.decoded.info.attributes &
          (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
}

/// Windows as long as the string is, and for comparisons equal contents so that they go on.
bool complete_string(const Draft& draft) {
  const OracleInput& input = draft.input();
  const bool short_address = draft.decoded.info.address_width == 16;
  const u32 count = short_address ? input.gpr[kEcx] & 0xFFFF : input.gpr[kEcx];
  const u32 bytes = count * draft.operand_bytes();
  const bool down = (input.eflags & vm::kFlagDf) != 0;
  const u32 fill = draft.random.chance(1, 2) ? input.gpr[kEax] : draft.random.next32();
  const bool equal = draft.random.chance(1, 2);
  for (unsigned i = 0; i < draft.decoded.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = draft.decoded.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
    const u32 address = draft.place.address_of(operand);
    const u32 begin = down ? address - bytes : address;
    draft.place.cover(begin, bytes + 8);
    if (!equal) continue;
    const u32 length = draft.operand_bytes();
    for (u32 at = 0; at < bytes; at += length) {
      u8 item[4];
      base::store_le(item, fill);
      draft.place.poke(down ? address - at : address + at, {item, std::min(length, 4u)});
    }
  }
  return true;
}

/// Jcc, LOOP, CALL and JMP with a distance: a short one lands in the filler of the slot, a long one
/// where nothing is mapped. With 66 the target has 16 bits: nothing is mapped there either.
bool complete_relative(const Draft& draft) {
  const auto& immediate = draft.decoded.info.raw.imm[0];
  if (draft.decoded.info.operand_width == 16 || !immediate.is_relative) return true;
  const u32 end = draft.input().eip + draft.test.length;
  if (immediate.size == 32) {
    store_code(draft, immediate.offset, landing(draft.random) - end, 4);
    return true;
  }
  const u32 slot = slot_address(draft.test.index);
  const u32 start = draft.input().eip - slot;
  for (unsigned attempt = 0; attempt < 16; ++attempt) {
    const u32 distance = draft.random.below(256) - 128;
    const u32 target = end + distance - slot;
    const bool own = target >= start && target < start + draft.test.length + 5u;
    if (target >= ORACLE_SLOT || own) continue;
    store_code(draft, immediate.offset, distance, 1);
    return true;
  }
  return false;
}

/// A code pointer where the operand says: near, or far with a selector behind the offset.
bool complete_pointer(const Draft& draft, bool far) {
  const ZydisDecodedOperand& operand = draft.decoded.operands[0];
  const u32 target = landing(draft.random);
  if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
    const RegisterPart part = register_part(operand.reg.value);
    if (part.valid && !draft.place.pinned(part.number)) draft.place.set_part(part, target);
    return true;
  }
  const u32 address = draft.place.address_of(operand);
  // The stack pointer moves before or after the operand is read: cover both.
  draft.place.poke32(address, target);
  if (far) draft.place.poke16(address + draft.operand_bytes(), code_selector(draft.random));
  return true;
}

bool complete_far_immediate(const Draft& draft) {
  const auto& info = draft.decoded.info;
  const unsigned offset_size = info.operand_width / 8u;
  const unsigned at = info.length - offset_size - 2u;
  store_code(draft, at, landing(draft.random), offset_size);
  store_code(draft, at + offset_size, code_selector(draft.random), 2);
  return true;
}

bool complete_branch(const Draft& draft) {
  const auto& info = draft.decoded.info;
  if (info.raw.imm[0].is_relative) return complete_relative(draft);
  const bool far = info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
  if (draft.decoded.operands[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
    return complete_far_immediate(draft);
  }
  return complete_pointer(draft, far);
}

/// What RET, RETF and IRET pop.
bool complete_return(const Draft& draft) {
  const u32 esp = draft.input().gpr[kEsp];
  const unsigned size = draft.operand_bytes();
  const u32 flags = draft.random.next32() & ~vm::kFlagTf;
  draft.place.poke32(esp, landing(draft.random));
  if (draft.decoded.info.mnemonic == ZYDIS_MNEMONIC_RET &&
      draft.decoded.info.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR) {
    return true;
  }
  draft.place.poke16(esp + size, code_selector(draft.random));
  if (draft.decoded.info.mnemonic == ZYDIS_MNEMONIC_RET) return true;
  if (size == 4) draft.place.poke32(esp + 2 * size, flags);
  if (size == 2) draft.place.poke16(esp + 2 * size, static_cast<u16>(flags));
  return true;
}

/// POPF: everything but TF, which would trap behind the instruction.
bool complete_popf(const Draft& draft) {
  const u32 flags = draft.random.next32() & ~vm::kFlagTf;
  const u32 esp = draft.input().gpr[kEsp];
  if (draft.operand_bytes() == 4) draft.place.poke32(esp, flags);
  if (draft.operand_bytes() == 2) draft.place.poke16(esp, static_cast<u16>(flags));
  return true;
}

u16 selector_for(const Draft& draft, ZydisRegister segment) {
  return segment == ZYDIS_REGISTER_SS ? stack_selector(draft.random) : data_selector(draft.random);
}

/// Puts a selector into a register or memory operand.
bool set_selector(const Draft& draft, const ZydisDecodedOperand& operand, u32 displacement,
                  u16 selector) {
  if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
    const RegisterPart part = register_part(operand.reg.value);
    if (part.valid) draft.place.set_part({true, part.number, 0xFFFF}, selector);
  } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
    draft.place.poke16(draft.place.address_of(operand) + displacement, selector);
  }
  return true;
}

bool complete_move_to_segment(const Draft& draft) {
  const ZydisDecodedOperand& to = draft.decoded.operands[0];
  if (to.type != ZYDIS_OPERAND_TYPE_REGISTER) return true;
  if (ZydisRegisterGetClass(to.reg.value) != ZYDIS_REGCLASS_SEGMENT) return true;
  const ZydisDecodedOperand& from = draft.decoded.operands[1];
  // An operand that is read-only memory holds what it holds: a stack segment must not come from
  // there.
  if (to.reg.value == ZYDIS_REGISTER_SS && from.type == ZYDIS_OPERAND_TYPE_MEMORY) {
    const u32 page = (draft.place.address_of(from) - ORACLE_ARENA) / vm::kPageSize;
    if (page == ORACLE_READ_ONLY_PAGE || page + 1 == ORACLE_READ_ONLY_PAGE) return false;
  }
  return set_selector(draft, from, 0, selector_for(draft, to.reg.value));
}

bool complete_pop(const Draft& draft) {
  const ZydisDecodedOperand& to = draft.decoded.operands[0];
  if (to.type != ZYDIS_OPERAND_TYPE_REGISTER) return true;
  if (ZydisRegisterGetClass(to.reg.value) != ZYDIS_REGCLASS_SEGMENT) return true;
  const u32 esp = draft.input().gpr[kEsp];
  const u32 page = (esp - ORACLE_ARENA) / vm::kPageSize;
  if (page + 1 >= ORACLE_READ_ONLY_PAGE && page <= ORACLE_READ_ONLY_PAGE) return false;
  draft.place.poke16(esp, selector_for(draft, to.reg.value));
  return true;
}

bool complete_load_pointer(const Draft& draft) {  // LDS, LES, LSS, LFS, LGS
  const bool stack = draft.decoded.info.mnemonic == ZYDIS_MNEMONIC_LSS;
  const ZydisDecodedOperand& from = draft.decoded.operands[1];
  const u32 page = (draft.place.address_of(from) - ORACLE_ARENA) / vm::kPageSize;
  if (page + 1 >= ORACLE_READ_ONLY_PAGE && page <= ORACLE_READ_ONLY_PAGE) return false;
  return set_selector(draft, from, draft.operand_bytes(),
                      stack ? stack_selector(draft.random) : data_selector(draft.random));
}

/// LAR, LSL, VERR, VERW: descriptors that are the same in both tables.
bool complete_inspect(const Draft& draft) {
  constexpr u16 kSelectors[] = {0, 3, 0x2B, 0x28, 0x23, 0x20, 0x10, 0x18, 0xFFFF, 0x2F};
  const ZydisMnemonic mnemonic = draft.decoded.info.mnemonic;
  const bool has_target = mnemonic == ZYDIS_MNEMONIC_LAR || mnemonic == ZYDIS_MNEMONIC_LSL;
  return set_selector(draft, draft.decoded.operands[has_target ? 1 : 0], 0,
                      kSelectors[draft.random.below(std::size(kSelectors))]);
}

bool complete_interrupt(const Draft& draft) {
  // INT 80 is the host's system call.
  return draft.test.code[draft.test.length - 1u] != 0x80;
}

/// DIV and IDIV: most random operands overflow; make the quotient fit half of the time.
bool complete_division(const Draft& draft) {
  if (draft.random.chance(1, 2)) return true;
  OracleInput& input = draft.input();
  const bool is_signed = draft.decoded.info.mnemonic == ZYDIS_MNEMONIC_IDIV;
  const u32 small = draft.random.below(2) == 0 ? 0 : draft.random.below(64);
  if (draft.decoded.operands[0].size == 8) {
    if (!draft.place.pinned(kEax)) input.gpr[kEax] &= 0xFFFF00FF | small << 8;
    return true;
  }
  if (draft.place.pinned(kEdx)) return true;
  const u32 sign = is_signed && (input.gpr[kEax] >> 31) != 0 ? 0xFFFFFFFF : 0;
  input.gpr[kEdx] = draft.random.chance(1, 2) ? sign : sign ^ small;
  return true;
}

/// CMPXCHG and CMPXCHG8B: make the comparison succeed half of the time.
bool complete_compare_exchange(const Draft& draft) {
  if (draft.random.chance(1, 2)) return true;
  OracleInput& input = draft.input();
  const ZydisDecodedOperand& operand = draft.decoded.operands[0];
  if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
    const u32 address = draft.place.address_of(operand);
    u8 value[8];
    base::store_le(value, input.gpr[kEax]);
    base::store_le(value + 4, input.gpr[kEdx]);
    draft.place.poke(address, {value, std::min<std::size_t>(operand.size / 8u, 8)});
  } else {
    const RegisterPart part = register_part(operand.reg.value);
    if (part.valid) input.gpr[part.number] = input.gpr[kEax];
  }
  return true;
}

/// BT and kin with a bit number in a register reach 256 MiB round the operand: keep them near, and
/// cover where they go.
bool complete_bit_string(const Draft& draft) {
  const ZydisDecodedOperand& operand = draft.decoded.operands[0];
  const ZydisDecodedOperand& bit = draft.decoded.operands[1];
  if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) return true;
  if (bit.type != ZYDIS_OPERAND_TYPE_REGISTER) return true;
  const RegisterPart part = register_part(bit.reg.value);
  if (!draft.place.pinned(part.number)) {
    draft.place.set_part(part, draft.random.below(2048) - 1024);
  }
  const unsigned width = operand.size;
  auto number = static_cast<vm::i32>(draft.place.part(part));
  if (width == 16) number = static_cast<vm::i16>(number);
  const u32 address = draft.place.address_of(operand) +
                      static_cast<u32>(number >> (width == 16 ? 4 : 5)) * (width / 8);
  draft.place.cover(address, width / 8);
  return Placement::is_safe(address);
}

/// ENTER copies frame pointers from below EBP.
bool complete_image(const Draft& draft) {  // FXRSTOR, LDMXCSR, FLDENV, FRSTOR
  const ZydisDecodedOperand& operand = draft.decoded.operands[0];
  const u32 address = draft.place.address_of(operand);
  u8 image[512];
  edge_fx_state(draft.random, image);
  const ZydisMnemonic mnemonic = draft.decoded.info.mnemonic;
  if (mnemonic == ZYDIS_MNEMONIC_LDMXCSR) {
    // Bit 17 exists on AMD only; the others that are reserved give #GP everywhere.
    const u32 reserved = draft.random.chance(1, 16) ? draft.random.next32() & 0xFFFD0000 : 0;
    draft.place.poke32(address, base::load_le<u32>(image + 24) | reserved);
  } else if (mnemonic == ZYDIS_MNEMONIC_FXRSTOR) {
    draft.place.poke(address, image);
    if (draft.random.chance(1, 16))
      draft.place.poke32(address + 24, draft.random.next32() & 0xFFFDFFFF);
  } else if (draft.random.chance(7, 8)) {
    const unsigned step = draft.operand_bytes();
    draft.place.poke16(address, base::load_le<u16>(image));
    draft.place.poke16(address + step, base::load_le<u16>(image + 2));
    draft.place.poke16(address + 2 * step, static_cast<u16>(draft.random.next()));
  }
  return true;
}

bool complete_bound(const Draft& draft) {
  if (draft.random.chance(1, 3)) return true;
  const u32 address = draft.place.address_of(draft.decoded.operands[1]);
  const u32 low = 0x80000000u, high = 0x7FFFFFFF;
  if (draft.operand_bytes() == 4) {
    draft.place.poke32(address, low);
    draft.place.poke32(address + 4, high);
  } else {
    draft.place.poke16(address, 0x8000);
    draft.place.poke16(address + 2, 0x7FFF);
  }
  return true;
}

using Complete = bool (*)(const Draft& draft);
struct Entry {
  ZydisMnemonic mnemonic;
  Complete complete;
};

constexpr Entry kEntries[] = {
    {ZYDIS_MNEMONIC_RET, complete_return},
    {ZYDIS_MNEMONIC_IRET, complete_return},
    {ZYDIS_MNEMONIC_IRETD, complete_return},
    {ZYDIS_MNEMONIC_POPF, complete_popf},
    {ZYDIS_MNEMONIC_POPFD, complete_popf},
    {ZYDIS_MNEMONIC_MOV, complete_move_to_segment},
    {ZYDIS_MNEMONIC_POP, complete_pop},
    {ZYDIS_MNEMONIC_LDS, complete_load_pointer},
    {ZYDIS_MNEMONIC_LES, complete_load_pointer},
    {ZYDIS_MNEMONIC_LSS, complete_load_pointer},
    {ZYDIS_MNEMONIC_LFS, complete_load_pointer},
    {ZYDIS_MNEMONIC_LGS, complete_load_pointer},
    {ZYDIS_MNEMONIC_LAR, complete_inspect},
    {ZYDIS_MNEMONIC_LSL, complete_inspect},
    {ZYDIS_MNEMONIC_VERR, complete_inspect},
    {ZYDIS_MNEMONIC_VERW, complete_inspect},
    {ZYDIS_MNEMONIC_INT, complete_interrupt},
    {ZYDIS_MNEMONIC_DIV, complete_division},
    {ZYDIS_MNEMONIC_IDIV, complete_division},
    {ZYDIS_MNEMONIC_CMPXCHG, complete_compare_exchange},
    {ZYDIS_MNEMONIC_CMPXCHG8B, complete_compare_exchange},
    {ZYDIS_MNEMONIC_BT, complete_bit_string},
    {ZYDIS_MNEMONIC_BTS, complete_bit_string},
    {ZYDIS_MNEMONIC_BTR, complete_bit_string},
    {ZYDIS_MNEMONIC_BTC, complete_bit_string},
    {ZYDIS_MNEMONIC_LDMXCSR, complete_image},
    {ZYDIS_MNEMONIC_FXRSTOR, complete_image},
    {ZYDIS_MNEMONIC_FLDENV, complete_image},
    {ZYDIS_MNEMONIC_FRSTOR, complete_image},
    {ZYDIS_MNEMONIC_BOUND, complete_bound},
};

}  // namespace

void prepare(const Draft& draft) {
  if (is_repeated(draft)) {
    const u32 limit = draft.random.chance(1, 16) ? 64 : 9;
    const u32 count = draft.random.below(limit);
    const bool short_address = draft.decoded.info.address_width == 16;
    draft.place.set_part({true, kEcx, short_address ? 0xFFFFu : 0xFFFFFFFFu}, count);
  }
  place_stack(draft);
}

bool complete(const Draft& draft) {
  if (draft.decoded.info.meta.category == ZYDIS_CATEGORY_STRINGOP && is_repeated(draft)) {
    return complete_string(draft);
  }
  switch (draft.decoded.info.meta.branch_type) {
    case ZYDIS_BRANCH_TYPE_SHORT:
    case ZYDIS_BRANCH_TYPE_NEAR:
    case ZYDIS_BRANCH_TYPE_FAR:
      if (draft.decoded.info.mnemonic == ZYDIS_MNEMONIC_RET ||
          draft.decoded.info.mnemonic == ZYDIS_MNEMONIC_IRET ||
          draft.decoded.info.mnemonic == ZYDIS_MNEMONIC_IRETD) {
        return complete_return(draft);
      }
      return complete_branch(draft);
    default:
      break;
  }
  const auto* const found = std::find_if(
      std::begin(kEntries), std::end(kEntries),
      [&](const Entry& entry) { return entry.mnemonic == draft.decoded.info.mnemonic; });
  return found == std::end(kEntries) || found->complete(draft);
}

}  // namespace snowglobe::oracle
