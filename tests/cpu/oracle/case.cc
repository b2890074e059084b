// tests/cpu/oracle/case.cc - how a case lies in the code area.
#include "tests/cpu/oracle/case.h"

#include <algorithm>

namespace snowglobe::oracle {

void write_slot(const Case& test, std::span<const u8> code, std::span<u8> slot) {
  std::fill(slot.begin(), slot.end(), kFillerByte);
  const u32 start = test.input.eip - slot_address(test.index);
  const std::size_t room = slot.size() - start;
  const std::size_t length = std::min<std::size_t>(test.length, room);
  std::copy_n(code.begin(), length, slot.begin() + start);
  constexpr std::size_t kJump = 5;  // E9 rel32
  if (room < length + kJump) return;
  const std::size_t at = start + length;
  slot[at] = 0xE9;
  base::store_le(&slot[at + 1], ORACLE_STUB - (test.input.eip + static_cast<u32>(length + kJump)));
}

}  // namespace snowglobe::oracle
