// tests/cpu/oracle/fx_state.cc - packs and unpacks the 32-bit FXSAVE image.
#include "tests/cpu/oracle/fx_state.h"

#include <cstring>

namespace snowglobe::oracle {
namespace {

constexpr u16 kEmpty = 3;

/// The two tag bits of a register that is not empty (Intel SDM Vol. 1, 8.1.7).
u16 classify(const vm::Float80& value) {
  constexpr u16 kValid = 0, kZero = 1, kSpecial = 2;
  const unsigned exponent = value.sign_exponent & 0x7FFFu;
  if (exponent == 0x7FFF) return kSpecial;
  if (exponent == 0) return value.significand == 0 ? kZero : kSpecial;
  return (value.significand >> 63) != 0 ? kValid : kSpecial;
}

}  // namespace

void load_fx(const u8* image, vm::CpuState& state) {
  vm::X87State& x87 = state.x87;
  x87.control = base::load_le<u16>(image + kFxControl);
  x87.status = base::load_le<u16>(image + kFxStatus);
  const unsigned top = x87.status >> 11 & 7u;
  const u8 present = image[kFxTag];
  x87.tag = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned physical = (top + i) & 7;
    const u8* from = image + kFxRegisters + i * 16;
    vm::Float80& value = x87.physical[physical];
    value = {base::load_le<u64>(from), base::load_le<u16>(from + 8)};
    const u16 tag = (present >> physical & 1) != 0 ? classify(value) : kEmpty;
    x87.tag = static_cast<u16>(x87.tag | tag << (physical * 2));
  }
  x87.opcode = 0;
  x87.ip = x87.dp = 0;
  x87.cs = x87.ds = 0;
  std::memcpy(state.xmm.data(), image + kFxXmm, sizeof state.xmm);
  state.mxcsr = base::load_le<u32>(image + kFxMxcsr);
}

void store_fx(const vm::CpuState& state, u8* image) {
  const vm::X87State& x87 = state.x87;
  std::memset(image, 0, kFxEnd);
  base::store_le(image + kFxControl, x87.control);
  base::store_le(image + kFxStatus, x87.status);
  const unsigned top = x87.status >> 11 & 7u;
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned physical = (top + i) & 7;
    const vm::Float80& value = x87.physical[physical];
    base::store_le(image + kFxRegisters + i * 16, value.significand);
    base::store_le(image + kFxRegisters + i * 16 + 8, value.sign_exponent);
    if ((x87.tag >> (physical * 2) & 3) != kEmpty) {
      image[kFxTag] = static_cast<u8>(image[kFxTag] | 1u << physical);
    }
  }
  base::store_le(image + kFxMxcsr, state.mxcsr);
  std::memcpy(image + kFxXmm, state.xmm.data(), sizeof state.xmm);
}

}  // namespace snowglobe::oracle
