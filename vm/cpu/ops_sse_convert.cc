// vm/cpu/ops_sse_convert.cc - conversions among integers, singles and doubles.
#include "vm/cpu/simd_float.h"

namespace snowglobe::vm::simd {
namespace {

using Packed = VectorSource<Xmm>;
using Single = VectorSource<u32>;
using Double = VectorSource<u64>;

using Cvtdq2ps = HostOperation<kNoPrefix, 0x5B>;
using Cvtps2dq = HostOperation<0x66, 0x5B>;
using Cvttps2dq = HostOperation<0xF3, 0x5B>;
using Cvtdq2pd = HostOperation<0xF3, 0xE6>;
using Cvtpd2dq = HostOperation<0xF2, 0xE6>;
using Cvttpd2dq = HostOperation<0x66, 0xE6>;
using Cvttsd2si = HostOperation<0xF2, 0x2C>;
using Cvtsd2ss = HostOperation<0xF2, 0x5A>;

template <unsigned kCount>
using NarrowingRange =
    Range<Cvtsd2ss, RangeOperation::kConvert, Element::kDouble, Element::kFloat, kCount>;

/// CVTSI2SD is exact: it needs neither the guest's rounding nor its flags.
template <bool kMemory>
const Insn* cvtsi2sd(Cpu& cpu, const Insn* insn) {
  return with_source<GeneralSource, kMemory>(cpu, insn, [&](const void* source) {
    const double value = base::load_le<i32>(source);
    base::store_le(cpu.state.xmm[insn->reg].bytes.data(), value);
    return next(cpu, insn);
  });
}

bool bind_cvtsi2sd(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = cvtsi2sd<true>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = cvtsi2sd<false>;
  return true;
}

/// CVTTSD2SI of a plain number in range: only the loss of a fraction is to be noted.
/// False: nothing was done.
bool truncate_plain_double(Cpu& cpu, const Insn* insn, const void* source) {
  const u64 bits = base::load_le<u64>(source);
  const auto value = std::bit_cast<double>(bits);
  constexpr u32 kPrecisionMask = kMxPrecision << kMxMaskShift;
  const bool in_range = value > -2147483648.0 && value < 2147483648.0;
  if (!is_plain(bits) || !in_range || (cpu.state.mxcsr & kPrecisionMask) == 0) [[unlikely]] {
    return false;
  }
  const auto truncated = static_cast<i32>(value);
  if (static_cast<double>(truncated) != value) cpu.state.mxcsr |= kMxPrecision;
  cpu.state.gpr[insn->reg] = static_cast<u32>(truncated);
  return true;
}

// --- to a general register ----------------------------------------------------------------------

template <class Operation, class Source, bool kMemory>
const Insn* to_general(Cpu& cpu, const Insn* insn) {
  return with_source<Source, kMemory>(cpu, insn, [&](const void* source) -> const Insn* {
    if constexpr (std::is_same_v<Operation, Cvttsd2si>) {
      if (truncate_plain_double(cpu, insn, source)) return next(cpu, insn);
    }
    u32 result = 0;
    const u32 raised = Operation::to_general(result, source, masked_mxcsr(cpu));
    if (!settle(cpu, insn, raised)) return nullptr;
    cpu.state.gpr[insn->reg] = result;
    return next(cpu, insn);
  });
}

template <u8 kPrefix, u8 kOpcode, class Source>
bool bind_to_general(const Decoded& decoded, Insn& insn) {
  using Operation = HostOperation<kPrefix, kOpcode>;
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = to_general<Operation, Source, true>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = to_general<Operation, Source, false>;
  return true;
}

// --- with MMX registers -------------------------------------------------------------------------

// The XMM operation on two elements does the work, so that the host's x87 unit is left alone.

/// CVTPI2PS and CVTPI2PD. With an operand in memory they have nothing to do with MMX registers: so
/// processors behave, though the manual says it of the latter only.
template <class Operation, bool kDouble, bool kMemory>
const Insn* from_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn)) return nullptr;
  if (!kMemory && !check_mmx(cpu, insn)) return nullptr;
  u64 value = 0;
  if constexpr (kMemory) {
    if (!cpu.load(insn, value)) return nullptr;
  } else {
    value = read_mmx(cpu, insn->rm);
  }
  const Xmm source = to_xmm(from_u64(value));
  __m128i result = _mm_setzero_si128();
  const u32 raised = Operation::to_vector(result, &source, masked_mxcsr(cpu));
  if (!kMemory) enter_mmx(cpu);
  if (!settle(cpu, insn, raised)) return nullptr;
  if constexpr (kDouble) {
    write_xmm(cpu, insn->reg, result);
  } else {
    base::store_le(cpu.state.xmm[insn->reg].bytes.data(), low_u64(result));
  }
  return next(cpu, insn);
}

template <class Operation, bool kDouble>
bool bind_from_mmx(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = from_mmx<Operation, kDouble, true>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = from_mmx<Operation, kDouble, false>;
  return true;
}

/// CVT(T)PS2PI and CVT(T)PD2PI.
template <class Operation, bool kDouble, bool kMemory>
const Insn* to_mmx(Cpu& cpu, const Insn* insn) {
  if (!check_sse(cpu, insn) || !check_mmx(cpu, insn)) return nullptr;
  Xmm source = cpu.state.xmm[insn->rm];
  if constexpr (!kDouble) base::store_le(&source.bytes[8], u64{0});
  if constexpr (kMemory && kDouble) {
    if (!load_aligned(cpu, insn, source)) return nullptr;
  } else if constexpr (kMemory) {
    u64 value = 0;
    if (!cpu.load(insn, value)) return nullptr;
    base::store_le(source.bytes.data(), value);
  }
  __m128i result = _mm_setzero_si128();
  const u32 raised = Operation::to_vector(result, &source, masked_mxcsr(cpu));
  enter_mmx(cpu);
  if (!settle(cpu, insn, raised)) return nullptr;
  write_mmx(cpu, insn->reg, low_u64(result));
  return next(cpu, insn);
}

template <class Operation, bool kDouble>
bool bind_to_mmx(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = to_mmx<Operation, kDouble, true>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = to_mmx<Operation, kDouble, false>;
  return true;
}

}  // namespace

std::span<const Binding> convert_bindings() {
  static constexpr Binding kBindings[] = {
      {ZYDIS_MNEMONIC_CVTSI2SS, bind_float<HostOperation<0xF3, 0x2A>, GeneralSource>},
      {ZYDIS_MNEMONIC_CVTSI2SD, bind_cvtsi2sd},
      {ZYDIS_MNEMONIC_CVTSS2SI, bind_to_general<0xF3, 0x2D, Single>},
      {ZYDIS_MNEMONIC_CVTSD2SI, bind_to_general<0xF2, 0x2D, Double>},
      {ZYDIS_MNEMONIC_CVTTSS2SI, bind_to_general<0xF3, 0x2C, Single>},
      {ZYDIS_MNEMONIC_CVTTSD2SI, bind_to_general<0xF2, 0x2C, Double>},
      {ZYDIS_MNEMONIC_CVTSS2SD, bind_float<HostOperation<0xF3, 0x5A>, Single>},
      {ZYDIS_MNEMONIC_CVTSD2SS, bind_float<Cvtsd2ss, Double, NarrowingRange<1>>},
      {ZYDIS_MNEMONIC_CVTPS2PD, bind_float<HostOperation<kNoPrefix, 0x5A>, Double>},
      {ZYDIS_MNEMONIC_CVTPD2PS, bind_float<HostOperation<0x66, 0x5A>, Packed, NarrowingRange<2>>},
      {ZYDIS_MNEMONIC_CVTDQ2PS, bind_float<Cvtdq2ps, Packed>},
      {ZYDIS_MNEMONIC_CVTPS2DQ, bind_float<Cvtps2dq, Packed>},
      {ZYDIS_MNEMONIC_CVTTPS2DQ, bind_float<Cvttps2dq, Packed>},
      {ZYDIS_MNEMONIC_CVTDQ2PD, bind_float<Cvtdq2pd, Double>},
      {ZYDIS_MNEMONIC_CVTPD2DQ, bind_float<Cvtpd2dq, Packed>},
      {ZYDIS_MNEMONIC_CVTTPD2DQ, bind_float<Cvttpd2dq, Packed>},
      {ZYDIS_MNEMONIC_CVTPI2PS, bind_from_mmx<Cvtdq2ps, false>},
      {ZYDIS_MNEMONIC_CVTPI2PD, bind_from_mmx<Cvtdq2pd, true>},
      {ZYDIS_MNEMONIC_CVTPS2PI, bind_to_mmx<Cvtps2dq, false>},
      {ZYDIS_MNEMONIC_CVTTPS2PI, bind_to_mmx<Cvttps2dq, false>},
      {ZYDIS_MNEMONIC_CVTPD2PI, bind_to_mmx<Cvtpd2dq, true>},
      {ZYDIS_MNEMONIC_CVTTPD2PI, bind_to_mmx<Cvttpd2dq, true>},
  };
  return kBindings;
}

}  // namespace snowglobe::vm::simd
