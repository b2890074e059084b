// vm/cpu/ops_sse_shuffle.cc - shuffles with an immediate, single words, sign masks.
#include "vm/cpu/simd.h"

namespace snowglobe::vm::simd {
namespace {

template <class T>
using Lanes = std::array<T, 16 / sizeof(T)>;

template <class T>
Lanes<T> lanes(const Xmm& value) {
  return std::bit_cast<Lanes<T>>(value.bytes);
}
template <class T>
Xmm from_lanes(const Lanes<T>& value) {
  return {std::bit_cast<std::array<u8, 16>>(value)};
}

/// Selector `i` of an immediate with two bits each.
constexpr unsigned selector(u32 imm, unsigned i) {
  return (imm >> (2 * i)) & 3u;
}

// --- shuffles: (destination, source, immediate) -> result ---------------------------------------

Xmm pshufd(const Xmm&, const Xmm& source, u32 imm) {
  const auto from = lanes<u32>(source);
  Lanes<u32> to;
  for (unsigned i = 0; i < 4; ++i)
    to[i] = from[selector(imm, i)];
  return from_lanes<u32>(to);
}

template <unsigned kFirst>
Xmm pshufw(const Xmm&, const Xmm& source, u32 imm) {
  const auto from = lanes<u16>(source);
  Lanes<u16> to = from;
  for (unsigned i = 0; i < 4; ++i)
    to[kFirst + i] = from[kFirst + selector(imm, i)];
  return from_lanes<u16>(to);
}

Xmm shufps(const Xmm& destination, const Xmm& source, u32 imm) {
  const auto low = lanes<u32>(destination);
  const auto high = lanes<u32>(source);
  return from_lanes<u32>({low[selector(imm, 0)], low[selector(imm, 1)], high[selector(imm, 2)],
                          high[selector(imm, 3)]});
}

Xmm shufpd(const Xmm& destination, const Xmm& source, u32 imm) {
  return from_lanes<u64>({lanes<u64>(destination)[imm & 1], lanes<u64>(source)[(imm >> 1) & 1]});
}

template <auto kShuffle>
const Insn* shuffle_register(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  Xmm& destination = cpu.state.xmm[insn->reg];
  destination = kShuffle(destination, cpu.state.xmm[insn->rm], insn->imm);
  return next(cpu, insn);
}

template <auto kShuffle>
const Insn* shuffle_memory(Cpu& cpu, const Insn* insn) {
  Xmm source;
  if (!check_sse(cpu, insn) || !load_aligned(cpu, insn, source)) [[unlikely]]
    return nullptr;
  Xmm& destination = cpu.state.xmm[insn->reg];
  destination = kShuffle(destination, source, insn->imm);
  return next(cpu, insn);
}

template <auto kShuffle>
bool bind_shuffle(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.imm = decoded.immediate(2);
  if (decoded.is_memory(1)) {
    insn.handler = shuffle_memory<kShuffle>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = shuffle_register<kShuffle>;
  return true;
}

const Insn* pshufw_mmx(Cpu& cpu, const Insn* insn) {
  u64 source = 0;
  if (!check_mmx(cpu, insn)) return nullptr;
  if (insn->extra != 0) {
    if (!cpu.load(insn, source)) return nullptr;
  } else {
    source = read_mmx(cpu, insn->rm);
  }
  u64 result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const u64 word = (source >> (16 * selector(insn->imm, i))) & 0xFFFF;
    result |= word << (16 * i);
  }
  enter_mmx(cpu);
  write_mmx(cpu, insn->reg, result);
  return next(cpu, insn);
}

bool bind_pshufw(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.imm = decoded.immediate(2);
  insn.extra = decoded.is_memory(1);
  if (decoded.is_register(1)) insn.rm = decoded.register_number(1);
  insn.handler = pshufw_mmx;
  return true;
}

// --- single words -------------------------------------------------------------------------------

/// The word to insert: from memory, or the low half of a general register.
bool load_word(Cpu& cpu, const Insn* insn, u16& word) {
  if (insn->extra != 0) return cpu.load(insn, word);
  word = static_cast<u16>(cpu.state.gpr[insn->rm]);
  return true;
}

const Insn* pinsrw_xmm(Cpu& cpu, const Insn* insn) {
  u16 word = 0;
  if (!check_sse(cpu, insn) || !load_word(cpu, insn, word)) return nullptr;
  base::store_le(&cpu.state.xmm[insn->reg].bytes[std::size_t{insn->imm & 7} * 2], word);
  return next(cpu, insn);
}

const Insn* pinsrw_mmx(Cpu& cpu, const Insn* insn) {
  u16 word = 0;
  if (!check_mmx(cpu, insn) || !load_word(cpu, insn, word)) return nullptr;
  const unsigned shift = (insn->imm & 3) * 16;
  const u64 kept = read_mmx(cpu, insn->reg) & ~(u64{0xFFFF} << shift);
  enter_mmx(cpu);
  write_mmx(cpu, insn->reg, kept | u64{word} << shift);
  return next(cpu, insn);
}

bool bind_pinsrw(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.imm = decoded.immediate(2);
  insn.extra = decoded.is_memory(1);
  if (decoded.is_register(1)) insn.rm = decoded.register_number(1);
  insn.handler = is_mmx(decoded, 0) ? pinsrw_mmx : pinsrw_xmm;
  return true;
}

const Insn* pextrw_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) return nullptr;
  cpu.state.gpr[insn->reg] =
      base::load_le<u16>(&cpu.state.xmm[insn->rm].bytes[std::size_t{insn->imm & 7} * 2]);
  return next(cpu, insn);
}

const Insn* pextrw_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  enter_mmx(cpu);
  cpu.state.gpr[insn->reg] =
      static_cast<u32>(read_mmx(cpu, insn->rm) >> ((insn->imm & 3) * 16)) & 0xFFFF;
  return next(cpu, insn);
}

bool bind_pextrw(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.rm = decoded.register_number(1);
  insn.imm = decoded.immediate(2);
  insn.handler = is_mmx(decoded, 1) ? pextrw_mmx : pextrw_xmm;
  return true;
}

// --- sign masks ---------------------------------------------------------------------------------

constexpr auto kByteSigns = [](__m128i v) { return _mm_movemask_epi8(v); };
constexpr auto kFloatSigns = [](__m128i v) { return _mm_movemask_ps(_mm_castsi128_ps(v)); };
constexpr auto kDoubleSigns = [](__m128i v) { return _mm_movemask_pd(_mm_castsi128_pd(v)); };

template <auto kSigns>
const Insn* movmsk_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  cpu.state.gpr[insn->reg] = static_cast<u32>(kSigns(read_xmm(cpu, insn->rm)));
  return next(cpu, insn);
}

const Insn* pmovmskb_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  enter_mmx(cpu);
  cpu.state.gpr[insn->reg] = static_cast<u32>(kByteSigns(from_u64(read_mmx(cpu, insn->rm))));
  return next(cpu, insn);
}

template <auto kSigns>
bool bind_movmsk(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.rm = decoded.register_number(1);
  insn.handler = is_mmx(decoded, 1) ? pmovmskb_mmx : movmsk_xmm<kSigns>;
  return true;
}

}  // namespace

std::span<const Binding> shuffle_bindings() {
  static constexpr Binding kBindings[] = {
      {ZYDIS_MNEMONIC_PSHUFD, bind_shuffle<pshufd>},
      {ZYDIS_MNEMONIC_PSHUFLW, bind_shuffle<pshufw<0>>},
      {ZYDIS_MNEMONIC_PSHUFHW, bind_shuffle<pshufw<4>>},
      {ZYDIS_MNEMONIC_SHUFPS, bind_shuffle<shufps>},
      {ZYDIS_MNEMONIC_SHUFPD, bind_shuffle<shufpd>},
      {ZYDIS_MNEMONIC_PSHUFW, bind_pshufw},
      {ZYDIS_MNEMONIC_PINSRW, bind_pinsrw},
      {ZYDIS_MNEMONIC_PEXTRW, bind_pextrw},
      {ZYDIS_MNEMONIC_PMOVMSKB, bind_movmsk<kByteSigns>},
      {ZYDIS_MNEMONIC_MOVMSKPS, bind_movmsk<kFloatSigns>},
      {ZYDIS_MNEMONIC_MOVMSKPD, bind_movmsk<kDoubleSigns>},
  };
  return kBindings;
}

}  // namespace snowglobe::vm::simd
