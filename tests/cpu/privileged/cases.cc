// tests/cpu/privileged/cases.cc - the kinds of cases. Each cites the rules that it is after.
#include "tests/cpu/privileged/cases.h"

#include "vm/cpu/state.h"

namespace snowglobe::vm::privileged {
namespace {

// Ends of the case wait at both; the second lies behind the limit of limited segments.
constexpr u32 kTarget = kCode + 0x800;
constexpr u32 kFarTarget = kCode + 0x1000;
constexpr u32 kScratch = kData + 0x100;

enum : u32 {
  kPresent = 1,
  kWritable = 2,
  kUser = 4,
  kAccessed = 0x20,
  kDirty = 0x40,
  kLarge = 0x80
};

void poke_targets(CaseBuilder& b) {
  if (b.chance(2)) {
    b.poke_end(kTarget, 1);
  } else {
    b.poke_bytes(kTarget, {0xCD, kEndVector + 1});
  }
  b.poke_end(kFarTarget, 2);
}

u32 pte_address(u32 linear) {
  const u32 table = linear >= kTestLinear ? kTestTable : kPageTable;
  return table + (linear >> 10 & 0xFFC);
}

// --- segment registers (Intel SDM Vol. 2, MOV, POP, LDS...; Vol. 3A, 3.4.2, 5.5 to 5.7)
// ----------------

// Loads a segment register in one of the ways there are.
void emit_segment_load(CaseBuilder& b, u8 segment, u16 selector) {
  static constexpr u8 kPop[] = {0x07, 0, 0x17, 0x1F, 0xA1, 0xA9};
  static constexpr u8 kLoadFar[] = {0xC4, 0, 0xB2, 0xC5, 0xB4, 0xB5};
  switch (b.below(3)) {
    case 0:
      b.header().eax = selector;
      b.emit({0x8E, static_cast<u8>(0xC0 | segment << 3)});
      break;
    case 1:
      b.emit({0x68});
      b.emit32(selector);
      if (segment >= 4) b.emit({0x0F});
      b.emit({kPop[segment]});
      break;
    default:
      b.poke(kScratch, b.header().esp);
      b.poke(kScratch + 4, selector);
      if (segment == 2 || segment >= 4) b.emit({0x0F});
      b.emit({kLoadFar[segment], 0x25});  // ESP, so that LSS does no harm
      b.emit32(kScratch);
      break;
  }
}

Case segment_load(base::RandomSource& random) {
  CaseBuilder b(random, "segment_load", static_cast<unsigned>(random.next() % 4));
  static constexpr u8 kSegments[] = {0, 2, 2, 3, 4, 5};
  const u16 slot = b.chance(4) ? kLdtSlot : kSlot;
  b.poke_descriptor(slot, b.random_flat_descriptor());
  emit_segment_load(b, b.pick(kSegments), b.random_selector(slot));
  b.emit_end();
  return b.finish();
}

// Vol. 3A, 5.3 (limits) and 5.4 (types).
Case segment_limit(base::RandomSource& random) {
  CaseBuilder b(random, "segment_limit", random.next() % 2 == 0 ? 0u : 3u);
  const u32 type = b.below(8);
  const bool expand_down = (type & 4) != 0;
  u32 base = 0;
  u32 limit = 0;
  u32 edge = 0;  // the last valid byte, or the last invalid one
  bool big = true;
  bool granular = false;
  if (!expand_down) {
    granular = b.chance(3);
    base = kData;
    limit = granular ? 0 : 0x100 + b.below(0x1000);
    edge = granular ? 0xFFF : limit;
    big = b.chance(2);
  } else if (b.chance(2)) {
    granular = true;
    limit = (kData + 0xFFF) >> kPageShift;
    edge = kData + 0xFFF;
  } else {
    big = false;
    limit = 0xF7FF;
    edge = b.chance(2) ? 0xF7FF : 0xFFFF;
    base = kData + 0x800 - 0xF800;
  }
  b.poke_descriptor(kSlot,
                    CaseBuilder::segment(base, limit, type | 0x90 | b.ring() << 5, big, granular));
  b.header().eax = kSlot | b.ring();
  b.emit({0x8E, 0xD8});  // mov ds, eax
  const u32 offset = edge + b.below(12) - 6;
  switch (b.below(6)) {
    case 0:
      b.emit({0xA0});  // mov al, [..]
      break;
    case 1:
      b.emit({0x66, 0xA3});  // mov [..], ax
      break;
    case 2:
      b.emit({0xA1});
      break;
    case 3:
      b.emit({0xA3});
      break;
    case 4:
      b.emit({0x01, 0x05});  // add [..], eax
      break;
    default:
      b.emit({0x0F, 0xC7, 0x0D});  // cmpxchg8b
      break;
  }
  b.emit32(offset);
  b.emit_end();
  return b.finish();
}

// Vol. 2, LAR, LSL, VERR, VERW, ARPL.
Case describe(base::RandomSource& random) {
  CaseBuilder b(random, "describe", static_cast<unsigned>(random.next() % 4));
  const u16 slot = b.chance(4) ? kLdtSlot : kSlot;
  u64 descriptor = b.random_flat_descriptor();
  descriptor ^= u64{b.word()} << 16 & 0xFFFF0000u;
  if (b.chance(2)) descriptor ^= u64{1} << 55;  // G
  b.poke_descriptor(slot, descriptor);
  b.header().ecx = b.random_selector(slot) | (b.word() & 0xFFFF0000);
  b.header().eflags = 2 | (b.word() & kFlagZf);
  if (b.chance(3)) b.emit({0x66});
  static constexpr u8 kModrm[] = {0xE1, 0xE9};
  switch (b.below(4)) {
    case 0:
      b.emit({0x0F, 0x02, 0xC1});
      break;
    case 1:
      b.emit({0x0F, 0x03, 0xC1});
      break;
    case 2:
      b.emit({0x63, 0xC1});
      break;
    default:
      b.emit({0x0F, 0x00, b.pick(kModrm)});
      break;
  }
  b.emit_end();
  return b.finish();
}

// --- far transfers (Vol. 2, JMP, CALL, RET; Vol. 3A, 5.8)
// -----------------------------------------------

// Types of descriptors that mean something which is not granted become data segments.
u64 without_tasks(u64 descriptor) {
  const u32 type = static_cast<u32>(descriptor >> 40 & 0x1F);
  constexpr u32 kNotGranted =
      1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 9 | 1u << 11 | 1u << 12;
  if (type < 16 && (kNotGranted >> type & 1) != 0) descriptor |= u64{0x10} << 40;
  return descriptor;
}

// A descriptor for the stack of ring 1 or 2, good or bad. Ring 0's must serve the handler.
void poke_inner_stacks(CaseBuilder& b) {
  if (!b.chance(4)) return;
  b.poke_descriptor(kSlot + 0x18, b.random_flat_descriptor());
  b.poke(kTss + 16, b.random_selector(kSlot + 0x18));
  b.poke(kTss + 24, b.random_selector(kSlot + 0x18));
}

// Far pointers that lead to a TSS are task switches.
u16 target_selector(CaseBuilder& b, u16 slot) {
  const u16 selector = b.random_selector(slot);
  return (selector & 0xFFF8) == kTssSelector ? static_cast<u16>(slot | (selector & 3)) : selector;
}

Case far_transfer(base::RandomSource& random) {
  CaseBuilder b(random, "far_transfer", static_cast<unsigned>(random.next() % 4));
  b.poke_descriptor(
      kSlot, b.chance(6) ? without_tasks(b.random_flat_descriptor()) : b.random_code_descriptor());
  u16 selector = target_selector(b, kSlot);
  if (b.chance(2)) {
    const u32 access = 0x0C | b.below(4) << 5 | (b.chance(8) ? 0u : 0x80u);
    b.poke_descriptor(kGateSlot, CaseBuilder::gate(selector, kTarget, access, b.below(4)));
    selector = static_cast<u16>(kGateSlot | b.below(4));
  }
  poke_inner_stacks(b);
  poke_targets(b);
  const bool call = b.chance(2);
  // Bochs pushes before it looks at the limit; the manual has it the other way round.
  const u32 offset = !call && b.chance(6) ? kFarTarget : kTarget;
  if (b.chance(2)) {
    b.emit({static_cast<u8>(call ? 0x9A : 0xEA)});
    b.emit32(offset);
    b.emit16(selector);
  } else {
    b.poke(kScratch, offset);
    b.poke(kScratch + 4, selector);
    b.emit({0xFF, static_cast<u8>(call ? 0x1D : 0x2D)});
    b.emit32(kScratch);
  }
  b.emit_end();
  return b.finish();
}

// The stack that RETF or IRET will find. `words` are pushed so that the last lies lowest.
void poke_stack(CaseBuilder& b, std::initializer_list<u32> words) {
  u32 at = b.header().esp;
  for (const u32 value : words) {
    b.poke(at, value);
    at += 4;
  }
}

u16 return_stack_selector(CaseBuilder& b, u16 code) {
  if (b.chance(4)) {
    b.poke_descriptor(kSlot + 0x10, b.random_flat_descriptor());
    return b.random_selector(kSlot + 0x10);
  }
  return data_selector(code & 3);
}

u16 return_code_selector(CaseBuilder& b) {
  if (b.chance(3)) {
    b.poke_descriptor(kSlot, without_tasks(b.chance(4) ? b.random_flat_descriptor()
                                                       : b.random_code_descriptor()));
    return b.random_selector(kSlot);
  }
  static constexpr u16 kOthers[] = {kConforming0, kConforming0 | 3, kConforming3 | 3, kConforming3};
  return b.chance(4) ? b.pick(kOthers) : code_selector(b.below(4));
}

Case far_return(base::RandomSource& random) {
  CaseBuilder b(random, "far_return", static_cast<unsigned>(random.next() % 4));
  const u16 code = return_code_selector(b);
  poke_targets(b);
  const u16 release = b.chance(2) ? 0 : static_cast<u16>(b.below(4) * 4);
  const u32 at = b.header().esp + 8 + release;
  b.poke(b.header().esp, kTarget);
  b.poke(b.header().esp + 4, code | (b.word() & 0xFFFF0000));
  b.poke(at, kUserStack - 0x100);
  b.poke(at + 4, return_stack_selector(b, code));
  for (u32* segment : {&b.header().ds, &b.header().es, &b.header().fs, &b.header().gs}) {
    static constexpr u16 kData[] = {0, 0x10, 0x23, 0x41, kConforming0, 0x1B};
    const u16 selector = b.pick(kData);
    if (b.ring() == 0) *segment = selector;
  }
  if (release != 0) {
    b.emit({0xCA});
    b.emit16(release);
  } else {
    b.emit({0xCB});
  }
  b.emit_end();
  return b.finish();
}

// Vol. 2A, IRET.
Case interrupt_return(base::RandomSource& random) {
  CaseBuilder b(random, "interrupt_return", static_cast<unsigned>(random.next() % 4));
  const u16 code = return_code_selector(b);
  poke_targets(b);
  const u32 eflags = b.word() & ~(kFlagVm | kFlagNt | kFlagVif | kFlagVip | kFlagRf |
                                  (b.chance(2) ? kFlagTf : 0u));
  poke_stack(b, {kTarget, code | (b.word() & 0xFFFF0000), eflags, kUserStack - 0x100,
                 return_stack_selector(b, code)});
  b.header().eflags = 2 | (b.below(4) << 12) | (b.word() & kFlagIf);
  b.emit({0xCF});
  b.emit_end();
  return b.finish();
}

// --- gates of the IDT (Vol. 3A, chapter 6; Vol. 2A, INT n)
// -------------------------------------------------

u64 random_idt_gate(CaseBuilder& b) {
  static constexpr u32 kNoGates[] = {0x0, 0x2, 0x8, 0xA, 0xC, 0xD, 0x1E, 0x13};
  u32 type = b.chance(2) ? 0xE : 0xF;
  if (b.chance(10)) type = b.pick(kNoGates);
  const u32 access = type | b.below(4) << 5 | (b.chance(8) ? 0u : 0x80u);
  u16 selector = code_selector(b.below(4));
  if (b.chance(3)) {
    b.poke_descriptor(kSlot, b.chance(4) ? b.random_flat_descriptor() : b.random_code_descriptor());
    selector = b.random_selector(kSlot);
  } else if (b.chance(4)) {
    selector = b.chance(2) ? kConforming0 : kConforming3;
  }
  return CaseBuilder::gate(selector, b.chance(12) ? kFarTarget : kTarget, access);
}

void poke_gate(CaseBuilder& b, u8 vector, u64 gate) {
  b.poke(kIdt + vector * 8u, static_cast<u32>(gate));
  b.poke(kIdt + vector * 8u + 4, static_cast<u32>(gate >> 32));
}

Case software_interrupt(base::RandomSource& random) {
  CaseBuilder b(random, "software_interrupt", static_cast<unsigned>(random.next() % 4));
  static constexpr u8 kVectors[] = {0x30, 0x90, 3, 4, 1};
  const u8 vector = b.pick(kVectors);
  poke_gate(b, vector, random_idt_gate(b));
  poke_inner_stacks(b);
  poke_targets(b);
  b.header().eflags = 2 | b.below(4) << 12 | (b.word() & (kFlagIf | kFlagOf | kFlagAc | kFlagDf));
  switch (vector) {
    case 3:
      b.emit({0xCC});
      break;
    case 4:
      b.emit({0xCE});
      break;
    case 1:
      b.emit({0xF1});
      break;
    default:
      b.emit({0xCD, vector});
      break;
  }
  b.emit_end();
  return b.finish();
}

// Exceptions whose own gate is odd, so that others strike on the way (Vol. 3A, 6.15).
Case exception_delivery(base::RandomSource& random) {
  CaseBuilder b(random, "exception_delivery", static_cast<unsigned>(random.next() % 4));
  poke_targets(b);
  poke_inner_stacks(b);
  u8 vector;
  switch (b.below(6)) {
    case 0:
      vector = 6;
      b.emit({0x0F, 0x0B});  // ud2
      break;
    case 1:
      vector = 13;
      b.header().eax = kGdtLimit + 1;
      b.emit({0x8E, 0xC0});  // mov es, eax
      break;
    case 2:
      vector = 14;
      b.emit({0xA1});
      b.emit32(0x00C00000 + b.below(0x1000));
      break;
    case 3:
      vector = 0;
      b.emit({0x31, 0xC9, 0xF7, 0xF1});  // xor ecx, ecx; div ecx
      break;
    case 4:
      vector = 11;
      b.poke_descriptor(kSlot + 8, CaseBuilder::segment(0, 0xFFFFF, 0x12 | 3 << 5, true, true));
      b.header().eax = (kSlot + 8) | 3;
      b.emit({0x8E, 0xC0});
      break;
    default:
      vector = 5;
      b.poke(kScratch, 1);
      b.poke(kScratch + 4, 0);
      b.emit({0x62, 0x05});  // bound eax, [..]
      b.emit32(kScratch);
      break;
  }
  if (!b.chance(4)) poke_gate(b, vector, random_idt_gate(b));
  b.emit_end();
  return b.finish();
}

// --- paging (Vol. 3A, 4.3, 4.6, 4.7)
// -------------------------------------------------------------------------

void emit_access(CaseBuilder& b, u32 linear) {
  switch (b.below(8)) {
    case 0:
      b.emit({0xA1});
      break;
    case 1:
      b.emit({0xA3});
      break;
    case 2:
      b.emit({0x01, 0x05});  // add [..], eax
      break;
    case 3:
      b.emit({0x3B, 0x05});  // cmp eax, [..]
      break;
    case 4:
      b.emit({0x66, 0xA3});
      break;
    case 5:
      b.emit({0x87, 0x05});  // xchg
      break;
    case 6:
      b.emit({0xFF, 0x35});  // push [..]
      break;
    default:
      b.emit({0xE9});  // jmp there, where an end of the case lies
      b.emit32(linear - (kCode + static_cast<u32>(5)));
      return;
  }
  b.emit32(linear);
}

u32 random_entry_bits(CaseBuilder& b) {
  u32 bits = kPresent | kWritable | kUser;
  if (b.chance(6)) bits &= ~kPresent;
  if (b.chance(3)) bits &= ~kWritable;
  if (b.chance(3)) bits &= ~kUser;
  return bits | (b.word() & (kAccessed | kDirty | 0xF18));
}

Case paging(base::RandomSource& random) {
  CaseBuilder b(random, "paging", static_cast<unsigned>(random.next() % 4));
  if (b.chance(3)) b.header().cr0 &= ~u32{kCr0Wp};
  if (b.chance(5)) b.header().cr4 &= ~u32{kCr4Pse};
  const u32 pde = kPageDirectory + (kTestLinear >> 22) * 4;
  u32 linear = kTestLinear + (b.chance(2) ? 0xFF8 + b.below(8) : b.below(0xFF0));
  if (b.chance(4) && (b.header().cr4 & kCr4Pse) != 0) {
    b.poke(pde, kLarge | random_entry_bits(b));  // the first 4 MiB of memory
    linear += kData;
  } else {
    b.poke(pde, kTestTable | random_entry_bits(b));
    b.poke(kTestTable, kData | random_entry_bits(b));
    b.poke(kTestTable + 4, (kData + kPageSize) | random_entry_bits(b));
  }
  b.poke_bytes(kData + (linear & 0xFFC), {0x90, 0x90, 0x90, 0x90, 0xCD, kEndVector + 2});
  emit_access(b, linear);
  b.emit_end();
  return b.finish();
}

// The processor's own accesses: descriptors, gates, stacks.
Case system_paging(base::RandomSource& random) {
  CaseBuilder b(random, "system_paging", static_cast<unsigned>(random.next() % 4));
  if (b.chance(3)) b.header().cr0 &= ~u32{kCr0Wp};
  u32 page;
  switch (b.below(4)) {
    case 0:  // a descriptor in the LDT, whose accessed bit is to be set
      page = kLdt;
      b.poke_descriptor(kLdtSlot, b.random_flat_descriptor());
      emit_segment_load(b, 3, b.random_selector(kLdtSlot));
      break;
    case 1:  // a gate in the second page of the IDT
      page = kIdt + 0x400;
      b.emit({0xCD, 0x90});
      break;
    case 2:  // the user's stack
      page = kUserStack;
      if (b.ring() == 0) b.header().esp = kUserStack;
      b.emit({0x50, 0x9C});  // push eax; pushfd
      break;
    default:  // the stack of ring 1, in the TSS
      page = kRing1Stack;
      b.poke_descriptor(kGateSlot, CaseBuilder::gate(code_selector(1), kTarget, 0xEC));
      poke_targets(b);
      b.emit({0x9A});
      b.emit32(0);
      b.emit16(kGateSlot | 3);
      break;
  }
  // A stack of ring 0 that can not be written is a triple fault.
  u32 entry = (page & ~kPageMask) | random_entry_bits(b);
  if (page == kUserStack && b.ring() == 0) entry |= kPresent | kWritable;
  b.poke(pte_address(page), entry);
  b.emit({0x90});
  b.emit_end();
  return b.finish();
}

// --- flags, control registers and the rest (Vol. 2)
// -------------------------------------------------------

Case flags(base::RandomSource& random) {
  CaseBuilder b(random, "flags", static_cast<unsigned>(random.next() % 4));
  b.header().eflags =
      2 | (b.word() & (kFlagIopl | kFlagIf | kFlagDf | kFlagAc | kFlagId | kArithmeticFlags));
  switch (b.below(5)) {
    case 0:
      b.emit({0xFA});
      break;
    case 1:
      b.emit({0xFB});
      break;
    case 2:
      b.emit({0x9C, 0x66, 0x9C});
      break;
    default:
      b.emit({0x68});
      b.emit32(b.word() & ~(kFlagNt | (b.chance(4) ? 0u : kFlagTf)));
      if (b.chance(3)) b.emit({0x66});
      b.emit({0x9D});
      break;
  }
  if (b.chance(2)) b.emit({0x90, 0x9C});
  b.emit_end();
  return b.finish();
}

Case control(base::RandomSource& random) {
  CaseBuilder b(random, "control", random.next() % 3 == 0 ? 3u : 0u);
  static constexpr u8 kDebugOut[] = {0xC0, 0xC8, 0xD0, 0xD8, 0xF0, 0xF8, 0xE0, 0xE8};
  switch (b.below(14)) {
    case 0:
      b.header().eax = (b.header().cr0 ^ (b.word() & (kCr0Mp | kCr0Em | kCr0Ts | kCr0Ne | kCr0Wp |
                                                      kCr0Am | kCr0Nw | kCr0Cd | kCr0Et)));
      b.emit({0x0F, 0x22, 0xC0});
      break;
    case 1:
      b.emit({0x0F, 0x01, 0xF0});  // lmsw ax
      break;
    case 2:
      if (b.chance(2)) b.emit({0x66});
      b.emit({0x0F, 0x01, 0xE0});  // smsw eax
      break;
    case 3:
      b.emit({0x0F, 0x06});
      b.header().cr0 |= kCr0Ts;
      break;
    case 4:
      b.emit({0x0F, 0x20, static_cast<u8>(0xC0 | (b.chance(2) ? 2 : 3) << 3)});
      break;
    case 5:
      b.header().eax = b.word();
      b.emit({0x0F, 0x22, 0xD0});  // mov cr2, eax
      break;
    case 6:
      b.header().eax = b.chance(3) ? 1u << 31 : b.word() & (kCr4Pse | kCr4Pge | kCr4Tsd);
      b.emit({0x0F, 0x22, 0xE0, 0x0F, 0x31, 0x31, 0xC0, 0x31, 0xD2});  // and rdtsc, forgotten
      break;
    case 7:
      // No breakpoint is armed; bit 11 (RTM in newer processors) is kept by Bochs.
      b.header().eax = b.word() & 0xFFFFF700;
      b.emit({0x0F, 0x23, b.pick(kDebugOut)});
      break;
    case 8:
      b.header().eax = b.chance(2) ? 1u << 13 : 0;
      b.emit({0x0F, 0x23, 0xF8, 0x0F, 0x21, b.pick(kDebugOut)});
      break;
    case 9:
      b.emit({0x0F, 0x01, b.pick({u8{0x05}, u8{0x0D}})});  // sgdt, sidt
      b.emit32(kData + (b.chance(2) ? 0x100 : 0xFFD));
      break;
    case 10:
      if (b.chance(2)) b.emit({0x66});
      b.emit({0x0F, 0x00, b.pick({u8{0xC0}, u8{0xC8}})});  // sldt, str
      break;
    case 11:
      b.header().ecx = 0x174 + b.below(3);
      b.emit({0x0F, 0x30, 0x31, 0xC0, 0x0F, 0x32});  // wrmsr; xor eax, eax; rdmsr
      b.header().edx = 0;
      break;
    case 12:
      b.emit({0x0F, 0x01, 0x3D});  // invlpg
      b.emit32(kTestLinear);
      break;
    default:
      b.emit({0x0F, 0x09});
      break;
  }
  b.emit_end();
  return b.finish();
}

// Vol. 2A, LLDT, LTR.
Case task_registers(base::RandomSource& random) {
  CaseBuilder b(random, "task_registers", random.next() % 5 == 0 ? 3u : 0u);
  u64 descriptor = b.random_flat_descriptor();
  if (b.chance(2)) {
    static constexpr u32 kTypes[] = {0x2, 0x9, 0xB};
    const u32 access = b.pick(kTypes) | (b.chance(5) ? 0u : 0x80u) | b.below(4) << 5;
    descriptor = CaseBuilder::segment(kTss, 0x7F, access, false, false);
  } else if ((descriptor >> 40 & 0x1F) == 1) {
    descriptor ^= u64{8} << 40;  // a 16-bit TSS is not granted
  }
  b.poke_descriptor(kSlot, descriptor);
  b.header().eax = b.random_selector(kSlot);
  b.emit({0x0F, 0x00, b.pick({u8{0xD0}, u8{0xD8}})});
  b.emit_end();
  return b.finish();
}

// Vol. 1, 18.5.
Case ports(base::RandomSource& random) {
  CaseBuilder b(random, "ports", static_cast<unsigned>(random.next() % 4));
  constexpr u16 kPort = 0x50;  // nobody is there
  b.header().eflags = 2 | b.below(4) << 12;
  b.header().edx = kPort;
  static constexpr u32 kLimits[] = {0x65, 0x66, 0x67, 0x70, 0x71, 0x72, 0x73, 0x7F};
  b.poke_descriptor(kTssSelector, CaseBuilder::segment(kTss, b.pick(kLimits), 0x89, false, false));
  b.poke(kTss + 0x64, (b.chance(4) ? 0x40u + b.below(0x50) : 0x68u) << 16);
  b.poke(kTss + 0x68 + kPort / 8 / 4 * 4, b.word() & b.word() & b.word());
  b.header().edi = b.header().esi = kScratch;
  b.header().ecx = 3;
  static constexpr u8 kOpcodes[] = {0xEC, 0xED, 0xEE, 0xEF, 0x6C, 0x6D, 0x6E, 0x6F};
  const u8 opcode = b.pick(kOpcodes);
  if ((opcode & 0xF0) == 0x60 && b.chance(2)) b.emit({0xF3});
  if (b.chance(4)) b.emit({0x66});
  b.emit({opcode});
  b.emit_end();
  return b.finish();
}

// Vol. 2B, SYSENTER, SYSEXIT.
Case fast_calls(base::RandomSource& random) {
  CaseBuilder b(random, "fast_calls", static_cast<unsigned>(random.next() % 4));
  static constexpr u32 kSelectors[] = {0, 3, 0x08, 0x0B, 0x48, 0xF8};
  b.header().sysenter_cs = b.pick(kSelectors);
  b.header().sysenter_eip = kTarget;
  b.header().sysenter_esp = kRing0Stack - 0x100;
  b.header().edx = kTarget;
  b.header().ecx = kUserStack - 0x80;
  b.header().eflags = 2 | (b.word() & (kFlagIf | kFlagDf | kFlagAc | kFlagIopl));
  poke_targets(b);
  b.emit({0x0F, b.pick({u8{0x34}, u8{0x35}})});
  b.emit_end();
  return b.finish();
}

using Kind = Case (*)(base::RandomSource& random);
constexpr Kind kKinds[] = {segment_load,
                           segment_limit,
                           describe,
                           far_transfer,
                           far_return,
                           interrupt_return,
                           software_interrupt,
                           exception_delivery,
                           paging,
                           system_paging,
                           flags,
                           control,
                           task_registers,
                           ports,
                           fast_calls};

}  // namespace

std::vector<Case> make_cases(std::uint64_t seed, std::size_t count) {
  base::SeededRandom random(seed);
  std::vector<Case> cases;
  cases.reserve(count);
  for (std::size_t i = 0; i < count; ++i)
    cases.push_back(kKinds[i % std::size(kKinds)](random));
  return cases;
}

}  // namespace snowglobe::vm::privileged
