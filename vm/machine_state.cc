// vm/machine_state.cc - the archive of a machine, and what is checked of one: the processor's
// registers here, the devices where they are at home.
#include "vm/machine_state.h"

#include "base/archive.h"
#include "vm/cpu/x87.h"

#include <algorithm>

namespace snowglobe::vm {

// --- states of the processor as bytes

template <class Archive>
void describe(Archive& archive, Segment& segment) {
  archive(segment.selector, segment.attributes, segment.base, segment.limit);
}
template <class Archive>
void describe(Archive& archive, DescriptorTable& table) {
  archive(table.base, table.limit);
}
template <class Archive>
void describe(Archive& archive, Float80& value) {
  archive(value.significand, value.sign_exponent);
}
template <class Archive>
void describe(Archive& archive, X87State& x87) {
  archive(x87.physical, x87.control, x87.status, x87.tag, x87.opcode, x87.ip, x87.dp, x87.cs,
          x87.ds);
}
template <class Archive>
void describe(Archive& archive, Xmm& xmm) {
  archive(xmm.bytes);
}

/// In EFLAGS all flags are together; which form LazyFlags has is the executor's affair. The zero
/// and the scratch register are nobody's between two instructions.
template <class Archive>
void describe(Archive& archive, CpuState& cpu) {
  for (unsigned i = kEax; i <= kEdi; ++i)
    archive(cpu.gpr[i]);
  archive(cpu.eip, cpu.eflags, cpu.cpl, cpu.segment, cpu.ldtr, cpu.tr, cpu.gdtr, cpu.idtr);
  archive(cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.dr);
  archive(cpu.sysenter_cs, cpu.sysenter_esp, cpu.sysenter_eip, cpu.tsc_offset);
  archive(cpu.x87, cpu.xmm, cpu.mxcsr);
  archive(cpu.halted, cpu.interrupt_shadow, cpu.instructions);
}

namespace {

using base::Error;
using base::ErrorCode;

constexpr char kTag[5] = "SGMS";
// Counts up when fields, devices or what CPUID grants change.
constexpr u16 kVersion = 1;
// Centuries of nanoseconds: sums with them do not overflow.
constexpr u64 kLongestTime = u64{1} << 62;

// --- what our processor can hold. Intel SDM Vol. 1, 3.4.3; Vol. 3A, 2.5; Vol. 3B, 17.2

constexpr u32 kEflagsKnown = kArithmeticFlags | kFlagReserved1 | kFlagTf | kFlagIf | kFlagDf |
                             kFlagIopl | kFlagNt | kFlagRf | kFlagAc | kFlagId;
constexpr u32 kCr0Always = kCr0Pe | kCr0Et;  // there is no way back from protected mode
constexpr u32 kMxcsrKnown = 0xFFFF;          // a load of any other bit is #GP on the host as well
constexpr u16 kAttributesKnown = 0xFFF;
constexpr u16 kSelectorRpl = 3;
constexpr u16 kLdt = 2, kBusyTss32 = 11;  // with S clear: Intel SDM Vol. 3A, 3.5

bool has(const Segment& segment, unsigned bits) {
  return (segment.attributes & bits) == bits;
}

unsigned dpl(const Segment& segment) {
  return (segment.attributes & kSegDplMask) >> kSegDplShift;
}

bool is_null(const Segment& segment) {
  return segment == Segment{.selector = segment.selector};
}

/// The limit is that of a descriptor: 20 bits of bytes or of pages.
bool is_present(const Segment& segment) {
  if (!has(segment, kSegPresent) || (segment.attributes & ~kAttributesKnown) != 0) return false;
  return has(segment, kSegGranularity) ? (segment.limit & 0xFFF) == 0xFFF
                                       : segment.limit <= 0xFFFFF;
}

bool is_system(const Segment& segment, u16 type) {
  return is_present(segment) && !has(segment, kSegNotSystem) &&
         (segment.attributes & kSegTypeMask) == type;
}

/// DS, ES, FS, GS: privileges were checked when they were loaded, and may have changed since.
bool is_data(const Segment& segment) {
  if (is_null(segment)) return true;
  const bool readable = !has(segment, kSegCode) || has(segment, kSegWritable);
  return is_present(segment) && has(segment, kSegNotSystem) && readable;
}

bool is_stack(const Segment& segment, unsigned cpl) {
  return is_present(segment) && has(segment, kSegNotSystem | kSegWritable | kSegBig) &&
         !has(segment, kSegCode) && dpl(segment) == cpl && (segment.selector & kSelectorRpl) == cpl;
}

bool is_code(const Segment& segment, unsigned cpl) {
  constexpr u16 kConforming = kSegExpandDown;
  const bool level = has(segment, kConforming) ? dpl(segment) <= cpl : dpl(segment) == cpl;
  return is_present(segment) && has(segment, kSegNotSystem | kSegCode | kSegBig) && level &&
         (segment.selector & kSelectorRpl) == cpl;
}

bool segments_valid(const CpuState& cpu) {
  const auto data = {kEs, kDs, kFs, kGs};
  return cpu.cpl <= 3 && is_code(cpu.segment[kCs], cpu.cpl) &&
         is_stack(cpu.segment[kSs], cpu.cpl) &&
         std::ranges::all_of(data, [&](unsigned i) { return is_data(cpu.segment[i]); }) &&
         (is_null(cpu.ldtr) || is_system(cpu.ldtr, kLdt)) &&
         (is_null(cpu.tr) || is_system(cpu.tr, kBusyTss32));
}

bool control_registers_valid(const CpuState& cpu) {
  const bool cr0 = (cpu.cr0 & kCr0Always) == kCr0Always && (cpu.cr0 & ~kCr0Known) == 0 &&
                   ((cpu.cr0 & kCr0Nw) == 0 || (cpu.cr0 & kCr0Cd) != 0);
  const bool eflags = (cpu.eflags & kFlagReserved1) != 0 && (cpu.eflags & ~kEflagsKnown) == 0;
  const bool debug = cpu.dr[4] == 0 && cpu.dr[5] == 0 && (cpu.dr[6] & ~kDr6Writable) == kDr6Ones &&
                     (cpu.dr[7] & ~kDr7Writable) == kDr7Ones;
  return cr0 && (cpu.cr4 & ~kCr4Known) == 0 && eflags && debug;
}

/// The unit as it would show itself: what follows from the rest is as it follows.
X87State canonical(const X87State& state) {
  X87State x87 = state;
  x87.control = x87::canonical_control(x87.control);
  x87.opcode &= 0x7FF;
  x87::update_summary(x87);
  for (unsigned i = 0; i < x87.physical.size(); ++i) {
    const bool empty = (x87.tag >> (2 * i) & 3) == x87::kTagEmpty;
    if (!empty) x87::set_tag(x87, i, x87::classify(x87.physical[i]));
  }
  return x87;
}

base::Result<void> check(const CpuState& cpu) {
  const auto corrupt = [](const char* what) {
    return Error{ErrorCode::kCorrupt, std::string("take over a machine's state: the processor's ") +
                                          what + " are impossible"};
  };
  if (!segments_valid(cpu)) return corrupt("segment registers");
  if (!control_registers_valid(cpu)) return corrupt("control registers");
  if (cpu.x87 != canonical(cpu.x87) || (cpu.mxcsr & ~kMxcsrKnown) != 0) {
    return corrupt("floating-point registers");
  }
  if (cpu.instructions > kLongestTime) return corrupt("counters");
  return {};
}

// --- does the state fit the machine?

std::string describe_device(const BoardShape::Device& device) {
  switch (device.type) {
    case VirtioType::kBlock:
      return (device.read_only ? "a read-only disk of " : "a disk of ") +
             std::to_string(device.capacity) + " bytes";
    case VirtioType::kNetwork:
      return "a network card";
    case VirtioType::kConsole: {
      std::string names;
      for (const std::string& port : device.ports)
        names += (names.empty() ? "" : ", ") + port;
      return "console ports " + names;
    }
    case VirtioType::kEntropy:
      return "an entropy device";
  }
  return "an unknown device";
}

/// The same, or a disk to write on that has grown since.
bool fits(const BoardShape::Device& theirs, const BoardShape::Device& ours) {
  const bool grew = ours.type == VirtioType::kBlock && !ours.read_only && theirs.capacity != 0 &&
                    theirs.capacity < ours.capacity;
  BoardShape::Device grown = theirs;
  if (grew) grown.capacity = ours.capacity;
  return grown == ours;
}

base::Result<void> check(const BoardShape& theirs, const BoardShape& ours) {
  const auto other = [](const std::string& difference) {
    return Error{ErrorCode::kInvalidArgument,
                 "take over a machine's state: it is another machine's, with " + difference};
  };
  if (theirs.memory_bytes != ours.memory_bytes) {
    return other(std::to_string(theirs.memory_bytes) + " bytes of memory instead of " +
                 std::to_string(ours.memory_bytes));
  }
  for (std::size_t i = 0; i < std::min(theirs.devices.size(), ours.devices.size()); ++i) {
    if (!fits(theirs.devices[i], ours.devices[i])) {
      return other(describe_device(theirs.devices[i]) + " instead of " +
                   describe_device(ours.devices[i]));
    }
  }
  if (theirs.devices.size() == ours.devices.size()) return {};
  return other(std::to_string(theirs.devices.size()) + " devices instead of " +
               std::to_string(ours.devices.size()));
}

}  // namespace

std::vector<u8> save_state(const CpuState& cpu, GuestClock& clock, const Board& board) {
  MachineState state{
      .time = clock.ticks(), .cpu = cpu, .board = board.state(), .shape = board.shape()};
  state.cpu.eflags = cpu.full_eflags();
  state.cpu.x87 = canonical(cpu.x87);
  base::ArchiveWriter archive;
  archive.section(kTag, kVersion);
  archive(state.shape, state.time, state.cpu, state.board);
  return archive.take();
}

base::Result<MachineState> read_state(base::ConstBytes bytes, const Board& board) {
  base::ArchiveReader archive(bytes);
  const base::ConstBytes tag = archive.raw(4);
  u16 version = 0;
  archive(version);
  if (!archive.ok() || !std::equal(tag.begin(), tag.end(), kTag)) {
    return Error{ErrorCode::kCorrupt, "take over a machine's state: these bytes are none"};
  }
  if (version != kVersion) {
    return Error{ErrorCode::kUnsupported,
                 "take over a machine's state: its format has version " + std::to_string(version) +
                     ", this build of the library knows " + std::to_string(kVersion)};
  }
  MachineState state;
  archive(state.shape);
  if (archive.ok()) {
    if (auto fits = check(state.shape, board.shape()); !fits) return fits.error();
  }
  archive(state.time, state.cpu, state.board);
  if (!archive.finished() || state.time > kLongestTime) {
    return Error{ErrorCode::kCorrupt, "take over a machine's state: it is damaged"};
  }
  if (auto checked = check(state.cpu); !checked) return checked.error();
  if (auto checked = board.check(state.board, state.time); !checked) return checked.error();
  state.cpu.flags.set(state.cpu.eflags);
  state.cpu.eflags &= ~kArithmeticFlags;
  return state;
}

void apply_state(const MachineState& state, CpuState& cpu, GuestClock& clock, Board& board) {
  cpu = state.cpu;
  clock.set(state.time);
  board.restore(state.board, state.shape);
}

}  // namespace snowglobe::vm
