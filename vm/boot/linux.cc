// vm/boot/linux.cc - the "zero page", the memory map, the random seed and the first GDT.
#include "vm/boot/linux.h"

#include "vm/boot/elf.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace snowglobe::vm {

namespace {

using base::Error;
using base::ErrorCode;

// What we leave in low memory. The kernel copies all but the seed early on, and reserves that.
constexpr PhysicalAddress kGdt = 0x1000;
constexpr PhysicalAddress kBootParams = 0x2000;
constexpr PhysicalAddress kCommandLine = 0x3000;
constexpr PhysicalAddress kSetupData = 0x4000;
constexpr u32 kBootParamsBytes = 4096;

constexpr u64 kLowMemoryEnd = 0x9FC00;  // where a BIOS would keep its data area
constexpr u64 kHighMemory = 0x100000;
constexpr u64 kMemoryBeyondKernel = 16u << 20;  // less, and the kernel dies before it can say why

constexpr u16 kCodeSelector = 0x10;            // __BOOT_CS
constexpr u16 kDataSelector = 0x18;            // __BOOT_DS
constexpr u64 kFlatCode = 0x00CF9B000000FFFF;  // base 0, 4 GiB, 32 bits, ring 0; accessed is set
constexpr u64 kFlatData = 0x00CF93000000FFFF;
constexpr u16 kFlatCodeAttributes = 0xC9B;  // the same, as Segment::attributes has it
constexpr u16 kFlatDataAttributes = 0xC93;

// struct boot_params (boot.rst, "The Real-Mode Kernel Header"; zero-page.rst)
enum BootParams : u32 {
  kE820Count = 0x1E8,
  kBootFlag = 0x1FE,
  kHeaderMagic = 0x202,
  kProtocolVersion = 0x206,
  kLoaderType = 0x210,
  kLoadFlags = 0x211,
  kCommandLinePointer = 0x228,
  kCommandLineSize = 0x238,
  kSetupDataPointer = 0x250,
  kE820Table = 0x2D0,
};
constexpr u32 kE820EntryBytes = 20;
constexpr u32 kE820Ram = 1;

constexpr u32 kSetupRngSeed = 9;
constexpr u32 kSetupDataHeader = 16;
constexpr u32 kSeedBytes = 64;

Error too_small(u64 have, u64 need) {
  constexpr u64 kMebibyte = 1u << 20;
  return {ErrorCode::kInvalidArgument, "load the kernel: " + std::to_string(have / kMebibyte) +
                                           " MiB of guest memory are too few, it needs at least " +
                                           std::to_string((need + kMebibyte - 1) / kMebibyte) +
                                           " MiB"};
}

void put_e820(base::Bytes params, unsigned index, u64 begin, u64 end) {
  u8* entry = &params[kE820Table + index * kE820EntryBytes];
  base::store_le<u64>(entry, begin);
  base::store_le<u64>(entry + 8, end - begin);
  base::store_le<u32>(entry + 16, kE820Ram);
  params[kE820Count] = static_cast<u8>(index + 1);
}

void write_boot_params(GuestRam& ram, std::size_t command_line_length) {
  const base::Bytes params = ram.write(kBootParams, kBootParamsBytes);
  std::fill(params.begin(), params.end(), u8{0});
  base::store_le<u16>(&params[kBootFlag], 0xAA55);
  std::memcpy(&params[kHeaderMagic], "HdrS", 4);
  base::store_le<u16>(&params[kProtocolVersion], 0x020F);
  params[kLoaderType] = 0xFF;  // none of the registered ones
  params[kLoadFlags] = 1;      // LOADED_HIGH
  base::store_le<u32>(&params[kCommandLinePointer], kCommandLine);
  base::store_le<u32>(&params[kCommandLineSize], static_cast<u32>(command_line_length));
  base::store_le<u64>(&params[kSetupDataPointer], kSetupData);
  put_e820(params, 0, 0, kLowMemoryEnd);
  put_e820(params, 1, kHighMemory, ram.size());
}

/// With a seed here the kernel's generator is ready before the first process asks; the kernel wipes
/// it.
void write_seed(GuestRam& ram, base::RandomSource& random) {
  const base::Bytes data = ram.write(kSetupData, kSetupDataHeader + kSeedBytes);
  base::store_le<u64>(&data[0], 0);  // last of the list
  base::store_le<u32>(&data[8], kSetupRngSeed);
  base::store_le<u32>(&data[12], kSeedBytes);
  random.fill(data.subspan(kSetupDataHeader));
}

void write_gdt(GuestRam& ram) {
  constexpr std::array<u64, 4> kTable{0, 0, kFlatCode, kFlatData};
  const base::Bytes gdt = ram.write(kGdt, sizeof kTable);
  std::memcpy(gdt.data(), kTable.data(), sizeof kTable);
}

base::Result<void> load_segments(GuestRam& ram, const ElfImage& image) {
  for (const ElfSegment& segment : image.segments) {
    if (segment.address < kHighMemory) {
      return Error{ErrorCode::kCorrupt, "load the kernel: a segment lies below 1 MiB"};
    }
    const base::Bytes memory = ram.write(segment.address, static_cast<u32>(segment.file.size()));
    std::copy(segment.file.begin(), segment.file.end(), memory.begin());
    // The rest of the segment is zero already: this is new memory.
  }
  return {};
}

}  // namespace

base::Result<PhysicalAddress> load_linux(GuestRam& ram, const LinuxBoot& boot) {
  if (boot.command_line.size() > kMaxCommandLine) {
    return Error{ErrorCode::kInvalidArgument, "load the kernel: its command line is longer than " +
                                                  std::to_string(kMaxCommandLine) + " bytes"};
  }
  base::Result<ElfImage> image = parse_elf(boot.kernel);
  if (!image) return image.error();
  const u64 needed = image.value().end + kMemoryBeyondKernel;
  if (ram.size() < needed) return too_small(ram.size(), needed);
  base::Result<void> loaded = load_segments(ram, image.value());
  if (!loaded) return loaded.error();
  const auto line_bytes = static_cast<u32>(boot.command_line.size() + 1);
  const base::Bytes line = ram.write(kCommandLine, line_bytes);
  std::memcpy(line.data(), boot.command_line.c_str(), line_bytes);
  write_boot_params(ram, boot.command_line.size());
  write_seed(ram, *boot.random);
  write_gdt(ram);
  return image.value().entry;
}

void enter_linux(CpuState& state, PhysicalAddress entry) {
  const Segment data{kDataSelector, kFlatDataAttributes, 0, ~u32{0}};
  for (const SegmentRegister segment : {kEs, kSs, kDs, kFs, kGs})
    state.segment[segment] = data;
  state.segment[kCs] = {kCodeSelector, kFlatCodeAttributes, 0, ~u32{0}};
  state.gdtr = {kGdt, 4 * 8 - 1};
  state.idtr = {0, 0};  // nothing to take an exception with: a fault this early is a triple fault
  state.cr0 = kCr0Pe | kCr0Et;
  state.cr3 = state.cr4 = 0;
  state.cpl = 0;
  state.eflags = kFlagReserved1;
  state.gpr.fill(0);
  state.gpr[kEsi] = kBootParams;
  state.eip = entry;
}

}  // namespace snowglobe::vm
