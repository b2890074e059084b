// vm/cpu/ops_alu.cc - two-operand arithmetic and logic, INC/DEC/NEG/NOT, multiplication and
// division, decimal adjustment.
#include "vm/cpu/ops.h"

#include <limits>

namespace snowglobe::vm {
namespace {

// --- ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST
// ---------------------------------------------------

struct Add {
  static constexpr bool kWrites = true;
  template <class T>
  static T apply(Cpu& cpu, T a, T b) {
    const T sum = static_cast<T>(a + b);
    set_flags_add(cpu, a, b, sum);
    return sum;
  }
};
struct Adc {
  static constexpr bool kWrites = true;
  template <class T>
  static T apply(Cpu& cpu, T a, T b) {
    const T sum = static_cast<T>(a + b + (cpu.state.flags.cf() ? 1 : 0));
    set_flags_add(cpu, a, b, sum);
    return sum;
  }
};
struct Sub {
  static constexpr bool kWrites = true;
  template <class T>
  static T apply(Cpu& cpu, T a, T b) {
    const T difference = static_cast<T>(a - b);
    set_flags_sub(cpu, a, b, difference);
    return difference;
  }
};
struct Sbb {
  static constexpr bool kWrites = true;
  template <class T>
  static T apply(Cpu& cpu, T a, T b) {
    const T difference = static_cast<T>(a - b - (cpu.state.flags.cf() ? 1 : 0));
    set_flags_sub(cpu, a, b, difference);
    return difference;
  }
};
struct Cmp : Sub {
  static constexpr bool kWrites = false;
};
struct And {
  static constexpr bool kWrites = true;
  template <class T>
  static T apply(Cpu& cpu, T a, T b) {
    const T result = static_cast<T>(a & b);
    set_flags_logic(cpu, result);
    return result;
  }
};
struct Test : And {
  static constexpr bool kWrites = false;
};
struct Or {
  static constexpr bool kWrites = true;
  template <class T>
  static T apply(Cpu& cpu, T a, T b) {
    const T result = static_cast<T>(a | b);
    set_flags_logic(cpu, result);
    return result;
  }
};
struct Xor {
  static constexpr bool kWrites = true;
  template <class T>
  static T apply(Cpu& cpu, T a, T b) {
    const T result = static_cast<T>(a ^ b);
    set_flags_logic(cpu, result);
    return result;
  }
};

template <class Op, class T>
const Insn* alu_reg_reg(Cpu& cpu, const Insn* insn) {
  const T result = Op::apply(cpu, read_slot<T>(cpu, insn->reg), read_slot<T>(cpu, insn->rm));
  if constexpr (Op::kWrites) write_slot(cpu, insn->reg, result);
  return next(cpu, insn);
}

template <class Op, class T>
const Insn* alu_reg_imm(Cpu& cpu, const Insn* insn) {
  const T result = Op::apply(cpu, read_slot<T>(cpu, insn->reg), static_cast<T>(insn->imm));
  if constexpr (Op::kWrites) write_slot(cpu, insn->reg, result);
  return next(cpu, insn);
}

template <class Op, class T>
const Insn* alu_reg_mem(Cpu& cpu, const Insn* insn) {
  T b;
  if (!cpu.load(insn, b)) return nullptr;
  const T result = Op::apply(cpu, read_slot<T>(cpu, insn->reg), b);
  if constexpr (Op::kWrites) write_slot(cpu, insn->reg, result);
  return next(cpu, insn);
}

template <class Op, class T>
const Insn* alu_to_memory(Cpu& cpu, const Insn* insn, T b) {
  const u32 offset = cpu.effective_address(insn);
  T a;
  if constexpr (Op::kWrites) {
    if (!cpu.load_for_update(insn, insn->segment, offset, a)) return nullptr;
    cpu.store_back(insn, insn->segment, offset, Op::apply(cpu, a, b));
  } else {
    if (!cpu.load(insn, insn->segment, offset, a)) return nullptr;
    Op::apply(cpu, a, b);
  }
  return next(cpu, insn);
}

template <class Op, class T>
const Insn* alu_mem_reg(Cpu& cpu, const Insn* insn) {
  return alu_to_memory<Op, T>(cpu, insn, read_slot<T>(cpu, insn->reg));
}

template <class Op, class T>
const Insn* alu_mem_imm(Cpu& cpu, const Insn* insn) {
  return alu_to_memory<Op, T>(cpu, insn, static_cast<T>(insn->imm));
}

template <class Op, class T>
Handler choose_alu(const Decoded& decoded, Insn& insn) {
  if (decoded.is_register(0)) {
    insn.reg = register_slot(decoded, 0);
    if (decoded.is_memory(1)) return alu_reg_mem<Op, T>;
    if (decoded.is_immediate(1)) {
      insn.imm = decoded.immediate(1);
      return alu_reg_imm<Op, T>;
    }
    insn.rm = register_slot(decoded, 1);
    return alu_reg_reg<Op, T>;
  }
  if (decoded.is_immediate(1)) {
    insn.imm = decoded.immediate(1);
    return alu_mem_imm<Op, T>;
  }
  insn.reg = register_slot(decoded, 1);
  return alu_mem_reg<Op, T>;
}

template <class Op>
bool bind_alu(const Decoded& decoded, Insn& insn) {
  switch (decoded.size(0)) {
    case 1:
      insn.handler = choose_alu<Op, u8>(decoded, insn);
      return true;
    case 2:
      insn.handler = choose_alu<Op, u16>(decoded, insn);
      return true;
    case 4:
      insn.handler = choose_alu<Op, u32>(decoded, insn);
      return true;
    default:
      return false;
  }
}

// --- one operand, read and written back
// ------------------------------------------------------------

struct Inc {
  template <class T>
  static T apply(Cpu& cpu, T a) {
    const bool cf = cpu.state.flags.cf();
    const T sum = static_cast<T>(a + 1);
    set_flags_add(cpu, a, T{1}, sum);
    set_cf_of(cpu, cf, sum == kSignBit<T>);
    return sum;
  }
};
struct Dec {
  template <class T>
  static T apply(Cpu& cpu, T a) {
    const bool cf = cpu.state.flags.cf();
    const T difference = static_cast<T>(a - 1);
    set_flags_sub(cpu, a, T{1}, difference);
    set_cf_of(cpu, cf, a == kSignBit<T>);
    return difference;
  }
};
struct Neg {
  template <class T>
  static T apply(Cpu& cpu, T a) {
    const T difference = static_cast<T>(T{0} - a);
    set_flags_sub(cpu, T{0}, a, difference);
    return difference;
  }
};
struct Not {
  template <class T>
  static T apply(Cpu&, T a) {
    return static_cast<T>(~a);
  }
};

template <class Op, class T>
const Insn* unary_reg(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, insn->reg, Op::apply(cpu, read_slot<T>(cpu, insn->reg)));
  return next(cpu, insn);
}

template <class Op, class T>
const Insn* unary_mem(Cpu& cpu, const Insn* insn) {
  const u32 offset = cpu.effective_address(insn);
  T value;
  if (!cpu.load_for_update(insn, insn->segment, offset, value)) return nullptr;
  cpu.store_back(insn, insn->segment, offset, Op::apply(cpu, value));
  return next(cpu, insn);
}

template <class Op>
bool bind_unary(const Decoded& decoded, Insn& insn) {
  const unsigned size = decoded.size(0);
  if (decoded.is_register(0)) {
    insn.reg = register_slot(decoded, 0);
    insn.handler = pick_by_size(size, unary_reg<Op, u8>, unary_reg<Op, u16>, unary_reg<Op, u32>);
  } else {
    insn.handler = pick_by_size(size, unary_mem<Op, u8>, unary_mem<Op, u16>, unary_mem<Op, u32>);
  }
  return insn.handler != nullptr;
}

// --- multiplication and division of the accumulator
// ------------------------------------------------ `extra` says whether the operand is in memory.
// SF, ZF, AF and PF are undefined after MUL and IMUL, all six after DIV and IDIV (Intel SDM Vol.
// 2A); the latter leave them alone here.

template <class T>
using Wider = std::conditional_t<sizeof(T) == 1, u16, std::conditional_t<sizeof(T) == 2, u32, u64>>;

template <class T>
bool load_operand(Cpu& cpu, const Insn* insn, T& value) {
  if (insn->extra != 0) return cpu.load(insn, value);
  value = read_slot<T>(cpu, insn->rm);
  return true;
}

// AX, DX:AX or EDX:EAX.
template <class T>
Wider<T> read_wide_accumulator(const Cpu& cpu) {
  if constexpr (sizeof(T) == 1) return read_slot<u16>(cpu, 0);
  if constexpr (sizeof(T) == 2) {
    return (u32{read_slot<u16>(cpu, kEdx * 4)} << 16) | read_slot<u16>(cpu, 0);
  }
  if constexpr (sizeof(T) == 4) return (u64{cpu.state.gpr[kEdx]} << 32) | cpu.state.gpr[kEax];
}

template <class T>
void write_wide_accumulator(Cpu& cpu, T low, T high) {
  if constexpr (sizeof(T) == 1) {
    write_slot<u16>(cpu, 0, static_cast<u16>(low | (high << 8)));
  } else {
    write_slot<T>(cpu, kEax * 4, low);
    write_slot<T>(cpu, kEdx * 4, high);
  }
}

template <class T>
const Insn* mul(Cpu& cpu, const Insn* insn) {
  T operand;
  if (!load_operand(cpu, insn, operand)) return nullptr;
  const auto product = static_cast<Wider<T>>(Wider<T>{read_slot<T>(cpu, 0)} * Wider<T>{operand});
  const T high = static_cast<T>(product >> kBits<T>);
  write_wide_accumulator(cpu, static_cast<T>(product), high);
  set_flags_logic(cpu, static_cast<T>(product));
  set_cf_of(cpu, high != 0, high != 0);
  return next(cpu, insn);
}

template <class T>
using Signed = std::make_signed_t<T>;

template <class T>
Signed<Wider<T>> signed_product(T a, T b) {
  using Wide = Signed<Wider<T>>;
  return static_cast<Wide>(Wide{static_cast<Signed<T>>(a)} * Wide{static_cast<Signed<T>>(b)});
}

template <class T>
void set_imul_flags(Cpu& cpu, Signed<Wider<T>> product) {
  const bool overflow = product != static_cast<Signed<T>>(product);
  set_flags_logic(cpu, static_cast<T>(product));
  set_cf_of(cpu, overflow, overflow);
}

template <class T>
const Insn* imul_accumulator(Cpu& cpu, const Insn* insn) {
  T operand;
  if (!load_operand(cpu, insn, operand)) return nullptr;
  const auto product = signed_product(read_slot<T>(cpu, 0), operand);
  write_wide_accumulator(cpu, static_cast<T>(product),
                         static_cast<T>(static_cast<Wider<T>>(product) >> kBits<T>));
  set_imul_flags<T>(cpu, product);
  return next(cpu, insn);
}

// IMUL reg, r/m: with kImmediate IMUL reg, r/m, imm.
template <class T, bool kImmediate>
const Insn* imul_register(Cpu& cpu, const Insn* insn) {
  T operand;
  if (!load_operand(cpu, insn, operand)) return nullptr;
  const T other = kImmediate ? static_cast<T>(insn->imm) : read_slot<T>(cpu, insn->reg);
  const auto product = signed_product(operand, other);
  write_slot(cpu, insn->reg, static_cast<T>(product));
  set_imul_flags<T>(cpu, product);
  return next(cpu, insn);
}

template <class T>
const Insn* div(Cpu& cpu, const Insn* insn) {
  T divisor;
  if (!load_operand(cpu, insn, divisor)) return nullptr;
  if (divisor == 0) return cpu.raise(insn, Vector::kDivideError);
  const Wider<T> dividend = read_wide_accumulator<T>(cpu);
  const Wider<T> quotient = static_cast<Wider<T>>(dividend / divisor);
  if (quotient > std::numeric_limits<T>::max()) return cpu.raise(insn, Vector::kDivideError);
  write_wide_accumulator(cpu, static_cast<T>(quotient), static_cast<T>(dividend % divisor));
  return next(cpu, insn);
}

template <class T>
const Insn* idiv(Cpu& cpu, const Insn* insn) {
  using Wide = Signed<Wider<T>>;
  T raw_divisor;
  if (!load_operand(cpu, insn, raw_divisor)) return nullptr;
  const Wide divisor = static_cast<Wide>(static_cast<i32>(sign_extend(raw_divisor)));
  const Wide dividend = static_cast<Wide>(read_wide_accumulator<T>(cpu));
  // The most negative dividend by -1 would trap on the host; the quotient does not fit in any case.
  if (divisor == 0 || (divisor == -1 && dividend == std::numeric_limits<Wide>::min())) {
    return cpu.raise(insn, Vector::kDivideError);
  }
  const Wide quotient = static_cast<Wide>(dividend / divisor);
  if (quotient != static_cast<Signed<T>>(quotient)) {
    return cpu.raise(insn, Vector::kDivideError);
  }
  write_wide_accumulator(cpu, static_cast<T>(quotient), static_cast<T>(dividend % divisor));
  return next(cpu, insn);
}

// Fills in the r/m operand `i` for load_operand().
void bind_operand(const Decoded& decoded, unsigned i, Insn& insn) {
  if (decoded.is_memory(i)) {
    insn.extra = 1;
  } else {
    insn.rm = register_slot(decoded, i);
  }
}

bool bind_mul(const Decoded& decoded, Insn& insn) {
  bind_operand(decoded, 0, insn);
  insn.handler = pick_by_size(decoded.size(0), mul<u8>, mul<u16>, mul<u32>);
  return insn.handler != nullptr;
}

bool bind_div(const Decoded& decoded, Insn& insn) {
  bind_operand(decoded, 0, insn);
  insn.handler = pick_by_size(decoded.size(0), div<u8>, div<u16>, div<u32>);
  return insn.handler != nullptr;
}

bool bind_idiv(const Decoded& decoded, Insn& insn) {
  bind_operand(decoded, 0, insn);
  insn.handler = pick_by_size(decoded.size(0), idiv<u8>, idiv<u16>, idiv<u32>);
  return insn.handler != nullptr;
}

bool bind_imul(const Decoded& decoded, Insn& insn) {
  const unsigned size = decoded.size(0);
  if (decoded.info.operand_count_visible == 1) {
    bind_operand(decoded, 0, insn);
    insn.handler =
        pick_by_size(size, imul_accumulator<u8>, imul_accumulator<u16>, imul_accumulator<u32>);
    return insn.handler != nullptr;
  }
  insn.reg = register_slot(decoded, 0);
  bind_operand(decoded, 1, insn);
  if (decoded.info.operand_count_visible == 3) {
    insn.imm = decoded.immediate(2);
    insn.handler = pick_by_size(size, nullptr, imul_register<u16, true>, imul_register<u32, true>);
  } else {
    insn.handler =
        pick_by_size(size, nullptr, imul_register<u16, false>, imul_register<u32, false>);
  }
  return insn.handler != nullptr;
}

// --- decimal adjustment (Intel SDM Vol. 2A, AAA, AAD, AAM, AAS, DAA, DAS)
// ---------------------------

const Insn* aaa_or_aas(Cpu& cpu, const Insn* insn, int direction) {
  const u16 ax = read_slot<u16>(cpu, 0);
  const bool adjust = (ax & 0xF) > 9 || cpu.state.flags.af();
  const u16 adjusted = adjust ? static_cast<u16>(ax + direction * 0x106) : ax;
  write_slot<u16>(cpu, 0, static_cast<u16>(adjusted & 0xFF0F));
  cpu.state.flags.set_masked(adjust ? kFlagAf | kFlagCf : 0u, kFlagAf | kFlagCf);
  return next(cpu, insn);
}

const Insn* aaa(Cpu& cpu, const Insn* insn) {
  return aaa_or_aas(cpu, insn, 1);
}
const Insn* aas(Cpu& cpu, const Insn* insn) {
  return aaa_or_aas(cpu, insn, -1);
}

const Insn* aam(Cpu& cpu, const Insn* insn) {
  const u8 divisor = static_cast<u8>(insn->imm);
  if (divisor == 0) return cpu.raise(insn, Vector::kDivideError);
  const u8 al = read_slot<u8>(cpu, 0);
  const u8 remainder = static_cast<u8>(al % divisor);
  write_slot<u16>(cpu, 0, static_cast<u16>(((al / divisor) << 8) | remainder));
  set_flags_logic(cpu, remainder);
  return next(cpu, insn);
}

const Insn* aad(Cpu& cpu, const Insn* insn) {
  const u8 al = read_slot<u8>(cpu, 0);
  const u8 ah = read_slot<u8>(cpu, 1);
  const u8 sum = static_cast<u8>(al + ah * insn->imm);
  write_slot<u16>(cpu, 0, sum);
  set_flags_logic(cpu, sum);
  return next(cpu, insn);
}

const Insn* daa_or_das(Cpu& cpu, const Insn* insn, int direction) {
  const u8 old_al = read_slot<u8>(cpu, 0);
  const bool old_cf = cpu.state.flags.cf();
  u8 al = old_al;
  bool cf = false;
  const bool low = (old_al & 0xF) > 9 || cpu.state.flags.af();
  if (low) {
    al = static_cast<u8>(old_al + direction * 6);
    cf = old_cf || (direction > 0 ? old_al > 0xF9 : old_al < 6);
  }
  if (old_al > 0x99 || old_cf) {
    al = static_cast<u8>(al + direction * 0x60);
    cf = true;
  }
  write_slot(cpu, 0, al);
  set_flags_logic(cpu, al);
  cpu.state.flags.set_masked((low ? kFlagAf : 0u) | (cf ? kFlagCf : 0u), kFlagAf | kFlagCf);
  return next(cpu, insn);
}

const Insn* daa(Cpu& cpu, const Insn* insn) {
  return daa_or_das(cpu, insn, 1);
}
const Insn* das(Cpu& cpu, const Insn* insn) {
  return daa_or_das(cpu, insn, -1);
}

template <Handler kHandler>
bool bind_plain(const Decoded& decoded, Insn& insn) {
  if (decoded.info.operand_count_visible > 0 && decoded.is_immediate(0)) {
    insn.imm = decoded.immediate(0);
  }
  insn.handler = kHandler;
  return true;
}

constexpr Binding kBindings[] = {
    {ZYDIS_MNEMONIC_ADD, bind_alu<Add>},   {ZYDIS_MNEMONIC_OR, bind_alu<Or>},
    {ZYDIS_MNEMONIC_ADC, bind_alu<Adc>},   {ZYDIS_MNEMONIC_SBB, bind_alu<Sbb>},
    {ZYDIS_MNEMONIC_AND, bind_alu<And>},   {ZYDIS_MNEMONIC_SUB, bind_alu<Sub>},
    {ZYDIS_MNEMONIC_XOR, bind_alu<Xor>},   {ZYDIS_MNEMONIC_CMP, bind_alu<Cmp>},
    {ZYDIS_MNEMONIC_TEST, bind_alu<Test>}, {ZYDIS_MNEMONIC_INC, bind_unary<Inc>},
    {ZYDIS_MNEMONIC_DEC, bind_unary<Dec>}, {ZYDIS_MNEMONIC_NEG, bind_unary<Neg>},
    {ZYDIS_MNEMONIC_NOT, bind_unary<Not>}, {ZYDIS_MNEMONIC_MUL, bind_mul},
    {ZYDIS_MNEMONIC_IMUL, bind_imul},      {ZYDIS_MNEMONIC_DIV, bind_div},
    {ZYDIS_MNEMONIC_IDIV, bind_idiv},      {ZYDIS_MNEMONIC_AAA, bind_plain<aaa>},
    {ZYDIS_MNEMONIC_AAS, bind_plain<aas>}, {ZYDIS_MNEMONIC_AAM, bind_plain<aam>},
    {ZYDIS_MNEMONIC_AAD, bind_plain<aad>}, {ZYDIS_MNEMONIC_DAA, bind_plain<daa>},
    {ZYDIS_MNEMONIC_DAS, bind_plain<das>},
};

}  // namespace

std::span<const Binding> alu_bindings() {
  return kBindings;
}

}  // namespace snowglobe::vm
