// tests/support/window_map.h - maps pages of a memory file that holds guest RAM from its start.
#pragma once

#include "vm/memory/window.h"

namespace snowglobe::vm {

inline bool map_pages(Window& window, int descriptor, u32 linear, u32 physical, u32 count,
                      bool writable, bool populate) {
  return window.map({.linear = linear,
                     .physical = physical,
                     .count = count,
                     .writable = writable,
                     .descriptor = descriptor,
                     .file_page = physical},
                    populate);
}

}  // namespace snowglobe::vm
