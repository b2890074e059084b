// tests/cpu/oracle/interpreter_executor.h - runs cases in the emulated processor's interpreter.
#pragma once

#include "tests/cpu/oracle/case.h"

#include <memory>

namespace snowglobe::oracle {

/// How the interpreter is asked to run a case.
enum class InterpreterPath : u8 {
  kStep,    ///< one step(), which leaves an exception pending
  kBlocks,  ///< run(), as in the machine: cached blocks, exceptions delivered through the IDT
};

/// An emulated processor in ring 3 with flat segments, paging, and the arena and code area at the
/// addresses that they have in the harness; ring 0 has an IDT whose handlers only halt.
std::unique_ptr<Executor> make_interpreter_executor(InterpreterPath path);

}  // namespace snowglobe::oracle
