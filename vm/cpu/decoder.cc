// vm/cpu/decoder.cc - Zydis set up as the granted processor, and the choice of handlers.
#include "vm/cpu/decoder.h"

#include "vm/cpu/cpu.h"

#include <algorithm>
#include <array>

namespace snowglobe::vm {
namespace {

// More than this many bindings for one mnemonic there are not (MOV: general, segment, CRn/DRn).
constexpr std::size_t kMaxBindings = 4;

class BindingTable {
 public:
  BindingTable() {
    for (const auto family :
         {integer_bindings(), system_bindings(), x87_bindings(), simd_bindings()}) {
      for (const Binding& binding : family)
        add(binding);
    }
  }
  [[nodiscard]] std::span<const Binding* const> find(ZydisMnemonic mnemonic) const {
    const Row& row = rows_[mnemonic];
    return {row.bindings.data(), row.count};
  }

 private:
  struct Row {
    std::array<const Binding*, kMaxBindings> bindings{};
    std::size_t count = 0;
  };
  void add(const Binding& binding) {
    Row& row = rows_[binding.mnemonic];
    SG_ASSERT(row.count < kMaxBindings, "too many bindings for one mnemonic");
    row.bindings[row.count++] = &binding;
  }
  std::array<Row, ZYDIS_MNEMONIC_MAX_VALUE + 1> rows_{};
};

const BindingTable& binding_table() {
  // Immutable after its construction; machines may outlive static destructors.
  static const BindingTable* const table = new BindingTable;
  return *table;
}

const Insn* raise_invalid_opcode(Cpu& cpu, const Insn* insn) {
  return cpu.raise(insn, Vector::kInvalidOpcode);
}

const Insn* raise_too_long(Cpu& cpu, const Insn* insn) {
  return cpu.raise(insn, Vector::kGeneralProtection, 0);
}

// Runs ahead of an instruction with 16-bit addressing: leaves the address, cut to 16 bits, in the
// scratch register, which is then the instruction's base.
const Insn* truncate_address(Cpu& cpu, const Insn* insn) {
  cpu.state.gpr[kRegScratch] = cpu.effective_address(insn) & 0xFFFF;
  return next(cpu, insn);
}

u8 gpr_index(ZydisRegister reg) {
  return reg == ZYDIS_REGISTER_NONE ? kRegZero : static_cast<u8>(ZydisRegisterGetId(reg));
}

u8 log2_scale(u8 scale) {
  return scale <= 1 ? u8{0} : static_cast<u8>(std::countr_zero(scale));
}

u8 segment_index(ZydisRegister reg) {
  switch (reg) {
    case ZYDIS_REGISTER_ES:
      return kEs;
    case ZYDIS_REGISTER_CS:
      return kCs;
    case ZYDIS_REGISTER_SS:
      return kSs;
    case ZYDIS_REGISTER_FS:
      return kFs;
    case ZYDIS_REGISTER_GS:
      return kGs;
    default:
      return kDs;
  }
}

// The operand in memory that ModRM or a moffs names; for string instructions the first one.
const ZydisDecodedOperand* find_memory_operand(const Decoded& decoded) {
  for (unsigned i = 0; i < decoded.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
        operand.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
      return &operand;
    }
  }
  return nullptr;
}

void bind_memory(const ZydisDecodedOperand& operand, Insn& insn) {
  insn.base = gpr_index(operand.mem.base);
  insn.index = gpr_index(operand.mem.index);
  insn.scale = log2_scale(operand.mem.scale);
  insn.disp = static_cast<u32>(operand.mem.disp.value);
  insn.segment = segment_index(operand.mem.segment);
}

// C4, C5 and 62 with a register operand are LES, LDS and BOUND that can not be: #UD at once. Zydis
// takes them for VEX and EVEX and wants to see more bytes first.
bool is_vector_prefix(base::ConstBytes bytes) {
  constexpr std::array<u8, 11> kLegacyPrefixes = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65,
                                                  0x66, 0x67, 0xF0, 0xF2, 0xF3};
  std::size_t at = 0;
  while (at < bytes.size() && std::ranges::count(kLegacyPrefixes, bytes[at]) != 0)
    ++at;
  if (at + 1 >= bytes.size()) return false;
  const u8 opcode = bytes[at];
  return (opcode == 0xC4 || opcode == 0xC5 || opcode == 0x62) && bytes[at + 1] >= 0xC0;
}

}  // namespace

u8 Decoded::register_number(unsigned i) const {
  const ZydisRegister reg = operands[i].reg.value;
  if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BH) {
    return static_cast<u8>(reg - ZYDIS_REGISTER_AL);
  }
  if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_SEGMENT) return segment_index(reg);
  return static_cast<u8>(ZydisRegisterGetId(reg));
}

u8 Decoded::segment_override() const {
  const ZydisInstructionAttributes attributes = info.attributes;
  if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS) != 0) return kCs;
  if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS) != 0) return kSs;
  if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES) != 0) return kEs;
  if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) != 0) return kFs;
  if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) != 0) return kGs;
  return kDs;
}

std::span<const Binding> integer_bindings() {
  static const auto* const all = [] {  // machines may outlive static destructors
    std::vector<Binding> joined;
    for (const auto family : {alu_bindings(), data_bindings(), shift_bindings(), string_bindings(),
                              control_bindings()}) {
      joined.insert(joined.end(), family.begin(), family.end());
    }
    return new std::vector<Binding>(std::move(joined));
  }();
  return *all;
}

Decoder::Decoder() {
  ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
  // Encodings that newer processors gave a meaning execute as they did before: as NOP, BSF, BSR.
  for (const ZydisDecoderMode mode :
       {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_LZCNT,
        ZYDIS_DECODER_MODE_TZCNT, ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE,
        ZYDIS_DECODER_MODE_KNC}) {
    ZydisDecoderEnableMode(&decoder_, mode, ZYAN_FALSE);
  }
}

bool Decoder::decode_raw(base::ConstBytes bytes, Decoded& decoded) const {
  return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, bytes.data(), bytes.size(), &decoded.info,
                                             decoded.operands));
}

Decoder::Result Decoder::decode(base::ConstBytes bytes, u16 offset, Insn out[2]) const {
  out[0] = Insn{};
  out[0].offset = offset;
  out[0].length = 1;
  out[0].handler = raise_invalid_opcode;

  Decoded decoded;
  const ZyanStatus status = ZydisDecoderDecodeFull(&decoder_, bytes.data(), bytes.size(),
                                                   &decoded.info, decoded.operands);
  if (!ZYAN_SUCCESS(status) && is_vector_prefix(bytes)) return {Outcome::kInvalid, true, 1};
  if (status == ZYDIS_STATUS_NO_MORE_DATA) {
    if (bytes.size() < ZYDIS_MAX_INSTRUCTION_LENGTH) return {Outcome::kTruncated, true, 1};
    out[0].handler = raise_too_long;
    return {Outcome::kTooLong, true, 1};
  }
  if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
    out[0].handler = raise_too_long;
    return {Outcome::kTooLong, true, 1};
  }
  if (!ZYAN_SUCCESS(status)) return {Outcome::kInvalid, true, 1};
  return bind(decoded, offset, out);
}

Decoder::Result Decoder::bind(const Decoded& decoded, u16 offset, Insn out[2]) const {
  Insn insn;
  insn.offset = offset;
  insn.length = decoded.info.length;
  const ZydisDecodedOperand* memory = find_memory_operand(decoded);
  bool helper_ahead = false;
  if (memory != nullptr) {
    bind_memory(*memory, insn);
    // Zydis extends the sign of a 16-bit moffs; with a ModRM byte the helper cuts the sum.
    if (decoded.info.address_width == 16) insn.disp &= 0xFFFF;
    helper_ahead =
        decoded.info.address_width == 16 && (decoded.info.attributes & ZYDIS_ATTRIB_HAS_MODRM);
  }
  Insn address_helper = insn;
  if (helper_ahead) {
    address_helper.handler = truncate_address;
    insn.base = kRegScratch;
    insn.index = kRegZero;
    insn.scale = 0;
    insn.disp = 0;
  }
  for (const Binding* binding : binding_table().find(decoded.info.mnemonic)) {
    Insn bound = insn;
    if (!binding->bind(decoded, bound)) continue;
    if (!helper_ahead) {
      out[0] = bound;
      return {Outcome::kOk, binding->ends_block, 1};
    }
    out[0] = address_helper;
    out[1] = bound;
    return {Outcome::kOk, binding->ends_block, 2};
  }
  out[0] = Insn{};
  out[0].handler = raise_invalid_opcode;
  out[0].offset = offset;
  out[0].length = decoded.info.length;
  return {Outcome::kInvalid, true, 1};
}

}  // namespace snowglobe::vm
