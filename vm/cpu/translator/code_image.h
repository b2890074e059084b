// vm/cpu/translator/code_image.h - the translated code of a machine at one instant, from which
// other machines take what they run, block by block.
//
// Code refers to code by distance and to its machine by registers, so that it means the same in any
// code memory at the same position.
#pragma once

#include "vm/cpu/translator/block.h"
#include "vm/cpu/translator/stubs.h"

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

namespace snowglobe::vm {

/// Never changes. Thread rule: any thread.
struct CodeImage {
  static constexpr u32 kNowhere = ~u32{0};
  /// What a block is found by: its first byte in RAM, its linear page, and the mode.
  static u64 key_of(PhysicalAddress physical, LinearAddress linear, bool user) {
    return u64{physical} << 21 | u64{linear >> kPageShift} << 1 | (user ? 1 : 0);
  }

  Stubs stubs;  ///< of the border that the code jumps to
  std::size_t code_size = 0;
  u32 hot_begin = 0, cold_begin = 0;  ///< positions of the two parts
  std::vector<u8> hot, cold;
  std::vector<TranslatedBlock> blocks;  ///< by position; without pointers and incoming links
  std::unordered_map<u64, u32> index;   ///< of blocks by key_of()
  std::vector<Site> sites;              ///< by number, without pointers
  std::vector<u32> linked;              ///< by site: the block to which it led, or kNowhere
  using Page = std::array<u8, kPageSize>;
  std::unordered_map<u32, std::unique_ptr<Page>> contents;  ///< of the guest's pages
};

}  // namespace snowglobe::vm
