// vm/cpu/x87_host.cc - one stub for each x87 encoding, made from a template.
#include "vm/cpu/x87_host.h"

#include "base/check.h"
#include "vm/cpu/x87.h"

#include <array>
#include <utility>

namespace snowglobe::vm::x87 {
namespace {

using RegisterStub = void (*)(SaveImage& image, HostFlags& flags);
using MemoryStub = void (*)(SaveImage& image, u8* memory);

constexpr unsigned kRegisterForms = 8 * 64;
constexpr unsigned kMemoryForms = 8 * 8;

// Register forms that compute, as rows of eight (D8 C0-C7, D8 C8-CF, ...), a bit a form: those of
// the 80387 and P6. Control instructions (FNCLEX, FNINIT, FNSTSW) are not here.
constexpr std::array<u64, 8> kComputingForms = [] {
  std::array<u64, 8> rows{};
  rows[0] = ~u64{0};                          // D8: arithmetic
  rows[1] = 0x00000000'0001'FFFF;             // D9: FLD, FXCH, FNOP
  rows[1] |= u64{0xFF} << 24;                 // D9 D8: FSTPNCE
  rows[1] |= u64{0b00110011} << 32;           // FCHS FABS FTST FXAM
  rows[1] |= u64{0b01111111} << 40;           // constants
  rows[1] |= u64{0xFFFF} << 48;               // transcendental and others
  rows[2] = 0xFFFF'FFFF | u64{2} << 40;       // DA: FCMOVcc, FUCOMPP
  rows[3] = 0xFFFF'FFFF | u64{0xFFFF} << 40;  // DB: FCMOVNcc, FUCOMI, FCOMI
  rows[4] = ~u64{0};                          // DC: arithmetic
  rows[5] = 0x0000'FFFF'FFFF'FFFF;            // DD: FFREE, FXCH, FST, FSTP, FUCOM, FUCOMP
  rows[6] = ~u64{0} & ~(u64{0xFD} << 24);     // DE: arithmetic with pop, FCOMPP
  rows[7] = 0xFFFF'FFFF | u64{0xFFFF} << 40;  // DF: FFREEP, FXCH, FSTP, FUCOMIP, FCOMIP
  return rows;
}();

template <unsigned kForm>
void register_stub(SaveImage& image, HostFlags& flags) {
  asm volatile(
      "frstor %[image]\n\t"
      "movb %[low], %%al\n\t"  // by way of AL: the address may need a REX prefix
      "movb %%al, %%ah\n\t"
      "movb %[overflow], %%al\n\t"
      "addb $0x7F, %%al\n\t"  // overflows if al was 1; SAHF leaves OF alone
      "sahf\n\t"
      ".byte %c[opcode], %c[modrm]\n\t"
      "lahf\n\t"
      "seto %[overflow]\n\t"
      "movb %%ah, %%al\n\t"
      "movb %%al, %[low]\n\t"
      "fnsave %[image]"
      : [image] "+m"(image), [low] "+m"(flags.low), [overflow] "+m"(flags.overflow)
      : [opcode] "i"(0xD8 + kForm / 64), [modrm] "i"(0xC0 + kForm % 64)
      : "rax", "cc", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
}

template <unsigned kForm>
void memory_stub(SaveImage& image, u8* memory) {
  asm volatile(
      "frstor %[image]\n\t"
      ".byte %c[opcode], %c[modrm]\n\t"  // the operand is (%rax)
      "fnsave %[image]"
      : [image] "+m"(image)
      : "a"(memory), [opcode] "i"(0xD8 + kForm / 8), [modrm] "i"(kForm % 8 * 8)
      : "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
}

constexpr bool computes(unsigned form) {
  return ((kComputingForms[form / 64] >> (form % 64)) & 1) != 0;
}

constexpr std::array<MemoryOperand, kMemoryForms> kMemoryOperands = [] {
  constexpr auto kLoad = [](u8 size) { return MemoryOperand{size, false}; };
  constexpr auto kStore = [](u8 size) { return MemoryOperand{size, true}; };
  std::array<MemoryOperand, kMemoryForms> forms{};
  for (unsigned reg = 0; reg < 8; ++reg) {
    forms[0 * 8 + reg] = kLoad(4);  // D8: m32
    forms[2 * 8 + reg] = kLoad(4);  // DA: m32 integer
    forms[4 * 8 + reg] = kLoad(8);  // DC: m64
    forms[6 * 8 + reg] = kLoad(2);  // DE: m16 integer
  }
  // Reg field 0 loads, 2 and 3 store; DB, DD and DF /1 are FISTTP, which is SSE3.
  constexpr u8 kSizes[] = {4, 4, 8, 2};  // D9, DB, DD, DF
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = (2 * i + 1) * 8;
    forms[row + 0] = kLoad(kSizes[i]);
    forms[row + 2] = forms[row + 3] = kStore(kSizes[i]);
  }
  forms[3 * 8 + 5] = kLoad(10);   // FLD m80
  forms[3 * 8 + 7] = kStore(10);  // FSTP m80
  forms[7 * 8 + 4] = kLoad(10);   // FBLD
  forms[7 * 8 + 5] = kLoad(8);    // FILD m64
  forms[7 * 8 + 6] = kStore(10);  // FBSTP
  forms[7 * 8 + 7] = kStore(8);   // FISTP m64
  return forms;
}();

template <unsigned kForm>
constexpr RegisterStub register_stub_or_null() {
  if constexpr (computes(kForm)) return register_stub<kForm>;
  return nullptr;
}

template <unsigned kForm>
constexpr MemoryStub memory_stub_or_null() {
  if constexpr (kMemoryOperands[kForm].size != 0) return memory_stub<kForm>;
  return nullptr;
}

template <unsigned... kForms>
constexpr std::array<RegisterStub, sizeof...(kForms)> register_table(
    std::integer_sequence<unsigned, kForms...>) {
  return {register_stub_or_null<kForms>()...};
}

template <unsigned... kForms>
constexpr std::array<MemoryStub, sizeof...(kForms)> memory_table(
    std::integer_sequence<unsigned, kForms...>) {
  return {memory_stub_or_null<kForms>()...};
}

constexpr auto kRegisterStubs =
    register_table(std::make_integer_sequence<unsigned, kRegisterForms>());
constexpr auto kMemoryStubs = memory_table(std::make_integer_sequence<unsigned, kMemoryForms>());

}  // namespace

void to_image(const X87State& x87, SaveImage& image) {
  image = {};
  image.control = x87.control;
  image.status = x87.status;
  image.tag = x87.tag;
  for (unsigned i = 0; i < 8; ++i) {
    const Float80& value = st(x87, i);
    image.stack[i] = {value.significand, value.sign_exponent};
  }
}

void from_image(const SaveImage& image, X87State& x87) {
  x87.control = static_cast<u16>(image.control);
  x87.status = static_cast<u16>(image.status);
  x87.tag = static_cast<u16>(image.tag);
  for (unsigned i = 0; i < 8; ++i) {
    const PackedFloat80& value = image.stack[i];
    x87.physical[physical_index(x87, i)] = {value.significand, value.sign_exponent};
  }
}

MemoryOperand memory_operand(unsigned form) {
  return kMemoryOperands[form];
}

bool has_register_form(unsigned form) {
  return computes(form);
}

void run_register(unsigned form, SaveImage& image, HostFlags& flags) {
  kRegisterStubs[form](image, flags);
}

void run_memory(unsigned form, SaveImage& image, u8* memory) {
  kMemoryStubs[form](image, memory);
}

}  // namespace snowglobe::vm::x87
