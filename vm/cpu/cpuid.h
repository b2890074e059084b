// vm/cpu/cpuid.h - the processor that the guest sees: the same on every host.
#pragma once

#include "vm/types.h"

namespace snowglobe::vm {

/// Ticks of the time-stamp counter in a second of the guest's running time.
inline constexpr u32 kTscHz = 1'000'000'000;

/// CPUID leaf 1, EAX: family 6, model 14, stepping 8 (the last of Intel's processors without 64-bit
/// mode). Linux distrusts SEP below 0x633, and holds the TSC to be constant from model 14 on.
inline constexpr u32 kCpuSignature = 0x000106A5;

struct CpuidResult {
  u32 eax = 0;
  u32 ebx = 0;
  u32 ecx = 0;
  u32 edx = 0;

  bool operator==(const CpuidResult&) const = default;
};

/// What CPUID returns for a leaf (EAX) and subleaf (ECX). Intel SDM Vol. 2A, CPUID.
CpuidResult cpuid(u32 leaf, u32 subleaf);

}  // namespace snowglobe::vm
