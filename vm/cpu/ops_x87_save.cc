// vm/cpu/ops_x87_save.cc - FNSTENV, FLDENV, FNSAVE, FRSTOR in both formats, FXSAVE and FXRSTOR.
#include "vm/cpu/simd.h"
#include "vm/cpu/x87.h"
#include "vm/cpu/x87_host.h"

namespace snowglobe::vm::x87 {
namespace {

constexpr u32 kStackBytes = 8 * sizeof(PackedFloat80);

// The environment in 16-bit protected-mode format (Intel SDM Vol. 1, figure 8-11).
struct Environment16 {
  u16 control, status, tag, ip, cs, dp, ds;
};
// In 32-bit format (figure 8-9). The halves that are reserved are stored as ones.
struct Environment32 {
  u16 control, ones0, status, ones1, tag, ones2;
  u32 ip;
  u16 cs, opcode;
  u32 dp;
  u16 ds, ones3;
};
static_assert(sizeof(Environment16) == 14 && sizeof(Environment32) == 28);

constexpr u32 environment_bytes(bool wide) {
  return wide ? sizeof(Environment32) : sizeof(Environment16);
}

void put_environment(const X87State& x87, bool wide, u8* to) {
  if (!wide) {
    base::store_le(to, Environment16{x87.control, x87.status, x87.tag, static_cast<u16>(x87.ip),
                                     x87.cs, static_cast<u16>(x87.dp), x87.ds});
    return;
  }
  constexpr u16 kOnes = 0xFFFF;
  base::store_le(to, Environment32{x87.control, kOnes, x87.status, kOnes, x87.tag, kOnes, x87.ip,
                                   x87.cs, x87.opcode, x87.dp, x87.ds, kOnes});
}

// Of a tag word that is loaded only "empty or not" counts; the rest follows from the contents.
void normalize(X87State& x87) {
  x87.control = canonical_control(x87.control);
  x87.opcode &= 0x7FF;
  update_summary(x87);
  for (unsigned i = 0; i < 8; ++i) {
    if (!is_empty(x87, i)) {
      const unsigned physical = physical_index(x87, i);
      set_tag(x87, physical, classify(x87.physical[physical]));
    }
  }
}

void get_environment(const u8* from, bool wide, X87State& x87) {
  if (wide) {
    const auto image = base::load_le<Environment32>(from);
    x87.control = image.control;
    x87.status = image.status;
    x87.tag = image.tag;
    x87.ip = image.ip;
    x87.cs = image.cs;
    x87.opcode = image.opcode;
    x87.dp = image.dp;
    x87.ds = image.ds;
    return;
  }
  const auto image = base::load_le<Environment16>(from);
  x87.control = image.control;
  x87.status = image.status;
  x87.tag = image.tag;
  x87.ip = image.ip;
  x87.cs = image.cs;
  x87.opcode = 0;
  x87.dp = image.dp;
  x87.ds = image.ds;
}

template <bool kWide>
const Insn* fnstenv(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return nullptr;
  X87State& x87 = cpu.state.x87;
  std::array<u8, environment_bytes(kWide)> image;
  put_environment(x87, kWide, image.data());
  if (!cpu.store_bytes(insn, insn->segment, cpu.effective_address(insn), image)) return nullptr;
  x87.control |= kExceptions;
  update_summary(x87);
  return next(cpu, insn);
}

template <bool kWide>
const Insn* fldenv(Cpu& cpu, const Insn* insn) {
  if (!check_waiting(cpu, insn)) return nullptr;
  std::array<u8, environment_bytes(kWide)> image;
  if (!cpu.load_bytes(insn, insn->segment, cpu.effective_address(insn), image)) return nullptr;
  get_environment(image.data(), kWide, cpu.state.x87);
  normalize(cpu.state.x87);
  return next(cpu, insn);
}

template <bool kWide>
const Insn* fnsave(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return nullptr;
  X87State& x87 = cpu.state.x87;
  constexpr u32 kEnvironment = environment_bytes(kWide);
  std::array<u8, kEnvironment + kStackBytes> image;
  put_environment(x87, kWide, image.data());
  for (unsigned i = 0; i < 8; ++i) {
    const PackedFloat80 value{st(x87, i).significand, st(x87, i).sign_exponent};
    base::store_le(image.data() + kEnvironment + i * sizeof value, value);
  }
  if (!cpu.store_bytes(insn, insn->segment, cpu.effective_address(insn), image)) return nullptr;
  initialize(x87);
  return next(cpu, insn);
}

template <bool kWide>
const Insn* frstor(Cpu& cpu, const Insn* insn) {
  if (!check_waiting(cpu, insn)) return nullptr;
  X87State& x87 = cpu.state.x87;
  constexpr u32 kEnvironment = environment_bytes(kWide);
  std::array<u8, kEnvironment + kStackBytes> image;
  if (!cpu.load_bytes(insn, insn->segment, cpu.effective_address(insn), image)) return nullptr;
  get_environment(image.data(), kWide, x87);
  for (unsigned i = 0; i < 8; ++i) {
    const auto value =
        base::load_le<PackedFloat80>(image.data() + kEnvironment + i * sizeof(PackedFloat80));
    x87.physical[physical_index(x87, i)] = {value.significand, value.sign_exponent};
  }
  normalize(x87);
  return next(cpu, insn);
}

template <Handler kNarrow, Handler kWide>
bool bind(const Decoded& decoded, Insn& insn) {
  insn.handler = decoded.info.operand_width == 16 ? kNarrow : kWide;
  return true;
}

// --- FXSAVE (Intel SDM Vol. 2A, table 3-43) -----------------------------------------------------

struct alignas(16) FxImage {
  u16 control, status;
  u8 abridged_tag, reserved0;
  u16 opcode;
  u32 ip;
  u16 cs, reserved1;
  u32 dp;
  u16 ds, reserved2;
  u32 mxcsr, mxcsr_mask;
  struct {
    u64 significand;
    u16 sign_exponent, reserved[3];
  } stack[8];
  Xmm xmm[8];
};
static_assert(sizeof(FxImage) == 288);
constexpr u32 kFxBytes = 512;  // the area that is checked; what follows the image is left alone

bool check_fx(Cpu& cpu, const Insn* insn) {
  if (!check_available(cpu, insn)) return false;
  const u32 linear = cpu.effective_address(insn) + cpu.state.segment[insn->segment].base;
  if ((linear & 15) == 0) return true;
  cpu.raise(insn, Vector::kGeneralProtection, 0);
  return false;
}

const Insn* fxsave(Cpu& cpu, const Insn* insn) {
  if (!check_fx(cpu, insn)) return nullptr;
  const X87State& x87 = cpu.state.x87;
  FxImage image{};
  image.control = x87.control;
  image.status = x87.status;
  image.opcode = x87.opcode;
  image.ip = x87.ip;
  image.cs = x87.cs;
  image.dp = x87.dp;
  image.ds = x87.ds;
  image.mxcsr = cpu.state.mxcsr;
  image.mxcsr_mask = simd::kMxcsrMask;
  for (unsigned i = 0; i < 8; ++i) {
    const bool empty = ((x87.tag >> (2 * i)) & 3u) == kTagEmpty;
    image.abridged_tag |= static_cast<u8>(empty ? 0u : 1u << i);
    image.stack[i].significand = st(x87, i).significand;
    image.stack[i].sign_exponent = st(x87, i).sign_exponent;
    image.xmm[i] = cpu.state.xmm[i];
  }
  const u32 offset = cpu.effective_address(insn);
  if (!cpu.probe(insn, insn->segment, offset, kFxBytes, true)) return nullptr;
  const base::ConstBytes bytes(reinterpret_cast<const u8*>(&image), sizeof image);
  return cpu.store_bytes(insn, insn->segment, offset, bytes) ? next(cpu, insn) : nullptr;
}

const Insn* fxrstor(Cpu& cpu, const Insn* insn) {
  if (!check_fx(cpu, insn)) return nullptr;
  std::array<u8, kFxBytes> area;
  if (!cpu.load_bytes(insn, insn->segment, cpu.effective_address(insn), area)) return nullptr;
  const auto image = base::load_le<FxImage>(area.data());
  if ((image.mxcsr & ~simd::kMxcsrMask) != 0) {
    return cpu.raise(insn, Vector::kGeneralProtection, 0);
  }
  X87State& x87 = cpu.state.x87;
  x87.control = image.control;
  x87.status = image.status;
  x87.opcode = image.opcode;
  x87.ip = image.ip;
  x87.cs = image.cs;
  x87.dp = image.dp;
  x87.ds = image.ds;
  x87.tag = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const bool empty = ((image.abridged_tag >> i) & 1) == 0;
    x87.tag = static_cast<u16>(x87.tag | (empty ? u32{kTagEmpty} << (2 * i) : 0u));
    x87.physical[physical_index(x87, i)] = {image.stack[i].significand,
                                            image.stack[i].sign_exponent};
    cpu.state.xmm[i] = image.xmm[i];
  }
  cpu.state.mxcsr = image.mxcsr;
  normalize(x87);
  return next(cpu, insn);
}

template <Handler kHandler>
bool bind_fx(const Decoded&, Insn& insn) {
  insn.handler = kHandler;
  return true;
}

}  // namespace

std::span<const Binding> save_bindings() {
  static constexpr Binding kBindings[] = {
      {ZYDIS_MNEMONIC_FNSTENV, bind<fnstenv<false>, fnstenv<true>>},
      {ZYDIS_MNEMONIC_FLDENV, bind<fldenv<false>, fldenv<true>>},
      {ZYDIS_MNEMONIC_FNSAVE, bind<fnsave<false>, fnsave<true>>},
      {ZYDIS_MNEMONIC_FRSTOR, bind<frstor<false>, frstor<true>>},
      {ZYDIS_MNEMONIC_FXSAVE, bind_fx<fxsave>},
      {ZYDIS_MNEMONIC_FXRSTOR, bind_fx<fxrstor>},
  };
  return kBindings;
}

}  // namespace snowglobe::vm::x87
