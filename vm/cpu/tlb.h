// vm/cpu/tlb.h - direct-mapped cache of translations from linear pages to host pages.
// One for each kind of access; a generation number makes flushing everything a single increment.
#pragma once

#include "vm/types.h"

#include <array>

namespace snowglobe::vm {

class Tlb {
 public:
  static constexpr u32 kEntries = 512;

  /// The host address of `linear`, or null on a miss. Valid for the rest of the page only.
  [[nodiscard]] u8* find(LinearAddress linear) const {
    const u32 page = linear >> kPageShift;
    const Entry& entry = entries_[page % kEntries];
    if (entry.tag != (generation_ | page)) [[unlikely]]
      return nullptr;
    return entry.host + (linear & kPageMask);
  }
  void insert(LinearAddress linear, u8* host_page) {
    const u32 page = linear >> kPageShift;
    entries_[page % kEntries] = {generation_ | page, host_page};
  }
  void flush() { generation_ += u64{1} << 32; }
  void flush_page(LinearAddress linear) { entries_[(linear >> kPageShift) % kEntries].tag = 0; }

 private:
  struct Entry {
    u64 tag =
        0;  ///< generation in the high half, page number in the low; generation 0 is never used
    u8* host = nullptr;
  };
  std::array<Entry, kEntries> entries_{};
  u64 generation_ = u64{1} << 32;
};

}  // namespace snowglobe::vm
