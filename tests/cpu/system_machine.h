// tests/cpu/system_machine.h - a bare machine with descriptor tables, a TSS and page tables, for
// tests of privileged instructions. Everything is written by hand, with the names of the manual.
#pragma once

#include "tests/support/bare_machine.h"
#include "vm/cpu/descriptor.h"

#include <gtest/gtest.h>
#include <optional>

namespace snowglobe::vm::test {

class SystemMachine : public BareMachine {
 public:
  static constexpr u32 kGdt = 0x1000;
  static constexpr u32 kIdt = 0x2000;
  static constexpr u32 kTss = 0x3000;
  static constexpr u32 kLdt = 0x3800;
  static constexpr u32 kPageDirectory = 0x80000;
  static constexpr u32 kPageTable = 0x81000;  ///< of the first 4 MiB
  static constexpr u32 kInnerStackTop = 0x48000;
  static constexpr u32 kUserStackTop = 0x50000;
  static constexpr u32 kHandlers = 0x70000;  ///< 16 bytes a vector, each a HLT

  static constexpr u16 kKernelCode = 0x08;
  static constexpr u16 kKernelData = 0x10;
  static constexpr u16 kUserCode = 0x1B;
  static constexpr u16 kUserData = 0x23;
  static constexpr u16 kTssSelector = 0x28;
  static constexpr u16 kLdtSelector = 0x30;
  static constexpr u16 kSlot = 0x40;  ///< free for the test, and so are those behind it
  static constexpr u16 kGdtLimit = 0x100 - 1;

  // Attributes as in state.h.
  static constexpr u16 kCode32 = 0xC9A;
  static constexpr u16 kData32 = 0xC92;
  static constexpr u16 kUserBits = 3 << kSegDplShift;

  SystemMachine() {
    set_descriptor(kKernelCode, 0, 0xFFFFF, kCode32 | kSegAccessed);
    set_descriptor(kKernelData, 0, 0xFFFFF, kData32 | kSegAccessed);
    set_descriptor(kUserCode, 0, 0xFFFFF, kCode32 | kSegAccessed | kUserBits);
    set_descriptor(kUserData, 0, 0xFFFFF, kData32 | kSegAccessed | kUserBits);
    set_descriptor(kTssSelector, kTss, 0x67, 0x8B);
    set_descriptor(kLdtSelector, kLdt, 0x3F, 0x82);
    cpu.state.gdtr = {kGdt, kGdtLimit};
    cpu.state.idtr = {kIdt, 0x7FF};
    cpu.state.tr = {kTssSelector, 0x8B, kTss, 0x67};
    put<u32>(kTss + 4, kInnerStackTop);
    put<u32>(kTss + 8, kKernelData);
    put<u16>(kTss + 0x66, 0x68);
    for (u32 vector = 0; vector < 256; ++vector) {
      set_gate(static_cast<u8>(vector), kKernelCode, handler(vector), 0xE, 0);
      write(handler(vector), {0xF4});
    }
  }

  static constexpr u32 handler(u32 vector) { return kHandlers + vector * 16; }

  /// Writes a descriptor to the GDT, or to the LDT by a selector with TI set.
  void set_descriptor(u16 selector, u32 base, u32 raw_limit, u16 attributes) {
    const u32 table = (selector & kSelectorLdt) != 0 ? kLdt : kGdt;
    const u32 address = table + (selector & 0xFFF8u);
    put<u32>(address, (raw_limit & 0xFFFF) | base << 16);
    put<u32>(address + 4, (base >> 16 & 0xFF) | (attributes & 0xFFu) << 8 | (raw_limit & 0xF0000) |
                              (attributes & 0xF00u) << 12 | (base & 0xFF000000));
  }
  /// The attributes that a descriptor has in memory now.
  u16 attributes(u16 selector) {
    const u32 table = (selector & kSelectorLdt) != 0 ? kLdt : kGdt;
    return Descriptor{0, 0, read<u32>(table + (selector & 0xFFF8u) + 4)}.attributes();
  }
  static u64 gate(u16 selector, u32 offset, u8 type, u8 dpl, bool present, u8 count = 0) {
    const u32 high =
        (offset & 0xFFFF0000) | (present ? 1u << 15 : 0u) | u32{dpl} << 13 | u32{type} << 8 | count;
    return u64{high} << 32 | u32{selector} << 16 | (offset & 0xFFFF);
  }
  void set_gate(u8 vector, u16 selector, u32 offset, u8 type, u8 dpl, bool present = true) {
    put<u64>(kIdt + vector * 8u, gate(selector, offset, type, dpl, present));
  }
  void set_call_gate(u16 at, u16 selector, u32 offset, u8 dpl, u8 count, bool present = true) {
    put<u64>(kGdt + (at & 0xFFF8u), gate(selector, offset, 0xC, dpl, present, count));
  }

  /// Switches to ring 3 with flat segments and a stack of its own.
  void enter_user_mode() {
    const auto set = [this](u8 segment, u16 selector, u16 attributes) {
      cpu.state.segment[segment] = {selector, attributes, 0, 0xFFFFFFFF};
      cpu.segment_changed(segment);
    };
    set(kCs, kUserCode, kCode32 | kSegAccessed | kUserBits);
    for (const u8 segment : {kEs, kSs, kDs, kFs, kGs})
      set(segment, kUserData, kData32 | kSegAccessed | kUserBits);
    cpu.state.cpl = 3;
    cpu.mode_changed();
    reg(kEsp) = kUserStackTop;
  }

  /// Maps the first 4 MiB one to one, for everybody, and switches paging on.
  void enable_paging() {
    put<u32>(kPageDirectory, kPageTable | 7);
    for (u32 page = 0; page < 1024; ++page)
      put<u32>(kPageTable + page * 4, page << kPageShift | 7);
    cpu.state.cr3 = kPageDirectory;
    cpu.state.cr0 |= kCr0Pg | kCr0Wp;
    cpu.state.cr4 |= kCr4Pse;
    cpu.flush_tlb();
    cpu.mode_changed();
  }
  /// Changes the entry of a page below 4 MiB.
  void set_pte(u32 linear, u32 entry) {
    put<u32>(pte_address(linear), entry);
    cpu.flush_tlb();
  }
  static u32 pte_address(u32 linear) { return kPageTable + (linear >> kPageShift) * 4; }
  u32 pte(u32 linear) { return read<u32>(pte_address(linear)); }

  /// Runs one instruction at kCode. The exception that it raised, if any, is not delivered.
  std::optional<Exception> execute(std::initializer_list<u8> bytes) {
    write(kCode, bytes);
    cpu.state.eip = kCode;
    cpu.clear_exception();
    interpreter.step(false);
    if (!cpu.has_exception()) return std::nullopt;
    const Exception exception = cpu.exception();
    cpu.clear_exception();
    return exception;
  }

  u16 selector(u8 segment) const { return cpu.state.segment[segment].selector; }
};

/// What a test expects of an exception: vector, and the error code if there is to be one.
inline void expect_exception(const std::optional<Exception>& got, Vector vector,
                             std::optional<u32> error_code = std::nullopt) {
  ASSERT_TRUE(got.has_value()) << "no exception was raised";
  EXPECT_EQ(static_cast<int>(got->vector), static_cast<int>(vector));
  EXPECT_EQ(got->has_error_code, error_code.has_value());
  if (error_code) {
    EXPECT_EQ(got->error_code, *error_code);
  }
}

}  // namespace snowglobe::vm::test
