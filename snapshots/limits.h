// snapshots/limits.h - what nothing in a store or an exported file may exceed. They are checked
// before memory is taken, and stop nobody who keeps machines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snowglobe::snapshots {

inline constexpr std::uint32_t kDefaultChunkBytes = 64 * 1024;
inline constexpr std::uint32_t kMinChunkBytes = 4 * 1024;  ///< and a power of two
inline constexpr std::uint32_t kMaxChunkBytes = 1024 * 1024;
/// Of all objects of a snapshot together: 64 GiB at the default size.
inline constexpr std::uint64_t kMaxChunks = std::uint64_t{1} << 20;
inline constexpr std::size_t kMaxObjects = 64;
inline constexpr std::size_t kMaxNameBytes = 200;  ///< of a snapshot, an object, a tag, a key
inline constexpr std::size_t kMaxTags = 100;
inline constexpr std::size_t kMaxNoteBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxProperties = 1000;
inline constexpr std::size_t kMaxPropertiesBytes = std::size_t{1}
                                                   << 20;  ///< keys and values together
inline constexpr std::size_t kMinIdPrefix = 4;             ///< hexadecimal digits

}  // namespace snowglobe::snapshots
