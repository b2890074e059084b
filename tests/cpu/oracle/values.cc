// tests/cpu/oracle/values.cc - operands that are likely to go wrong.
#include "tests/cpu/oracle/values.h"

#include "base/bytes.h"
#include "tests/cpu/oracle/fx_state.h"

#include <cstring>

namespace snowglobe::oracle {
namespace {

template <class T>
T edge_integer(Random& random) {
  constexpr unsigned kBits = sizeof(T) * 8;
  const u64 bits = random.next();
  const auto power = static_cast<T>(T{1} << (bits % kBits));
  switch (bits >> 8 & 15) {
    case 0:
      return 0;
    case 1:
      return 1;
    case 2:
      return static_cast<T>(~T{0});
    case 3:
      return static_cast<T>(~T{0} >> 1);
    case 4:
      return static_cast<T>(T{1} << (kBits - 1));
    case 5:
      return power;
    case 6:
      return static_cast<T>(power - 1);
    case 7:
      return static_cast<T>(~power);
    case 8:
      return static_cast<T>(0x7F80 - (bits >> 16 & 1));  // ends of the narrower ranges
    case 9:
      return static_cast<T>(0x7FFF7FFF + (bits >> 16 & 0x10001));
    case 10:
      return static_cast<T>(bits >> 16 & 0x3F);
    default:
      return static_cast<T>(random.next());
  }
}

/// A float with `kMantissa` stored bits of significand and `kExponent` bits of exponent.
template <class T, unsigned kMantissa, unsigned kExponent>
T edge_float(Random& random) {
  const u64 bits = random.next();
  constexpr T kMaxExponent = (T{1} << kExponent) - 1;
  constexpr T kBias = kMaxExponent >> 1;
  const T sign = static_cast<T>(bits & 1) << (kMantissa + kExponent);
  const T fraction = static_cast<T>(random.next()) & ((T{1} << kMantissa) - 1);
  const T sparse = T{1} << (bits >> 8) % kMantissa;
  const T quiet = T{1} << (kMantissa - 1);
  const auto with_exponent = [&](T exponent, T low) { return sign | exponent << kMantissa | low; };
  switch (bits >> 16 & 15) {
    case 0:
      return sign;
    case 1:
      return with_exponent(kBias, 0);
    case 2:
      return with_exponent(0, fraction);  // denormal
    case 3:
      return with_exponent(0, sparse);
    case 4:
      return with_exponent(kMaxExponent - 1, fraction);
    case 5:
      return with_exponent(kMaxExponent, 0);
    case 6:
      return with_exponent(kMaxExponent, fraction | quiet);
    case 7:
      return with_exponent(kMaxExponent, (fraction & ~quiet) | 1);
    case 8:
      return with_exponent(1, fraction & sparse);
    case 9:  // small integers and halves
    case 10:
      return with_exponent(kBias + static_cast<T>(bits >> 24 & 3), sparse & (3 * quiet / 2));
    case 11:  // around the ends of 16-, 32- and 64-bit integers
    case 12:
      return with_exponent(kBias + static_cast<T>(14 + (bits >> 24 & 1) + 16 * (bits >> 25 & 3)),
                           (bits >> 32 & 1) != 0 ? 0 : fraction);
    case 13:
      return static_cast<T>(random.next());
    default:
      return with_exponent(kBias - 8 + static_cast<T>(bits >> 24 & 15), fraction);
  }
}

}  // namespace

u32 edge32(Random& random) {
  return edge_integer<u32>(random);
}
u64 edge64(Random& random) {
  return edge_integer<u64>(random);
}
u32 edge_float32(Random& random) {
  return edge_float<u32, 23, 8>(random);
}
u64 edge_float64(Random& random) {
  return edge_float<u64, 52, 11>(random);
}

void edge_float80(Random& random, u8* to) {
  const u64 bits = random.next();
  u64 significand = random.next() | u64{1} << 63;
  unsigned exponent = 0x3FFF;
  switch (bits & 15) {
    case 0:
      significand = exponent = 0;
      break;
    case 1:
      significand = u64{1} << 63;
      break;
    case 2:
      exponent = 0;
      significand &= ~(u64{1} << 63);
      break;  // denormal
    case 3:
      exponent = 0;
      break;  // pseudo-denormal
    case 4:
      significand &= ~(u64{1} << 63);
      exponent = bits >> 20 & 0x7FFF;
      break;  // unnormal, ...
    case 5:
      exponent = 0x7FFF;
      significand = u64{1} << 63;
      break;  // infinity
    case 6:
      exponent = 0x7FFF;
      significand |= u64{1} << 62;
      break;  // quiet NaN
    case 7:
      exponent = 0x7FFF;
      significand = (significand & ~(u64{1} << 62)) | 1;
      break;
    case 8:
      exponent = 0x7FFE;
      break;
    case 9:
      exponent = 1;
      break;
    case 10:
      exponent = 0x3FFF + (bits >> 20 & 0x3F);
      break;  // up to 2^64
    case 11:
      exponent = 0x3FFF + (bits >> 20 & 0x1F);
      significand = u64{1} << 63 | u64{1} << (32 + (bits >> 32 & 31));  // integers
      break;
    case 12:
      exponent = static_cast<unsigned>(bits >> 20 & 0x7FFF);
      break;
    default:
      exponent = 0x3FF7 + (bits >> 20 & 15);
      break;
  }
  base::store_le(to, significand);
  base::store_le(to + 8, static_cast<u16>(exponent | (bits >> 8 & 1) << 15));
}

void edge_decimal(Random& random, u8* to) {
  const u64 kind = random.below(8);
  for (unsigned i = 0; i < 9; ++i) {
    const u32 digits = random.below(100);
    to[i] = static_cast<u8>(digits / 10 << 4 | digits % 10);
    if (kind == 0) to[i] = 0;
    if (kind == 1) to[i] = 0x99;
    if (kind == 2) to[i] = static_cast<u8>(random.next());
  }
  to[9] = static_cast<u8>(random.next() & 0x80);
}

void edge_vector(Random& random, u8* to) {
  const u32 kind = random.below(4);
  for (unsigned i = 0; i < 2; ++i) {
    u64 value = 0;
    if (kind == 0) value = edge_float64(random);
    if (kind == 1) value = u64{edge_float32(random)} << 32 | edge_float32(random);
    if (kind == 2) value = u64{edge32(random)} << 32 | edge32(random);
    if (kind == 3) value = random.chance(1, 2) ? random.next() : edge64(random);
    base::store_le(to + i * 8, value);
  }
}

void edge_fx_state(Random& random, u8* image) {
  std::memset(image, 0, 512);
  const u64 bits = random.next();
  // Control word: rounding and precision vary, exceptions are masked but for one case in eight.
  auto control = static_cast<u16>(0x037F);
  if ((bits & 3) != 0) control = static_cast<u16>(0x007F | (bits >> 8 & 0xF00));
  if ((bits >> 2 & 7) == 0) control = static_cast<u16>((control & ~0x3F) | (bits >> 16 & 0x3F));
  if ((bits >> 5 & 31) == 0) control |= 0x1000;
  auto status = static_cast<u16>(bits >> 24 & 0x4700);
  status = static_cast<u16>(status | (bits >> 44 & 7) << 11);
  const unsigned raised = (bits >> 47 & 3) == 0 ? bits >> 49 & 0x7F : 0;
  // Flags that are not masked would make the next instruction fail: keep that rare.
  const bool pending = (bits >> 56 & 15) == 0;
  status = static_cast<u16>(status | (pending ? raised : raised & (control | 0x40)));
  if ((status & ~control & 0x3F) != 0) status |= 0x8080;
  base::store_le(image + kFxControl, control);
  base::store_le(image + kFxStatus, status);
  const u32 fullness = random.below(8);
  image[kFxTag] = fullness < 4 ? 0xFF : fullness == 4 ? 0 : static_cast<u8>(random.next());
  for (unsigned i = 0; i < 8; ++i)
    edge_float80(random, image + kFxRegisters + i * 16);

  u32 mxcsr = 0x1F80;
  const u64 more = random.next();
  if ((more & 1) != 0) mxcsr |= static_cast<u32>(more >> 8 & 0xE07F);  // rounding, FTZ, DAZ, flags
  if ((more >> 1 & 7) == 0) mxcsr &= static_cast<u32>(~0x1F80u | (more >> 32 & 0x1F80));
  base::store_le(image + kFxMxcsr, mxcsr);
  for (unsigned i = 0; i < 8; ++i)
    edge_vector(random, image + kFxXmm + i * 16);
}

}  // namespace snowglobe::oracle
