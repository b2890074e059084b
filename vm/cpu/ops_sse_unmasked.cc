// vm/cpu/ops_sse_unmasked.cc - SSE exceptions that the guest has not masked: what is raised, and
// how it is delivered. Rare: the x87 unit, whose range is far wider, tells what the result would
// have been.
#include "vm/cpu/simd_float.h"
#include "vm/cpu/x87_host.h"

namespace snowglobe::vm::simd {

bool settle_unmasked(Cpu& cpu, const Insn* insn, u32 raised) {
  constexpr u32 kBeforeComputing = kMxInvalid | kMxDenormal | kMxZeroDivide;
  const u32 unmasked = ~(cpu.state.mxcsr >> kMxMaskShift) & kMxFlags;
  // These stop the instruction before there is a result that could raise anything else.
  if ((raised & unmasked & kBeforeComputing) != 0) raised &= kBeforeComputing;
  cpu.state.mxcsr |= raised & kMxFlags;
  if ((raised & unmasked) == 0) return true;
  const bool known = (cpu.state.cr4 & kCr4Osxmmexcpt) != 0;
  cpu.raise(insn, known ? Vector::kSimdError : Vector::kInvalidOpcode);
  return false;
}

namespace {

struct Unbounded {
  bool overflow = false;
  bool tiny = false;
  bool inexact = false;
};

constexpr u64 kSignificandBits[] = {23, 52};  // of Element, without the leading one
constexpr u64 kSign[] = {u64{1} << 31, u64{1} << 63};

/// An operand as the operation sees it: with DAZ, denormals are zeros.
u64 load_operand(Element element, const u8* from, u32 mxcsr) {
  const auto kind = static_cast<unsigned>(element);
  const u64 bits = element == Element::kFloat ? base::load_le<u32>(from) : base::load_le<u64>(from);
  const bool denormal = ((bits & ~kSign[kind]) >> kSignificandBits[kind]) == 0;
  constexpr u32 kDenormalsAreZeros = 1u << 6;
  return denormal && (mxcsr & kDenormalsAreZeros) != 0 ? bits & kSign[kind] : bits;
}

/// Rounds the result to the width of `to` with the x87 unit, in which it can not leave the range.
Unbounded examine(RangeOperation operation, Element from, Element to, u64 a, u64 b, u32 mxcsr) {
  constexpr u64 kOne = 0x3FF0'0000'0000'0000;
  const bool convert = operation == RangeOperation::kConvert;
  if (convert) {  // a multiplication by one rounds; the operand is the source
    a = b;
    b = kOne;
    operation = RangeOperation::kMultiply;
  }
  const unsigned row = from == Element::kFloat ? 0 : 4;  // D8 and DC; FLD is in the row behind
  const u32 rounding = (mxcsr >> 13) & 3;
  const u32 precision = to == Element::kFloat ? 0 : 2;
  x87::SaveImage image{};
  image.control = 0x7F | precision << 8 | rounding << 10;
  image.tag = 0xFFFF;
  std::array<u8, 16> memory{};
  base::store_le(memory.data(), a);
  x87::run_memory((row + 1) * 8, image, memory.data());
  image.status &= ~u32{x87::kExceptions};
  base::store_le(memory.data(), b);
  x87::run_memory(row * 8 + static_cast<unsigned>(operation), image, memory.data());

  const Float80 result{image.stack[0].significand, image.stack[0].sign_exponent};
  if (result.significand == 0) return {};
  constexpr int kBias = 16383;
  const int exponent = (result.sign_exponent & 0x7FFF) - kBias;
  if (exponent == 0x7FFF - kBias) return {};  // infinity or NaN
  const int max_exponent = to == Element::kFloat ? 127 : 1023;
  return {exponent > max_exponent, exponent < 1 - max_exponent,
          (image.status & x87::kPrecision) != 0};
}

}  // namespace

u32 raised_unmasked(RangeOperation operation, Element from, Element to, const u8* destination,
                    const u8* source, u32 mxcsr, u32 raised) {
  const u32 unmasked = ~(mxcsr >> kMxMaskShift) & kMxFlags;
  const Unbounded result = examine(operation, from, to, load_operand(from, destination, mxcsr),
                                   load_operand(from, source, mxcsr), mxcsr);
  u32 reported = 0;
  if (result.overflow) reported = unmasked & kMxOverflow;
  if (result.tiny) reported = unmasked & kMxUnderflow;
  if (reported == 0) return raised;
  raised = (raised & ~kMxPrecision) | reported;
  return result.inexact ? raised | kMxPrecision : raised;
}

}  // namespace snowglobe::vm::simd
