// vm/cpu/far_transfer.cc - far JMP, CALL and RET, call gates, SYSENTER and SYSEXIT.
// Rules: the "Operation" parts of JMP, CALL and RET in Intel SDM Vol. 2, and Vol. 3A, 5.8. Not
// granted: task switches and 16-bit gates (#GP of the selector, as for any other descriptor that is
// no target).
#include "vm/cpu/transfer.h"

#include <algorithm>
#include <array>

namespace snowglobe::vm {
namespace {

// Code segments with 16-bit operands are not granted, nor are any others that CS can not hold.
bool is_granted_code(const Descriptor& descriptor) {
  return descriptor.is_code() && descriptor.has(kSegBig);
}

constexpr u16 kFlatCode = kSegAccessed | kSegWritable | kSegCode | kSegNotSystem | kSegPresent |
                          kSegBig | kSegGranularity;
constexpr u16 kFlatData =
    kSegAccessed | kSegWritable | kSegNotSystem | kSegPresent | kSegBig | kSegGranularity;

Segment flat_segment(u32 selector, u16 attributes, unsigned dpl) {
  return {.selector = static_cast<u16>(selector),
          .attributes = static_cast<u16>(attributes | dpl << kSegDplShift),
          .base = 0,
          .limit = ~0u};
}

}  // namespace

// The last step of a far transfer that can fault: after it the registers may change.
bool Cpu::mark_target_accessed(Transfer& target) {
  if (!mark_accessed(*this, target.descriptor)) return false;
  target.code.attributes |= kSegAccessed;
  return true;
}

void Cpu::enter_code(const Segment& code, unsigned cpl, u32 eip) {
  state.segment[kCs] = code;
  state.eip = eip;
  state.cpl = static_cast<u8>(cpl);
  segment_changed(kCs);
  mode_changed();
}

// The target of a far JMP or CALL: a code segment, or a call gate to one (then `offset` is
// ignored).
std::optional<Cpu::Transfer> Cpu::resolve_target(u16 selector, u32 offset, bool call) {
  const auto fail = [this](Vector vector, u32 error) {
    raise_system(vector, error);
    return std::nullopt;
  };
  if (is_null(selector)) return fail(Vector::kGeneralProtection, 0);
  auto code = fetch_descriptor(*this, selector, Vector::kGeneralProtection);
  if (!code) return std::nullopt;
  const unsigned cpl = state.cpl;
  unsigned rpl = selector & kSelectorRpl;
  const bool gate = code->is(SystemType::kCallGate32);
  Transfer target;
  target.eip = offset;
  target.by_gate = gate;
  if (gate) {
    if (code->dpl() < cpl || code->dpl() < rpl) {
      return fail(Vector::kGeneralProtection, selector_error(selector));
    }
    if (!code->present()) return fail(Vector::kSegmentNotPresent, selector_error(selector));
    target.eip = code->gate_offset();
    target.gate_parameters = static_cast<u16>(code->high & 0x1F);
    selector = code->gate_selector();
    rpl = 0;  // the RPL of the selector in a gate is not looked at
    if (is_null(selector)) return fail(Vector::kGeneralProtection, 0);
    code = fetch_descriptor(*this, selector, Vector::kGeneralProtection);
    if (!code) return std::nullopt;
  }
  const unsigned dpl = code->dpl();
  const bool conforming = code->is_conforming_code();
  const bool inward = gate && call;  // only a CALL by a gate may raise the privilege
  const bool allowed = conforming || inward ? dpl <= cpl : dpl == cpl && rpl <= cpl;
  if (!is_granted_code(*code) || !allowed) {
    return fail(Vector::kGeneralProtection, selector_error(selector));
  }
  if (!code->present()) return fail(Vector::kSegmentNotPresent, selector_error(selector));
  target.cpl = conforming ? cpl : std::min(dpl, cpl);
  target.code = code->segment(with_rpl(selector, target.cpl));
  if (target.eip > target.code.limit) return fail(Vector::kGeneralProtection, 0);
  target.descriptor = *code;
  return target;
}

bool Cpu::jump_to(u16 selector, u32 offset) {
  auto target = resolve_target(selector, offset, false);
  if (!target || !mark_target_accessed(*target)) return false;
  enter_code(target->code, target->cpl, target->eip);
  return true;
}

const Insn* Cpu::far_jump(const Insn* insn, u16 selector, u32 offset) {
  if (!jump_to(selector, offset)) state.eip = eip_of(insn);
  return nullptr;
}

// SS:ESP of an inner level (Intel SDM Vol. 3A, 5.8.5 and 7.2.1).
std::optional<Cpu::InnerStack> Cpu::inner_stack(unsigned new_cpl, u32 external) {
  const u32 tss_error = selector_error(state.tr.selector, external);
  const u32 offset = 4 + new_cpl * 8;
  if (offset + 5 > state.tr.limit) {
    raise_system(Vector::kInvalidTss, tss_error);
    return std::nullopt;
  }
  u64 slot;  // ESPn, then SSn and 16 unused bits
  if (!load_system(state.tr.base + offset, slot)) return std::nullopt;
  const u16 selector = static_cast<u16>(slot >> 32);
  auto descriptor = fetch_stack_segment(*this, selector, new_cpl, Vector::kInvalidTss, external);
  if (!descriptor || !mark_accessed(*this, *descriptor)) return std::nullopt;
  return InnerStack{descriptor->segment(selector), static_cast<u32>(slot)};
}

// Writes `frame`, lowest address first, below `esp`: all of it or nothing. A page fault is reported
// for the doubleword at which pushing one by one, downwards, would have stopped.
bool Cpu::push_frame(const Segment& stack, u32 esp, std::span<const u32> frame, bool user,
                     u32 stack_error) {
  const u32 size = static_cast<u32>(frame.size_bytes());
  const u32 bottom = esp - size;
  if ((stack.limit != ~0u || (stack.attributes & kSegExpandDown) != 0) &&
      !within_limit(stack, bottom, size)) {
    return raise_system(Vector::kStackFault, stack_error);
  }
  const LinearAddress top = stack.base + esp - 4;
  u8* host;
  if (!resolve(top, true, user, host)) return false;
  if (((top ^ (stack.base + bottom)) & ~kPageMask) != 0 &&
      !resolve((top & ~kPageMask) - 4, true, user, host)) {
    return false;
  }
  constexpr std::size_t kLongestFrame = 160;  // a call gate with 31 parameters has 140 bytes
  std::array<u8, kLongestFrame> bytes;
  SG_DCHECK(size <= bytes.size(), "no frame is that long");
  std::memcpy(bytes.data(), frame.data(), size);
  return copy_linear(stack.base + bottom, bytes.data(), size, true, user);
}

bool Cpu::call_to(const Insn* insn, u16 selector, u32 offset, unsigned operand_size) {
  const u32 return_eip = next_eip(insn);
  auto target = resolve_target(selector, offset, true);
  if (!target) return false;
  if (target->cpl < state.cpl) return call_inner(insn, *target);
  if (target->by_gate) operand_size = 4;
  // Two pushes, of which each is aligned for itself; neither happens unless both can.
  const u32 esp = state.gpr[kEsp] - 2 * operand_size;
  const auto push_both = [&]<class T>(T selector_image, T offset_image) {
    if (!probe(insn, kSs, esp + sizeof(T), sizeof(T), true)) return false;
    if (!store(insn, kSs, esp, offset_image)) return false;
    store_back(insn, kSs, esp + sizeof(T), selector_image);
    return true;
  };
  const u16 cs = state.segment[kCs].selector;
  if (operand_size == 4 ? !push_both(u32{cs}, return_eip)
                        : !push_both(cs, static_cast<u16>(return_eip))) {
    return false;
  }
  if (!mark_target_accessed(*target)) return false;
  state.gpr[kEsp] = esp;
  enter_code(target->code, target->cpl, target->eip);
  return true;
}

// CALL through a gate to an inner level: its stack gets SS, ESP, the parameters, CS and EIP.
bool Cpu::call_inner(const Insn* insn, Transfer& target) {
  const auto inner = inner_stack(target.cpl, 0);
  if (!inner) return false;
  std::array<u32, 4 + 31> frame;
  u32 words = 0;
  frame[words++] = next_eip(insn);
  frame[words++] = state.segment[kCs].selector;
  for (u32 i = 0; i < target.gate_parameters; ++i) {
    if (!load(insn, kSs, state.gpr[kEsp] + 4 * i, frame[words++])) return false;
  }
  frame[words++] = state.gpr[kEsp];
  frame[words++] = state.segment[kSs].selector;
  if (!push_frame(inner->stack, inner->esp, std::span(frame).first(words), false,
                  selector_error(inner->stack.selector)) ||
      !mark_target_accessed(target)) {
    return false;
  }
  state.segment[kSs] = inner->stack;
  segment_changed(kSs);
  state.gpr[kEsp] = inner->esp - 4 * words;
  enter_code(target.code, target.cpl, target.eip);
  return true;
}

const Insn* Cpu::far_call(const Insn* insn, u16 selector, u32 offset, unsigned operand_size) {
  if (!call_to(insn, selector, offset, operand_size)) state.eip = eip_of(insn);
  return nullptr;
}

// Reads consecutive words of the stack, `offset` bytes above ESP.
bool Cpu::load_stack_words(const Insn* insn, u32 offset, unsigned word_size, std::span<u32> words) {
  u32 at = state.gpr[kEsp] + offset;
  for (u32& word : words) {
    if (word_size == 4) {
      if (!load(insn, kSs, at, word)) return false;
    } else {
      u16 half;
      if (!load(insn, kSs, at, half)) return false;
      word = half;
    }
    at += word_size;
  }
  return true;
}

// The code segment that RET or IRET goes back to (Intel SDM Vol. 2, RET and IRET, "return").
std::optional<Cpu::Transfer> Cpu::check_return_code(u16 selector, u32 eip) {
  const auto fail = [this](Vector vector, u32 error) {
    raise_system(vector, error);
    return std::nullopt;
  };
  if (is_null(selector)) return fail(Vector::kGeneralProtection, 0);
  auto code = fetch_descriptor(*this, selector, Vector::kGeneralProtection);
  if (!code) return std::nullopt;
  const unsigned rpl = selector & kSelectorRpl;
  const bool level_fits = code->is_conforming_code() ? code->dpl() <= rpl : code->dpl() == rpl;
  if (!is_granted_code(*code) || rpl < state.cpl || !level_fits) {
    return fail(Vector::kGeneralProtection, selector_error(selector));
  }
  if (!code->present()) return fail(Vector::kSegmentNotPresent, selector_error(selector));
  return Transfer{.code = code->segment(selector), .descriptor = *code, .cpl = rpl, .eip = eip};
}

// Data segments that the outer level may not use become null (Intel SDM Vol. 3A, 5.8.6).
void Cpu::clear_inaccessible_segments() {
  for (const u8 segment : {kEs, kDs, kFs, kGs}) {
    Segment& s = state.segment[segment];
    const bool conforming =
        (s.attributes & (kSegCode | kSegExpandDown)) == (kSegCode | kSegExpandDown);
    const unsigned dpl = (s.attributes & kSegDplMask) >> kSegDplShift;
    if ((s.attributes & kSegPresent) == 0 || conforming || dpl >= state.cpl) continue;
    s = Segment{};
    segment_changed(segment);
  }
}

// The common end of RET and IRET to an outer level: SS:ESP are on the stack at `stack_offset`.
bool Cpu::return_outer(const Insn* insn, Transfer& target, u32 stack_offset, u32 release_bytes,
                       unsigned operand_size) {
  std::array<u32, 2> words;
  if (!load_stack_words(insn, stack_offset, operand_size, words)) return false;
  const u16 selector = static_cast<u16>(words[1]);
  auto stack = fetch_stack_segment(*this, selector, target.cpl, Vector::kGeneralProtection);
  if (!stack) return false;
  if (target.eip > target.code.limit) return raise_system(Vector::kGeneralProtection, 0);
  if (!mark_accessed(*this, *stack) || !mark_target_accessed(target)) return false;
  state.segment[kSs] = stack->segment(selector);
  segment_changed(kSs);
  state.gpr[kEsp] = words[0] + release_bytes;
  enter_code(target.code, target.cpl, target.eip);
  clear_inaccessible_segments();
  return true;
}

bool Cpu::return_to(const Insn* insn, u32 release_bytes, unsigned operand_size) {
  std::array<u32, 2> words;
  if (!load_stack_words(insn, 0, operand_size, words)) return false;
  auto target = check_return_code(static_cast<u16>(words[1]), words[0]);
  if (!target) return false;
  const u32 popped = 2 * operand_size + release_bytes;
  if (target->cpl > state.cpl) {
    return return_outer(insn, *target, popped, release_bytes, operand_size);
  }
  if (target->eip > target->code.limit) return raise_system(Vector::kGeneralProtection, 0);
  if (!mark_target_accessed(*target)) return false;
  state.gpr[kEsp] += popped;
  enter_code(target->code, target->cpl, target->eip);
  return true;
}

const Insn* Cpu::far_return(const Insn* insn, u32 release_bytes, unsigned operand_size) {
  if (!return_to(insn, release_bytes, operand_size)) state.eip = eip_of(insn);
  return nullptr;
}

// Intel SDM Vol. 2B, SYSENTER: the segments are not read from the GDT.
const Insn* Cpu::sysenter(const Insn* insn) {
  const u32 selector = state.sysenter_cs & 0xFFFC;
  if (selector == 0) return raise(insn, Vector::kGeneralProtection, 0);
  state.eflags &= ~(kFlagVm | kFlagIf | kFlagRf);
  state.gpr[kEsp] = state.sysenter_esp;
  state.segment[kSs] = flat_segment(selector + 8, kFlatData, 0);
  segment_changed(kSs);
  enter_code(flat_segment(selector, kFlatCode, 0), 0, state.sysenter_eip);
  return nullptr;
}

const Insn* Cpu::sysexit(const Insn* insn) {
  const u32 selector = state.sysenter_cs & 0xFFFC;
  if (selector == 0 || state.cpl != 0) return raise(insn, Vector::kGeneralProtection, 0);
  state.gpr[kEsp] = state.gpr[kEcx];
  state.segment[kSs] = flat_segment((selector + 24) | 3, kFlatData, 3);
  segment_changed(kSs);
  enter_code(flat_segment((selector + 16) | 3, kFlatCode, 3), 3, state.gpr[kEdx]);
  return nullptr;
}

}  // namespace snowglobe::vm
