// vm/cpu/ops_shift.cc - shifts, rotates, double shifts, bit tests and bit scans.
#include "vm/cpu/ops.h"

namespace snowglobe::vm {
namespace {

// The count is an immediate, CL or 1; it is taken modulo 32 for every width. A count of zero
// changes no flag. OF is defined for a count of 1 only; here it follows the formula of that case
// for all counts.

struct Shl {
  template <class T>
  static T apply(Cpu& cpu, T a, unsigned count) {
    const u64 wide = u64{a} << count;
    const T result = static_cast<T>(wide);
    const bool cf = (wide >> kBits<T> & 1) != 0;
    set_flags_logic(cpu, result);
    set_cf_of(cpu, cf, cf != ((result & kSignBit<T>) != 0));
    return result;
  }
};
struct Shr {
  template <class T>
  static T apply(Cpu& cpu, T a, unsigned count) {
    const T result = static_cast<T>(u64{a} >> count);
    const bool cf = (u64{a} >> (count - 1) & 1) != 0;
    set_flags_logic(cpu, result);
    set_cf_of(cpu, cf, (a & kSignBit<T>) != 0);
    return result;
  }
};
struct Sar {
  template <class T>
  static T apply(Cpu& cpu, T a, unsigned count) {
    const i64 wide = static_cast<i32>(sign_extend(a));
    const T result = static_cast<T>(wide >> count);
    const bool cf = (wide >> (count - 1) & 1) != 0;
    set_flags_logic(cpu, result);
    set_cf_of(cpu, cf, false);
    return result;
  }
};
struct Rol {
  template <class T>
  static T apply(Cpu& cpu, T a, unsigned count) {
    const T result = std::rotl(a, static_cast<int>(count % kBits<T>));
    const bool cf = (result & 1) != 0;
    set_cf_of(cpu, cf, cf != ((result & kSignBit<T>) != 0));
    return result;
  }
};
struct Ror {
  template <class T>
  static T apply(Cpu& cpu, T a, unsigned count) {
    const T result = std::rotr(a, static_cast<int>(count % kBits<T>));
    const bool cf = (result & kSignBit<T>) != 0;
    set_cf_of(cpu, cf, cf != ((result & (kSignBit<T> >> 1)) != 0));
    return result;
  }
};

// Rotates through carry turn a value of one bit more than T, with CF on top.
template <class T>
u64 with_carry(Cpu& cpu, T a) {
  return (u64{cpu.state.flags.cf()} << kBits<T>) | a;
}

struct Rcl {
  template <class T>
  static T apply(Cpu& cpu, T a, unsigned count) {
    constexpr unsigned kWidth = kBits<T> + 1;
    count %= kWidth;
    const u64 wide = with_carry(cpu, a);
    const u64 turned = count == 0 ? wide : (wide << count) | (wide >> (kWidth - count));
    const T result = static_cast<T>(turned);
    const bool cf = (turned >> kBits<T> & 1) != 0;
    set_cf_of(cpu, cf, cf != ((result & kSignBit<T>) != 0));
    return result;
  }
};
struct Rcr {
  template <class T>
  static T apply(Cpu& cpu, T a, unsigned count) {
    constexpr unsigned kWidth = kBits<T> + 1;
    count %= kWidth;
    const u64 wide = with_carry(cpu, a);
    const u64 turned = count == 0 ? wide : (wide >> count) | (wide << (kWidth - count));
    const T result = static_cast<T>(turned);
    const bool cf = (turned >> kBits<T> & 1) != 0;
    const bool top = (result & kSignBit<T>) != 0;
    set_cf_of(cpu, cf, top != ((result & (kSignBit<T> >> 1)) != 0));
    return result;
  }
};

template <bool kByCl>
unsigned shift_count(const Cpu& cpu, const Insn* insn) {
  if constexpr (kByCl) return cpu.state.gpr[kEcx] & 31;
  return insn->extra;
}

template <class Op, class T, bool kByCl>
const Insn* shift_reg(Cpu& cpu, const Insn* insn) {
  const unsigned count = shift_count<kByCl>(cpu, insn);
  if (count == 0) return next(cpu, insn);
  write_slot(cpu, insn->reg, Op::apply(cpu, read_slot<T>(cpu, insn->reg), count));
  return next(cpu, insn);
}

template <class Op, class T, bool kByCl>
const Insn* shift_mem(Cpu& cpu, const Insn* insn) {
  const unsigned count = shift_count<kByCl>(cpu, insn);
  const u32 offset = cpu.effective_address(insn);
  T value;
  if (!cpu.load_for_update(insn, insn->segment, offset, value)) return nullptr;
  if (count != 0) cpu.store_back(insn, insn->segment, offset, Op::apply(cpu, value, count));
  return next(cpu, insn);
}

template <class Op, bool kByCl>
Handler choose_shift(const Decoded& decoded, Insn& insn) {
  const unsigned size = decoded.size(0);
  if (decoded.is_memory(0)) {
    return pick_by_size(size, shift_mem<Op, u8, kByCl>, shift_mem<Op, u16, kByCl>,
                        shift_mem<Op, u32, kByCl>);
  }
  insn.reg = register_slot(decoded, 0);
  return pick_by_size(size, shift_reg<Op, u8, kByCl>, shift_reg<Op, u16, kByCl>,
                      shift_reg<Op, u32, kByCl>);
}

template <class Op>
bool bind_shift(const Decoded& decoded, Insn& insn) {
  if (decoded.is_register(1)) {
    insn.handler = choose_shift<Op, true>(decoded, insn);
  } else {
    insn.extra = static_cast<u8>(decoded.immediate(1) & 31);
    insn.handler = choose_shift<Op, false>(decoded, insn);
  }
  return insn.handler != nullptr;
}

// --- SHLD, SHRD. With 16 bits a count above 16 is undefined; the bits then come around again, as
// processors do it.
// -----------------------------------------------------------------------------------

struct Shld {
  template <class T>
  static T apply(Cpu& cpu, T a, T fill, unsigned count) {
    // Three values in a row, so that counts up to 31 stay inside for 16 bits too.
    u64 wide = (u64{a} << kBits<T>) | fill;
    if constexpr (sizeof(T) == 2) wide = (wide << 16) | a;
    constexpr unsigned kLow = sizeof(T) == 2 ? 32 : kBits<T>;
    const T result = static_cast<T>((wide << count) >> kLow);
    const bool cf = (wide >> (kLow + kBits<T> - count) & 1) != 0;
    set_flags_logic(cpu, result);
    set_cf_of(cpu, cf, ((a ^ result) & kSignBit<T>) != 0);
    return result;
  }
};
struct Shrd {
  template <class T>
  static T apply(Cpu& cpu, T a, T fill, unsigned count) {
    u64 wide = (u64{fill} << kBits<T>) | a;
    if constexpr (sizeof(T) == 2) wide |= u64{a} << 32;
    const T result = static_cast<T>(wide >> count);
    const bool cf = (wide >> (count - 1) & 1) != 0;
    set_flags_logic(cpu, result);
    set_cf_of(cpu, cf, ((a ^ result) & kSignBit<T>) != 0);
    return result;
  }
};

template <class Op, class T, bool kByCl>
const Insn* double_shift_reg(Cpu& cpu, const Insn* insn) {
  const unsigned count = shift_count<kByCl>(cpu, insn);
  if (count == 0) return next(cpu, insn);
  const T fill = read_slot<T>(cpu, insn->rm);
  write_slot(cpu, insn->reg, Op::apply(cpu, read_slot<T>(cpu, insn->reg), fill, count));
  return next(cpu, insn);
}

template <class Op, class T, bool kByCl>
const Insn* double_shift_mem(Cpu& cpu, const Insn* insn) {
  const unsigned count = shift_count<kByCl>(cpu, insn);
  const u32 offset = cpu.effective_address(insn);
  T value;
  if (!cpu.load_for_update(insn, insn->segment, offset, value)) return nullptr;
  if (count != 0) {
    const T fill = read_slot<T>(cpu, insn->rm);
    cpu.store_back(insn, insn->segment, offset, Op::apply(cpu, value, fill, count));
  }
  return next(cpu, insn);
}

template <class Op, bool kByCl>
Handler choose_double_shift(const Decoded& decoded, Insn& insn) {
  const bool dword = decoded.size(0) == 4;
  insn.rm = register_slot(decoded, 1);
  if (decoded.is_memory(0)) {
    return dword ? double_shift_mem<Op, u32, kByCl> : double_shift_mem<Op, u16, kByCl>;
  }
  insn.reg = register_slot(decoded, 0);
  return dword ? double_shift_reg<Op, u32, kByCl> : double_shift_reg<Op, u16, kByCl>;
}

template <class Op>
bool bind_double_shift(const Decoded& decoded, Insn& insn) {
  if (decoded.is_register(2)) {
    insn.handler = choose_double_shift<Op, true>(decoded, insn);
  } else {
    insn.extra = static_cast<u8>(decoded.immediate(2) & 31);
    insn.handler = choose_double_shift<Op, false>(decoded, insn);
  }
  return true;
}

// --- BT, BTS, BTR, BTC
// ------------------------------------------------------------------------------ Only CF is
// defined; the other flags stay.

enum class BitChange : u8 { kNone, kSet, kReset, kComplement };

template <BitChange kChange, class T>
T change_bit(T value, T mask) {
  if constexpr (kChange == BitChange::kSet) return static_cast<T>(value | mask);
  if constexpr (kChange == BitChange::kReset) return static_cast<T>(value & ~mask);
  if constexpr (kChange == BitChange::kComplement) return static_cast<T>(value ^ mask);
  return value;
}

// `extra` is 1 when the bit number is in a register (slot in `rm`), else it is in imm.
template <class T>
T bit_number(const Cpu& cpu, const Insn* insn) {
  return insn->extra != 0 ? read_slot<T>(cpu, insn->rm) : static_cast<T>(insn->imm);
}

template <BitChange kChange, class T>
const Insn* bit_reg(Cpu& cpu, const Insn* insn) {
  const T mask = static_cast<T>(T{1} << (bit_number<T>(cpu, insn) & (kBits<T> - 1)));
  const T value = read_slot<T>(cpu, insn->reg);
  if constexpr (kChange != BitChange::kNone) {
    write_slot(cpu, insn->reg, change_bit<kChange>(value, mask));
  }
  cpu.state.flags.set_cf((value & mask) != 0);
  return next(cpu, insn);
}

// A bit number in a register reaches beyond the operand, in both directions; an immediate does not.
template <BitChange kChange, class T>
const Insn* bit_mem(Cpu& cpu, const Insn* insn) {
  const T bit = bit_number<T>(cpu, insn);
  const T mask = static_cast<T>(T{1} << (bit & (kBits<T> - 1)));
  u32 offset = cpu.effective_address(insn);
  if (insn->extra != 0) {
    const i32 number = static_cast<i32>(sign_extend(bit));
    constexpr int kLog = sizeof(T) == 4 ? 5 : 4;
    offset += static_cast<u32>(number >> kLog) * static_cast<u32>(sizeof(T));
    if (insn->base == kRegScratch) offset &= 0xFFFF;  // 16-bit addressing
  }
  T value;
  if constexpr (kChange == BitChange::kNone) {
    if (!cpu.load(insn, insn->segment, offset, value)) return nullptr;
  } else {
    if (!cpu.load_for_update(insn, insn->segment, offset, value)) return nullptr;
    cpu.store_back(insn, insn->segment, offset, change_bit<kChange>(value, mask));
  }
  cpu.state.flags.set_cf((value & mask) != 0);
  return next(cpu, insn);
}

template <BitChange kChange>
bool bind_bit(const Decoded& decoded, Insn& insn) {
  if (decoded.is_register(1)) {
    insn.extra = 1;
    insn.rm = register_slot(decoded, 1);
  } else {
    insn.imm = decoded.immediate(1);
  }
  const bool dword = decoded.size(0) == 4;
  if (decoded.is_memory(0)) {
    insn.handler = dword ? bit_mem<kChange, u32> : bit_mem<kChange, u16>;
  } else {
    insn.reg = register_slot(decoded, 0);
    insn.handler = dword ? bit_reg<kChange, u32> : bit_reg<kChange, u16>;
  }
  return true;
}

// --- BSF, BSR: with a source of zero ZF is set and the destination stays, as on all processors
// -------

template <class T, bool kReverse>
const Insn* bit_scan(Cpu& cpu, const Insn* insn) {
  T value;
  if (insn->extra != 0) {
    if (!cpu.load(insn, value)) return nullptr;
  } else {
    value = read_slot<T>(cpu, insn->rm);
  }
  if (value == 0) {
    cpu.state.flags.set_masked(kFlagZf, kFlagZf);
    return next(cpu, insn);
  }
  const int bit =
      kReverse ? static_cast<int>(kBits<T>) - 1 - std::countl_zero(value) : std::countr_zero(value);
  write_slot(cpu, insn->reg, static_cast<T>(bit));
  cpu.state.flags.set_masked(0, kFlagZf);
  return next(cpu, insn);
}

template <bool kReverse>
bool bind_bit_scan(const Decoded& decoded, Insn& insn) {
  insn.reg = register_slot(decoded, 0);
  if (decoded.is_memory(1)) {
    insn.extra = 1;
  } else {
    insn.rm = register_slot(decoded, 1);
  }
  insn.handler = decoded.size(0) == 4 ? bit_scan<u32, kReverse> : bit_scan<u16, kReverse>;
  return true;
}

constexpr Binding kBindings[] = {
    {ZYDIS_MNEMONIC_SHL, bind_shift<Shl>},
    {ZYDIS_MNEMONIC_SHR, bind_shift<Shr>},
    {ZYDIS_MNEMONIC_SAR, bind_shift<Sar>},
    {ZYDIS_MNEMONIC_ROL, bind_shift<Rol>},
    {ZYDIS_MNEMONIC_ROR, bind_shift<Ror>},
    {ZYDIS_MNEMONIC_RCL, bind_shift<Rcl>},
    {ZYDIS_MNEMONIC_RCR, bind_shift<Rcr>},
    {ZYDIS_MNEMONIC_SHLD, bind_double_shift<Shld>},
    {ZYDIS_MNEMONIC_SHRD, bind_double_shift<Shrd>},
    {ZYDIS_MNEMONIC_BT, bind_bit<BitChange::kNone>},
    {ZYDIS_MNEMONIC_BTS, bind_bit<BitChange::kSet>},
    {ZYDIS_MNEMONIC_BTR, bind_bit<BitChange::kReset>},
    {ZYDIS_MNEMONIC_BTC, bind_bit<BitChange::kComplement>},
    {ZYDIS_MNEMONIC_BSF, bind_bit_scan<false>},
    {ZYDIS_MNEMONIC_BSR, bind_bit_scan<true>},
};

}  // namespace

std::span<const Binding> shift_bindings() {
  return kBindings;
}

}  // namespace snowglobe::vm
