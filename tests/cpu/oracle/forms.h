// tests/cpu/oracle/forms.h - every encoding of one- and two-byte opcodes, sorted by what is to
// happen with it: compared with the host, refused by our processor, or left out.
#pragma once

#include "tests/cpu/oracle/case.h"
#include "vm/cpu/decoder.h"

#include <Zydis/Zydis.h>
#include <map>
#include <string>
#include <vector>

namespace snowglobe::oracle {

/// What is to happen with an instruction.
enum class Disposition : u8 {
  kCompare,   ///< CPUID grants it: the host is the oracle
  kRefuse,    ///< CPUID does not grant it: #UD, and the host is not asked
  kLeaveOut,  ///< the host can not be the oracle
};

/// Cells of the opcode map that differ only in the ModRM byte.
struct Form {
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
  CaseKind kind = CaseKind::kCompare;
  u8 prefix = 0;  ///< 66, F2, F3 or 0
  u8 opcode_length = 1;
  std::array<u8, 3> opcode{};
  std::vector<u8> modrm;  ///< the bytes that give this form; empty if it has none
};

/// Zydis, set to decode as the processor that we emulate would: no LZCNT, TZCNT, CET, MPX, ...
class GrantedDecoder {
 public:
  GrantedDecoder();
  bool decode(base::ConstBytes bytes, vm::Decoded& decoded) const;

 private:
  ZydisDecoder decoder_;
};

class FormTable {
 public:
  FormTable();

  bool decode(base::ConstBytes bytes, vm::Decoded& decoded) const {
    return decoder_.decode(bytes, decoded);
  }
  [[nodiscard]] static Disposition disposition(const ZydisDecodedInstruction& info);

  [[nodiscard]] const std::vector<Form>& forms() const { return forms_; }
  /// Forms by mnemonic, so that a rare mnemonic gets its share. Not granted ones are under INVALID.
  [[nodiscard]] const std::map<ZydisMnemonic, std::vector<u32>>& by_mnemonic() const {
    return by_mnemonic_;
  }

 private:
  struct Cell;
  void enumerate(std::span<const u8> opcode);
  void add_vector_prefixes();
  bool inspect(const Cell& cell, Form& form) const;
  [[nodiscard]] bool redundant(const Cell& cell, const vm::Decoded& decoded) const;

  GrantedDecoder decoder_;
  std::vector<Form> forms_;
  std::map<ZydisMnemonic, std::vector<u32>> by_mnemonic_;
};

}  // namespace snowglobe::oracle
