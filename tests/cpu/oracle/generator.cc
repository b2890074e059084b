// tests/cpu/oracle/generator.cc - from a form of the table to a case.
#include "tests/cpu/oracle/generator.h"

#include "tests/cpu/oracle/fixups.h"
#include "tests/cpu/oracle/placement.h"
#include "tests/cpu/oracle/values.h"

#include <algorithm>
#include <cstring>

namespace snowglobe::oracle {
namespace {

constexpr unsigned kUsualStart = 144;  // in the slot: a short branch fits in both directions

/// Bytes being put together.
struct Assembly {
  std::array<u8, kMaxCode> bytes{};
  unsigned size = 0;

  void add(u8 byte) {
    if (size < bytes.size()) bytes[size++] = byte;
  }
  void add(u32 value, unsigned count) {
    for (unsigned i = 0; i < count; ++i)
      add(static_cast<u8>(value >> (8 * i)));
  }
};

/// Prefixes besides the form's own. True: the address size is 16 bits.
bool add_prefixes(Random& random, const Form& form, Assembly& code) {
  std::array<u8, 16> prefixes{};
  unsigned count = 0;
  const u32 dice = random.below(1024);
  bool short_address = false;
  if (form.prefix != 0) prefixes[count++] = form.prefix;
  if (dice < 64) {  // segment overrides; GS has a base
    constexpr u8 kSegments[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x65, 0x65};
    prefixes[count++] = kSegments[random.below(8)];
  } else if (dice < 104) {
    prefixes[count++] = 0x67;
    short_address = true;
    if (random.chance(3, 4)) prefixes[count++] = 0x65;
  } else if (dice < 136) {
    prefixes[count++] = 0xF0;
  } else if (dice < 160) {
    prefixes[count++] = 0x66;
  } else if (dice < 184) {
    prefixes[count++] = random.chance(1, 2) ? 0xF2 : 0xF3;
  } else if (dice < 188) {  // near the limit of 15 bytes, and over it
    const unsigned fill = 8 + random.below(7);
    while (count < fill)
      prefixes[count++] = random.chance(1, 2) ? 0x3E : 0x26;
  }
  if (count > 1 && random.chance(1, 2)) std::swap(prefixes[0], prefixes[1]);
  for (unsigned i = 0; i < count; ++i)
    code.add(prefixes[i]);
  return short_address;
}

u32 displacement(Random& random) {
  return random.chance(1, 2) ? random.below(256) - 128 : edge32(random);
}

/// Scale-index-base byte and displacement (Intel SDM Vol. 2A, 2.1.5).
void add_address(Random& random, u8 modrm, bool short_address, Assembly& code) {
  const unsigned mod = modrm >> 6, rm = modrm & 7u;
  if (mod == 3) return;
  if (short_address) {
    const unsigned size = mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
    code.add(displacement(random), size);
    return;
  }
  unsigned size = mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0;
  if (rm == 4) {
    const auto sib = static_cast<u8>(random.next());
    code.add(sib);
    if (mod == 0) size = (sib & 7) == 5 ? 4 : 0;
  }
  code.add(displacement(random), size);
}

Assembly assemble(Random& random, const Form& form) {
  Assembly code;
  const bool short_address = add_prefixes(random, form, code);
  for (unsigned i = 0; i < form.opcode_length; ++i)
    code.add(form.opcode[i]);
  if (!form.modrm.empty()) {
    const u8 modrm = form.modrm[random.below(static_cast<u32>(form.modrm.size()))];
    code.add(modrm);
    add_address(random, modrm, short_address, code);
  }
  const unsigned without_immediate = code.size;
  code.add(edge32(random), 4);
  code.add(edge32(random), 4);
  code.size = without_immediate;  // the decoder says how much of it belongs to the instruction
  return code;
}

/// The prefix that chooses a segment.
u8 override_of(ZydisRegister segment) {
  switch (segment) {
    case ZYDIS_REGISTER_ES:
      return 0x26;
    case ZYDIS_REGISTER_CS:
      return 0x2E;
    case ZYDIS_REGISTER_SS:
      return 0x36;
    case ZYDIS_REGISTER_FS:
      return 0x64;
    case ZYDIS_REGISTER_GS:
      return 0x65;
    default:
      return 0x3E;
  }
}

/// F3 0F BC is BSF on our processor and TZCNT on the host: the host gets a prefix without effect,
/// the segment override that is there already, or one of DS, which is flat as well.
void adapt_for_host(const vm::Decoded& decoded, Case& test) {
  test.host_code = test.code;
  const bool scan = decoded.info.opcode_map == ZYDIS_OPCODE_MAP_0F &&
                    (decoded.info.opcode == 0xBC || decoded.info.opcode == 0xBD);
  if (!scan) return;
  const u8 neutral = decoded.is_memory(1) ? override_of(decoded.operand(1).mem.segment) : u8{0x3E};
  for (unsigned i = 0; i < decoded.info.raw.prefix_count; ++i) {
    u8& byte = test.host_code[i];
    if (byte == 0xF3) byte = neutral;
  }
}

/// Refused whatever follows: how much of it the processor looks at before it says so, who knows.
bool is_undefined_opcode(ZydisMnemonic mnemonic) {
  return mnemonic == ZYDIS_MNEMONIC_INVALID || mnemonic == ZYDIS_MNEMONIC_UD0 ||
         mnemonic == ZYDIS_MNEMONIC_UD1;
}

/// Where the instruction starts. Slots that hold a page border in a fit place get it across it; the
/// last slot ends where nothing is mapped behind.
u32 choose_start(Random& random, const Case& test) {
  const u32 slot = slot_address(test.index);
  const bool plain = test.kind == CaseKind::kCompare && !is_undefined_opcode(test.mnemonic);
  const u32 before = 1 + random.below(14);
  if (plain && test.index % ORACLE_BATCH == ORACLE_BATCH - 1) return slot + ORACLE_SLOT - before;
  const u32 border = -slot & vm::kPageMask;
  if (plain && (border == 128 || border == 192)) return slot + border - before;
  return slot + kUsualStart + random.below(16);
}

bool uses_fx(const ZydisDecodedInstruction& info) {
  switch (info.meta.category) {
    case ZYDIS_CATEGORY_X87_ALU:
    case ZYDIS_CATEGORY_FCMOV:
    case ZYDIS_CATEGORY_MMX:
    case ZYDIS_CATEGORY_SSE:
    case ZYDIS_CATEGORY_CONVERT:
      return true;
    default:
      break;
  }
  switch (info.meta.isa_set) {
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_FCMOV:
    case ZYDIS_ISA_SET_FXSAVE:
    case ZYDIS_ISA_SET_PENTIUMMMX:
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
    case ZYDIS_ISA_SET_SSEMXCSR:
      return true;
    default:
      return false;
  }
}

void draw_state(Random& random, Case& test) {
  OracleInput& input = test.input;
  for (u32& reg : input.gpr)
    reg = edge32(random);
  const u64 bits = random.next();
  input.eflags = 0x202 | (static_cast<u32>(bits) & vm::kArithmeticFlags);
  if ((bits >> 32 & 3) == 0) input.eflags |= vm::kFlagDf;
  if ((bits >> 34 & 63) == 0) input.eflags |= vm::kFlagAc;
  if ((bits >> 40 & 63) == 0) input.eflags |= vm::kFlagId;
  input.selectors[0] = input.selectors[1] = ORACLE_DS;
  input.selectors[2] = 0;
  input.selectors[3] = ORACLE_GS;
  input.options = 0;
  input.window_count = 0;
  if ((bits >> 48 & 31) == 0) {
    constexpr u16 kChoices[] = {ORACLE_DS, ORACLE_DS, ORACLE_GS, 0};
    for (unsigned i = 0; i < 4; ++i)
      input.selectors[i] = kChoices[bits >> (54 + 2 * i) & 3];
    input.options |= ORACLE_LOADS_SEGMENTS;
  }
}

/// A value for a memory operand, after what its elements are.
void draw_operand(Random& random, const ZydisDecodedOperand& operand, u8* to, unsigned size) {
  const auto fill = [&](unsigned step, auto draw) {
    for (unsigned i = 0; i + step <= size; i += step)
      base::store_le(to + i, draw());
  };
  switch (operand.element_type) {
    case ZYDIS_ELEMENT_TYPE_FLOAT32:
      fill(4, [&] { return edge_float32(random); });
      return;
    case ZYDIS_ELEMENT_TYPE_FLOAT64:
      fill(8, [&] { return edge_float64(random); });
      return;
    case ZYDIS_ELEMENT_TYPE_FLOAT80:
      edge_float80(random, to);
      return;
    case ZYDIS_ELEMENT_TYPE_LONGBCD:
      edge_decimal(random, to);
      return;
    default:
      break;
  }
  if (size == 16) {
    edge_vector(random, to);
  } else if (size == 8) {
    base::store_le(to, random.chance(1, 2) ? edge64(random) : edge_float64(random));
  } else {
    fill(4, [&] { return edge32(random); });
    for (unsigned i = size & ~3u; i < size; ++i)
      to[i] = static_cast<u8>(edge32(random));
  }
}

bool is_access(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_MEM;
}

/// Aims all memory operands, explicit and implied, and sets what they hold. False: not safe to run.
bool place_operands(const Draft& draft) {
  for (unsigned i = 0; i < draft.decoded.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = draft.decoded.operands[i];
    if (!is_access(operand)) continue;
    const unsigned size = std::max(1u, operand.size / 8u);
    const u32 target = draft.place.pick_target(size, size >= 16);
    const u32 address = draft.place.aim(operand, target);
    if (!Placement::is_safe(address)) return false;
    draft.place.cover(address, size);
    u8 value[512];
    if (size > sizeof value) continue;
    draw_operand(draft.random, operand, value, size);
    draft.place.poke(address, {value, size});
  }
  return true;
}

/// A signal that finds ESP in the harness's signal stack is taken for a nested one: the kernel goes
/// on there, and ends the process if there is no room.
bool is_in_harness(u32 esp) {
  return esp >= ORACLE_IMAGE && esp < ORACLE_STUB;
}

void mark(const vm::Decoded& decoded, bool valid, Case& test) {
  test.mnemonic = valid ? decoded.info.mnemonic : ZYDIS_MNEMONIC_INVALID;
  test.breakpoint = test.mnemonic == ZYDIS_MNEMONIC_INT3 || test.mnemonic == ZYDIS_MNEMONIC_INT;
}

}  // namespace

Generator::Generator(u64 seed, std::span<const std::string> only) : seed_(seed) {
  for (const auto& [mnemonic, forms] : table_.by_mnemonic()) {
    const std::string name =
        mnemonic == ZYDIS_MNEMONIC_INVALID ? "(refused)" : ZydisMnemonicGetString(mnemonic);
    if (!only.empty() && std::find(only.begin(), only.end(), name) == only.end()) continue;
    choices_.push_back(forms);
    all_.insert(all_.end(), forms.begin(), forms.end());
  }
}

void Generator::make(u64 index, Case& test) const {
  test.index = index;
  for (u64 attempt = 0;; ++attempt) {
    Random random(seed_ + attempt * 0x51ED270B, index);
    // Half of the cases go by mnemonic, half by encoding.
    const auto& list =
        random.chance(1, 2) ? choices_[random.below(static_cast<u32>(choices_.size()))] : all_;
    const Form& form = table_.forms()[list[random.below(static_cast<u32>(list.size()))]];
    const Assembly code = assemble(random, form);
    test.code = code.bytes;
    vm::Decoded decoded;
    const bool valid = table_.decode({test.code.data(), 15}, decoded);
    mark(decoded, valid, test);
    test.kind = form.kind;
    draw_state(random, test);
    if (!valid) {
      // Not known, and perhaps longer than 15 bytes with an immediate that Zydis does not count:
      // #UD or #GP, who knows. (Known ones that are too long are cases.)
      const bool unknown = form.kind == CaseKind::kRefused || is_undefined_opcode(form.mnemonic);
      if (unknown && code.size > 10) continue;
      if (is_in_harness(test.input.gpr[vm::kEsp])) continue;
      test.host_code = test.code;
      test.length = static_cast<u8>(code.size);
      if (form.kind == CaseKind::kCompare && form.mnemonic == ZYDIS_MNEMONIC_INVALID &&
          random.chance(3, 4)) {
        continue;  // most of the map is valid: what is not needs no equal share
      }
      test.input.eip = choose_start(random, test);
      return;
    }
    test.length = decoded.info.length;
    const Disposition what = FormTable::disposition(decoded.info);
    if (what == Disposition::kLeaveOut) continue;
    test.kind = what == Disposition::kRefuse ? CaseKind::kRefused : CaseKind::kCompare;
    adapt_for_host(decoded, test);
    test.input.eip = choose_start(random, test);
    if (test.kind == CaseKind::kRefused) return;
    if (uses_fx(decoded.info) || random.chance(1, 32)) {
      test.input.options |= ORACLE_USES_FX;
      edge_fx_state(random, test.input.fx);
    }
    Placement place(random, decoded, test);
    const Draft draft{random, decoded, test, place};
    prepare(draft);
    if (place_operands(draft) && complete(draft) && !is_in_harness(test.input.gpr[vm::kEsp])) {
      return;
    }
  }
}

std::string_view case_name(const Case& test) {
  if (test.kind == CaseKind::kRefused) return "(refused)";
  if (test.mnemonic == ZYDIS_MNEMONIC_INVALID) return "(invalid)";
  return ZydisMnemonicGetString(test.mnemonic);
}

}  // namespace snowglobe::oracle
