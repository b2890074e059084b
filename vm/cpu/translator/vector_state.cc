// vm/cpu/translator/vector_state.cc - Intel SDM Vol. 2A, table 3-46 (FXSAVE64 format).
#include "vm/cpu/translator/vector_state.h"

#include "base/bytes.h"
#include "vm/cpu/x87.h"

#include <cstring>

namespace snowglobe::vm {
namespace {

constexpr std::size_t kControl = 0, kStatus = 2, kAbridgedTag = 4, kMxcsr = 24, kStack = 32,
                      kXmm = 160;

}  // namespace

void load_vector_state(const TranslatorContext& context, CpuState& state) {
  const u8* image = context.vector_image.data();
  X87State& x87 = state.x87;
  x87.control = base::load_le<u16>(image + kControl);
  x87.status = base::load_le<u16>(image + kStatus);
  x87.opcode = 0;
  x87.ip = x87.dp = 0;
  x87.cs = x87.ds = 0;
  const u8 abridged = image[kAbridgedTag];
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned physical = x87::physical_index(x87, i);
    const u8* from = image + kStack + std::size_t{16} * i;
    x87.physical[physical] = {base::load_le<u64>(from), base::load_le<u16>(from + 8)};
    const bool in_use = (abridged >> physical & 1) != 0;
    x87::set_tag(x87, physical,
                 in_use ? x87::classify(x87.physical[physical]) : u16{x87::kTagEmpty});
  }
  state.mxcsr = base::load_le<u32>(image + kMxcsr);
  std::memcpy(state.xmm.data(), image + kXmm, sizeof state.xmm);
}

void store_vector_state(const CpuState& state, TranslatorContext& context) {
  u8* image = context.vector_image.data();
  const X87State& x87 = state.x87;
  context.vector_image.fill(0);
  base::store_le(image + kControl, x87.control);
  base::store_le(image + kStatus, x87.status);
  u8 abridged = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned physical = x87::physical_index(x87, i);
    u8* to = image + kStack + std::size_t{16} * i;
    base::store_le(to, x87.physical[physical].significand);
    base::store_le(to + 8, x87.physical[physical].sign_exponent);
    if (!x87::is_empty(x87, i)) abridged = static_cast<u8>(abridged | 1u << physical);
  }
  image[kAbridgedTag] = abridged;
  base::store_le(image + kMxcsr, state.mxcsr);
  std::memcpy(image + kXmm, state.xmm.data(), sizeof state.xmm);
}

}  // namespace snowglobe::vm
