// vm/cpu/translator/guest_decoder.cc - patterns of instructions that are encoded alike.
//
// Nothing about x86 is known here but where a ModRM and a SIB byte are (Intel SDM Vol. 2A, 2.1.3):
// what an opcode has is learned from Zydis' first answer.
#include "vm/cpu/translator/guest_decoder.h"

namespace snowglobe::vm {
namespace {

// Kinds of prefixes that a pattern may have one of.
constexpr u8 kind_of_prefix(u8 byte) {
  switch (byte) {
    case 0x65:
      return 1;
    case 0x66:
      return 2;
    case 0xF2:
      return 3;
    case 0xF3:
      return 4;
    case 0xF0:
      return 5;
    default:
      return 0;
  }
}

constexpr std::size_t kLongestHead = 5;  // prefix, 0F, opcode, ModRM, SIB

// `count` is 1, 2 or 4.
u32 read_value(const u8* from, unsigned count, bool extend_sign) {
  switch (count) {
    case 1:
      return extend_sign ? static_cast<u32>(static_cast<i8>(*from)) : *from;
    case 2: {
      const u16 value = base::load_le<u16>(from);
      return extend_sign ? static_cast<u32>(static_cast<i16>(value)) : value;
    }
    default:
      return base::load_le<u32>(from);
  }
}

}  // namespace

std::optional<GuestDecoder::Head> GuestDecoder::head_of(base::ConstBytes bytes) {
  if (bytes.size() < kLongestHead) return std::nullopt;
  Head head;
  head.prefix = kind_of_prefix(bytes[0]);
  std::size_t at = head.prefix != 0 ? 1 : 0;
  head.wide_map = bytes[at] == 0x0F;
  if (head.wide_map) ++at;
  head.opcode = bytes[at];
  head.bytes = static_cast<u8>(at + 1);
  return head;
}

u32 GuestDecoder::key_of(const Head& head, base::ConstBytes bytes, bool user, bool modrm) {
  u32 key = 1u << 31 | u32{head.prefix} << 26 | u32{head.wide_map} << 25 | u32{user} << 24 |
            u32{head.opcode} << 16;
  if (!modrm) return key;
  const u8 named = bytes[head.bytes];
  key |= u32{named} << 8;
  const bool sib = named < 0xC0 && (named & 7) == 4;
  return sib ? key | bytes[head.bytes + 1u] : key;
}

bool GuestDecoder::decode(base::ConstBytes bytes, bool user, GuestInsn& insn) {
  const std::optional<Head> head = head_of(bytes);
  const Modrm modrm = head ? modrm_of(*head) : Modrm::kUnknown;
  if (modrm != Modrm::kUnknown) {
    const u32 key = key_of(*head, bytes, user, modrm == Modrm::kPresent);
    const u16 slot = slot_of(key);
    const Pattern* const pattern = slot != 0 ? &patterns_[slot - 1u] : nullptr;
    if (pattern != nullptr && pattern->key == key && pattern->insn.length <= bytes.size()) {
      ++statistics_.alike;
      const u16 offset = insn.offset;
      insn = pattern->insn;
      insn.offset = offset;
      insn.bytes = bytes.data();
      if (pattern->disp_bytes != 0) {
        insn.disp = static_cast<i32>(
            read_value(bytes.data() + pattern->disp_offset, pattern->disp_bytes, true));
      }
      if (insn.immediate_bytes != 0) {
        insn.immediate = read_value(bytes.data() + insn.immediate_offset, insn.immediate_bytes,
                                    pattern->immediate_signed);
      }
      return true;
    }
  }
  Decoded decoded;
  if (!ask(bytes, user, insn, decoded)) return false;
  if (head) remember(*head, bytes, user, decoded, insn);
  return true;
}

bool GuestDecoder::ask(base::ConstBytes bytes, bool user, GuestInsn& insn, Decoded& decoded) {
  ++statistics_.asked;
  Insn slots[2];
  const bool known = decoder_.decode_raw(bytes, decoded);
  const Decoder::Result result =
      known ? decoder_.bind(decoded, 0, slots) : decoder_.decode(bytes, 0, slots);
  if (result.outcome == Decoder::Outcome::kTruncated) return false;
  const u16 offset = insn.offset;
  insn = result.outcome == Decoder::Outcome::kOk ? classify(decoded, user) : GuestInsn{};
  insn.offset = offset;
  insn.bytes = bytes.data();
  return true;
}

void GuestDecoder::remember(const Head& head, base::ConstBytes bytes, bool user,
                            const Decoded& decoded, const GuestInsn& insn) {
  // `decoded` says something only if there is a way other than this.
  if (insn.way == Way::kHandlerEnd || !is_alike(decoded, insn)) return;
  const ZydisDecodedInstruction& info = decoded.info;
  // Otherwise the head is not what it looks like.
  const bool one_map = insn.second_map == 0 && insn.wide_map == head.wide_map;
  if (info.raw.prefix_count != (head.prefix != 0 ? 1 : 0) || !one_map ||
      info.opcode != head.opcode || info.raw.imm[1].size != 0) {
    return;
  }
  modrm_of(head) = insn.has_modrm ? Modrm::kPresent : Modrm::kAbsent;
  Pattern pattern;
  pattern.key = key_of(head, bytes, user, insn.has_modrm);
  pattern.disp_offset = info.raw.disp.offset;
  pattern.disp_bytes = insn.has_memory ? static_cast<u8>(info.raw.disp.size / 8) : u8{0};
  pattern.immediate_signed = info.raw.imm[0].is_signed != ZYAN_FALSE;
  pattern.insn = insn;
  u16& slot = slot_of(pattern.key);
  if (slot == 0) {
    patterns_.push_back(pattern);
    slot = static_cast<u16>(patterns_.size());
  } else {
    patterns_[slot - 1u] = pattern;
  }
}

}  // namespace snowglobe::vm
