// vm/cpu/descriptor.h - segment descriptors and gates as they lie in the GDT, LDT and IDT.
// Used by the processor's own parts only (segments.cc, far_transfer.cc, interrupts.cc,
// ops_system*.cc).
#pragma once

#include "vm/cpu/cpu.h"

#include <optional>

namespace snowglobe::vm {

// Bits of a selector (Intel SDM Vol. 3A, 3.4.2).
inline constexpr u16 kSelectorRpl = 3;
inline constexpr u16 kSelectorLdt = 4;

/// A selector that names no descriptor, whatever its RPL.
inline bool is_null(u16 selector) {
  return (selector & ~kSelectorRpl) == 0;
}

/// The error code that names a selector; `external` is 1 when an interrupt or exception was being
/// delivered (Intel SDM Vol. 3A, 6.13).
inline u32 selector_error(u16 selector, u32 external = 0) {
  return (selector & ~u32{kSelectorRpl}) | external;
}

/// S and type of a descriptor together (Intel SDM Vol. 3A, 3.4.5.1 and 3.5).
enum class SystemType : u8 {
  kTss16Available = 1,
  kLdt = 2,
  kTss16Busy = 3,
  kCallGate16 = 4,
  kTaskGate = 5,
  kTss32Available = 9,
  kTss32Busy = 11,
  kCallGate32 = 12,
  kInterruptGate32 = 14,
  kTrapGate32 = 15,
};

/// Eight bytes of a descriptor table and where they lie.
struct Descriptor {
  LinearAddress address = 0;
  u32 low = 0;
  u32 high = 0;

  /// The attributes as Segment keeps them.
  [[nodiscard]] u16 attributes() const {
    return static_cast<u16>((high >> 8 & 0xFF) | (high >> 12 & 0xF00));
  }
  [[nodiscard]] bool has(u16 attribute) const { return (attributes() & attribute) != 0; }
  [[nodiscard]] unsigned dpl() const { return high >> 13 & 3; }
  [[nodiscard]] bool present() const { return has(kSegPresent); }
  [[nodiscard]] bool is_segment() const { return has(kSegNotSystem); }
  [[nodiscard]] bool is_code() const { return is_segment() && has(kSegCode); }
  [[nodiscard]] bool is_conforming_code() const { return is_code() && has(kSegExpandDown); }
  [[nodiscard]] bool is_readable() const { return !is_code() || has(kSegWritable); }
  [[nodiscard]] bool is_writable_data() const {
    return is_segment() && !has(kSegCode) && has(kSegWritable);
  }
  /// Of a system descriptor or gate.
  [[nodiscard]] bool is(SystemType type) const {
    return (high >> 8 & 0x1F) == static_cast<u32>(type);
  }

  /// The segment register that loads this descriptor by `selector`.
  [[nodiscard]] Segment segment(u16 selector) const {
    const u32 limit = (low & 0xFFFF) | (high & 0xF0000);
    return {.selector = selector,
            .attributes = attributes(),
            .base = (low >> 16) | (high << 16 & 0xFF0000) | (high & 0xFF000000),
            .limit = has(kSegGranularity) ? limit << 12 | 0xFFF : limit};
  }

  // Of a gate.
  [[nodiscard]] u16 gate_selector() const { return static_cast<u16>(low >> 16); }
  [[nodiscard]] u32 gate_offset() const { return (low & 0xFFFF) | (high & 0xFFFF0000); }
};

/// True if `size` bytes at `offset` lie inside the segment's limit (Intel SDM Vol. 3A, 5.3).
bool within_limit(const Segment& segment, u32 offset, u32 size);

/// Where `selector` points; nullopt if its table does not reach that far.
std::optional<LinearAddress> descriptor_address(const Cpu& cpu, u16 selector);

/// Reads the descriptor of a selector that is not null. nullopt: an exception is pending; outside
/// the table that is `vector` with the selector and `external` as error code.
std::optional<Descriptor> fetch_descriptor(Cpu& cpu, u16 selector, Vector vector, u32 external = 0);

/// Sets the accessed bit, in memory and in `descriptor`. False: a page fault is pending.
bool mark_accessed(Cpu& cpu, Descriptor& descriptor);

/// Checks a selector for SS at privilege level `cpl` and reads it. `bad` is the vector for
/// everything but "not present". nullopt: an exception is pending.
std::optional<Descriptor> fetch_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector bad,
                                              u32 external = 0);

}  // namespace snowglobe::vm
