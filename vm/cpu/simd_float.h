// vm/cpu/simd_float.h - runs one SSE floating-point instruction on the host with the guest's
// rounding and denormal modes, and turns what it raised into MXCSR flags or an exception of the
// guest.
#pragma once

#include "vm/cpu/simd.h"

namespace snowglobe::vm::simd {

// MXCSR (Intel SDM Vol. 1, 10.2.3). Flags are in bits 0-5, their masks in bits 7-12.
enum Mxcsr : u32 {
  kMxInvalid = 1u << 0,
  kMxDenormal = 1u << 1,
  kMxZeroDivide = 1u << 2,
  kMxOverflow = 1u << 3,
  kMxUnderflow = 1u << 4,
  kMxPrecision = 1u << 5,
  kMxFlags = 0x3F,
  kMxMasks = 0x1F80,
  kMxMaskShift = 7,
  kMxFlushToZero = 1u << 15,
};

/// What the ABI promises to the rest of the process; flags may be left behind.
inline constexpr u32 kHostMxcsr = kMxMasks;

/// The guest's modes, every exception masked, no flag set.
inline u32 masked_mxcsr(const Cpu& cpu) {
  return (cpu.state.mxcsr & ~kMxFlags) | kMxMasks;
}

inline void leave_guest_mode(u32 mxcsr) {
  if ((mxcsr & ~kMxFlags) != kHostMxcsr) [[unlikely]]
    _mm_setcsr(kHostMxcsr);
}

/// Notes `raised` and delivers what is not masked: #XM, or #UD to a system that does not know it
/// (Intel SDM Vol. 1, 11.5.2 and 11.5.3). False: the instruction must leave its destination alone.
bool settle_unmasked(Cpu& cpu, const Insn* insn, u32 raised);

inline bool settle(Cpu& cpu, const Insn* insn, u32 raised) {
  const u32 unmasked = ~(cpu.state.mxcsr >> kMxMaskShift) & kMxFlags;
  if (unmasked == 0) [[likely]] {
    cpu.state.mxcsr |= raised & kMxFlags;
    return true;
  }
  return settle_unmasked(cpu, insn, raised);
}

inline constexpr u8 kNoPrefix = 0;
inline constexpr int kNoImmediate = -1;

/// An instruction of the host by its bytes: [prefix] 0F opcode, with a register as the destination
/// and memory at (%rax) as the source, so that one template makes them all.
template <u8 kPrefix, u8 kOpcode, int kImmediate = kNoImmediate>
struct HostOperation {
  /// XMM0 <op>= source. Returns the flags in MXCSR.
  static u32 to_vector(__m128i& destination, const void* source, u32 mxcsr) {
    if constexpr (kPrefix == kNoPrefix && kImmediate == kNoImmediate) {
      asm volatile("ldmxcsr %[mxcsr]\n\t.byte 0x0F, %c[opcode], 0x00\n\tstmxcsr %[mxcsr]"
                   : [destination] "+Yz"(destination), [mxcsr] "+m"(mxcsr)
                   : "a"(source), [opcode] "i"(kOpcode)
                   : "memory");
    } else if constexpr (kPrefix == kNoPrefix) {
      asm volatile("ldmxcsr %[mxcsr]\n\t.byte 0x0F, %c[opcode], 0x00, %c[imm]\n\tstmxcsr %[mxcsr]"
                   : [destination] "+Yz"(destination), [mxcsr] "+m"(mxcsr)
                   : "a"(source), [opcode] "i"(kOpcode), [imm] "i"(kImmediate)
                   : "memory");
    } else if constexpr (kImmediate == kNoImmediate) {
      asm volatile(
          "ldmxcsr %[mxcsr]\n\t.byte %c[prefix], 0x0F, %c[opcode], 0x00\n\tstmxcsr %[mxcsr]"
          : [destination] "+Yz"(destination), [mxcsr] "+m"(mxcsr)
          : "a"(source), [prefix] "i"(kPrefix), [opcode] "i"(kOpcode)
          : "memory");
    } else {
      asm volatile(
          "ldmxcsr %[mxcsr]\n\t"
          ".byte %c[prefix], 0x0F, %c[opcode], 0x00, %c[imm]\n\t"
          "stmxcsr %[mxcsr]"
          : [destination] "+Yz"(destination), [mxcsr] "+m"(mxcsr)
          : "a"(source), [prefix] "i"(kPrefix), [opcode] "i"(kOpcode), [imm] "i"(kImmediate)
          : "memory");
    }
    leave_guest_mode(mxcsr);
    return mxcsr & kMxFlags;
  }

  /// ECX = <op> source.
  static u32 to_general(u32& destination, const void* source, u32 mxcsr) {
    asm volatile("ldmxcsr %[mxcsr]\n\t.byte %c[prefix], 0x0F, %c[opcode], 0x08\n\tstmxcsr %[mxcsr]"
                 : "=&c"(destination), [mxcsr] "+m"(mxcsr)
                 : "a"(source), [prefix] "i"(kPrefix), [opcode] "i"(kOpcode)
                 : "memory");
    leave_guest_mode(mxcsr);
    return mxcsr & kMxFlags;
  }
};

// --- sources ------------------------------------------------------------------------------------

/// A source operand that is an XMM register or memory of type T; 16 bytes must be aligned.
template <class T>
struct VectorSource {
  static const void* in_register(const Cpu& cpu, const Insn* insn) {
    return &cpu.state.xmm[insn->rm];
  }
  static bool load(Cpu& cpu, const Insn* insn, T& value) {
    if constexpr (sizeof(T) == 16) {
      return load_aligned(cpu, insn, value);
    } else {
      return cpu.load(insn, value);
    }
  }
  using Type = T;
};

/// A general register or 4 bytes of memory.
struct GeneralSource {
  static const void* in_register(const Cpu& cpu, const Insn* insn) {
    return &cpu.state.gpr[insn->rm];
  }
  static bool load(Cpu& cpu, const Insn* insn, u32& value) { return cpu.load(insn, value); }
  using Type = u32;
};

/// Calls `use` with the address of the source operand. Null: it could not be read.
template <class Source, bool kMemory, class Use>
inline const Insn* with_source(Cpu& cpu, const Insn* insn, Use use) {
  if (!check_sse(cpu, insn)) [[unlikely]]
    return nullptr;
  if constexpr (kMemory) {
    typename Source::Type value{};
    if (!Source::load(cpu, insn, value)) [[unlikely]]
      return nullptr;
    return use(static_cast<const void*>(&value));
  } else {
    return use(Source::in_register(cpu, insn));
  }
}

// --- overflow and underflow that are not masked -------------------------------------------------

/// Unmasked, they concern the result before it is forced into its format: underflow means tiny even
/// if exact, and the result counts as inexact only if its significand was rounded.
inline bool is_range_masked(const Cpu& cpu) {
  constexpr u32 kBoth = (kMxOverflow | kMxUnderflow) << kMxMaskShift;
  return (cpu.state.mxcsr & kBoth) == kBoth;
}

/// The operation on one element, as the x87 unit knows it: the reg field of D8 and DC.
enum class RangeOperation : u8 { kAdd = 0, kMultiply = 1, kSubtract = 4, kDivide = 6, kConvert };

enum class Element : u8 { kFloat, kDouble };
constexpr unsigned element_bytes(Element element) {
  return element == Element::kFloat ? 4 : 8;
}

/// Corrects `raised`, the flags of the masked operation on one element
/// (vm/cpu/ops_sse_unmasked.cc).
u32 raised_unmasked(RangeOperation operation, Element from, Element to, const u8* destination,
                    const u8* source, u32 mxcsr, u32 raised);

/// For operations whose results can not leave the range of their format.
struct NoRange {
  static constexpr bool kCanLeave = false;
  static u32 raised(const Cpu&, __m128i, const void*) { return 0; }
};

/// For others: Scalar is the same operation on one element.
template <class Scalar, RangeOperation kOperation, Element kFrom, Element kTo, unsigned kCount>
struct Range {
  static constexpr bool kCanLeave = true;
  static u32 raised(const Cpu& cpu, __m128i destination, const void* source) {
    const Xmm first = to_xmm(destination);
    u32 mxcsr = masked_mxcsr(cpu);
    // Flushing is part of the masked response to an underflow (Intel SDM Vol. 1, 10.2.3.3).
    if ((cpu.state.mxcsr & (kMxUnderflow << kMxMaskShift)) == 0) mxcsr &= ~kMxFlushToZero;
    u32 all = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      const u8* a = &first.bytes[i * element_bytes(kFrom)];
      const u8* b = static_cast<const u8*>(source) + i * element_bytes(kFrom);
      __m128i element =
          from_u64(kFrom == Element::kFloat ? base::load_le<u32>(a) : base::load_le<u64>(a));
      const u32 masked = Scalar::to_vector(element, b, mxcsr);
      all |= raised_unmasked(kOperation, kFrom, kTo, a, b, cpu.state.mxcsr, masked);
    }
    return all;
  }
};

// --- the usual case -----------------------------------------------------------------------------

/// True for doubles that no operation takes exception to: normal numbers and zeros.
inline bool is_plain(u64 bits) {
  const u64 exponent = bits >> 52 & 0x7FF;
  return exponent - 1 < 0x7FE || (bits << 1) == 0;
}
inline bool is_normal(u64 bits) {
  return (bits >> 52 & 0x7FF) - 1 < 0x7FE;
}

/// Reading MXCSR back costs more than the operation. With everything masked, "inexact" already
/// noted, plain operands and a normal result there is nothing to read. False: nothing was done.
template <u8 kOpcode>
inline bool quick_double(Cpu& cpu, const Insn* insn, const void* source) {
  constexpr u32 kUsual = kHostMxcsr | kMxPrecision;
  if ((cpu.state.mxcsr & ~(kMxFlags & ~kMxPrecision)) != kUsual) return false;
  u8* const destination = cpu.state.xmm[insn->reg].bytes.data();
  const u64 first = base::load_le<u64>(destination);
  const u64 second = base::load_le<u64>(source);
  __m128i result = from_u64(first);
  asm volatile("ldmxcsr %[mxcsr]\n\t.byte 0xF2, 0x0F, %c[opcode], 0x00"
               : [result] "+Yz"(result)
               : "a"(source), [mxcsr] "m"(kUsual), [opcode] "i"(kOpcode)
               : "memory");
  const u64 bits = low_u64(result);
  if (!is_plain(first) || !is_plain(second) || !is_normal(bits)) [[unlikely]]
    return false;
  base::store_le(destination, bits);
  return true;
}

/// Addition, multiplication, subtraction and division of scalar doubles.
template <class Operation>
inline constexpr u8 kQuickOpcode = 0;
template <>
inline constexpr u8 kQuickOpcode<HostOperation<0xF2, 0x58>> = 0x58;
template <>
inline constexpr u8 kQuickOpcode<HostOperation<0xF2, 0x59>> = 0x59;
template <>
inline constexpr u8 kQuickOpcode<HostOperation<0xF2, 0x5C>> = 0x5C;
template <>
inline constexpr u8 kQuickOpcode<HostOperation<0xF2, 0x5E>> = 0x5E;

/// Runs an operation whose result goes to an XMM register.
template <class Operation, class Source, bool kMemory, class InRange = NoRange>
const Insn* float_to_vector(Cpu& cpu, const Insn* insn) {
  return with_source<Source, kMemory>(cpu, insn, [&](const void* source) -> const Insn* {
    if constexpr (kQuickOpcode<Operation> != 0) {
      if (quick_double<kQuickOpcode<Operation>>(cpu, insn, source)) [[likely]]
        return next(cpu, insn);
    }
    __m128i result = read_xmm(cpu, insn->reg);
    u32 raised;
    if (InRange::kCanLeave && !is_range_masked(cpu)) [[unlikely]] {
      raised = InRange::raised(cpu, result, source);
      Operation::to_vector(result, source, masked_mxcsr(cpu));
    } else {
      raised = Operation::to_vector(result, source, masked_mxcsr(cpu));
    }
    if (!settle(cpu, insn, raised)) return nullptr;
    write_xmm(cpu, insn->reg, result);
    return next(cpu, insn);
  });
}

template <class Operation, class Source, class InRange = NoRange>
bool bind_float(const Decoded& decoded, Insn& insn) {
  if (!is_xmm(decoded, 0)) return false;  // CMPSD, the string instruction
  insn.reg = decoded.register_number(0);
  if (decoded.is_memory(1)) {
    insn.handler = float_to_vector<Operation, Source, true, InRange>;
    return true;
  }
  insn.rm = decoded.register_number(1);
  insn.handler = float_to_vector<Operation, Source, false, InRange>;
  return true;
}

}  // namespace snowglobe::vm::simd
