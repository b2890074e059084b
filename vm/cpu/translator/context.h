// vm/cpu/translator/context.h - what translated code and the translator share, beside CpuState:
// plain memory at fixed distances from the state, to which one host register points.
#pragma once

#include "vm/types.h"

#include <array>
#include <atomic>

namespace snowglobe::vm {

/// Lies directly ahead of CpuState in Cpu. What emitted code touches often stands at the end, where
/// a displacement of one byte reaches it from the state.
struct alignas(64) TranslatorContext {
  alignas(64) std::array<u8, 512> vector_image{};  ///< FXSAVE64 format

  u64 scratch[4] = {};    ///< R8-R11 of interrupted code
  u64 resume = 0;         ///< where the landing code goes on
  u64 exit_handler = 0;   ///< C++ function for exits, and its first argument
  u64 fault_handler = 0;  ///< the same for faults
  u64 handler_object = 0;
  u32 host_mxcsr = 0x1F80;
  u32 padding0 = 0;
  u64 host_stack = 0;    ///< RSP of C++ while translated code runs
  u64 return_stack = 0;  ///< RSP of translated code while C++ runs
  u64 padding1[5] = {};

  u64 instructions_ahead = 0;  ///< counted by translated code, if it counts
  u64 jump_table = 0;          ///< of the mode in force
  u64 code_table = 0;          ///< of the address space in force
  u64 window = 0;              ///< GS base in force
  u64 user_window = 0;      ///< the current user window, for kernel code that copies from and to it
  u32 flags_image = 0;      ///< AH of LAHF in bits 8-15, OF in bit 0
  u32 restore_vectors = 0;  ///< the landing code loads vector_image first
  u8 vectors_live = 0;      ///< 1: x87, MMX and SSE state is in the host's registers
  std::atomic<u8> attention{0};
  u8 interrupt_line = 0;  ///< the INTR line is asserted
  u8 padding2[5] = {};
};

}  // namespace snowglobe::vm
