// base/bytes.h - byte spans and unaligned loads and stores of little- and big-endian integers.
// The only place that reinterprets bytes as integers; callers have checked the length.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace snowglobe::base {

using Bytes = std::span<std::uint8_t>;
using ConstBytes = std::span<const std::uint8_t>;

static_assert(std::endian::native == std::endian::little, "hosts are little-endian");

/// The integer with its bytes in the opposite order.
template <class T>
requires std::is_unsigned_v<T>
constexpr T byte_swap(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
}

/// Reads a little-endian T at `from`; sizeof(T) bytes must be there, alignment does not matter.
template <class T>
inline T load_le(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
inline void store_le(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

/// Reads a big-endian (network order) T at `from`.
template <class T>
inline T load_be(const void* from) {
  return byte_swap(load_le<T>(from));
}

template <class T>
inline void store_be(void* to, T value) {
  store_le<T>(to, byte_swap(value));
}

/// True if [offset, offset + length) lies inside [0, size), without overflow.
constexpr bool range_fits(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

/// True of no bytes as well.
inline bool all_zero(ConstBytes bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// Rounds up to a multiple of a power of two.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace snowglobe::base
