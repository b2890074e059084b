// tests/cpu/oracle/emulated_executor.h - runs cases in the emulated processor: in its interpreter,
// or in its translator.
#pragma once

#include "tests/cpu/oracle/case.h"

#include <memory>

namespace snowglobe::oracle {

/// Who runs a case, and how.
enum class ExecutorPath : u8 {
  kStep,        ///< the interpreter: one step(), which leaves an exception pending
  kBlocks,      ///< the interpreter: run(), as in the machine: blocks, exceptions through the IDT
  kTranslated,  ///< the translator, with nothing left to the interpreter for being cold
};

/// An emulated processor in ring 3 with flat segments, paging, and the arena and code area at the
/// addresses that they have in the harness; ring 0 has an IDT whose handlers only halt.
/// kTranslated: only where translator_support() says so.
std::unique_ptr<Executor> make_emulated_executor(ExecutorPath path);

}  // namespace snowglobe::oracle
