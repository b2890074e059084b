// vm/cpu/ops_sse_float.cc - SSE arithmetic, square roots, minima, comparisons.
#include "vm/cpu/simd_float.h"

namespace snowglobe::vm::simd {

namespace {

constexpr u8 kPs = kNoPrefix;
constexpr u8 kPd = 0x66;
constexpr u8 kSs = 0xF3;
constexpr u8 kSd = 0xF2;

using Packed = VectorSource<Xmm>;
using Single = VectorSource<u32>;
using Double = VectorSource<u64>;

enum Opcode : u8 {
  kSqrt = 0x51,
  kRsqrt = 0x52,
  kRcp = 0x53,
  kAdd = 0x58,
  kMul = 0x59,
  kSub = 0x5C,
  kMin = 0x5D,
  kDiv = 0x5E,
  kMax = 0x5F,
  kCmp = 0xC2,
};

constexpr RangeOperation range_operation(u8 opcode) {
  switch (opcode) {
    case kAdd:
      return RangeOperation::kAdd;
    case kSub:
      return RangeOperation::kSubtract;
    case kMul:
      return RangeOperation::kMultiply;
    default:
      return RangeOperation::kDivide;
  }
}
template <u8 kOpcode, unsigned kCount>
using FloatRange = Range<HostOperation<kSs, kOpcode>, range_operation(kOpcode), Element::kFloat,
                         Element::kFloat, kCount>;
template <u8 kOpcode, unsigned kCount>
using DoubleRange = Range<HostOperation<kSd, kOpcode>, range_operation(kOpcode), Element::kDouble,
                          Element::kDouble, kCount>;

/// The four forms of an operation that may overflow and underflow.
template <u8 kOpcode>
constexpr Binder kBindPs = bind_float<HostOperation<kPs, kOpcode>, Packed, FloatRange<kOpcode, 4>>;
template <u8 kOpcode>
constexpr Binder kBindPd = bind_float<HostOperation<kPd, kOpcode>, Packed, DoubleRange<kOpcode, 2>>;
template <u8 kOpcode>
constexpr Binder kBindSs = bind_float<HostOperation<kSs, kOpcode>, Single, FloatRange<kOpcode, 1>>;
template <u8 kOpcode>
constexpr Binder kBindSd = bind_float<HostOperation<kSd, kOpcode>, Double, DoubleRange<kOpcode, 1>>;

/// The same for one that never does.
template <u8 kOpcode>
constexpr Binder kBindExactPs = bind_float<HostOperation<kPs, kOpcode>, Packed>;
template <u8 kOpcode>
constexpr Binder kBindExactPd = bind_float<HostOperation<kPd, kOpcode>, Packed>;
template <u8 kOpcode>
constexpr Binder kBindExactSs = bind_float<HostOperation<kSs, kOpcode>, Single>;
template <u8 kOpcode>
constexpr Binder kBindExactSd = bind_float<HostOperation<kSd, kOpcode>, Double>;

// --- CMPxx: the low three bits of the immediate choose the predicate ----------------------------

template <u8 kPrefix, class Source, bool kMemory>
constexpr std::array<Handler, 8> kCompareHandlers = {
    float_to_vector<HostOperation<kPrefix, kCmp, 0>, Source, kMemory>,
    float_to_vector<HostOperation<kPrefix, kCmp, 1>, Source, kMemory>,
    float_to_vector<HostOperation<kPrefix, kCmp, 2>, Source, kMemory>,
    float_to_vector<HostOperation<kPrefix, kCmp, 3>, Source, kMemory>,
    float_to_vector<HostOperation<kPrefix, kCmp, 4>, Source, kMemory>,
    float_to_vector<HostOperation<kPrefix, kCmp, 5>, Source, kMemory>,
    float_to_vector<HostOperation<kPrefix, kCmp, 6>, Source, kMemory>,
    float_to_vector<HostOperation<kPrefix, kCmp, 7>, Source, kMemory>};

template <u8 kPrefix, class Source>
bool bind_compare(const Decoded& decoded, Insn& insn) {
  if (!is_xmm(decoded, 0)) return false;  // CMPSD, the string instruction
  const unsigned predicate = decoded.immediate(2) & 7;
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = kCompareHandlers<kPrefix, Source, true>[predicate];
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = kCompareHandlers<kPrefix, Source, false>[predicate];
  return true;
}

// --- COMISS, UCOMISD and so on: ZF, PF and CF tell the order, the other three are cleared -------

template <u8 kPrefix, u8 kOpcode>
u32 host_compare(__m128i first, const void* second, u32 mxcsr, u32& eflags) {
  u64 rax = reinterpret_cast<u64>(second);
  if constexpr (kPrefix == kNoPrefix) {
    asm volatile(
        "ldmxcsr %[mxcsr]\n\t"
        ".byte 0x0F, %c[opcode], 0x00\n\t"
        "lahf\n\t"
        "stmxcsr %[mxcsr]"
        : "+&a"(rax), [mxcsr] "+m"(mxcsr)
        : "Yz"(first), [opcode] "i"(kOpcode)
        : "cc", "memory");
  } else {
    asm volatile(
        "ldmxcsr %[mxcsr]\n\t"
        ".byte %c[prefix], 0x0F, %c[opcode], 0x00\n\t"
        "lahf\n\t"
        "stmxcsr %[mxcsr]"
        : "+&a"(rax), [mxcsr] "+m"(mxcsr)
        : "Yz"(first), [prefix] "i"(kPrefix), [opcode] "i"(kOpcode)
        : "cc", "memory");
  }
  const u64 flags = rax >> 8;  // AH
  leave_guest_mode(mxcsr);
  eflags = static_cast<u32>(flags & 0xFF);
  return mxcsr & kMxFlags;
}

/// Nothing is raised by plain numbers, whatever the modes. False: nothing was done.
bool compare_plain_doubles(Cpu& cpu, const Insn* insn, const void* source) {
  const u64 first = base::load_le<u64>(cpu.state.xmm[insn->reg].bytes.data());
  const u64 second = base::load_le<u64>(source);
  if (!is_plain(first) || !is_plain(second)) [[unlikely]]
    return false;
  const auto a = std::bit_cast<double>(first);
  const auto b = std::bit_cast<double>(second);
  // LazyFlags: a result of 0 is ZF, bit 31 of aux is CF; bit 30 keeps OF clear, bit 8 PF.
  const u32 carry = a < b ? 3u << 30 : 0u;
  cpu.state.flags = a == b ? LazyFlags{0, 1u << 8} : LazyFlags{1, carry};
  return true;
}

template <u8 kPrefix, u8 kOpcode, class Source, bool kMemory>
const Insn* compare_to_flags(Cpu& cpu, const Insn* insn) {
  return with_source<Source, kMemory>(cpu, insn, [&](const void* source) -> const Insn* {
    if constexpr (sizeof(typename Source::Type) == 8) {
      if (compare_plain_doubles(cpu, insn, source)) [[likely]]
        return next(cpu, insn);
    }
    u32 eflags = 0;
    const u32 raised =
        host_compare<kPrefix, kOpcode>(read_xmm(cpu, insn->reg), source, masked_mxcsr(cpu), eflags);
    if (!settle(cpu, insn, raised)) return nullptr;
    cpu.state.flags.set(eflags);
    return next(cpu, insn);
  });
}

template <u8 kPrefix, u8 kOpcode, class Source>
bool bind_compare_to_flags(const Decoded& decoded, Insn& insn) {
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = compare_to_flags<kPrefix, kOpcode, Source, true>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = compare_to_flags<kPrefix, kOpcode, Source, false>;
  return true;
}

constexpr u8 kUcomi = 0x2E;
constexpr u8 kComi = 0x2F;

}  // namespace

std::span<const Binding> float_bindings() {
  static constexpr Binding kBindings[] = {
      {ZYDIS_MNEMONIC_ADDPS, kBindPs<kAdd>},
      {ZYDIS_MNEMONIC_ADDPD, kBindPd<kAdd>},
      {ZYDIS_MNEMONIC_ADDSS, kBindSs<kAdd>},
      {ZYDIS_MNEMONIC_ADDSD, kBindSd<kAdd>},
      {ZYDIS_MNEMONIC_SUBPS, kBindPs<kSub>},
      {ZYDIS_MNEMONIC_SUBPD, kBindPd<kSub>},
      {ZYDIS_MNEMONIC_SUBSS, kBindSs<kSub>},
      {ZYDIS_MNEMONIC_SUBSD, kBindSd<kSub>},
      {ZYDIS_MNEMONIC_MULPS, kBindPs<kMul>},
      {ZYDIS_MNEMONIC_MULPD, kBindPd<kMul>},
      {ZYDIS_MNEMONIC_MULSS, kBindSs<kMul>},
      {ZYDIS_MNEMONIC_MULSD, kBindSd<kMul>},
      {ZYDIS_MNEMONIC_DIVPS, kBindPs<kDiv>},
      {ZYDIS_MNEMONIC_DIVPD, kBindPd<kDiv>},
      {ZYDIS_MNEMONIC_DIVSS, kBindSs<kDiv>},
      {ZYDIS_MNEMONIC_DIVSD, kBindSd<kDiv>},
      {ZYDIS_MNEMONIC_SQRTPS, kBindExactPs<kSqrt>},
      {ZYDIS_MNEMONIC_SQRTPD, kBindExactPd<kSqrt>},
      {ZYDIS_MNEMONIC_SQRTSS, kBindExactSs<kSqrt>},
      {ZYDIS_MNEMONIC_SQRTSD, kBindExactSd<kSqrt>},
      {ZYDIS_MNEMONIC_RSQRTPS, kBindExactPs<kRsqrt>},
      {ZYDIS_MNEMONIC_RSQRTSS, kBindExactSs<kRsqrt>},
      {ZYDIS_MNEMONIC_RCPPS, kBindExactPs<kRcp>},
      {ZYDIS_MNEMONIC_RCPSS, kBindExactSs<kRcp>},
      {ZYDIS_MNEMONIC_MINPS, kBindExactPs<kMin>},
      {ZYDIS_MNEMONIC_MINPD, kBindExactPd<kMin>},
      {ZYDIS_MNEMONIC_MINSS, kBindExactSs<kMin>},
      {ZYDIS_MNEMONIC_MINSD, kBindExactSd<kMin>},
      {ZYDIS_MNEMONIC_MAXPS, kBindExactPs<kMax>},
      {ZYDIS_MNEMONIC_MAXPD, kBindExactPd<kMax>},
      {ZYDIS_MNEMONIC_MAXSS, kBindExactSs<kMax>},
      {ZYDIS_MNEMONIC_MAXSD, kBindExactSd<kMax>},
      {ZYDIS_MNEMONIC_CMPPS, bind_compare<kPs, Packed>},
      {ZYDIS_MNEMONIC_CMPPD, bind_compare<kPd, Packed>},
      {ZYDIS_MNEMONIC_CMPSS, bind_compare<kSs, Single>},
      {ZYDIS_MNEMONIC_CMPSD, bind_compare<kSd, Double>},
      {ZYDIS_MNEMONIC_UCOMISS, bind_compare_to_flags<kPs, kUcomi, Single>},
      {ZYDIS_MNEMONIC_UCOMISD, bind_compare_to_flags<kPd, kUcomi, Double>},
      {ZYDIS_MNEMONIC_COMISS, bind_compare_to_flags<kPs, kComi, Single>},
      {ZYDIS_MNEMONIC_COMISD, bind_compare_to_flags<kPd, kComi, Double>},
  };
  return kBindings;
}

}  // namespace snowglobe::vm::simd
