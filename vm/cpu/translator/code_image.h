// vm/cpu/translator/code_image.h - the translated code of a machine at one instant, from which
// other machines of the process, those of now and later ones, take what they run, block by block.
//
// Code refers to code by distance and to its machine by registers, so that it means the same in any
// code memory at the same position.
#pragma once

#include "base/bytes.h"
#include "vm/cpu/translator/block.h"
#include "vm/cpu/translator/stubs.h"

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
  std::unordered_map<u32, u64> pages;   ///< checksum_of() the guest's pages by number

  /// Of a page of the guest.
  static u64 checksum_of(base::ConstBytes page);
};

}  // namespace snowglobe::vm
