// vm/cpu/ops_x87_fast.cc - the frequent x87 instructions in their usual circumstances: every
// exception masked, operands there, room for the result. Anything else goes to the general way.
//
// Values are computed by the same instruction of the host's unit, on a stack of its own that is
// empty before and after; moves that can not raise anything are done without it.
#include "vm/cpu/x87.h"
#include "vm/cpu/x87_host.h"

namespace snowglobe::vm::x87 {
namespace {

// What the ABI promises to the rest of the process.
constexpr u16 kHostControl = kControlAfterInit;

bool is_usual(const Cpu& cpu) {
  return (cpu.state.cr0 & (kCr0Em | kCr0Ts)) == 0 && all_masked(cpu.state.x87);
}

PackedFloat80 pack(const Float80& value) {
  return {value.significand, value.sign_exponent};
}
Float80 unpack(const PackedFloat80& value) {
  return {value.significand, value.sign_exponent};
}

// Exceptions add up; C1 says which way the last result was rounded.
void merge_status(X87State& x87, u16 raised) {
  x87.status = static_cast<u16>((x87.status & ~kC1) | (raised & (kExceptions | kC1)));
}
void merge_conditions(X87State& x87, u16 raised) {
  x87.status = static_cast<u16>((x87.status & ~kConditionCodes) |
                                (raised & (kExceptions | kConditionCodes)));
}
void clear_c1(X87State& x87) {
  x87.status = static_cast<u16>(x87.status & ~kC1);
}

// Makers of processors differ here; the general way follows the host, and so must the short one.
bool fcomi_clears_c1() {
  X87State x87;
  initialize(x87);
  push(x87, {});
  x87.status |= kC1;
  SaveImage image;
  HostFlags flags;
  to_image(x87, image);
  constexpr unsigned kFcomiSt0 = 3 * 64 + 0x30;
  run_register(kFcomiSt0, image, flags);
  return (image.status & kC1) == 0;
}

// --- primitives on the host's unit: each returns the status word --------------------------------

/// st0 = st0 <op> st1 with the encoding D8 C1 + 8 * kOperation.
template <u8 kOperation>
u16 host_binary(u16 control, const PackedFloat80& st0, const PackedFloat80& st1,
                PackedFloat80& result) {
  u16 status;
  asm volatile(
      "fnclex\n\t"
      "fldcw %[control]\n\t"
      "fldt %[st1]\n\t"
      "fldt %[st0]\n\t"
      ".byte 0xD8, %c[modrm]\n\t"
      "fnstsw %[status]\n\t"
      "fstpt %[result]\n\t"
      "fstp %%st(0)\n\t"
      "fldcw %[host]"
      : [status] "=&a"(status), [result] "=m"(result)
      : [control] "m"(control), [host] "m"(kHostControl), [st0] "m"(st0), [st1] "m"(st1),
        [modrm] "i"(0xC1 + 8 * kOperation)
      : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
  return status;
}

/// st0 = st0 <op> memory, or a comparison that leaves st0 as it was.
template <u8 kOpcode, u8 kOperation>
u16 host_binary_memory(u16 control, const PackedFloat80& st0, const u8* memory,
                       PackedFloat80& result) {
  u64 rax = reinterpret_cast<u64>(memory);
  asm volatile(
      "fnclex\n\t"
      "fldcw %[control]\n\t"
      "fldt %[st0]\n\t"
      ".byte %c[opcode], %c[modrm]\n\t"  // the operand is (%rax)
      "fnstsw %%ax\n\t"
      "fstpt %[result]\n\t"
      "fldcw %[host]"
      : [rax] "+&a"(rax), [result] "=m"(result)
      : [control] "m"(control), [host] "m"(kHostControl), [st0] "m"(st0), [opcode] "i"(kOpcode),
        [modrm] "i"(8 * kOperation)
      : "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
  return static_cast<u16>(rax);
}

/// Compares st0 with st1; kModrm names ST(1). `flags` receives the low byte of EFLAGS.
template <u8 kOpcode, u8 kModrm>
u16 host_compare(u16 control, const PackedFloat80& st0, const PackedFloat80& st1, u8& flags) {
  u16 status;
  asm volatile(
      "fnclex\n\t"
      "fldcw %[control]\n\t"
      "fldt %[st1]\n\t"
      "fldt %[st0]\n\t"
      ".byte %c[opcode], %c[modrm]\n\t"
      "lahf\n\t"
      "movb %%ah, %%al\n\t"
      "movb %%al, %[flags]\n\t"
      "fnstsw %[status]\n\t"
      "fstp %%st(0)\n\t"
      "fstp %%st(0)\n\t"
      "fldcw %[host]"
      : [status] "=&a"(status), [flags] "=m"(flags)
      : [control] "m"(control), [host] "m"(kHostControl), [st0] "m"(st0), [st1] "m"(st1),
        [opcode] "i"(kOpcode), [modrm] "i"(kModrm)
      : "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
  return status;
}

template <u8 kOpcode, u8 kOperation>
u16 host_load(u16 control, const u8* memory, PackedFloat80& result) {
  u64 rax = reinterpret_cast<u64>(memory);
  asm volatile(
      "fnclex\n\t"
      "fldcw %[control]\n\t"
      ".byte %c[opcode], %c[modrm]\n\t"  // the operand is (%rax)
      "fnstsw %%ax\n\t"
      "fstpt %[result]\n\t"
      "fldcw %[host]"
      : [rax] "+&a"(rax), [result] "=m"(result)
      : [control] "m"(control), [host] "m"(kHostControl), [opcode] "i"(kOpcode),
        [modrm] "i"(8 * kOperation)
      : "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
  return static_cast<u16>(rax);
}

/// The encoding must be one that pops.
template <u8 kOpcode, u8 kOperation>
u16 host_store(u16 control, const PackedFloat80& st0, u8* memory) {
  u64 rax = reinterpret_cast<u64>(memory);
  asm volatile(
      "fnclex\n\t"
      "fldcw %[control]\n\t"
      "fldt %[st0]\n\t"
      ".byte %c[opcode], %c[modrm]\n\t"  // the operand is (%rax)
      "fnstsw %%ax\n\t"
      "fldcw %[host]"
      : [rax] "+&a"(rax)
      : [control] "m"(control), [host] "m"(kHostControl), [st0] "m"(st0), [opcode] "i"(kOpcode),
        [modrm] "i"(8 * kOperation)
      : "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
  return static_cast<u16>(rax);
}

// --- register forms -----------------------------------------------------------------------------

/// In all three encodings of an operation the reg field says the same of ST(0) and ST(i) as
/// sources: D8 /4 is ST(0) - ST(i) into ST(0), DC /4 is ST(0) - ST(i) into ST(i).
template <u8 kOperation, bool kIntoSti, bool kPop>
const Insn* arithmetic_register(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0) || is_empty(x87, insn->rm)) [[unlikely]] {
    return execute_register(cpu, insn);
  }
  PackedFloat80 result;
  merge_status(
      x87, host_binary<kOperation>(x87.control, pack(st(x87, 0)), pack(st(x87, insn->rm)), result));
  set_st(x87, kIntoSti ? insn->rm : 0u, unpack(result));
  if constexpr (kPop) pop(x87);
  record(cpu, insn);
  return next(cpu, insn);
}

template <u8 kOpcode, u8 kModrm, unsigned kPops, bool kEflags>
const Insn* compare_register(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0) || is_empty(x87, insn->rm)) [[unlikely]] {
    return execute_register(cpu, insn);
  }
  u8 flags = 0;
  const u16 raised =
      host_compare<kOpcode, kModrm>(x87.control, pack(st(x87, 0)), pack(st(x87, insn->rm)), flags);
  if constexpr (kEflags) {
    static const bool clears_c1 = fcomi_clears_c1();
    x87.status |= raised & kExceptions;
    if (clears_c1) clear_c1(x87);
    cpu.state.flags.set(flags);
  } else {
    merge_conditions(x87, raised);
  }
  for (unsigned i = 0; i < kPops; ++i)
    pop(x87);
  record(cpu, insn);
  return next(cpu, insn);
}

const Insn* load_register(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, insn->rm) || !is_empty(x87, 7)) [[unlikely]] {
    return execute_register(cpu, insn);
  }
  const Float80 value = st(x87, insn->rm);
  push(x87, value);
  clear_c1(x87);
  record(cpu, insn);
  return next(cpu, insn);
}

template <bool kPop>
const Insn* store_register(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0)) [[unlikely]]
    return execute_register(cpu, insn);
  const Float80 value = st(x87, 0);
  set_st(x87, insn->rm, value);
  if constexpr (kPop) pop(x87);
  clear_c1(x87);
  record(cpu, insn);
  return next(cpu, insn);
}

const Insn* exchange(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0) || is_empty(x87, insn->rm)) [[unlikely]] {
    return execute_register(cpu, insn);
  }
  const Float80 first = st(x87, 0);
  const Float80 other = st(x87, insn->rm);
  set_st(x87, 0, other);
  set_st(x87, insn->rm, first);
  clear_c1(x87);
  record(cpu, insn);
  return next(cpu, insn);
}

/// FCHS and FABS raise nothing, whatever the value.
template <bool kAbsolute>
const Insn* change_sign(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0)) [[unlikely]]
    return execute_register(cpu, insn);
  u16& word = x87.physical[top(x87)].sign_exponent;
  word = static_cast<u16>(kAbsolute ? word & 0x7FFFu : word ^ 0x8000u);
  clear_c1(x87);
  record(cpu, insn);
  return next(cpu, insn);
}

template <u64 kSignificand, u16 kExponent>
const Insn* load_constant(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || !is_empty(x87, 7)) [[unlikely]]
    return execute_register(cpu, insn);
  push(x87, {kSignificand, kExponent});
  clear_c1(x87);
  record(cpu, insn);
  return next(cpu, insn);
}

// --- memory forms -------------------------------------------------------------------------------

template <class T, u8 kOpcode, u8 kOperation>
const Insn* arithmetic_memory(Cpu& cpu, const Insn* insn) {
  constexpr bool kCompare = kOperation == 2 || kOperation == 3;
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0)) [[unlikely]]
    return execute_load(cpu, insn);
  T operand{};
  if (!cpu.load(insn, operand)) return nullptr;
  PackedFloat80 result;
  const u16 raised = host_binary_memory < kOpcode,
            kCompare ? u8{2}
                     : kOperation > (x87.control, pack(st(x87, 0)),
                                     reinterpret_cast<const u8*>(&operand), result);
  if constexpr (kCompare) {
    merge_conditions(x87, raised);
    if constexpr (kOperation == 3) pop(x87);
  } else {
    merge_status(x87, raised);
    set_st(x87, 0, unpack(result));
  }
  record_memory(cpu, insn);
  return next(cpu, insn);
}

template <class T, u8 kOpcode, u8 kOperation>
const Insn* load_memory(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || !is_empty(x87, 7)) [[unlikely]]
    return execute_load(cpu, insn);
  T operand{};
  if (!cpu.load(insn, operand)) return nullptr;
  PackedFloat80 result;
  merge_status(x87, host_load<kOpcode, kOperation>(x87.control,
                                                   reinterpret_cast<const u8*>(&operand), result));
  push(x87, unpack(result));
  record_memory(cpu, insn);
  return next(cpu, insn);
}

const Insn* load_extended(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || !is_empty(x87, 7)) [[unlikely]]
    return execute_load(cpu, insn);
  Float80 value;
  const u32 offset = cpu.effective_address(insn);
  if (!cpu.load(insn, insn->segment, offset, value.significand) ||
      !cpu.load(insn, insn->segment, offset + 8, value.sign_exponent)) {
    return nullptr;
  }
  push(x87, value);
  clear_c1(x87);
  record_memory(cpu, insn);
  return next(cpu, insn);
}

/// kOperation is the field of the form that pops; whether the guest's pops is another matter.
template <class T, u8 kOpcode, u8 kOperation, bool kPop>
const Insn* store_memory(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0)) [[unlikely]]
    return execute_store(cpu, insn);
  T operand{};
  const u16 raised = host_store<kOpcode, kOperation>(x87.control, pack(st(x87, 0)),
                                                     reinterpret_cast<u8*>(&operand));
  if (!cpu.store(insn, operand)) return nullptr;
  merge_status(x87, raised);
  if constexpr (kPop) pop(x87);
  record_memory(cpu, insn);
  return next(cpu, insn);
}

const Insn* store_extended(Cpu& cpu, const Insn* insn) {
  X87State& x87 = cpu.state.x87;
  if (!is_usual(cpu) || is_empty(x87, 0)) [[unlikely]]
    return execute_store(cpu, insn);
  std::array<u8, sizeof(PackedFloat80)> bytes;
  base::store_le(bytes.data(), pack(st(x87, 0)));
  if (!cpu.store_bytes(insn, insn->segment, cpu.effective_address(insn), bytes)) return nullptr;
  pop(x87);
  clear_c1(x87);
  record_memory(cpu, insn);
  return next(cpu, insn);
}

// --- tables -------------------------------------------------------------------------------------

/// Operations 0, 1 and 4-7 of the rows D8, DC and DE; 2 and 3 are comparisons.
template <bool kIntoSti, bool kPop>
constexpr std::array<Handler, 8> kArithmeticRegister = {arithmetic_register<0, kIntoSti, kPop>,
                                                        arithmetic_register<1, kIntoSti, kPop>,
                                                        nullptr,
                                                        nullptr,
                                                        arithmetic_register<4, kIntoSti, kPop>,
                                                        arithmetic_register<5, kIntoSti, kPop>,
                                                        arithmetic_register<6, kIntoSti, kPop>,
                                                        arithmetic_register<7, kIntoSti, kPop>};

template <class T, u8 kOpcode>
constexpr std::array<Handler, 8> kArithmeticMemory = {
    arithmetic_memory<T, kOpcode, 0>, arithmetic_memory<T, kOpcode, 1>,
    arithmetic_memory<T, kOpcode, 2>, arithmetic_memory<T, kOpcode, 3>,
    arithmetic_memory<T, kOpcode, 4>, arithmetic_memory<T, kOpcode, 5>,
    arithmetic_memory<T, kOpcode, 6>, arithmetic_memory<T, kOpcode, 7>};

template <unsigned kPops>
constexpr Handler kFcom = compare_register<0xD8, 0xD1, kPops, false>;
template <unsigned kPops>
constexpr Handler kFucom = compare_register<0xDD, 0xE1, kPops, false>;
template <unsigned kPops>
constexpr Handler kFucomi = compare_register<0xDB, 0xE9, kPops, true>;
template <unsigned kPops>
constexpr Handler kFcomi = compare_register<0xDB, 0xF1, kPops, true>;

Handler handler_of_d9(unsigned second) {
  switch (second) {
    case 0xE0 - 0xC0:
      return change_sign<false>;
    case 0xE1 - 0xC0:
      return change_sign<true>;
    case 0xE8 - 0xC0:
      return load_constant<u64{1} << 63, 0x3FFF>;
    case 0xEE - 0xC0:
      return load_constant<0, 0>;
    default:
      break;
  }
  if (second < 8) return load_register;
  return second < 16 ? exchange : nullptr;
}

}  // namespace

Handler fast_register_handler(unsigned form) {
  const unsigned second = form % 64;
  const unsigned operation = second / 8;
  switch (0xD8 + form / 64) {
    case 0xD8:
      if (operation == 2) return kFcom<0>;
      if (operation == 3) return kFcom<1>;
      return kArithmeticRegister<false, false>[operation];
    case 0xD9:
      return handler_of_d9(second);
    case 0xDA:
      return second == 0xE9 - 0xC0 ? kFucom<2> : nullptr;
    case 0xDB:
      return operation == 5 ? kFucomi<0> : operation == 6 ? kFcomi<0> : nullptr;
    case 0xDC:
      return kArithmeticRegister<true, false>[operation];
    case 0xDD:
      if (operation == 2) return store_register<false>;
      if (operation == 3) return store_register<true>;
      return operation == 4 ? kFucom<0> : operation == 5 ? kFucom<1> : nullptr;
    case 0xDE:
      if (second == 0xD9 - 0xC0) return kFcom<2>;
      return kArithmeticRegister<true, true>[operation];
    default:
      return operation == 5 ? kFucomi<1> : operation == 6 ? kFcomi<1> : nullptr;
  }
}

Handler fast_memory_handler(unsigned form) {
  const unsigned operation = form % 8;
  switch (0xD8 + form / 8) {
    case 0xD8:
      return kArithmeticMemory<u32, 0xD8>[operation];
    case 0xDA:
      return kArithmeticMemory<u32, 0xDA>[operation];
    case 0xDC:
      return kArithmeticMemory<u64, 0xDC>[operation];
    case 0xDE:
      return kArithmeticMemory<u16, 0xDE>[operation];
    case 0xD9: {
      constexpr Handler kRow[8] = {load_memory<u32, 0xD9, 0>, nullptr,
                                   store_memory<u32, 0xD9, 3, false>,
                                   store_memory<u32, 0xD9, 3, true>};
      return kRow[operation];
    }
    case 0xDB: {
      constexpr Handler kRow[8] = {load_memory<u32, 0xDB, 0>,
                                   nullptr,
                                   store_memory<u32, 0xDB, 3, false>,
                                   store_memory<u32, 0xDB, 3, true>,
                                   nullptr,
                                   load_extended,
                                   nullptr,
                                   store_extended};
      return kRow[operation];
    }
    case 0xDD: {
      constexpr Handler kRow[8] = {load_memory<u64, 0xDD, 0>, nullptr,
                                   store_memory<u64, 0xDD, 3, false>,
                                   store_memory<u64, 0xDD, 3, true>};
      return kRow[operation];
    }
    default: {
      constexpr Handler kRow[8] = {load_memory<u16, 0xDF, 0>,
                                   nullptr,
                                   store_memory<u16, 0xDF, 3, false>,
                                   store_memory<u16, 0xDF, 3, true>,
                                   nullptr,
                                   load_memory<u64, 0xDF, 5>,
                                   nullptr,
                                   store_memory<u64, 0xDF, 7, true>};
      return kRow[operation];
    }
  }
}

}  // namespace snowglobe::vm::x87
