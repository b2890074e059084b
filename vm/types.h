// vm/types.h - the integer names of the architecture, and the page constants.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snowglobe::vm {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

/// An address on the guest's physical bus (after paging).
using PhysicalAddress = u32;
/// An address after segmentation and before paging.
using LinearAddress = u32;

inline constexpr u32 kPageShift = 12;
inline constexpr u32 kPageSize = 1u << kPageShift;
inline constexpr u32 kPageMask = kPageSize - 1;

}  // namespace snowglobe::vm
