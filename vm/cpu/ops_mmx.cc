// vm/cpu/ops_mmx.cc - packed integers: one operation each for MMX and XMM registers.
// An MMX operand is the low half of an XMM one; where that is not the same thing, it is said.
#include "vm/cpu/simd.h"

namespace snowglobe::vm::simd {
namespace {

using V = __m128i;

// --- operations: (destination, source) -> result ------------------------------------------------

constexpr auto kPaddb = [](V a, V b) { return _mm_add_epi8(a, b); };
constexpr auto kPaddw = [](V a, V b) { return _mm_add_epi16(a, b); };
constexpr auto kPaddd = [](V a, V b) { return _mm_add_epi32(a, b); };
constexpr auto kPaddq = [](V a, V b) { return _mm_add_epi64(a, b); };
constexpr auto kPaddsb = [](V a, V b) { return _mm_adds_epi8(a, b); };
constexpr auto kPaddsw = [](V a, V b) { return _mm_adds_epi16(a, b); };
constexpr auto kPaddusb = [](V a, V b) { return _mm_adds_epu8(a, b); };
constexpr auto kPaddusw = [](V a, V b) { return _mm_adds_epu16(a, b); };
constexpr auto kPsubb = [](V a, V b) { return _mm_sub_epi8(a, b); };
constexpr auto kPsubw = [](V a, V b) { return _mm_sub_epi16(a, b); };
constexpr auto kPsubd = [](V a, V b) { return _mm_sub_epi32(a, b); };
constexpr auto kPsubq = [](V a, V b) { return _mm_sub_epi64(a, b); };
constexpr auto kPsubsb = [](V a, V b) { return _mm_subs_epi8(a, b); };
constexpr auto kPsubsw = [](V a, V b) { return _mm_subs_epi16(a, b); };
constexpr auto kPsubusb = [](V a, V b) { return _mm_subs_epu8(a, b); };
constexpr auto kPsubusw = [](V a, V b) { return _mm_subs_epu16(a, b); };
constexpr auto kPmullw = [](V a, V b) { return _mm_mullo_epi16(a, b); };
constexpr auto kPmulhw = [](V a, V b) { return _mm_mulhi_epi16(a, b); };
constexpr auto kPmulhuw = [](V a, V b) { return _mm_mulhi_epu16(a, b); };
constexpr auto kPmuludq = [](V a, V b) { return _mm_mul_epu32(a, b); };
constexpr auto kPmaddwd = [](V a, V b) { return _mm_madd_epi16(a, b); };
constexpr auto kPsadbw = [](V a, V b) { return _mm_sad_epu8(a, b); };
constexpr auto kPavgb = [](V a, V b) { return _mm_avg_epu8(a, b); };
constexpr auto kPavgw = [](V a, V b) { return _mm_avg_epu16(a, b); };
constexpr auto kPmaxsw = [](V a, V b) { return _mm_max_epi16(a, b); };
constexpr auto kPmaxub = [](V a, V b) { return _mm_max_epu8(a, b); };
constexpr auto kPminsw = [](V a, V b) { return _mm_min_epi16(a, b); };
constexpr auto kPminub = [](V a, V b) { return _mm_min_epu8(a, b); };
constexpr auto kPcmpeqb = [](V a, V b) { return _mm_cmpeq_epi8(a, b); };
constexpr auto kPcmpeqw = [](V a, V b) { return _mm_cmpeq_epi16(a, b); };
constexpr auto kPcmpeqd = [](V a, V b) { return _mm_cmpeq_epi32(a, b); };
constexpr auto kPcmpgtb = [](V a, V b) { return _mm_cmpgt_epi8(a, b); };
constexpr auto kPcmpgtw = [](V a, V b) { return _mm_cmpgt_epi16(a, b); };
constexpr auto kPcmpgtd = [](V a, V b) { return _mm_cmpgt_epi32(a, b); };
constexpr auto kAnd = [](V a, V b) { return _mm_and_si128(a, b); };
constexpr auto kAndNot = [](V a, V b) { return _mm_andnot_si128(a, b); };
constexpr auto kOr = [](V a, V b) { return _mm_or_si128(a, b); };
constexpr auto kXor = [](V a, V b) { return _mm_xor_si128(a, b); };
constexpr auto kUnpackLowBytes = [](V a, V b) { return _mm_unpacklo_epi8(a, b); };
constexpr auto kUnpackLowWords = [](V a, V b) { return _mm_unpacklo_epi16(a, b); };
constexpr auto kUnpackLowDwords = [](V a, V b) { return _mm_unpacklo_epi32(a, b); };
constexpr auto kUnpackLowQwords = [](V a, V b) { return _mm_unpacklo_epi64(a, b); };
constexpr auto kUnpackHighBytes = [](V a, V b) { return _mm_unpackhi_epi8(a, b); };
constexpr auto kUnpackHighWords = [](V a, V b) { return _mm_unpackhi_epi16(a, b); };
constexpr auto kUnpackHighDwords = [](V a, V b) { return _mm_unpackhi_epi32(a, b); };
constexpr auto kUnpackHighQwords = [](V a, V b) { return _mm_unpackhi_epi64(a, b); };
constexpr auto kPacksswb = [](V a, V b) { return _mm_packs_epi16(a, b); };
constexpr auto kPackssdw = [](V a, V b) { return _mm_packs_epi32(a, b); };
constexpr auto kPackuswb = [](V a, V b) { return _mm_packus_epi16(a, b); };
// The count is the low 64 bits of the source; too large a one gives zeros or signs.
constexpr auto kPsllw = [](V a, V b) { return _mm_sll_epi16(a, b); };
constexpr auto kPslld = [](V a, V b) { return _mm_sll_epi32(a, b); };
constexpr auto kPsllq = [](V a, V b) { return _mm_sll_epi64(a, b); };
constexpr auto kPsrlw = [](V a, V b) { return _mm_srl_epi16(a, b); };
constexpr auto kPsrld = [](V a, V b) { return _mm_srl_epi32(a, b); };
constexpr auto kPsrlq = [](V a, V b) { return _mm_srl_epi64(a, b); };
constexpr auto kPsraw = [](V a, V b) { return _mm_sra_epi16(a, b); };
constexpr auto kPsrad = [](V a, V b) { return _mm_sra_epi32(a, b); };

// The same on 64 bits, where the halves of an XMM register matter: the high half of an 8-byte
// unpack is what unpacking the low half of 16 bytes leaves on top; a pack takes all of both
// operands.
template <auto kUnpackLow>
constexpr auto kHighOfLow = [](V a, V b) { return _mm_srli_si128(kUnpackLow(a, b), 8); };
template <auto kPack>
constexpr auto kPackJoined = [](V a, V b) {
  const V joined = _mm_unpacklo_epi64(a, b);
  return kPack(joined, joined);
};

// --- handlers -----------------------------------------------------------------------------------

template <auto kOperation>
const Insn* xmm_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  write_xmm(cpu, insn->reg, kOperation(read_xmm(cpu, insn->reg), read_xmm(cpu, insn->rm)));
  return next(cpu, insn);
}

template <auto kOperation>
const Insn* xmm_memory(Cpu& cpu, const Insn* insn) {
  Xmm source;
  if (!check_sse(cpu, insn) || !load_aligned(cpu, insn, source)) [[unlikely]]
    return nullptr;
  write_xmm(cpu, insn->reg, kOperation(read_xmm(cpu, insn->reg), from_xmm(source)));
  return next(cpu, insn);
}

/// Shifts by an immediate.
template <auto kOperation>
const Insn* xmm_immediate(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  write_xmm(cpu, insn->reg, kOperation(read_xmm(cpu, insn->reg), from_u64(insn->imm)));
  return next(cpu, insn);
}

template <auto kOperation>
void apply_mmx(Cpu& cpu, const Insn* insn, u64 source) {
  const u64 result = low_u64(kOperation(from_u64(read_mmx(cpu, insn->reg)), from_u64(source)));
  enter_mmx(cpu);
  write_mmx(cpu, insn->reg, result);
}

template <auto kOperation>
const Insn* mmx_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) [[unlikely]]
    return nullptr;
  apply_mmx<kOperation>(cpu, insn, read_mmx(cpu, insn->rm));
  return next(cpu, insn);
}

/// T is the width of the operand in memory: PUNPCKLxx mm, m32 reads only what it uses.
template <auto kOperation, class T>
const Insn* mmx_memory(Cpu& cpu, const Insn* insn) {
  T source = 0;
  if (!check_mmx(cpu, insn) || !cpu.load(insn, source)) [[unlikely]]
    return nullptr;
  apply_mmx<kOperation>(cpu, insn, source);
  return next(cpu, insn);
}

template <auto kOperation>
const Insn* mmx_immediate(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) [[unlikely]]
    return nullptr;
  apply_mmx<kOperation>(cpu, insn, insn->imm);
  return next(cpu, insn);
}

template <bool kLeft>
const Insn* shift_bytes(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) return nullptr;
  const Xmm from = cpu.state.xmm[insn->reg];
  Xmm& to = cpu.state.xmm[insn->reg];
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned source = kLeft ? i - insn->imm : i + insn->imm;
    to.bytes[i] = source < 16 ? from.bytes[source] : u8{0};
  }
  return next(cpu, insn);
}

const Insn* emms(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  x87::set_top(cpu.state.x87, 0);
  cpu.state.x87.tag = 0xFFFF;
  return next(cpu, insn);
}

// --- binders ------------------------------------------------------------------------------------

/// `kMmx` is the operation on MMX registers, `MmxSource` its width in memory.
template <auto kXmm, auto kMmx = kXmm, class MmxSource = u64>
bool bind_packed(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  const bool mmx = is_mmx(decoded, 0);
  if (decoded.is_immediate(1)) {
    insn.imm = decoded.immediate(1) & 0xFF;
    insn.handler = mmx ? mmx_immediate<kMmx> : xmm_immediate<kXmm>;
  } else if (decoded.is_memory(1)) {
    insn.handler = mmx ? mmx_memory<kMmx, MmxSource> : xmm_memory<kXmm>;
  } else {
    insn.rm = decoded.register_number(1);
    insn.handler = mmx ? mmx_mmx<kMmx> : xmm_xmm<kXmm>;
  }
  return true;
}

template <bool kLeft>
bool bind_shift_bytes(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.imm = decoded.immediate(1) & 0xFF;
  insn.handler = shift_bytes<kLeft>;
  return true;
}

bool bind_emms(const Decoded&, Insn& insn) {
  insn.handler = emms;
  return true;
}

constexpr Binding kArithmetic[] = {
    {ZYDIS_MNEMONIC_PADDB, bind_packed<kPaddb>},
    {ZYDIS_MNEMONIC_PADDW, bind_packed<kPaddw>},
    {ZYDIS_MNEMONIC_PADDD, bind_packed<kPaddd>},
    {ZYDIS_MNEMONIC_PADDQ, bind_packed<kPaddq>},
    {ZYDIS_MNEMONIC_PADDSB, bind_packed<kPaddsb>},
    {ZYDIS_MNEMONIC_PADDSW, bind_packed<kPaddsw>},
    {ZYDIS_MNEMONIC_PADDUSB, bind_packed<kPaddusb>},
    {ZYDIS_MNEMONIC_PADDUSW, bind_packed<kPaddusw>},
    {ZYDIS_MNEMONIC_PSUBB, bind_packed<kPsubb>},
    {ZYDIS_MNEMONIC_PSUBW, bind_packed<kPsubw>},
    {ZYDIS_MNEMONIC_PSUBD, bind_packed<kPsubd>},
    {ZYDIS_MNEMONIC_PSUBQ, bind_packed<kPsubq>},
    {ZYDIS_MNEMONIC_PSUBSB, bind_packed<kPsubsb>},
    {ZYDIS_MNEMONIC_PSUBSW, bind_packed<kPsubsw>},
    {ZYDIS_MNEMONIC_PSUBUSB, bind_packed<kPsubusb>},
    {ZYDIS_MNEMONIC_PSUBUSW, bind_packed<kPsubusw>},
    {ZYDIS_MNEMONIC_PMULLW, bind_packed<kPmullw>},
    {ZYDIS_MNEMONIC_PMULHW, bind_packed<kPmulhw>},
    {ZYDIS_MNEMONIC_PMULHUW, bind_packed<kPmulhuw>},
    {ZYDIS_MNEMONIC_PMULUDQ, bind_packed<kPmuludq>},
    {ZYDIS_MNEMONIC_PMADDWD, bind_packed<kPmaddwd>},
    {ZYDIS_MNEMONIC_PSADBW, bind_packed<kPsadbw>},
    {ZYDIS_MNEMONIC_PAVGB, bind_packed<kPavgb>},
    {ZYDIS_MNEMONIC_PAVGW, bind_packed<kPavgw>},
    {ZYDIS_MNEMONIC_PMAXSW, bind_packed<kPmaxsw>},
    {ZYDIS_MNEMONIC_PMAXUB, bind_packed<kPmaxub>},
    {ZYDIS_MNEMONIC_PMINSW, bind_packed<kPminsw>},
    {ZYDIS_MNEMONIC_PMINUB, bind_packed<kPminub>},
    {ZYDIS_MNEMONIC_PCMPEQB, bind_packed<kPcmpeqb>},
    {ZYDIS_MNEMONIC_PCMPEQW, bind_packed<kPcmpeqw>},
    {ZYDIS_MNEMONIC_PCMPEQD, bind_packed<kPcmpeqd>},
    {ZYDIS_MNEMONIC_PCMPGTB, bind_packed<kPcmpgtb>},
    {ZYDIS_MNEMONIC_PCMPGTW, bind_packed<kPcmpgtw>},
    {ZYDIS_MNEMONIC_PCMPGTD, bind_packed<kPcmpgtd>},
    // Logic on numbers is logic on bits.
    {ZYDIS_MNEMONIC_PAND, bind_packed<kAnd>},
    {ZYDIS_MNEMONIC_ANDPS, bind_packed<kAnd>},
    {ZYDIS_MNEMONIC_ANDPD, bind_packed<kAnd>},
    {ZYDIS_MNEMONIC_PANDN, bind_packed<kAndNot>},
    {ZYDIS_MNEMONIC_ANDNPS, bind_packed<kAndNot>},
    {ZYDIS_MNEMONIC_ANDNPD, bind_packed<kAndNot>},
    {ZYDIS_MNEMONIC_POR, bind_packed<kOr>},
    {ZYDIS_MNEMONIC_ORPS, bind_packed<kOr>},
    {ZYDIS_MNEMONIC_ORPD, bind_packed<kOr>},
    {ZYDIS_MNEMONIC_PXOR, bind_packed<kXor>},
    {ZYDIS_MNEMONIC_XORPS, bind_packed<kXor>},
    {ZYDIS_MNEMONIC_XORPD, bind_packed<kXor>},
    {ZYDIS_MNEMONIC_PUNPCKLBW, bind_packed<kUnpackLowBytes, kUnpackLowBytes, u32>},
    {ZYDIS_MNEMONIC_PUNPCKLWD, bind_packed<kUnpackLowWords, kUnpackLowWords, u32>},
    {ZYDIS_MNEMONIC_PUNPCKLDQ, bind_packed<kUnpackLowDwords, kUnpackLowDwords, u32>},
    {ZYDIS_MNEMONIC_PUNPCKLQDQ, bind_packed<kUnpackLowQwords>},
    {ZYDIS_MNEMONIC_UNPCKLPS, bind_packed<kUnpackLowDwords>},
    {ZYDIS_MNEMONIC_UNPCKLPD, bind_packed<kUnpackLowQwords>},
    {ZYDIS_MNEMONIC_PUNPCKHBW, bind_packed<kUnpackHighBytes, kHighOfLow<kUnpackLowBytes>>},
    {ZYDIS_MNEMONIC_PUNPCKHWD, bind_packed<kUnpackHighWords, kHighOfLow<kUnpackLowWords>>},
    {ZYDIS_MNEMONIC_PUNPCKHDQ, bind_packed<kUnpackHighDwords, kHighOfLow<kUnpackLowDwords>>},
    {ZYDIS_MNEMONIC_PUNPCKHQDQ, bind_packed<kUnpackHighQwords>},
    {ZYDIS_MNEMONIC_UNPCKHPS, bind_packed<kUnpackHighDwords>},
    {ZYDIS_MNEMONIC_UNPCKHPD, bind_packed<kUnpackHighQwords>},
    {ZYDIS_MNEMONIC_PACKSSWB, bind_packed<kPacksswb, kPackJoined<kPacksswb>>},
    {ZYDIS_MNEMONIC_PACKSSDW, bind_packed<kPackssdw, kPackJoined<kPackssdw>>},
    {ZYDIS_MNEMONIC_PACKUSWB, bind_packed<kPackuswb, kPackJoined<kPackuswb>>},
    {ZYDIS_MNEMONIC_PSLLW, bind_packed<kPsllw>},
    {ZYDIS_MNEMONIC_PSLLD, bind_packed<kPslld>},
    {ZYDIS_MNEMONIC_PSLLQ, bind_packed<kPsllq>},
    {ZYDIS_MNEMONIC_PSRLW, bind_packed<kPsrlw>},
    {ZYDIS_MNEMONIC_PSRLD, bind_packed<kPsrld>},
    {ZYDIS_MNEMONIC_PSRLQ, bind_packed<kPsrlq>},
    {ZYDIS_MNEMONIC_PSRAW, bind_packed<kPsraw>},
    {ZYDIS_MNEMONIC_PSRAD, bind_packed<kPsrad>},
    {ZYDIS_MNEMONIC_PSLLDQ, bind_shift_bytes<true>},
    {ZYDIS_MNEMONIC_PSRLDQ, bind_shift_bytes<false>},
    {ZYDIS_MNEMONIC_EMMS, bind_emms},
};

}  // namespace

std::span<const Binding> integer_bindings() {
  return kArithmetic;
}

}  // namespace snowglobe::vm::simd
