// vm/boot/elf.h - reads the program headers of a 32-bit x86 ELF executable, trusting none of it.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/types.h"

#include <vector>

namespace snowglobe::vm {

/// A PT_LOAD segment. `file` lies inside of the image that was parsed and is no longer than
/// `memory_bytes`; the rest of the memory is zero.
struct ElfSegment {
  PhysicalAddress address = 0;
  u32 memory_bytes = 0;
  base::ConstBytes file;
};

struct ElfImage {
  PhysicalAddress entry = 0;  ///< inside of one of the segments
  std::vector<ElfSegment> segments;
  u32 end = 0;  ///< first address behind all segments
};

/// Parses a vmlinux (System V ABI, "ELF Header" and "Program Header"). `image` must outlive the
/// result. Errors: kCorrupt, with what does not fit.
base::Result<ElfImage> parse_elf(base::ConstBytes image);

}  // namespace snowglobe::vm
