// vm/cpu/interrupts.cc - gates of the IDT, delivery of exceptions up to the triple fault, IRET, and
// writes to EFLAGS.
// Rules: Intel SDM Vol. 3A, chapter 6, and the "Operation" parts of INT n and IRET in Vol. 2A. Not
// granted: task gates and 16-bit gates (#GP of the vector, as for any other type that is no gate).
#include "vm/cpu/transfer.h"

#include <array>

namespace snowglobe::vm {
namespace {

// Intel SDM Vol. 3A, 6.15, table 6-4.
bool is_contributory(Vector vector) {
  switch (vector) {
    case Vector::kDivideError:
    case Vector::kInvalidTss:
    case Vector::kSegmentNotPresent:
    case Vector::kStackFault:
    case Vector::kGeneralProtection:
      return true;
    default:
      return false;
  }
}

// Table 6-5: what happens when `second` strikes while `first` is being delivered.
bool makes_double_fault(Vector first, Vector second) {
  if (first == Vector::kPageFault) return second == Vector::kPageFault || is_contributory(second);
  return is_contributory(first) && is_contributory(second);
}

// Faults push EFLAGS with RF set; traps, aborts and interrupts do not (Vol. 3B, 17.3.1.1).
bool is_fault(u8 vector) {
  switch (static_cast<Vector>(vector)) {
    case Vector::kDebug:
    case Vector::kNmi:
    case Vector::kBreakpoint:
    case Vector::kOverflow:
    case Vector::kDoubleFault:
      return false;
    default:
      return true;
  }
}

}  // namespace

// The handler that a gate of the IDT names, with all checks up to those of the stack.
std::optional<Cpu::Transfer> Cpu::resolve_handler(u8 vector, bool software, u32 external) {
  const auto fail = [this](Vector exception, u32 error) {
    raise_system(exception, error);
    return std::nullopt;
  };
  const u32 vector_error = vector * 8u + 2 + external;  // Vol. 3A, 6.13: the IDT bit
  if (vector * 8u + 7 > state.idtr.limit) return fail(Vector::kGeneralProtection, vector_error);
  u64 raw;
  if (!load_system(state.idtr.base + vector * 8u, raw)) return std::nullopt;
  const Descriptor gate{0, static_cast<u32>(raw), static_cast<u32>(raw >> 32)};
  const bool interrupt_gate = gate.is(SystemType::kInterruptGate32);
  const bool is_gate = interrupt_gate || gate.is(SystemType::kTrapGate32);
  if (!is_gate || (software && gate.dpl() < state.cpl)) {
    return fail(Vector::kGeneralProtection, vector_error);
  }
  if (!gate.present()) return fail(Vector::kSegmentNotPresent, vector_error);

  const u16 selector = gate.gate_selector();
  if (is_null(selector)) return fail(Vector::kGeneralProtection, external);
  const auto code = fetch_descriptor(*this, selector, Vector::kGeneralProtection, external);
  if (!code) return std::nullopt;
  const u32 error = selector_error(selector, external);
  if (!code->is_code() || !code->has(kSegBig) || code->dpl() > state.cpl) {
    return fail(Vector::kGeneralProtection, error);
  }
  if (!code->present()) return fail(Vector::kSegmentNotPresent, error);
  const unsigned cpl = code->is_conforming_code() ? state.cpl : code->dpl();
  return Transfer{.code = code->segment(with_rpl(selector, cpl)),
                  .descriptor = *code,
                  .cpl = cpl,
                  .eip = gate.gate_offset(),
                  .masks_interrupts = interrupt_gate};
}

bool Cpu::enter_handler(u8 vector, EventKind kind, std::optional<u32> error_code) {
  const bool software = kind == EventKind::kSoftware;
  const u32 external = software ? 0 : 1;
  auto target = resolve_handler(vector, software, external);
  if (!target) return false;
  const bool inner = target->cpl < state.cpl;
  InnerStack stack{state.segment[kSs], state.gpr[kEsp]};
  u32 stack_error = external;
  if (inner) {
    const auto of_tss = inner_stack(target->cpl, external);
    if (!of_tss) return false;
    stack = *of_tss;
    stack_error = selector_error(stack.stack.selector, external);
  }
  if (target->eip > target->code.limit) return raise_system(Vector::kGeneralProtection, external);

  const bool resume = kind == EventKind::kException && is_fault(vector);
  std::array<u32, 6> frame;
  u32 words = 0;
  if (error_code) frame[words++] = *error_code;
  frame[words++] = state.eip;
  frame[words++] = state.segment[kCs].selector;
  frame[words++] = state.full_eflags() | (resume ? kFlagRf : 0u);
  if (inner) {
    frame[words++] = state.gpr[kEsp];
    frame[words++] = state.segment[kSs].selector;
  }
  if (!push_frame(stack.stack, stack.esp, std::span(frame).first(words), target->cpl == 3,
                  stack_error) ||
      !mark_target_accessed(*target)) {
    return false;
  }

  if (inner) {
    state.segment[kSs] = stack.stack;
    segment_changed(kSs);
  }
  state.gpr[kEsp] = stack.esp - 4 * words;
  state.eflags &= ~(kFlagTf | kFlagNt | kFlagRf | kFlagVm);
  if (target->masks_interrupts) state.eflags &= ~u32{kFlagIf};
  enter_code(target->code, target->cpl, target->eip);
  state.halted = false;
  state.interrupt_shadow = false;
  handler_entered_ = true;
  return true;
}

bool Cpu::deliver_exception() {
  SG_DCHECK(exception_.has_value(), "no exception to deliver");
  Exception current = *exception_;
  while (true) {
    exception_.reset();
    if (current.vector == Vector::kPageFault) state.cr2 = current.address;
    const std::optional<u32> error_code =
        current.has_error_code ? std::optional(current.error_code) : std::nullopt;
    if (enter_handler(static_cast<u8>(current.vector), EventKind::kException, error_code)) {
      return true;
    }
    const Exception second = *exception_;
    if (current.vector == Vector::kDoubleFault) {
      exception_.reset();
      return false;
    }
    current = makes_double_fault(current.vector, second.vector)
                  ? Exception{Vector::kDoubleFault, true, 0, 0}
                  : second;
  }
}

// Intel SDM Vol. 2A, IRET.
bool Cpu::interrupt_return_to(const Insn* insn, unsigned operand_size) {
  if ((state.eflags & kFlagNt) != 0) {
    // A return to another task: task switches are not granted, so the link names no usable TSS.
    u16 link;
    if (!load_system(state.tr.base, link)) return false;
    return raise_system(Vector::kInvalidTss, selector_error(link));
  }
  std::array<u32, 3> words;  // EIP, CS, EFLAGS
  if (!load_stack_words(insn, 0, operand_size, words)) return false;
  const u32 eflags = words[2];
  if (operand_size == 4 && state.cpl == 0 && (eflags & kFlagVm) != 0) {
    return raise_system(Vector::kGeneralProtection, 0);  // virtual-8086 mode is not granted
  }
  auto target = check_return_code(static_cast<u16>(words[1]), words[0]);
  if (!target) return false;
  u32 changeable = kArithmeticFlags | kFlagTf | kFlagDf | kFlagNt | kFlagIf | kFlagIopl;
  if (operand_size == 4) changeable |= kFlagAc | kFlagId | kFlagRf;
  const u8 old_cpl = state.cpl;
  if (target->cpl > old_cpl) {
    if (!return_outer(insn, *target, 3 * operand_size, 0, operand_size)) return false;
  } else {
    if (target->eip > target->code.limit) return raise_system(Vector::kGeneralProtection, 0);
    if (!mark_target_accessed(*target)) return false;
    state.gpr[kEsp] += 3 * operand_size;
    enter_code(target->code, target->cpl, target->eip);
  }
  // What may change goes by the level that executed IRET.
  const u8 new_cpl = std::exchange(state.cpl, old_cpl);
  write_eflags(eflags, changeable);
  state.cpl = new_cpl;
  mode_changed();
  return true;
}

const Insn* Cpu::interrupt_return(const Insn* insn, unsigned operand_size) {
  if (!interrupt_return_to(insn, operand_size)) state.eip = eip_of(insn);
  return nullptr;
}

// Intel SDM Vol. 2B, POPF, table 4-21, and IRET. Bits outside of `changeable` stay.
void Cpu::write_eflags(u32 value, u32 changeable) {
  const unsigned iopl = (state.eflags & kFlagIopl) >> 12;
  if (state.cpl > 0) changeable &= ~u32{kFlagIopl};
  if (state.cpl > iopl) changeable &= ~u32{kFlagIf};
  // RF matters only to instruction breakpoints; the executor clears it again only in slow mode.
  if ((state.dr[7] & 0xFF) == 0) changeable &= ~u32{kFlagRf};
  if ((changeable & kArithmeticFlags) != 0) state.flags.set_masked(value, changeable);
  const u32 mask = changeable & ~kArithmeticFlags;
  const u32 changed = (state.eflags ^ value) & mask;
  state.eflags ^= changed;
  if ((changed & (kFlagTf | kFlagAc)) != 0) mode_changed();
}

}  // namespace snowglobe::vm
