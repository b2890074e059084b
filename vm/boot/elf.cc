// vm/boot/elf.cc - every field of the ELF headers is checked before it is used.
#include "vm/boot/elf.h"

#include <algorithm>
#include <string>

namespace snowglobe::vm {

namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kHeaderBytes = 52;
constexpr std::size_t kProgramHeaderBytes = 32;
constexpr u16 kMaxProgramHeaders = 64;
constexpr u32 kLoad = 1;

Error corrupt(const std::string& what) {
  return {ErrorCode::kCorrupt, "load the kernel: " + what + "; build the guest anew (./dev guest)"};
}

bool is_i386_executable(base::ConstBytes image) {
  static constexpr u8 kIdent[] = {0x7F, 'E', 'L', 'F', 1 /* 32 bits */, 1 /* little-endian */, 1};
  constexpr u16 kExecutable = 2, kI386 = 3;
  return std::equal(std::begin(kIdent), std::end(kIdent), image.begin()) &&
         base::load_le<u16>(&image[16]) == kExecutable && base::load_le<u16>(&image[18]) == kI386;
}

base::Result<ElfSegment> parse_segment(base::ConstBytes image, const u8* header) {
  const u32 offset = base::load_le<u32>(header + 4);
  const u32 address = base::load_le<u32>(header + 12);  // p_paddr: paging is off
  const u32 file_bytes = base::load_le<u32>(header + 16);
  const u32 memory_bytes = base::load_le<u32>(header + 20);
  if (!base::range_fits(offset, file_bytes, image.size())) {
    return corrupt("a segment lies outside of the file, which may be cut short");
  }
  if (file_bytes > memory_bytes || u64{address} + memory_bytes > ~u32{0}) {
    return corrupt("a segment has an impossible size");
  }
  return ElfSegment{address, memory_bytes, image.subspan(offset, file_bytes)};
}

}  // namespace

base::Result<ElfImage> parse_elf(base::ConstBytes image) {
  if (image.size() < kHeaderBytes || !is_i386_executable(image)) {
    return corrupt("it is not an ELF executable for i386");
  }
  const u32 table = base::load_le<u32>(&image[28]);
  const u16 entry_bytes = base::load_le<u16>(&image[42]);
  const u16 count = base::load_le<u16>(&image[44]);
  if (entry_bytes != kProgramHeaderBytes || count == 0 || count > kMaxProgramHeaders ||
      !base::range_fits(table, u64{entry_bytes} * count, image.size())) {
    return corrupt("its table of program headers does not fit");
  }
  ElfImage result;
  result.entry = base::load_le<u32>(&image[24]);
  bool entry_inside = false;
  for (u16 i = 0; i < count; ++i) {
    const u8* header = &image[table + std::size_t{i} * kProgramHeaderBytes];
    if (base::load_le<u32>(header) != kLoad || base::load_le<u32>(header + 20) == 0) continue;
    base::Result<ElfSegment> segment = parse_segment(image, header);
    if (!segment) return segment.error();
    const ElfSegment& loaded = segment.value();
    entry_inside |=
        result.entry >= loaded.address && result.entry - loaded.address < loaded.file.size();
    result.end = std::max(result.end, loaded.address + loaded.memory_bytes);
    result.segments.push_back(loaded);
  }
  if (!entry_inside) return corrupt("its entry point is outside of all segments");
  return result;
}

}  // namespace snowglobe::vm
