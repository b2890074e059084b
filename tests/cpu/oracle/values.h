// tests/cpu/oracle/values.h - random numbers, and operands that are likely to go wrong.
#pragma once

#include "vm/types.h"

#include <bit>

namespace snowglobe::oracle {

using vm::u16;
using vm::u32;
using vm::u64;
using vm::u8;

/// SplitMix64, seeded by what the case is called, so that a case can be made again alone.
class Random {
 public:
  Random(u64 seed, u64 index) : state_(mix(seed) ^ mix(~index)) {}

  u64 next() {
    state_ += 0x9E3779B97F4A7C15u;
    return mix(state_);
  }
  u32 next32() { return static_cast<u32>(next() >> 32); }
  /// A number below `bound`, which is not 0.
  u32 below(u32 bound) { return static_cast<u32>((u64{next32()} * bound) >> 32); }
  /// True `times` times out of `out_of`.
  bool chance(u32 times, u32 out_of) { return below(out_of) < times; }

 private:
  static u64 mix(u64 value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
  }
  u64 state_;
};

/// 0, 1, -1, the ends of the signed ranges, powers of two and their neighbours, small and random
/// ones.
u32 edge32(Random& random);
u64 edge64(Random& random);
/// Zeros, ones, denormals, ends of the range, infinities, NaNs of both kinds, integers, random
/// ones.
u32 edge_float32(Random& random);
u64 edge_float64(Random& random);
/// Ten bytes, with the encodings that only the x87 has (pseudo-denormals, unnormals, ...).
void edge_float80(Random& random, u8* to);
/// Ten bytes of packed decimal, sometimes with digits above nine.
void edge_decimal(Random& random, u8* to);
/// A 16-byte vector of one of the kinds above.
void edge_vector(Random& random, u8* to);
/// The FXSAVE image of a whole state.
void edge_fx_state(Random& random, u8* image);

}  // namespace snowglobe::oracle
