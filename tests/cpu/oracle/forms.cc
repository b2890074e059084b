// tests/cpu/oracle/forms.cc - walks the opcode maps with Zydis and sorts what it finds.
#include "tests/cpu/oracle/forms.h"

#include "base/check.h"

#include <algorithm>
#include <optional>

namespace snowglobe::oracle {
namespace {

/// The instruction sets behind the CPUID bits that we grant: fpu, tsc, msr, cx8, sep, cmov, pse,
/// pge, fxsr, mmx, sse, sse2 (a GenuineIntel of family 6).
constexpr ZydisISASet kGranted[] = {
    ZYDIS_ISA_SET_I86,        ZYDIS_ISA_SET_I186,          ZYDIS_ISA_SET_I386,
    ZYDIS_ISA_SET_I486,       ZYDIS_ISA_SET_I286PROTECTED, ZYDIS_ISA_SET_I286REAL,
    ZYDIS_ISA_SET_I486REAL,   ZYDIS_ISA_SET_PENTIUMREAL,   ZYDIS_ISA_SET_PPRO,
    ZYDIS_ISA_SET_CMOV,       ZYDIS_ISA_SET_FCMOV,         ZYDIS_ISA_SET_FAT_NOP,
    ZYDIS_ISA_SET_FXSAVE,     ZYDIS_ISA_SET_LAHF,          ZYDIS_ISA_SET_PAUSE,
    ZYDIS_ISA_SET_PENTIUMMMX, ZYDIS_ISA_SET_SSE,           ZYDIS_ISA_SET_SSE2,
    ZYDIS_ISA_SET_SSE2MMX,    ZYDIS_ISA_SET_SSEMXCSR,      ZYDIS_ISA_SET_SSE_PREFETCH,
    ZYDIS_ISA_SET_X87,
};

/// Instructions of ring 3 that a host of today answers differently, or about itself.
constexpr ZydisMnemonic kNotOnHost[] = {
    ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSRET, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_SYSEXIT,
    ZYDIS_MNEMONIC_CPUID,   ZYDIS_MNEMONIC_RDTSC,  ZYDIS_MNEMONIC_RDPMC,    ZYDIS_MNEMONIC_SGDT,
    ZYDIS_MNEMONIC_SIDT,    ZYDIS_MNEMONIC_SLDT,   ZYDIS_MNEMONIC_STR,      ZYDIS_MNEMONIC_SMSW,
    ZYDIS_MNEMONIC_RSM,     ZYDIS_MNEMONIC_INT1,
};

constexpr u8 kPrefixBytes[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3};

bool contains(std::span<const u8> bytes, u8 byte) {
  return std::find(bytes.begin(), bytes.end(), byte) != bytes.end();
}

/// Cells that Zydis does not know and a new processor might: 0F 01 (virtual machines and more), 0F
/// 05, 0F 07, 0F 34, 0F 35 (system calls), 0F AE and 0F C7 with a register, and XOP.
bool unknown_may_act(std::span<const u8> opcode, u8 modrm) {
  if (opcode[0] != 0x0F) return opcode[0] == 0x8F;
  constexpr u8 kSecond[] = {0x01, 0x05, 0x07, 0x34, 0x35};
  if (contains(kSecond, opcode[1])) return true;
  return (opcode[1] == 0xAE || opcode[1] == 0xC7) && modrm >= 0xC0;
}

}  // namespace

struct FormTable::Cell {
  u8 prefix = 0;
  std::span<const u8> opcode;
  u8 modrm = 0;

  /// The cell as an instruction; what follows the ModRM byte is as good as anything.
  [[nodiscard]] std::array<u8, 15> bytes(bool with_prefix) const {
    std::array<u8, 15> result{};
    std::size_t at = 0;
    if (with_prefix && prefix != 0) result[at++] = prefix;
    for (const u8 byte : opcode)
      result[at++] = byte;
    result[at] = modrm;
    return result;
  }
};

GrantedDecoder::GrantedDecoder() {
  ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
  for (const ZydisDecoderMode mode :
       {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_LZCNT,
        ZYDIS_DECODER_MODE_TZCNT, ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE}) {
    const ZyanStatus status = ZydisDecoderEnableMode(&decoder_, mode, ZYAN_FALSE);
    SG_ASSERT(ZYAN_SUCCESS(status), "Zydis knows its modes");
  }
}

bool GrantedDecoder::decode(base::ConstBytes bytes, vm::Decoded& decoded) const {
  return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, bytes.data(), bytes.size(), &decoded.info,
                                             decoded.operands));
}

FormTable::FormTable() {
  for (unsigned first = 0; first < 256; ++first) {
    const auto byte = static_cast<u8>(first);
    if (contains(kPrefixBytes, byte) || byte == 0x0F) continue;
    const u8 opcode[] = {byte};
    enumerate(opcode);
  }
  for (unsigned second = 0; second < 256; ++second) {
    const u8 opcode[] = {0x0F, static_cast<u8>(second)};
    if (second != 0x38 && second != 0x3A) enumerate(opcode);
  }
  for (unsigned third = 0; third < 256;
       third += 5) {  // SSSE3 and later: all refused, a sample does
    for (const u8 map : {u8{0x38}, u8{0x3A}}) {
      const u8 opcode[] = {0x0F, map, static_cast<u8>(third)};
      enumerate(opcode);
    }
  }
  add_vector_prefixes();
  for (u32 i = 0; i < forms_.size(); ++i) {
    const Form& form = forms_[i];
    const bool granted = form.kind == CaseKind::kCompare;
    by_mnemonic_[granted ? form.mnemonic : ZYDIS_MNEMONIC_INVALID].push_back(i);
  }
}

Disposition FormTable::disposition(const ZydisDecodedInstruction& info) {
  if (std::find(std::begin(kNotOnHost), std::end(kNotOnHost), info.mnemonic) !=
      std::end(kNotOnHost)) {
    return Disposition::kLeaveOut;
  }
  // PREFETCHW and its kin: 3DNow! brought them, and the NOPs beside them.
  if (info.opcode_map == ZYDIS_OPCODE_MAP_0F && info.opcode == 0x0D) return Disposition::kRefuse;
  const bool granted =
      info.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
      std::find(std::begin(kGranted), std::end(kGranted), info.meta.isa_set) != std::end(kGranted);
  return granted ? Disposition::kCompare : Disposition::kRefuse;
}

bool FormTable::redundant(const Cell& cell, const vm::Decoded& decoded) const {
  if (cell.prefix == 0) return false;
  constexpr ZydisInstructionAttributes kRepeats =
      ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;
  if (cell.prefix != 0x66 && (decoded.info.attributes & kRepeats) != 0) return false;
  vm::Decoded plain;
  if (!decode(cell.bytes(false), plain)) return false;
  return plain.info.mnemonic == decoded.info.mnemonic &&
         (cell.prefix != 0x66 || plain.info.operand_width == decoded.info.operand_width);
}

bool FormTable::inspect(const Cell& cell, Form& form) const {
  vm::Decoded decoded;
  form.prefix = cell.prefix;
  form.opcode_length = static_cast<u8>(cell.opcode.size());
  std::copy(cell.opcode.begin(), cell.opcode.end(), form.opcode.begin());
  if (!decode(cell.bytes(true), decoded)) {
    form.mnemonic = ZYDIS_MNEMONIC_INVALID;
    form.kind = cell.opcode.size() > 2 ? CaseKind::kRefused : CaseKind::kCompare;
    return !unknown_may_act(cell.opcode, cell.modrm);
  }
  if (redundant(cell, decoded)) return false;
  const Disposition what = disposition(decoded.info);
  form.mnemonic = decoded.info.mnemonic;
  form.kind = what == Disposition::kCompare ? CaseKind::kCompare : CaseKind::kRefused;
  return what != Disposition::kLeaveOut;
}

void FormTable::enumerate(std::span<const u8> opcode) {
  for (const u8 prefix : {u8{0}, u8{0x66}, u8{0xF2}, u8{0xF3}}) {
    // Forms of this opcode, told apart by mnemonic, kind and whether they have a memory operand.
    std::map<std::tuple<ZydisMnemonic, CaseKind, bool>, Form> found;
    bool has_modrm = true;
    for (unsigned modrm = 0; modrm < 256 && has_modrm; ++modrm) {
      const Cell cell{prefix, opcode, static_cast<u8>(modrm)};
      vm::Decoded decoded;
      const bool valid = decode(cell.bytes(true), decoded);
      if (valid) has_modrm = (decoded.info.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
      Form form;
      if (!inspect(cell, form)) continue;
      const bool memory = has_modrm && modrm < 0xC0;
      Form& kept = found.try_emplace({form.mnemonic, form.kind, memory}, form).first->second;
      if (has_modrm) kept.modrm.push_back(static_cast<u8>(modrm));
    }
    for (auto& [key, form] : found)
      forms_.push_back(std::move(form));
  }
}

void FormTable::add_vector_prefixes() {
  // C4, C5 and 62 with a register in ModRM are VEX and EVEX on new processors, and #UD on ours
  // (LES, LDS and BOUND want memory); 8F with reg != 0 is XOP.
  std::vector<u8> registers;
  for (unsigned modrm = 0xC0; modrm < 256; ++modrm)
    registers.push_back(static_cast<u8>(modrm));
  for (const u8 opcode : {u8{0xC4}, u8{0xC5}, u8{0x62}}) {
    std::erase_if(forms_, [&](const Form& form) {
      return form.opcode[0] == opcode && !form.modrm.empty() && form.modrm.back() >= 0xC0;
    });
    Form form;
    form.kind = CaseKind::kRefused;
    form.opcode[0] = opcode;
    form.modrm = registers;
    forms_.push_back(std::move(form));
  }
}

}  // namespace snowglobe::oracle
