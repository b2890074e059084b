// vm/cpu/translator/guest_decoder.h - from bytes to GuestInsn, by Zydis, which is asked once for
// all instructions that are encoded alike.
#pragma once

#include "base/bytes.h"
#include "vm/cpu/decoder.h"
#include "vm/cpu/translator/guest_code.h"

#include <array>
#include <optional>
#include <vector>

namespace snowglobe::vm {

/// Asking Zydis takes half the time that a translation takes. But nine of ten instructions differ
/// from one before only in displacement and immediate: they are copies of that one's GuestInsn.
class GuestDecoder {
 public:
  /// Decodes the instruction at the start of `bytes`. One that can not be decoded, or is not
  /// granted, is kHandlerEnd: its handler says why. insn.offset is left to the caller. False if the
  /// bytes end inside of it.
  bool decode(base::ConstBytes bytes, bool user, GuestInsn& insn);
  /// For the interpreter's view of an instruction.
  [[nodiscard]] const Decoder& decoder() const { return decoder_; }

  struct Statistics {
    u64 asked = 0;  ///< Zydis
    u64 alike = 0;
  };
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }

 private:
  static constexpr std::size_t kSlots = 8192;
  static constexpr std::size_t kPrefixes = 6;  ///< kinds of them, "none" among them
  enum class Modrm : u8 { kUnknown, kAbsent, kPresent };

  /// Up to the byte in front of displacement and immediate.
  struct Head {
    u8 prefix = 0;
    bool wide_map = false;
    u8 opcode = 0;
    u8 bytes = 0;  ///< up to and with the opcode
  };
  struct Pattern {
    u32 key = 0;
    u8 disp_offset = 0;
    u8 disp_bytes = 0;
    bool immediate_signed = false;
    GuestInsn insn;
  };

  static std::optional<Head> head_of(base::ConstBytes bytes);
  Modrm& modrm_of(const Head& head) {
    return modrms_[(std::size_t{head.prefix} * 2 + (head.wide_map ? 1 : 0)) * 256 + head.opcode];
  }
  static u32 key_of(const Head& head, base::ConstBytes bytes, bool user, bool modrm);
  u16& slot_of(u32 key) { return slots_[(key * 0x9E3779B1u >> 19) % kSlots]; }
  bool ask(base::ConstBytes bytes, bool user, GuestInsn& insn, Decoded& decoded);
  void remember(const Head& head, base::ConstBytes bytes, bool user, const Decoded& decoded,
                const GuestInsn& insn);

  Decoder decoder_;
  Statistics statistics_;
  std::array<Modrm, kPrefixes * 2 * 256> modrms_{};
  std::array<u16, kSlots> slots_{};  ///< number in patterns_ plus 1; 0: none
  std::vector<Pattern> patterns_;
};

}  // namespace snowglobe::vm
