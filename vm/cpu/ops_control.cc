// vm/cpu/ops_control.cc - jumps, calls, returns, loops. Every handler here ends its block.
#include "vm/cpu/ops.h"

namespace snowglobe::vm {
namespace {

// Relative branches: imm is the target's distance from the start of the code's page, so that a
// block serves every linear page at which its physical page is mapped. `extra` 1: a 16-bit operand
// cuts EIP.
u32 relative_target(const Cpu& cpu, const Insn* insn) {
  const u32 target = cpu.eip_of(insn) - insn->offset + insn->imm;
  return insn->extra != 0 ? target & 0xFFFF : target;
}

void bind_relative(const Decoded& decoded, Insn& insn) {
  insn.imm = insn.offset + insn.length + decoded.immediate(0);
  insn.extra = decoded.info.operand_width == 16 ? 1 : 0;
}

const Insn* jmp_relative(Cpu& cpu, const Insn* insn) {
  return cpu.jump(insn, relative_target(cpu, insn));
}

template <class T>
const Insn* jmp_reg(Cpu& cpu, const Insn* insn) {
  return cpu.jump(insn, read_slot<T>(cpu, insn->reg));
}

template <class T>
const Insn* jmp_mem(Cpu& cpu, const Insn* insn) {
  T target;
  if (!cpu.load(insn, target)) return nullptr;
  return cpu.jump(insn, target);
}

// A far pointer in memory: offset first, selector behind it.
template <class T>
bool load_far_pointer(Cpu& cpu, const Insn* insn, u16& selector, u32& offset) {
  const u32 address = cpu.effective_address(insn);
  T low;
  if (!cpu.load(insn, insn->segment, address, low)) return false;
  if (!cpu.load(insn, insn->segment, address + static_cast<u32>(sizeof(T)), selector)) return false;
  offset = low;
  return true;
}

template <class T>
const Insn* jmp_far_mem(Cpu& cpu, const Insn* insn) {
  u16 selector;
  u32 offset;
  if (!load_far_pointer<T>(cpu, insn, selector, offset)) return nullptr;
  return cpu.far_jump(insn, selector, offset);
}

// The selector is in disp, the offset in imm.
const Insn* jmp_far(Cpu& cpu, const Insn* insn) {
  return cpu.far_jump(insn, static_cast<u16>(insn->disp), insn->imm);
}

bool is_far(const Decoded& decoded) {
  return decoded.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

void bind_far_pointer(const Decoded& decoded, Insn& insn) {
  insn.disp = decoded.operand(0).ptr.segment;
  insn.imm = decoded.operand(0).ptr.offset;
}

bool bind_jmp(const Decoded& decoded, Insn& insn) {
  const bool dword = decoded.info.operand_width == 32;
  if (is_far(decoded)) {
    if (decoded.is_memory(0)) {
      insn.handler = dword ? jmp_far_mem<u32> : jmp_far_mem<u16>;
    } else {
      bind_far_pointer(decoded, insn);
      insn.handler = jmp_far;
    }
  } else if (decoded.is_immediate(0)) {
    bind_relative(decoded, insn);
    insn.handler = jmp_relative;
  } else if (decoded.is_memory(0)) {
    insn.handler = dword ? jmp_mem<u32> : jmp_mem<u16>;
  } else {
    insn.reg = register_slot(decoded, 0);
    insn.handler = dword ? jmp_reg<u32> : jmp_reg<u16>;
  }
  return true;
}

template <Condition kCondition>
const Insn* jcc(Cpu& cpu, const Insn* insn) {
  if (test_condition<kCondition>(cpu.state.flags)) {
    return cpu.jump(insn, relative_target(cpu, insn));
  }
  return cpu.end_block(insn);
}

template <Condition kCondition>
bool bind_jcc(const Decoded& decoded, Insn& insn) {
  bind_relative(decoded, insn);
  insn.handler = jcc<kCondition>;
  return true;
}

// --- LOOP, LOOPE, LOOPNE, JCXZ, JECXZ: `reg` says whether CX or ECX counts
// --------------------------

u32 counter(const Cpu& cpu, const Insn* insn) {
  return insn->reg != 0 ? cpu.state.gpr[kEcx] & 0xFFFF : cpu.state.gpr[kEcx];
}

enum class LoopWhile : u8 { kAlways, kEqual, kNotEqual };

template <LoopWhile kWhile>
const Insn* loop(Cpu& cpu, const Insn* insn) {
  const u32 mask = insn->reg != 0 ? 0xFFFFu : ~0u;
  const u32 left = (cpu.state.gpr[kEcx] - 1) & mask;
  bool taken = left != 0;
  if constexpr (kWhile == LoopWhile::kEqual) taken = taken && cpu.state.flags.zf();
  if constexpr (kWhile == LoopWhile::kNotEqual) taken = taken && !cpu.state.flags.zf();
  const u32 target = relative_target(cpu, insn);
  if (taken && !cpu.can_jump(target)) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  cpu.state.gpr[kEcx] = (cpu.state.gpr[kEcx] & ~mask) | left;
  return taken ? cpu.jump(insn, target) : cpu.end_block(insn);
}

const Insn* jecxz(Cpu& cpu, const Insn* insn) {
  if (counter(cpu, insn) == 0) return cpu.jump(insn, relative_target(cpu, insn));
  return cpu.end_block(insn);
}

template <Handler kHandler>
bool bind_loop(const Decoded& decoded, Insn& insn) {
  bind_relative(decoded, insn);
  insn.reg = decoded.info.address_width == 16 ? 1 : 0;
  insn.handler = kHandler;
  return true;
}

// --- CALL, RET
// --------------------------------------------------------------------------------------

template <class T>
const Insn* call(Cpu& cpu, const Insn* insn, u32 target) {
  if (!cpu.can_jump(target)) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  if (!cpu.push(insn, static_cast<T>(cpu.next_eip(insn)))) return nullptr;
  return cpu.jump(insn, target);
}

template <class T>
const Insn* call_relative(Cpu& cpu, const Insn* insn) {
  return call<T>(cpu, insn, relative_target(cpu, insn));
}

template <class T>
const Insn* call_reg(Cpu& cpu, const Insn* insn) {
  return call<T>(cpu, insn, read_slot<T>(cpu, insn->reg));
}

template <class T>
const Insn* call_mem(Cpu& cpu, const Insn* insn) {
  T target;
  if (!cpu.load(insn, target)) return nullptr;
  return call<T>(cpu, insn, target);
}

template <class T>
const Insn* call_far_mem(Cpu& cpu, const Insn* insn) {
  u16 selector;
  u32 offset;
  if (!load_far_pointer<T>(cpu, insn, selector, offset)) return nullptr;
  return cpu.far_call(insn, selector, offset, sizeof(T));
}

const Insn* call_far(Cpu& cpu, const Insn* insn) {
  return cpu.far_call(insn, static_cast<u16>(insn->disp), insn->imm, insn->extra);
}

bool bind_call(const Decoded& decoded, Insn& insn) {
  const bool dword = decoded.info.operand_width == 32;
  if (is_far(decoded)) {
    if (decoded.is_memory(0)) {
      insn.handler = dword ? call_far_mem<u32> : call_far_mem<u16>;
    } else {
      bind_far_pointer(decoded, insn);
      insn.extra = dword ? 4 : 2;
      insn.handler = call_far;
    }
  } else if (decoded.is_immediate(0)) {
    bind_relative(decoded, insn);
    insn.handler = dword ? call_relative<u32> : call_relative<u16>;
  } else if (decoded.is_memory(0)) {
    insn.handler = dword ? call_mem<u32> : call_mem<u16>;
  } else {
    insn.reg = register_slot(decoded, 0);
    insn.handler = dword ? call_reg<u32> : call_reg<u16>;
  }
  return true;
}

template <class T>
const Insn* ret(Cpu& cpu, const Insn* insn) {
  const u32 esp = cpu.state.gpr[kEsp];
  T target;
  if (!cpu.load(insn, kSs, esp, target)) return nullptr;
  if (!cpu.can_jump(target)) return cpu.raise(insn, Vector::kGeneralProtection, 0);
  cpu.state.gpr[kEsp] = esp + static_cast<u32>(sizeof(T)) + insn->imm;
  return cpu.jump(insn, target);
}

const Insn* ret_far(Cpu& cpu, const Insn* insn) {
  return cpu.far_return(insn, insn->imm, insn->extra);
}

bool bind_ret(const Decoded& decoded, Insn& insn) {
  const bool dword = decoded.info.operand_width == 32;
  if (decoded.info.operand_count_visible > 0) insn.imm = decoded.immediate(0) & 0xFFFF;
  if (is_far(decoded)) {
    insn.extra = dword ? 4 : 2;
    insn.handler = ret_far;
  } else {
    insn.handler = dword ? ret<u32> : ret<u16>;
  }
  return true;
}

constexpr Binding kBindings[] = {
    {ZYDIS_MNEMONIC_JMP, bind_jmp, true},
    {ZYDIS_MNEMONIC_JO, bind_jcc<Condition::kO>, true},
    {ZYDIS_MNEMONIC_JNO, bind_jcc<Condition::kNo>, true},
    {ZYDIS_MNEMONIC_JB, bind_jcc<Condition::kB>, true},
    {ZYDIS_MNEMONIC_JNB, bind_jcc<Condition::kNb>, true},
    {ZYDIS_MNEMONIC_JZ, bind_jcc<Condition::kZ>, true},
    {ZYDIS_MNEMONIC_JNZ, bind_jcc<Condition::kNz>, true},
    {ZYDIS_MNEMONIC_JBE, bind_jcc<Condition::kBe>, true},
    {ZYDIS_MNEMONIC_JNBE, bind_jcc<Condition::kNbe>, true},
    {ZYDIS_MNEMONIC_JS, bind_jcc<Condition::kS>, true},
    {ZYDIS_MNEMONIC_JNS, bind_jcc<Condition::kNs>, true},
    {ZYDIS_MNEMONIC_JP, bind_jcc<Condition::kP>, true},
    {ZYDIS_MNEMONIC_JNP, bind_jcc<Condition::kNp>, true},
    {ZYDIS_MNEMONIC_JL, bind_jcc<Condition::kL>, true},
    {ZYDIS_MNEMONIC_JNL, bind_jcc<Condition::kNl>, true},
    {ZYDIS_MNEMONIC_JLE, bind_jcc<Condition::kLe>, true},
    {ZYDIS_MNEMONIC_JNLE, bind_jcc<Condition::kNle>, true},
    {ZYDIS_MNEMONIC_JCXZ, bind_loop<jecxz>, true},
    {ZYDIS_MNEMONIC_JECXZ, bind_loop<jecxz>, true},
    {ZYDIS_MNEMONIC_LOOP, bind_loop<loop<LoopWhile::kAlways>>, true},
    {ZYDIS_MNEMONIC_LOOPE, bind_loop<loop<LoopWhile::kEqual>>, true},
    {ZYDIS_MNEMONIC_LOOPNE, bind_loop<loop<LoopWhile::kNotEqual>>, true},
    {ZYDIS_MNEMONIC_CALL, bind_call, true},
    {ZYDIS_MNEMONIC_RET, bind_ret, true},
};

}  // namespace

std::span<const Binding> control_bindings() {
  return kBindings;
}

}  // namespace snowglobe::vm
