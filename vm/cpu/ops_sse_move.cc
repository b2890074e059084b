// vm/cpu/ops_sse_move.cc - moves of whole and partial XMM and MMX registers. None looks at what the
// bits mean, so none touches MXCSR.
#include "vm/cpu/simd.h"

namespace snowglobe::vm::simd {
namespace {

// --- 16 bytes -----------------------------------------------------------------------------------

const Insn* copy_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  cpu.state.xmm[insn->reg] = cpu.state.xmm[insn->rm];
  return next(cpu, insn);
}

template <bool kAligned>
const Insn* load_xmm(Cpu& cpu, const Insn* insn) {
  Xmm value;
  if (!check_sse(cpu, insn) || (kAligned && !check_aligned(cpu, insn)) || !cpu.load(insn, value))
      [[unlikely]] {
    return nullptr;
  }
  cpu.state.xmm[insn->reg] = value;
  return next(cpu, insn);
}

template <bool kAligned>
const Insn* store_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn) || (kAligned && !check_aligned(cpu, insn)) ||
      !cpu.store(insn, cpu.state.xmm[insn->reg])) [[unlikely]] {
    return nullptr;
  }
  return next(cpu, insn);
}

template <bool kAligned>
bool bind_whole(const Decoded& decoded, Insn& insn) {
  if (decoded.is_memory(0)) {
    insn.reg = decoded.register_number(1);
    insn.handler = store_xmm<kAligned>;
    return true;
  }
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = load_xmm<kAligned>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = copy_xmm;
  return true;
}

// --- scalars: MOVSS, MOVSD, MOVD, MOVQ ----------------------------------------------------------

/// Loads a T, the rest of the register becomes zero.
template <class T>
const Insn* load_scalar(Cpu& cpu, const Insn* insn) {
  T value = 0;
  if (!check_sse(cpu, insn) || !cpu.load(insn, value)) [[unlikely]]
    return nullptr;
  write_xmm(cpu, insn->reg, from_u64(value));
  return next(cpu, insn);
}

/// Stores `kPart`, counted in T.
template <class T, unsigned kPart = 0>
const Insn* store_part(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  const T value = base::load_le<T>(&cpu.state.xmm[insn->reg].bytes[kPart * sizeof(T)]);
  return cpu.store(insn, value) ? next(cpu, insn) : nullptr;
}

/// Copies one part of T between registers, the rest of the destination stays.
template <class T, unsigned kTo = 0, unsigned kFrom = 0>
const Insn* copy_part(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  const T value = base::load_le<T>(&cpu.state.xmm[insn->rm].bytes[kFrom * sizeof(T)]);
  base::store_le(&cpu.state.xmm[insn->reg].bytes[kTo * sizeof(T)], value);
  return next(cpu, insn);
}

template <unsigned kPart>
const Insn* load_half(Cpu& cpu, const Insn* insn) {
  u64 value = 0;
  if (!check_sse(cpu, insn) || !cpu.load(insn, value)) [[unlikely]]
    return nullptr;
  base::store_le(&cpu.state.xmm[insn->reg].bytes[std::size_t{kPart} * 8], value);
  return next(cpu, insn);
}

template <class T>
bool bind_scalar(const Decoded& decoded, Insn& insn) {
  if (decoded.is_memory(0) && is_xmm(decoded, 1)) {
    insn.reg = decoded.register_number(1);
    insn.handler = store_part<T>;
    return true;
  }
  if (!is_xmm(decoded, 0)) return false;  // MOVSD, the string instruction
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = load_scalar<T>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = copy_part<T>;
  return true;
}

template <unsigned kPart>
bool bind_half(const Decoded& decoded, Insn& insn) {
  const bool is_store = decoded.is_memory(0);
  insn.reg = decoded.register_number(is_store ? 1 : 0);
  insn.handler = is_store ? store_part<u64, kPart> : load_half<kPart>;
  return true;
}

template <unsigned kTo, unsigned kFrom>
bool bind_half_to_half(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.rm = decoded.register_number(1);
  insn.handler = copy_part<u64, kTo, kFrom>;
  return true;
}

const Insn* movd_to_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  write_xmm(cpu, insn->reg, from_u64(cpu.state.gpr[insn->rm]));
  return next(cpu, insn);
}

const Insn* movd_from_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  cpu.state.gpr[insn->rm] = static_cast<u32>(low_u64(read_xmm(cpu, insn->reg)));
  return next(cpu, insn);
}

const Insn* movq_xmm(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  write_xmm(cpu, insn->reg, _mm_move_epi64(read_xmm(cpu, insn->rm)));
  return next(cpu, insn);
}

// --- the same for MMX registers -----------------------------------------------------------------

const Insn* movd_to_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  enter_mmx(cpu);
  write_mmx(cpu, insn->reg, cpu.state.gpr[insn->rm]);
  return next(cpu, insn);
}

const Insn* movd_from_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  enter_mmx(cpu);
  cpu.state.gpr[insn->rm] = static_cast<u32>(read_mmx(cpu, insn->reg));
  return next(cpu, insn);
}

const Insn* movq_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  enter_mmx(cpu);
  write_mmx(cpu, insn->reg, read_mmx(cpu, insn->rm));
  return next(cpu, insn);
}

template <class T>
const Insn* load_mmx(Cpu& cpu, const Insn* insn) {
  T value = 0;
  if (!check_mmx(cpu, insn) || !cpu.load(insn, value)) return nullptr;
  enter_mmx(cpu);
  write_mmx(cpu, insn->reg, value);
  return next(cpu, insn);
}

template <class T>
const Insn* store_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  if (!cpu.store(insn, static_cast<T>(read_mmx(cpu, insn->reg)))) return nullptr;
  enter_mmx(cpu);
  return next(cpu, insn);
}

const Insn* movq2dq(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn) || !check_mmx(cpu, insn)) return nullptr;
  enter_mmx(cpu);
  write_xmm(cpu, insn->reg, from_u64(read_mmx(cpu, insn->rm)));
  return next(cpu, insn);
}

const Insn* movdq2q(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn) || !check_mmx(cpu, insn)) return nullptr;
  enter_mmx(cpu);
  write_mmx(cpu, insn->reg, low_u64(read_xmm(cpu, insn->rm)));
  return next(cpu, insn);
}

bool bind_movd(const Decoded& decoded, Insn& insn) {
  const unsigned vector = is_mmx(decoded, 0) || is_xmm(decoded, 0) ? 0 : 1;
  const unsigned other = 1 - vector;
  const bool mmx = is_mmx(decoded, vector);
  insn.reg = decoded.register_number(vector);
  if (decoded.is_memory(other)) {
    if (vector == 0) {
      insn.handler = mmx ? load_mmx<u32> : load_scalar<u32>;
    } else {
      insn.handler = mmx ? store_mmx<u32> : store_part<u32>;
    }
    return true;
  }
  insn.rm = decoded.register_number(other);
  if (vector == 0) {
    insn.handler = mmx ? movd_to_mmx : movd_to_xmm;
  } else {
    insn.handler = mmx ? movd_from_mmx : movd_from_xmm;
  }
  return true;
}

bool bind_movq(const Decoded& decoded, Insn& insn) {
  if (decoded.is_memory(0)) {
    insn.reg = decoded.register_number(1);
    insn.handler = is_mmx(decoded, 1) ? store_mmx<u64> : store_part<u64>;
    return true;
  }
  const bool mmx = is_mmx(decoded, 0);
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = mmx ? load_mmx<u64> : load_scalar<u64>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = mmx ? movq_mmx : movq_xmm;
  return true;
}

template <Handler kHandler>
bool bind_registers(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  insn.rm = decoded.register_number(1);
  insn.handler = kHandler;
  return true;
}

bool bind_movntq(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(1);
  insn.handler = store_mmx<u64>;
  return true;
}

// --- MASKMOVQ, MASKMOVDQU: the bytes whose mask has its top bit set go to DS:EDI ----------------

bool store_masked(Cpu& cpu, const Insn* insn, const u8* bytes, const u8* mask, unsigned count) {
  const u32 first = cpu.state.gpr[kEdi] & insn->imm;
  for (unsigned i = 0; i < count; ++i) {
    if ((mask[i] & 0x80) != 0 && !cpu.probe(insn, insn->segment, first + i, 1, true)) {
      return false;
    }
  }
  for (unsigned i = 0; i < count; ++i) {
    if ((mask[i] & 0x80) != 0) cpu.store_back(insn, insn->segment, first + i, bytes[i]);
  }
  return true;
}

const Insn* maskmovdqu(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) return nullptr;
  const bool stored = store_masked(cpu, insn, cpu.state.xmm[insn->reg].bytes.data(),
                                   cpu.state.xmm[insn->rm].bytes.data(), 16);
  return stored ? next(cpu, insn) : nullptr;
}

const Insn* maskmovq(Cpu& cpu, const Insn* insn) {
  if (!check_mmx(cpu, insn)) return nullptr;
  const u64 value = read_mmx(cpu, insn->reg);
  const u64 mask = read_mmx(cpu, insn->rm);
  if (!store_masked(cpu, insn, reinterpret_cast<const u8*>(&value),
                    reinterpret_cast<const u8*>(&mask), 8)) {
    return nullptr;
  }
  enter_mmx(cpu);
  return next(cpu, insn);
}

bool bind_maskmov(const Decoded& decoded, Insn& insn) {
  // The address is implied; only its segment and width can be chosen.
  for (unsigned i = 0; i < decoded.info.operand_count; ++i) {
    if (!decoded.is_memory(i)) continue;
    insn.segment = static_cast<u8>(ZydisRegisterGetId(decoded.operand(i).mem.segment));
  }
  unsigned first = 0;
  while (!decoded.is_register(first))
    ++first;
  insn.reg = decoded.register_number(first);
  insn.rm = decoded.register_number(first + 1);
  insn.imm = decoded.info.address_width == 16 ? 0xFFFF : 0xFFFF'FFFF;
  insn.handler = is_mmx(decoded, first) ? maskmovq : maskmovdqu;
  return true;
}

}  // namespace

std::span<const Binding> move_bindings() {
  static constexpr Binding kBindings[] = {
      {ZYDIS_MNEMONIC_MOVAPS, bind_whole<true>},
      {ZYDIS_MNEMONIC_MOVAPD, bind_whole<true>},
      {ZYDIS_MNEMONIC_MOVDQA, bind_whole<true>},
      {ZYDIS_MNEMONIC_MOVUPS, bind_whole<false>},
      {ZYDIS_MNEMONIC_MOVUPD, bind_whole<false>},
      {ZYDIS_MNEMONIC_MOVDQU, bind_whole<false>},
      {ZYDIS_MNEMONIC_MOVNTPS, bind_whole<true>},
      {ZYDIS_MNEMONIC_MOVNTPD, bind_whole<true>},
      {ZYDIS_MNEMONIC_MOVNTDQ, bind_whole<true>},
      {ZYDIS_MNEMONIC_MOVSS, bind_scalar<u32>},
      {ZYDIS_MNEMONIC_MOVSD, bind_scalar<u64>},
      {ZYDIS_MNEMONIC_MOVLPS, bind_half<0>},
      {ZYDIS_MNEMONIC_MOVLPD, bind_half<0>},
      {ZYDIS_MNEMONIC_MOVHPS, bind_half<1>},
      {ZYDIS_MNEMONIC_MOVHPD, bind_half<1>},
      {ZYDIS_MNEMONIC_MOVHLPS, bind_half_to_half<0, 1>},
      {ZYDIS_MNEMONIC_MOVLHPS, bind_half_to_half<1, 0>},
      {ZYDIS_MNEMONIC_MOVD, bind_movd},
      {ZYDIS_MNEMONIC_MOVQ, bind_movq},
      {ZYDIS_MNEMONIC_MOVQ2DQ, bind_registers<movq2dq>},
      {ZYDIS_MNEMONIC_MOVDQ2Q, bind_registers<movdq2q>},
      {ZYDIS_MNEMONIC_MOVNTQ, bind_movntq},
      {ZYDIS_MNEMONIC_MASKMOVQ, bind_maskmov},
      {ZYDIS_MNEMONIC_MASKMOVDQU, bind_maskmov},
  };
  return kBindings;
}

}  // namespace snowglobe::vm::simd
