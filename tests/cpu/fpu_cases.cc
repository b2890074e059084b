// tests/cpu/fpu_cases.cc - makes the states and compares what became of them.
#include "tests/cpu/fpu_cases.h"

#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::vm::test {
namespace {

// Offsets in the FXSAVE image (Intel SDM Vol. 1, table 10-2).
constexpr unsigned kControl = 0, kStatus = 2, kTag = 4, kMxcsr = 24, kStack = 32, kXmm = 160;
constexpr u32 kGuestMemory = BareMachine::kData;

u16 full_tag(const Float80& value) {
  const unsigned exponent = value.sign_exponent & 0x7FFFu;
  if (exponent == 0) return value.significand == 0 ? 1 : 2;
  return exponent != 0x7FFF && (value.significand >> 63) != 0 ? 0 : 2;
}

void load_x87(const HostState& from, X87State& x87) {
  x87 = {};
  x87.control = base::load_le<u16>(&from.fx[kControl]);
  x87.status = base::load_le<u16>(&from.fx[kStatus]);
  x87.tag = 0;
  const unsigned top = (x87.status >> 11) & 7u;
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned physical = (top + i) & 7;
    const u8* at = &from.fx[kStack + 16 * i];
    x87.physical[physical] = {base::load_le<u64>(at), base::load_le<u16>(at + 8)};
    const bool present = ((from.fx[kTag] >> physical) & 1) != 0;
    const u16 tag = present ? full_tag(x87.physical[physical]) : u16{3};
    x87.tag = static_cast<u16>(x87.tag | tag << (2 * physical));
  }
}

std::string show_x87(const X87State& x87) {
  std::string text =
      fmt::format("control {:04x} status {:04x} tag {:04x}", x87.control, x87.status, x87.tag);
  for (unsigned i = 0; i < 8; ++i) {
    const Float80& value = x87.physical[((x87.status >> 11) + i) & 7];
    text += fmt::format("\n    st{} {:04x} {:016x}", i, value.sign_exponent, value.significand);
  }
  return text;
}

std::string show_bytes(base::ConstBytes bytes) {
  std::string text;
  for (const u8 byte : bytes)
    text += fmt::format("{:02x}", byte);
  return text;
}

u64 exponent_and_fraction(u64 random, unsigned fraction_bits, unsigned exponent_bits) {
  const u64 fraction_mask = (u64{1} << fraction_bits) - 1;
  const u64 max_exponent = (u64{1} << exponent_bits) - 1;
  const u64 bias = max_exponent >> 1;
  const u64 fraction = (random >> 8) & fraction_mask;
  const u64 sign = (random & 1) << (fraction_bits + exponent_bits);
  const auto make = [&](u64 exponent, u64 low) { return sign | exponent << fraction_bits | low; };
  switch ((random >> 1) & 15) {
    case 0:
      return make(0, 0);
    case 1:
      return make(0, fraction);
    case 2:
      return make(0, 1);
    case 3:
      return make(max_exponent, 0);
    case 4:
      return make(max_exponent, fraction | (u64{1} << (fraction_bits - 1)));
    case 5:
      return make(max_exponent, (fraction & (fraction_mask >> 1)) | 1);
    case 6:
      return make(max_exponent - 1, fraction_mask);
    case 7:
      return make(1, fraction);
    case 8:
      return make(bias, 0);
    case 9:
      return make(bias + ((random >> 5) & 7), 0);
    case 10:
      return make(bias + 30 + ((random >> 5) & 3), fraction & ~(fraction_mask >> 4));
    case 11:
      return make(bias / 2 + ((random >> 5) & 7), fraction);
    case 12:
      return make(bias + bias / 2 + ((random >> 5) & 7), fraction);
    case 13:
      return random * 0x9E3779B97F4A7C15u;
    default:
      return make(bias - 4 + ((random >> 5) & 7), fraction);
  }
}

}  // namespace

FpuComparison::FpuComparison(u64 seed) : random_(seed) {
  machine_.cpu.state.cr4 |= kCr4Osfxsr | kCr4Osxmmexcpt;
  machine_.cpu.state.cr0 |= kCr0Ne;
}

u64 FpuComparison::random_lane() {
  switch (below(4)) {
    case 0:
      return exponent_and_fraction(bits(), 52, 11);
    case 1:
      return exponent_and_fraction(bits(), 23, 8) << 32 |
             (exponent_and_fraction(bits(), 23, 8) & 0xFFFF'FFFF);
    case 2:
      return below(80);  // counts of shifts
    default:
      return bits();
  }
}

u64 FpuComparison::significand_of(unsigned kind) {
  constexpr u64 kTop = u64{1} << 63;
  switch (kind) {
    case 0:
      return 0;
    case 1:
      return kTop;
    case 2:
      return ~u64{0};
    case 3:
      return bits() & ~kTop;
    case 4:
      return kTop | 1;
    default:
      return bits() | kTop;
  }
}

void FpuComparison::randomize_x87(Masks masks) {
  auto control = static_cast<u16>(0x007F | (bits() & 0x0F00));
  if (below(3) == 0) control = 0x037F;
  if (masks == Masks::kRandom) control = static_cast<u16>(control & ~(bits() & 0x3F));
  auto status = static_cast<u16>((bits() & 0x7F00) | (bits() & bits() & 0x7F & (control | 0x40)));
  if (masks == Masks::kRandom && below(16) == 0) {
    status = static_cast<u16>(status | (bits() & 0x3F));
  }
  if ((status & ~control & 0x3F) != 0) status |= 0x8080;
  base::store_le(&input_.fx[kControl], control);
  base::store_le(&input_.fx[kStatus], status);
  input_.fx[kTag] = below(2) == 0 ? u8{0xFF} : static_cast<u8>(bits());
  constexpr u16 kExponents[] = {0, 0, 1, 0x7FFF, 0x7FFF, 0x7FFE, 0x3FFF, 0x3FFF, 0x3FFE, 0x403E};
  for (unsigned i = 0; i < 8; ++i) {
    const u64 choice = below(16);
    const auto exponent = static_cast<u16>(choice < std::size(kExponents) ? kExponents[choice]
                                           : choice == 10                 ? bits() & 0x7FFF
                                                                          : 0x3FF0 + below(64));
    const u64 value = significand_of(
        static_cast<unsigned>(exponent == 0 || exponent == 0x7FFF ? below(6) : below(16)));
    base::store_le(&input_.fx[kStack + 16 * i], value);
    base::store_le(&input_.fx[kStack + 16 * i + 8], static_cast<u16>(exponent | (bits() & 0x8000)));
  }
}

void FpuComparison::randomize(Masks masks) {
  input_ = {};
  randomize_x87(masks);
  u32 mxcsr = below(3) == 0 ? 0x1FA0 : 0x1F80;  // the first has a way of its own
  if (below(2) == 0) mxcsr |= static_cast<u32>(bits() & 0xE07F);
  if (masks == Masks::kRandom) mxcsr &= ~static_cast<u32>(bits() & 0x1F80);
  base::store_le(&input_.fx[kMxcsr], mxcsr);
  for (unsigned i = 0; i < 16; ++i)
    base::store_le(&input_.fx[kXmm + 8 * i], random_lane());
  for (unsigned i = 0; i < input_.memory.size() / 8; ++i)
    base::store_le(&input_.memory[8 * i], random_lane());
  if (below(8) == 0) std::copy_n(&input_.fx[kStack], 10, input_.memory.data());
  if (below(4) == 0) {  // a control word, a packed decimal, a valid MXCSR
    for (unsigned i = 0; i < 10; ++i)
      input_.memory[i] = static_cast<u8>(below(10) << 4 | below(10));
    base::store_le(&input_.memory[2], u16{0});
  }
  // Bit 17 of MXCSR exists on some hosts (misaligned SSE): not in an operand of LDMXCSR or FXRSTOR.
  input_.memory[2] &= 0xFD;
  input_.memory[kMxcsr + 2] &= 0xFD;
  input_.eflags = 0x202 | (bits() & kArithmeticFlags);
  input_.rax = bits() & 0xFFFF'FFFF;
  input_.rcx = bits() & 0xFFFF'FFFF;
  input_.rdx = (below(70000) - 35000u) & 0xFFFF'FFFF;
}

void FpuComparison::to_machine() {
  CpuState& state = machine_.cpu.state;
  load_x87(input_, state.x87);
  state.mxcsr = base::load_le<u32>(&input_.fx[kMxcsr]);
  for (unsigned i = 0; i < 8; ++i)
    std::copy_n(&input_.fx[kXmm + 16 * i], 16, state.xmm[i].bytes.data());
  state.gpr[kEax] = static_cast<u32>(input_.rax);
  state.gpr[kEcx] = static_cast<u32>(input_.rcx);
  state.gpr[kEdx] = static_cast<u32>(input_.rdx);
  state.gpr[kEsi] = state.gpr[kEdi] = kGuestMemory;
  state.flags.set(static_cast<u32>(input_.eflags));
  state.eip = BareMachine::kCode;
  state.halted = false;
  machine_.cpu.clear_exception();
  const base::Bytes memory =
      machine_.ram().write(kGuestMemory, static_cast<u32>(input_.memory.size()));
  std::copy(input_.memory.begin(), input_.memory.end(), memory.begin());
}

std::string FpuComparison::difference(int host_vector) {
  const Cpu& cpu = machine_.cpu;
  const CpuState& state = cpu.state;
  const int vector = cpu.has_exception() ? static_cast<int>(cpu.exception().vector) : -1;
  if (vector != host_vector) return fmt::format("vector {}, host {}", vector, host_vector);
  X87State before;
  X87State expected;
  load_x87(input_, before);
  load_x87(output_, expected);
  X87State actual = state.x87;
  actual.opcode = actual.cs = actual.ds = 0;
  actual.ip = actual.dp = 0;
  if (!(actual == expected)) {
    return "x87 before: " + show_x87(before) + "\n  host: " + show_x87(expected) +
           "\n  ours: " + show_x87(actual);
  }
  const u32 mxcsr = base::load_le<u32>(&output_.fx[kMxcsr]);
  if (state.mxcsr != mxcsr) {
    return fmt::format("mxcsr {:04x}, host {:04x}, before {:04x}", state.mxcsr, mxcsr,
                       base::load_le<u32>(&input_.fx[kMxcsr]));
  }
  for (unsigned i = 0; i < 8; ++i) {
    const base::ConstBytes host(&output_.fx[kXmm + 16 * i], 16);
    if (!std::equal(host.begin(), host.end(), state.xmm[i].bytes.begin())) {
      return fmt::format("xmm{} {}, host {}", i, show_bytes(state.xmm[i].bytes), show_bytes(host));
    }
  }
  const u32 flags = static_cast<u32>(output_.eflags) & kArithmeticFlags;
  if (state.flags.get() != flags) {
    return fmt::format("flags {:03x}, host {:03x}", state.flags.get(), flags);
  }
  const u64 host_registers[] = {output_.rax, output_.rcx, output_.rdx};
  for (unsigned i = 0; i < 3; ++i) {
    if (state.gpr[i] != host_registers[i]) {
      return fmt::format("register {} {:x}, host {:x}", i, state.gpr[i], host_registers[i]);
    }
  }
  const base::ConstBytes memory =
      machine_.ram().read(kGuestMemory, static_cast<u32>(output_.memory.size()));
  if (!std::equal(memory.begin(), memory.end(), output_.memory.begin())) {
    return fmt::format("memory {}, host {}", show_bytes(memory.first(32)),
                       show_bytes(base::ConstBytes(output_.memory).first(32)));
  }
  return {};
}

std::string FpuComparison::compare(const std::vector<u8>& instruction, unsigned count,
                                   Masks masks) {
  const base::Bytes code = machine_.ram().write(BareMachine::kCode, 16);
  std::fill(code.begin(), code.end(), u8{0xF4});
  std::copy(instruction.begin(), instruction.end(), code.begin());
  host_.load(instruction);
  for (unsigned i = 0; i < count; ++i) {
    randomize(masks);
    output_ = input_;
    const int host_vector = host_.run(output_);
    to_machine();
    machine_.interpreter.step(false);
    const std::string text = difference(host_vector);
    if (!text.empty()) return disassemble(instruction) + ": " + text;
  }
  return {};
}

// --- encodings ----------------------------------------------------------------------------------

namespace {

bool is_bound(std::span<const Binding> bindings, const Decoded& decoded) {
  return std::any_of(bindings.begin(), bindings.end(), [&](const Binding& binding) {
    Insn insn;
    return binding.mnemonic == decoded.info.mnemonic && binding.bind(decoded, insn);
  });
}

// They store pointers, which the host knows better, or a mask that is ours; tested by themselves.
bool shows_host(ZydisMnemonic mnemonic) {
  return mnemonic == ZYDIS_MNEMONIC_FNSAVE || mnemonic == ZYDIS_MNEMONIC_FNSTENV ||
         mnemonic == ZYDIS_MNEMONIC_FXSAVE;
}

// The stub of the host needs the others.
bool uses_only_known_registers(const Decoded& decoded) {
  for (unsigned i = 0; i < decoded.info.operand_count_visible; ++i) {
    if (!decoded.is_register(i)) continue;
    const ZydisRegister reg = decoded.operand(i).reg.value;
    const bool general = ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR32;
    if (general && decoded.register_number(i) > kEdx) return false;
  }
  return true;
}

void add_if_bound(std::span<const Binding> bindings, std::vector<u8> bytes,
                  std::vector<std::vector<u8>>& to) {
  static const Decoder decoder;
  std::vector<u8> padded = bytes;
  padded.resize(16, 0x3B);  // becomes an immediate where there is one
  Decoded decoded;
  if (!decoder.decode_raw(padded, decoded) || !is_bound(bindings, decoded)) return;
  if (shows_host(decoded.info.mnemonic) || !uses_only_known_registers(decoded)) return;
  padded.resize(decoded.info.length);
  to.push_back(padded);
}

}  // namespace

std::vector<std::vector<u8>> x87_instructions() {
  std::vector<std::vector<u8>> all;
  add_if_bound(x87_bindings(), {0x9B}, all);
  for (unsigned opcode = 0xD8; opcode <= 0xDF; ++opcode) {
    for (unsigned modrm = 0; modrm < 256; ++modrm) {
      const bool at_esi = (modrm & 0xC7) == 0x06;
      if (modrm < 0xC0 && !at_esi) continue;
      add_if_bound(x87_bindings(), {static_cast<u8>(opcode), static_cast<u8>(modrm)}, all);
    }
  }
  for (const unsigned reg : {4u, 6u}) {  // FLDENV and FRSTOR in 16-bit format
    const u8 modrm = static_cast<u8>(reg << 3 | 6);
    add_if_bound(x87_bindings(), {0x66, 0xD9, modrm}, all);
    add_if_bound(x87_bindings(), {0x66, 0xDD, modrm}, all);
  }
  add_if_bound(x87_bindings(), {0x0F, 0xAE, 0x0E}, all);  // FXRSTOR
  return all;
}

std::vector<std::vector<u8>> simd_instructions() {
  std::vector<std::vector<u8>> all;
  constexpr u8 kPrefixes[] = {0, 0x66, 0xF3, 0xF2};
  // Registers below 3 only: general registers of both are loaded and compared.
  constexpr u8 kRegisters[] = {0xC0, 0xC1, 0xCA, 0xD1, 0xC8, 0xD0};
  for (const u8 prefix : kPrefixes) {
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
      std::vector<u8> start;
      if (prefix != 0) start.push_back(prefix);
      start.insert(start.end(), {0x0F, static_cast<u8>(opcode)});
      const auto add = [&](unsigned modrm) {
        std::vector<u8> bytes = start;
        bytes.push_back(static_cast<u8>(modrm));
        add_if_bound(simd_bindings(), bytes, all);
      };
      for (const u8 modrm : kRegisters)
        add(modrm);
      for (unsigned reg = 0; reg < 8; ++reg) {
        add(0x06 | reg << 3);
        if (opcode >= 0x71 && opcode <= 0x73) add(0xC1 | reg << 3);
      }
    }
  }
  for (u8 prefix = 0; prefix < 4; ++prefix) {  // every predicate of CMPxx
    for (u8 predicate = 0; predicate < 10; ++predicate) {
      std::vector<u8> bytes;
      if (prefix != 0) bytes.push_back(kPrefixes[prefix]);
      bytes.insert(bytes.end(), {0x0F, 0xC2, 0xC1, predicate});
      add_if_bound(simd_bindings(), bytes, all);
    }
  }
  return all;
}

std::string disassemble(const std::vector<u8>& instruction) {
  Decoded decoded;
  std::string text = show_bytes(instruction);
  if (Decoder().decode_raw(instruction, decoded)) {
    text += std::string(" ") + ZydisMnemonicGetString(decoded.info.mnemonic);
  }
  return text;
}

}  // namespace snowglobe::vm::test
