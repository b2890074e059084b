// vm/cpu/segments.cc - segment registers: limits and rights of accesses, descriptors, loading, and
// what follows from a change of them or of the mode.
#include "vm/cpu/cpu.h"
#include "vm/cpu/descriptor.h"

namespace snowglobe::vm {

// Intel SDM Vol. 3A, 5.3: an expand-down segment is valid above its limit.
bool within_limit(const Segment& segment, u32 offset, u32 size) {
  const u32 last = offset + size - 1;
  if (last < offset) return false;
  constexpr u16 kDataExpandDown = kSegExpandDown;
  if ((segment.attributes & (kSegCode | kDataExpandDown)) == kDataExpandDown) {
    const u32 top = (segment.attributes & kSegBig) != 0 ? ~0u : 0xFFFFu;
    return offset > segment.limit && last <= top;
  }
  return last <= segment.limit;
}

// Intel SDM Vol. 3A, 5.3 (limits), 5.4 (types), and the exceptions of each instruction in Vol. 2:
// #SS for the stack segment, #GP for the others, both with error code 0.
bool Cpu::check_segment(const Insn* insn, u8 segment, u32 offset, u32 size, bool write) {
  const Segment& s = state.segment[segment];
  const bool code = (s.attributes & kSegCode) != 0;
  const bool may_write = !code && (s.attributes & kSegWritable) != 0;
  const bool may_read = !code || (s.attributes & kSegWritable) != 0;
  const bool usable = (s.attributes & kSegPresent) != 0;
  if (usable && (write ? may_write : may_read) && within_limit(s, offset, size)) return true;
  raise(insn, segment == kSs ? Vector::kStackFault : Vector::kGeneralProtection, 0);
  return false;
}

void Cpu::segment_changed(u8 segment) {
  const Segment& s = state.segment[segment];
  constexpr u16 kPlainMask = kSegPresent | kSegCode | kSegExpandDown | kSegWritable;
  const bool plain = (s.attributes & kPlainMask) == (kSegPresent | kSegWritable) && s.limit == ~0u;
  const u8 bit = static_cast<u8>(1u << segment);
  checked_segments_ = static_cast<u8>(plain ? checked_segments_ & ~bit : checked_segments_ | bit);
  if (segment != kCs) return;
  const bool flat = s.base == 0 && s.limit == ~0u;
  if (flat == code_flat_) return;
  code_flat_ = flat;
  mode_changed();
}

void Cpu::mode_changed() {
  check_alignment_ = user_mode() && (state.eflags & kFlagAc) != 0 && (state.cr0 & kCr0Am) != 0;
  bool breakpoints = false;
  watch_data_ = false;
  if ((state.dr[7] & 0xFF) != 0) [[unlikely]] {
    breakpoints = true;
    for (unsigned i = 0; i < 4; ++i) {
      const bool enabled = (state.dr[7] >> (2 * i) & 3) != 0;
      watch_data_ |= enabled && (state.dr[7] >> (16 + 4 * i) & 1) != 0;
    }
  }
  const bool every_access = check_alignment_ || watch_data_;
  read_tlb_ = every_access ? &always_empty_ : &tlb_[user_mode()][0];
  write_tlb_ = every_access ? &always_empty_ : &tlb_[user_mode()][1];
  slow_mode_ = every_access || breakpoints || !code_flat_ || (state.eflags & kFlagTf) != 0;
}

// --- breakpoints (Intel SDM Vol. 3B, 17.2.4 and 17.2.5)
// -------------------------------------------------

namespace {

struct Breakpoint {
  bool enabled;
  unsigned kind;  ///< 0: instruction, 1: write, 3: read or write
  LinearAddress first;
  u32 size;
};

Breakpoint breakpoint(const CpuState& state, unsigned i) {
  const u32 control = state.dr[7];
  static constexpr u32 kSizes[4] = {1, 2, 8, 4};
  const u32 size = kSizes[control >> (18 + 4 * i) & 3];
  return {(control >> (2 * i) & 3) != 0, control >> (16 + 4 * i) & 3, state.dr[i] & ~(size - 1),
          size};
}

}  // namespace

u32 Cpu::instruction_breakpoints(LinearAddress linear) const {
  u32 hit = 0;
  if ((state.dr[7] & 0xFF) == 0 || (state.eflags & kFlagRf) != 0) return 0;
  for (unsigned i = 0; i < 4; ++i) {
    const Breakpoint b = breakpoint(state, i);
    if (b.enabled && b.kind == 0 && b.first == linear) hit |= 1u << i;
  }
  return hit;
}

void Cpu::note_data_breakpoints(LinearAddress linear, u32 size, bool write) {
  for (unsigned i = 0; i < 4; ++i) {
    const Breakpoint b = breakpoint(state, i);
    const bool kind_fits = b.kind == 3 || (b.kind == 1 && write);
    const bool overlaps = linear - b.first < b.size || b.first - linear < size;
    if (b.enabled && kind_fits && overlaps) data_breakpoints_hit_ |= 1u << i;
  }
}

// --- descriptors
// ----------------------------------------------------------------------------------------

std::optional<LinearAddress> descriptor_address(const Cpu& cpu, u16 selector) {
  const u32 index = selector & 0xFFF8u;
  if ((selector & kSelectorLdt) != 0) {
    const Segment& ldt = cpu.state.ldtr;
    if ((ldt.attributes & kSegPresent) == 0 || index + 7 > ldt.limit) return std::nullopt;
    return ldt.base + index;
  }
  if (index + 7 > cpu.state.gdtr.limit) return std::nullopt;
  return cpu.state.gdtr.base + index;
}

std::optional<Descriptor> fetch_descriptor(Cpu& cpu, u16 selector, Vector vector, u32 external) {
  const auto address = descriptor_address(cpu, selector);
  if (!address) {
    cpu.raise_system(vector, selector_error(selector, external));
    return std::nullopt;
  }
  u64 raw;
  if (!cpu.load_system(*address, raw)) return std::nullopt;
  return Descriptor{*address, static_cast<u32>(raw), static_cast<u32>(raw >> 32)};
}

bool mark_accessed(Cpu& cpu, Descriptor& descriptor) {
  constexpr u32 kAccessed = u32{kSegAccessed} << 8;
  if ((descriptor.high & kAccessed) != 0) return true;
  descriptor.high |= kAccessed;
  return cpu.store_system(descriptor.address + 5, static_cast<u8>(descriptor.high >> 8));
}

// Intel SDM Vol. 2B, MOV: "IF SS is loaded", and the same for every other way into SS. Stacks with
// 16-bit pointers are not granted.
std::optional<Descriptor> fetch_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector bad,
                                              u32 external) {
  const u32 error = selector_error(selector, external);
  if (is_null(selector)) {
    cpu.raise_system(bad, error);
    return std::nullopt;
  }
  auto descriptor = fetch_descriptor(cpu, selector, bad, external);
  if (!descriptor) return std::nullopt;
  if ((selector & kSelectorRpl) != cpl || descriptor->dpl() != cpl ||
      !descriptor->is_writable_data() || !descriptor->has(kSegBig)) {
    cpu.raise_system(bad, error);
    return std::nullopt;
  }
  if (!descriptor->present()) {
    cpu.raise_system(Vector::kStackFault, error);
    return std::nullopt;
  }
  return descriptor;
}

bool Cpu::load_segment(u8 segment, u16 selector) {
  std::optional<Descriptor> descriptor;
  if (segment == kSs) {
    descriptor = fetch_stack_segment(*this, selector, state.cpl, Vector::kGeneralProtection);
    if (!descriptor) return false;
  } else if (is_null(selector)) {
    state.segment[segment] = Segment{.selector = selector};
    segment_changed(segment);
    return true;
  } else {
    // Intel SDM Vol. 2B, MOV: "IF DS, ES, FS, or GS is loaded with non-NULL selector".
    descriptor = fetch_descriptor(*this, selector, Vector::kGeneralProtection);
    if (!descriptor) return false;
    const unsigned rpl = selector & kSelectorRpl;
    const bool too_private = !descriptor->is_conforming_code() &&
                             (rpl > descriptor->dpl() || state.cpl > descriptor->dpl());
    if (!descriptor->is_segment() || !descriptor->is_readable() || too_private) {
      return raise_system(Vector::kGeneralProtection, selector_error(selector));
    }
    if (!descriptor->present()) {
      return raise_system(Vector::kSegmentNotPresent, selector_error(selector));
    }
  }
  if (!mark_accessed(*this, *descriptor)) return false;
  state.segment[segment] = descriptor->segment(selector);
  segment_changed(segment);
  return true;
}

}  // namespace snowglobe::vm
