// vm/cpu/translator/block_code.cc - the host code of each way to translate an instruction.
//
// Every sequence does its last access that can fault before it changes a guest register, so that
// the guest instruction can be run again from its start.
#include "base/check.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/translator/block_translator.h"

#include <algorithm>

namespace snowglobe::vm {
namespace {

constexpr i32 kMaxPendingStack = 4096;
constexpr u32 kMaxRepeats = 65536;

HostRegister address_register(u8 guest) {
  return guest == GuestInsn::kNone ? kNoRegister : host_register(guest);
}

// Ends what a handler runs.
const Insn* finish(Cpu& cpu, const Insn* insn) {
  cpu.state.eip = cpu.eip_of(insn);
  return nullptr;
}

// The byte of CpuState::eflags that holds IF.
Address interrupt_flag_byte() {
  return layout::state(offsetof(CpuState, eflags) + 1);
}
constexpr u8 kIfInByte = kFlagIf >> 8;

// reg &= mask, with flags left alone: PEXT and PDEP by the same mask (BMI2). R9 is lost.
void emit_mask(Emitter& out, HostRegister reg, u32 mask) {
  SG_DCHECK(reg == kR8 || reg == kR10, "other registers need other VEX bits");
  const u8 low = static_cast<u8>(reg & 7);
  out.load_immediate32(kR9, mask);
  for (const u8 prefix : {u8{0x32}, u8{0x33}}) {  // VEX.NDS.LZ.F3 (PEXT), F2 (PDEP)
    out.byte(0xC4);
    out.byte(0x42);  // R, B inverted: both extended; map 0F38
    out.byte(static_cast<u8>((~reg & 0xF) << 3 | (prefix & 3)));  // vvvv = reg
    out.byte(0xF5);
    out.byte(static_cast<u8>(0xC0 | low << 3 | (kR9 & 7)));
  }
}

}  // namespace

// Where the operand in memory is, as the host has to say it. May use R8 and R9.
Address BlockTranslator::operand_address(const GuestInsn& insn) {
  Address address{.base = address_register(insn.base),
                  .index = address_register(insn.index),
                  .scale = insn.scale,
                  .disp = insn.disp,
                  .window = true};
  if (address.base == kGuestStack) address.disp += stack_;
  if (insn.way == Way::kPopMemory && address.base == kGuestStack) address.disp += 4;
  if (insn.way == Way::kLea) return address;
  if (insn.in_gs) {
    const Address base = layout::state(offsetof(CpuState, segment) + kGs * sizeof(Segment) +
                                       offsetof(Segment, base));
    if (address.index != kNoRegister) {
      out_->lea32(kR9, address);
      address = {.base = kR9, .window = true};
    }
    out_->load32(kR8, base);
    if (address.base == kNoRegister) {
      address.base = kR8;
    } else {
      address.index = kR8;
      address.scale = 0;
    }
    return address;
  }
  if (is_user_site(insn)) {
    out_->lea32(kR8, address);
    out_->load64(kR9, layout::in_context(offsetof(TranslatorContext, user_window)));
    return {.base = kR9, .index = kR8};
  }
  return address;
}

bool BlockTranslator::is_user_site(const GuestInsn& insn) const {
  return !source_->user && is_user_site_((block_->physical & ~kPageMask) + insn.offset);
}

void BlockTranslator::emit_insn(std::size_t i) {
  const GuestInsn& insn = insns_[i];
  // What goes ahead can not fault, so that the mark may stand behind it.
  if (plan_[i].poll) emit_poll(insn);
  if (plan_[i].vectors || (insn.vectors && !vectors_sure_)) emit_vector_check(insn);
  if (options.count_instructions) emit_count();
  listing_.marks.push_back({here(), insn.offset, static_cast<i16>(stack_),
                            insn.way == Way::kRepeatMove || insn.way == Way::kRepeatStore,
                            insn.way == Way::kExchange});
  switch (insn.way) {
    case Way::kHandler:
      return emit_handler(insn, false);
    case Way::kHandlerEnd:
      return emit_handler(insn, true);
    case Way::kNothing:
      return;
    case Way::kCopy:
    case Way::kLea:
      return emit_copy(i);
    case Way::kAbsolute:
      return emit_absolute(insn);
    case Way::kIncrement: {
      if (insn.reg == kEsp) flush_stack();
      const u8 prefix = insn.width == 16 ? 0x66 : 0;
      const bool decrement = insn.mnemonic == ZYDIS_MNEMONIC_DEC;
      return out_->registers(prefix, 0xFF, decrement ? 1 : 0, host_register(insn.reg));
    }
    case Way::kTableLookup:
      out_->byte(0x65);
      out_->byte(0x67);
      return out_->byte(0xD7);
    case Way::kPushRegister:
    case Way::kPushImmediate:
    case Way::kPushMemory:
      return emit_push(insn);
    case Way::kPopRegister:
    case Way::kPopMemory:
      return emit_pop(insn);
    case Way::kLeave: {
      // The frame's pointer is read before ESP or EBP change.
      out_->lea32(kR8, {.base = kRbp, .disp = 4});
      out_->load32(kRbp, {.base = kRbp, .window = true});
      out_->move32(kGuestStack, kR8);
      stack_ = 0;
      return;
    }
    case Way::kExchange: {
      if (insn.uses_esp) return emit_handler(insn, false);
      const HostRegister host = host_register(insn.reg);
      const Address address = operand_address(insn);
      out_->load32(kR10, address);
      out_->store32(address, host);
      return out_->move32(host, kR10);
    }
    case Way::kMoveString:
    case Way::kStoreString:
    case Way::kLoadString:
      return emit_string(insn);
    case Way::kRepeatMove:
    case Way::kRepeatStore:
      // Copies from and to user space take one window for each side: the handler does.
      return is_user_site(insn) ? emit_handler(insn, false) : emit_repeat(insn);
    case Way::kPushSegment: {
      out_->memory(0, 0x0FB7, kR8,  // movzx
                   layout::state(offsetof(CpuState, segment) + insn.reg * sizeof(Segment) +
                                 offsetof(Segment, selector)));
      out_->store32({.base = kGuestStack, .disp = stack_ - 4, .window = true}, kR8);
      stack_ -= 4;
      return;
    }
    case Way::kPushFlags:
      return emit_push_flags();
    case Way::kPopFlags:
      return source_->user ? emit_handler(insn, false) : emit_pop_flags(insn);
    case Way::kClearInterrupts:
      return source_->user ? emit_handler(insn, false) : emit_clear_interrupts(insn);
    case Way::kSetInterrupts:
      // What follows must run ahead of any interrupt: it has to be in this block.
      if (source_->user || i + 1 == insns_.size()) return emit_handler(insn, !source_->user);
      return emit_set_interrupts(insn);
    default:
      return emit_branch(insn);
  }
}

// The interpreter's view of an instruction, with an end behind it. Returns its place.
u32 BlockTranslator::add_slots(const GuestInsn& insn) {
  const u32 index = static_cast<u32>(listing_.insns.size());
  const u16 start = static_cast<u16>(block_->linear & kPageMask);
  const base::ConstBytes bytes =
      block_->crossing ? joined_ : source_->bytes.subspan(insn.offset - start);
  Insn slots[2];
  const Decoder::Result result = decoder_.decoder().decode(bytes, insn.offset, slots);
  listing_.insns.insert(listing_.insns.end(), slots, slots + result.count);
  Insn last;
  last.handler = finish;
  last.offset = static_cast<u16>(insn.offset + slots[result.count - 1].length);
  listing_.insns.push_back(last);
  return index;
}

// Where the interpreter's handler runs the instruction. It may go on behind it, if the caller says
// so.
u32 BlockTranslator::add_handler_site(const GuestInsn& insn) {
  vectors_sure_ = false;  // leaving saves them
  const bool keeps_flags =
      insn.way != Way::kHandlerEnd && insn.flags_read == 0 && insn.flags_written == 0;
  return add_site({.kind = Site::Kind::kInsn,
                   .eip = next_eip(insn),
                   .index = add_slots(insn),
                   .mnemonic = insn.mnemonic,
                   .vectors = insn.vectors_in_handler,
                   .keeps_flags = keeps_flags});
}

void BlockTranslator::emit_exit(u32 site) {
  out_->load_immediate32(kR10, site);
  out_->jump(executable_ + stubs_.exit);
}

void BlockTranslator::emit_handler(const GuestInsn& insn, bool ends) {
  flush_stack();
  const u32 site = add_handler_site(insn);
  emit_exit(site);
  if (!ends) sites_[site].resume = here();
  ended_ = ends;
}

// ADD, SUB and LEA of ESP by a constant change only what we remember, if nobody reads their flags.
bool BlockTranslator::fold_stack_change(std::size_t i) {
  const GuestInsn& insn = insns_[i];
  if (insn.width != 32 || !insn.esp_first) return false;
  i32 change = 0;
  if (insn.way == Way::kLea) {
    if (insn.base != kEsp || insn.index != GuestInsn::kNone) return false;
    change = insn.disp;
  } else {
    const bool add = insn.mnemonic == ZYDIS_MNEMONIC_ADD;
    if (!add && insn.mnemonic != ZYDIS_MNEMONIC_SUB) return false;
    if (!insn.has_immediate || i + 1 >= insns_.size()) return false;
    if (!insns_[i + 1].flags_dead_before) return false;
    const i32 value = static_cast<i32>(insn.immediate);
    if (value > kMaxPendingStack || value < -kMaxPendingStack) return false;
    change = add ? value : -value;
  }
  if (change > kMaxPendingStack || change < -kMaxPendingStack) return false;
  stack_ += change;
  if (stack_ > kMaxPendingStack || stack_ < -kMaxPendingStack) flush_stack();
  return true;
}

void BlockTranslator::emit_copy(std::size_t i) {
  const GuestInsn& insn = insns_[i];
  if (fold_stack_change(i)) return;
  // The bit offset moves the address, which nothing cuts to 32 bits there.
  if (insn.is_bit_string && is_user_site(insn)) return emit_handler(insn, false);
  if (insn.uses_esp) flush_stack();
  Address address;
  if (insn.has_memory) address = operand_address(insn);
  if (insn.way == Way::kLea) address.window = false;
  if (!out_->rewrite(insn, address)) emit_handler(insn, false);
}

void BlockTranslator::emit_absolute(const GuestInsn& insn) {
  // A0-A3: AL or EAX from memory, or to it.
  static constexpr std::array<u8, 4> kWithModrm = {0x8A, 0x8B, 0x88, 0x89};
  const u8 prefix = insn.width == 16 && (insn.opcode & 1) != 0 ? 0x66 : 0;
  out_->memory(prefix, kWithModrm[insn.opcode & 3], kRax, operand_address(insn));
}

void BlockTranslator::emit_push(const GuestInsn& insn) {
  const Address slot{.base = kGuestStack, .disp = stack_ - 4, .window = true};
  if (insn.way == Way::kPushImmediate) {
    out_->store_immediate32(slot, insn.immediate);
  } else if (insn.way == Way::kPushMemory) {
    out_->load32(kR8, operand_address(insn));
    out_->store32(slot, kR8);
  } else {
    if (insn.reg == kEsp && stack_ != 0) {
      flush_stack();
      return emit_push(insn);
    }
    out_->store32(slot, host_register(insn.reg));
  }
  stack_ -= 4;
}

void BlockTranslator::emit_pop(const GuestInsn& insn) {
  const Address slot{.base = kGuestStack, .disp = stack_, .window = true};
  if (insn.way == Way::kPopRegister) {
    out_->load32(host_register(insn.reg), slot);
    stack_ = insn.reg == kEsp ? 0 : stack_ + 4;
    return;
  }
  const Address address = operand_address(insn);  // may take R8 and R9
  out_->load32(kR10, slot);
  out_->store32(address, kR10);
  stack_ += 4;
}

// One element, upwards: DF is clear in translated code.
void BlockTranslator::emit_string(const GuestInsn& insn) {
  const u8 width = static_cast<u8>(insn.width / 8);
  const u8 prefix = width == 2 ? 0x66 : 0;
  const u8 wide = width == 1 ? 0 : 1;
  const Address source{.base = kRsi, .window = true};
  const Address destination{.base = kRdi, .window = true};
  if (insn.way == Way::kLoadString) {
    out_->memory(prefix, 0x8Au | wide, kRax, source);
  } else if (insn.way == Way::kStoreString) {
    out_->memory(prefix, 0x88u | wide, kRax, destination);
  } else {
    out_->memory(prefix, 0x8Au | wide, kR8, source);
    out_->memory(prefix, 0x88u | wide, kR8, destination);
  }
  if (insn.way != Way::kStoreString) out_->lea32(kRsi, {.base = kRsi, .disp = width});
  if (insn.way != Way::kLoadString) out_->lea32(kRdi, {.base = kRdi, .disp = width});
}

// On host pointers, as the destination takes no other segment. A window starts at a multiple of
// 4 GiB, so that the low half of such a pointer is the guest's: also when a fault interrupts it.
void BlockTranslator::emit_repeat(const GuestInsn& insn) {
  const u8 width = static_cast<u8>(insn.width / 8);
  const bool move = insn.way == Way::kRepeatMove;
  // The handler cuts long ones into slices, so that the machine can be stopped.
  flush_stack();
  const bool preserve = !insn.flags_dead_before;
  if (preserve) out_->save_flags();
  out_->compare_register32(kRcx, kMaxRepeats);
  const u32 handler = add_handler_site(insn);
  add_stub(out_->jump_forward_if(HostCondition::kAbove), handler, preserve, false);
  if (preserve) out_->restore_flags();
  out_->load64(kR8, layout::in_context(offsetof(TranslatorContext, window)));
  if (move) out_->lea64(kRsi, {.base = kRsi, .index = kR8});
  out_->lea64(kRdi, {.base = kRdi, .index = kR8});
  out_->byte(0xF3);
  if (width == 2) out_->byte(0x66);
  out_->byte(static_cast<u8>((move ? 0xA4 : 0xAA) | (width == 1 ? 0 : 1)));
  if (move) out_->move32(kRsi, kRsi);
  out_->move32(kRdi, kRdi);
  sites_[handler].resume = here();
}

// Live flags must survive, so that no instruction here may change them.
void BlockTranslator::emit_push_flags() {
  out_->byte(0x9C);  // pushfq; pop r8: the host's stack is as good as any
  out_->byte(0x41);
  out_->byte(0x58);
  emit_mask(*out_, kR8, kArithmeticFlags);
  out_->load32(kR10, layout::state(offsetof(CpuState, eflags)));
  emit_mask(*out_, kR10, ~(kFlagRf | kFlagVm | kArithmeticFlags));
  out_->lea32(kR8, {.base = kR8, .index = kR10});
  out_->store32({.base = kGuestStack, .disp = stack_ - 4, .window = true}, kR8);
  stack_ -= 4;
}

// Only IF and the arithmetic flags change here; anything else is for the handler.
void BlockTranslator::emit_pop_flags(const GuestInsn& insn) {
  constexpr u32 kOthers = kFlagTf | kFlagDf | kFlagIopl | kFlagNt | kFlagAc | kFlagId;
  flush_stack();
  const Address flags = layout::state(offsetof(CpuState, eflags));
  out_->load32(kR8, {.base = kGuestStack, .window = true});
  out_->load32(kR9, flags);
  out_->registers(0, 0x33, kR9, kR8);  // xor
  out_->registers(0, 0xF7, 0, kR9);    // test r9d, imm32
  out_->word32(kOthers);
  const u32 plain = out_->jump_forward_if(HostCondition::kZ);
  const u32 handler = add_handler_site(insn);
  emit_exit(handler);
  out_->bind(plain);
  out_->memory(0, 0x80, 4, interrupt_flag_byte());  // and byte, ~IF
  out_->byte(static_cast<u8>(~kIfInByte));
  out_->move32(kR9, kR8);
  out_->registers(0, 0x81, 4, kR9);  // and r9d, IF
  out_->word32(kFlagIf);
  out_->memory(0, 0x09, kR9, flags);  // or
  out_->lea32(kGuestStack, {.base = kGuestStack, .disp = 4});
  // IF went on while an interrupt waits: both as 0 or not 0, joined.
  out_->registers(0, 0xC1, 5, kR9);  // shr r9d, 9
  out_->byte(9);
  out_->memory(0, 0x22, kR9,
               layout::in_context(offsetof(TranslatorContext, interrupt_line)));  // and r9b
  const u32 waiting = out_->jump_forward_if(HostCondition::kNz);
  const auto load_flags = [this] {
    out_->move32(kR11, kRax);
    out_->registers(0, 0x0FB6, kRax, kR8);  // movzx eax, r8b
    out_->registers(0, 0xC1, 4, kRax);      // shl eax, 8
    out_->byte(8);
    out_->registers(0, 0x0FBA, 4, kR8);  // bt r8d, 11
    out_->byte(11);
    out_->registers(0, 0x0F92, 0, kRax);  // setc al
    out_->restore_flags();
  };
  load_flags();
  const u32 done = out_->jump_forward();
  out_->bind(waiting);
  load_flags();
  emit_exit(add_site({.kind = Site::Kind::kEnabled, .eip = next_eip(insn)}));
  out_->bind(done);
  sites_[handler].resume = here();
}

void BlockTranslator::emit_clear_interrupts(const GuestInsn& insn) {
  const bool preserve = !insn.flags_dead_before;
  if (preserve) out_->save_flags();
  out_->memory(0, 0x80, 4, interrupt_flag_byte());  // and
  out_->byte(static_cast<u8>(~kIfInByte));
  if (preserve) out_->restore_flags();
}

void BlockTranslator::emit_set_interrupts(const GuestInsn& insn) {
  const bool preserve = !insn.flags_dead_before;
  flush_stack();
  const u32 site =
      add_site({.kind = Site::Kind::kEnabled, .eip = next_eip(insn), .casts_shadow = true});
  if (preserve) out_->save_flags();
  out_->memory(0, 0x80, 1, interrupt_flag_byte());  // or
  out_->byte(kIfInByte);
  out_->compare_byte(layout::in_context(offsetof(TranslatorContext, interrupt_line)), 0);
  leave_if_not_equal(site, preserve, false);
  if (preserve) out_->restore_flags();
}

// R8D: the linear address. Its low 16 bits choose an entry, which checks the rest itself: so the
// look-up changes no flags.
void BlockTranslator::emit_indirect(HostRegister target) {
  if (target != kR8) out_->move32(kR8, target);
  out_->registers(0, 0x0FB7, kR9, kR8);  // movzx r9d, r8w
  out_->jump_to({.base = kJumpTable, .index = kR9, .scale = 3});
  ended_ = true;
}

// The host's CALL leaves the place behind it on the return stack, for the RET of the callee.
void BlockTranslator::emit_call(const GuestInsn& insn) {
  const bool indirect = insn.way == Way::kCallIndirect;
  if (indirect && insn.has_memory) {
    out_->load32(kR8, operand_address(insn));
  } else if (indirect) {
    if (insn.reg == kEsp) flush_stack();
    out_->move32(kR8, host_register(insn.reg));
  }
  out_->store_immediate32({.base = kGuestStack, .disp = stack_ - 4, .window = true},
                          next_eip(insn));
  stack_ -= 4;
  flush_stack();
  if (indirect) {
    out_->registers(0, 0x0FB7, kR9, kR8);  // movzx r9d, r8w
    out_->memory(0, 0xFF, 2, {.base = kJumpTable, .index = kR9, .scale = 3});
  } else {
    const u32 jump = out_->call_forward();
    const u32 site = add_site({.kind = Site::Kind::kLink,
                               .eip = next_eip(insn) + insn.immediate,
                               .patch = position_ + jump});
    add_stub(jump, site, false, false);
  }
  emit_return_site(insn);
}

// R8D: where the guest returns to. That RET came here is a guess. The page need not be compared: a
// return stack belongs to one address space, and is emptied when code there is unmapped. Flags are
// kept, whatever follows: where the guest returns to instead may want them.
void BlockTranslator::emit_return_site(const GuestInsn& insn) {
  vectors_sure_ = false;
  listing_.return_sites.push_back(here());
  out_->save_flags();
  out_->compare_register32(kR8, next_eip(insn));
  add_stub(out_->jump_forward_if(HostCondition::kNz), kMissSite, true, false, true);
  out_->restore_flags();
}

void BlockTranslator::emit_branch(const GuestInsn& insn) {
  const auto relative = [&] { return next_eip(insn) + insn.immediate; };
  switch (insn.way) {
    case Way::kCall:
    case Way::kCallIndirect:
      return emit_call(insn);
    case Way::kReturn: {
      const i32 release = insn.has_immediate ? static_cast<i32>(insn.immediate & 0xFFFF) : 0;
      out_->load32(kR8, {.base = kGuestStack, .disp = stack_, .window = true});
      stack_ += 4 + release;
      flush_stack();
      out_->byte(0xC3);  // to the return site of the host's CALL, which compares R8D
      ended_ = true;
      return;
    }
    case Way::kJumpIndirect:
      if (insn.has_memory) {
        out_->load32(kR8, operand_address(insn));
        flush_stack();
        return emit_indirect(kR8);
      }
      flush_stack();
      return emit_indirect(host_register(insn.reg));
    case Way::kJump:
      flush_stack();
      emit_link(relative(), HostCondition::kAlways);
      ended_ = true;
      return;
    case Way::kJumpIf:
      flush_stack();
      return emit_link(relative(), static_cast<HostCondition>(insn.opcode & 0xF));
    case Way::kJumpIfZeroCount:
      flush_stack();
      out_->byte(0x67);  // jecxz +2; jmp +5; jmp target
      out_->byte(0xE3);
      out_->byte(2);
      out_->byte(0xEB);
      out_->byte(5);
      return emit_link(relative(), HostCondition::kAlways);
    case Way::kLoop:
      flush_stack();
      out_->lea32(kRcx, {.base = kRcx, .disp = -1});
      out_->byte(0x67);  // jecxz over the jump
      out_->byte(0xE3);
      out_->byte(5);
      return emit_link(relative(), HostCondition::kAlways);
    default:
      SG_ASSERT(false, "an instruction without a way");
  }
}

// A direct jump. It leads to a stub until it is linked.
void BlockTranslator::emit_link(u32 target, HostCondition condition) {
  const u32 jump =
      condition == HostCondition::kAlways ? out_->jump_forward() : out_->jump_forward_if(condition);
  const u32 site = add_site({.kind = Site::Kind::kLink, .eip = target, .patch = position_ + jump});
  add_stub(jump, site, false, false);
}

}  // namespace snowglobe::vm
