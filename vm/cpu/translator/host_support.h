// vm/cpu/translator/host_support.h - does the translator run on this host? Decided once a process
// by trying, in a child process: feature bits alone are not believed.
#pragma once

#include <string>

namespace snowglobe::vm {

struct HostSupport {
  bool usable = false;
  std::string why_not;  ///< for people: "the kernel does not allow user code to set the GS base"
};

/// The first call forks: 2 ms, and 60 more for each GiB that the process has in use. Needs: x86-64,
/// FSGSBASE (AT_HWCAP2 bit 1), BMI2, executable memory by dual mapping, a 4 GiB reservation, GS+67
/// addressing that wraps and faults as it should, resumption after a SIGSEGV and a SIGFPE in
/// generated code; no valgrind, AddressSanitizer or ThreadSanitizer (they do not see what generated
/// code does). Thread rule: any thread.
const HostSupport& translator_support();

}  // namespace snowglobe::vm
