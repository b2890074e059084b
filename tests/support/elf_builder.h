// tests/support/elf_builder.h - a kernel of a few bytes: an ELF executable around machine code.
#pragma once

#include "base/bytes.h"
#include "vm/types.h"

#include <algorithm>
#include <vector>

namespace snowglobe::vm::test {

/// An ELF32 executable with `code` as its one segment at `address`, entered at its start.
inline std::vector<u8> build_elf(const std::vector<u8>& code, u32 address = 0x100000) {
  constexpr u32 kHeaderBytes = 52;
  constexpr u32 kProgramHeaderBytes = 32;
  constexpr u32 kCode = kHeaderBytes + kProgramHeaderBytes;
  std::vector<u8> file(kCode + code.size(), 0);
  const u8 ident[] = {0x7F, 'E', 'L', 'F', 1, 1, 1};
  std::copy(std::begin(ident), std::end(ident), file.begin());
  base::store_le<u16>(&file[16], 2);  // executable
  base::store_le<u16>(&file[18], 3);  // i386
  base::store_le<u32>(&file[20], 1);
  base::store_le<u32>(&file[24], address);  // entry
  base::store_le<u32>(&file[28], kHeaderBytes);
  base::store_le<u16>(&file[40], kHeaderBytes);
  base::store_le<u16>(&file[42], kProgramHeaderBytes);
  base::store_le<u16>(&file[44], 1);
  u8* segment = &file[kHeaderBytes];
  const auto size = static_cast<u32>(code.size());
  base::store_le<u32>(segment, 1);  // PT_LOAD
  base::store_le<u32>(segment + 4, kCode);
  base::store_le<u32>(segment + 8, address);
  base::store_le<u32>(segment + 12, address);
  base::store_le<u32>(segment + 16, size);
  base::store_le<u32>(segment + 20, size);
  std::copy(code.begin(), code.end(), file.begin() + kCode);
  return file;
}

}  // namespace snowglobe::vm::test
