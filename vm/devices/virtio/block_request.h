// vm/devices/virtio/block_request.h - numbers of block requests (virtio 1.1, 5.2.6).
#pragma once

#include "vm/types.h"

#include <array>

namespace snowglobe::vm {

enum BlockRequestType : u32 {
  kBlockIn = 0,
  kBlockOut = 1,
  kBlockFlush = 4,
  kBlockGetId = 8,
  kBlockDiscard = 11,
  kBlockWriteZeroes = 13,
};

inline constexpr u16 kBlockQueueSize = 256;
inline constexpr u32 kBlockHeaderBytes = 16;

}  // namespace snowglobe::vm
