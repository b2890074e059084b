// vm/boot/linux.h - puts a Linux kernel into guest memory and the processor at its 32-bit entry
// (Linux, Documentation/arch/x86/boot.rst, "32-bit Boot Protocol"): no BIOS, no real mode.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/random.h"
#include "vm/cpu/state.h"
#include "vm/memory/ram.h"
#include "vm/types.h"

#include <string>

namespace snowglobe::vm {

/// Longest command line that x86 Linux takes (COMMAND_LINE_SIZE less the NUL).
inline constexpr std::size_t kMaxCommandLine = 2047;

struct LinuxBoot {
  base::ConstBytes kernel;  ///< vmlinux
  std::string command_line;
  base::RandomSource* random = nullptr;  ///< seeds the kernel's generator
};

/// Loads everything. Returns the address at which to enter the kernel.
/// Errors: kCorrupt (not a usable kernel), kInvalidArgument (memory too small, command line too
/// long).
base::Result<PhysicalAddress> load_linux(GuestRam& ram, const LinuxBoot& boot);

/// Puts a freshly reset processor into the state that the protocol asks for: protected mode, paging
/// and interrupts off, flat segments, ESI pointing at boot_params. Tell the Cpu of the changes
/// afterwards.
void enter_linux(CpuState& state, PhysicalAddress entry);

}  // namespace snowglobe::vm
