// bench/footprint.h - what memory this process has for itself, with what the kernel keeps for it.
#pragma once

#include <cstdint>

namespace bench {

/// Bytes of each kind. Pages of files on disk are left out: they are the host's cache, shared by
/// all.
struct Footprint {
  std::int64_t anonymous = 0;     ///< heap, stacks
  std::int64_t memory_files = 0;  ///< memfd: guests' RAM, however often it is mapped
  std::int64_t page_tables = 0;
  std::int64_t mappings = 0;  ///< the kernel's structures of them, estimated
  std::int64_t threads = 0;   ///< the same of threads

  [[nodiscard]] std::int64_t sum() const {
    return anonymous + memory_files + page_tables + mappings + threads;
  }
};

Footprint operator-(const Footprint& a, const Footprint& b);

/// Of this process now.
Footprint footprint();
/// One of its parts.
std::int64_t memory_file_bytes();

}  // namespace bench
