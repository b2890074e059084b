// vm/cpu/ops_x87.cc - the x87 instructions that compute: which encodings there are, and the general
// way to execute any of them. Frequent ones have a shorter way in ops_x87_fast.cc.
#include "vm/cpu/decoder.h"
#include "vm/cpu/x87.h"
#include "vm/cpu/x87_host.h"

#include <vector>

namespace snowglobe::vm {
namespace x87 {
namespace {

// FUCOMI and FCOMI are DB E8-F7, with pop DF E8-F7.
bool writes_eflags(unsigned form) {
  const unsigned row = form / 64;
  const unsigned second = form % 64;
  return (row == 3 || row == 7) && second >= 0x28 && second < 0x38;
}

}  // namespace

const Insn* execute_register(Cpu& cpu, const Insn* insn) {
  if (!check_waiting(cpu, insn)) return nullptr;
  X87State& x87 = cpu.state.x87;
  const unsigned form = register_form(insn);
  SaveImage image;
  to_image(x87, image);
  LazyFlags& lazy = cpu.state.flags;
  HostFlags flags{static_cast<u8>(lazy.get()), static_cast<u8>(lazy.of())};
  run_register(form, image, flags);
  from_image(image, x87);
  if (writes_eflags(form)) lazy.set(flags.low | (flags.overflow != 0 ? kFlagOf : 0u));
  record(cpu, insn);
  return next(cpu, insn);
}

const Insn* execute_load(Cpu& cpu, const Insn* insn) {
  if (!check_waiting(cpu, insn)) return nullptr;
  X87State& x87 = cpu.state.x87;
  const unsigned form = memory_form(insn);
  std::array<u8, 16> memory{};
  const base::Bytes operand(memory.data(), memory_operand(form).size);
  if (!cpu.load_bytes(insn, insn->segment, cpu.effective_address(insn), operand)) return nullptr;
  SaveImage image;
  to_image(x87, image);
  run_memory(form, image, memory.data());
  from_image(image, x87);
  record_memory(cpu, insn);
  return next(cpu, insn);
}

const Insn* execute_store(Cpu& cpu, const Insn* insn) {
  if (!check_waiting(cpu, insn)) return nullptr;
  X87State result = cpu.state.x87;
  const unsigned form = memory_form(insn);
  std::array<u8, 16> memory{};
  SaveImage image;
  to_image(result, image);
  run_memory(form, image, memory.data());
  from_image(image, result);
  // An unmasked exception other than an inexact result leaves the destination alone, but not
  // unchecked.
  const bool stored = (result.status & ~result.control & kExceptions & ~kPrecision) == 0;
  const base::ConstBytes operand(memory.data(), memory_operand(form).size);
  const u32 offset = cpu.effective_address(insn);
  if (stored ? !cpu.store_bytes(insn, insn->segment, offset, operand)
             : !cpu.probe(insn, insn->segment, offset, memory_operand(form).size, true)) {
    return nullptr;
  }
  cpu.state.x87 = result;
  record_memory(cpu, insn);
  return next(cpu, insn);
}

namespace {

bool bind_computation(const Decoded& decoded, Insn& insn) {
  const u8 opcode = decoded.info.opcode;
  const u8 modrm = static_cast<u8>(decoded.info.raw.modrm.mod << 6 |
                                   decoded.info.raw.modrm.reg << 3 | decoded.info.raw.modrm.rm);
  if (opcode < 0xD8 || opcode > 0xDF) return false;
  insn.imm = (opcode & 7u) << 8 | modrm;
  insn.rm = modrm & 7;
  if (modrm >= 0xC0) {
    const unsigned form = register_form(&insn);
    const Handler fast = fast_register_handler(form);
    insn.handler = fast != nullptr ? fast : execute_register;
    return has_register_form(form);
  }
  const unsigned form = memory_form(&insn);
  const MemoryOperand operand = memory_operand(form);
  const Handler fast = fast_memory_handler(form);
  insn.handler = fast != nullptr ? fast : operand.is_store ? execute_store : execute_load;
  return operand.size != 0;
}

// FISTTP is not here: it came with SSE3.
constexpr ZydisMnemonic kComputing[] = {
    ZYDIS_MNEMONIC_F2XM1,   ZYDIS_MNEMONIC_FABS,    ZYDIS_MNEMONIC_FADD,    ZYDIS_MNEMONIC_FADDP,
    ZYDIS_MNEMONIC_FBLD,    ZYDIS_MNEMONIC_FBSTP,   ZYDIS_MNEMONIC_FCHS,    ZYDIS_MNEMONIC_FCMOVB,
    ZYDIS_MNEMONIC_FCMOVBE, ZYDIS_MNEMONIC_FCMOVE,  ZYDIS_MNEMONIC_FCMOVNB, ZYDIS_MNEMONIC_FCMOVNBE,
    ZYDIS_MNEMONIC_FCMOVNE, ZYDIS_MNEMONIC_FCMOVNU, ZYDIS_MNEMONIC_FCMOVU,  ZYDIS_MNEMONIC_FCOM,
    ZYDIS_MNEMONIC_FCOMI,   ZYDIS_MNEMONIC_FCOMIP,  ZYDIS_MNEMONIC_FCOMP,   ZYDIS_MNEMONIC_FCOMPP,
    ZYDIS_MNEMONIC_FCOS,    ZYDIS_MNEMONIC_FDECSTP, ZYDIS_MNEMONIC_FDIV,    ZYDIS_MNEMONIC_FDIVP,
    ZYDIS_MNEMONIC_FDIVR,   ZYDIS_MNEMONIC_FDIVRP,  ZYDIS_MNEMONIC_FFREE,   ZYDIS_MNEMONIC_FFREEP,
    ZYDIS_MNEMONIC_FIADD,   ZYDIS_MNEMONIC_FICOM,   ZYDIS_MNEMONIC_FICOMP,  ZYDIS_MNEMONIC_FIDIV,
    ZYDIS_MNEMONIC_FIDIVR,  ZYDIS_MNEMONIC_FILD,    ZYDIS_MNEMONIC_FIMUL,   ZYDIS_MNEMONIC_FINCSTP,
    ZYDIS_MNEMONIC_FIST,    ZYDIS_MNEMONIC_FISTP,   ZYDIS_MNEMONIC_FISUB,   ZYDIS_MNEMONIC_FISUBR,
    ZYDIS_MNEMONIC_FLD,     ZYDIS_MNEMONIC_FLD1,    ZYDIS_MNEMONIC_FLDL2E,  ZYDIS_MNEMONIC_FLDL2T,
    ZYDIS_MNEMONIC_FLDLG2,  ZYDIS_MNEMONIC_FLDLN2,  ZYDIS_MNEMONIC_FLDPI,   ZYDIS_MNEMONIC_FLDZ,
    ZYDIS_MNEMONIC_FMUL,    ZYDIS_MNEMONIC_FMULP,   ZYDIS_MNEMONIC_FNOP,    ZYDIS_MNEMONIC_FPATAN,
    ZYDIS_MNEMONIC_FPREM,   ZYDIS_MNEMONIC_FPREM1,  ZYDIS_MNEMONIC_FPTAN,   ZYDIS_MNEMONIC_FRNDINT,
    ZYDIS_MNEMONIC_FSCALE,  ZYDIS_MNEMONIC_FSIN,    ZYDIS_MNEMONIC_FSINCOS, ZYDIS_MNEMONIC_FSQRT,
    ZYDIS_MNEMONIC_FST,     ZYDIS_MNEMONIC_FSTP,    ZYDIS_MNEMONIC_FSTPNCE, ZYDIS_MNEMONIC_FSUB,
    ZYDIS_MNEMONIC_FSUBP,   ZYDIS_MNEMONIC_FSUBR,   ZYDIS_MNEMONIC_FSUBRP,  ZYDIS_MNEMONIC_FTST,
    ZYDIS_MNEMONIC_FUCOM,   ZYDIS_MNEMONIC_FUCOMI,  ZYDIS_MNEMONIC_FUCOMIP, ZYDIS_MNEMONIC_FUCOMP,
    ZYDIS_MNEMONIC_FUCOMPP, ZYDIS_MNEMONIC_FXAM,    ZYDIS_MNEMONIC_FXCH,    ZYDIS_MNEMONIC_FXTRACT,
    ZYDIS_MNEMONIC_FYL2X,   ZYDIS_MNEMONIC_FYL2XP1,
};

}  // namespace
}  // namespace x87

std::span<const Binding> x87_bindings() {
  static const auto* const all = [] {  // machines may outlive static destructors
    std::vector<Binding> bindings;
    for (const ZydisMnemonic mnemonic : x87::kComputing)
      bindings.push_back({mnemonic, x87::bind_computation});
    for (const auto part : {x87::control_bindings(), x87::save_bindings()})
      bindings.insert(bindings.end(), part.begin(), part.end());
    return new std::vector<Binding>(std::move(bindings));
  }();
  return *all;
}

}  // namespace snowglobe::vm
