// tests/cpu/oracle/interpreter_executor.h - runs cases in the emulated processor's interpreter.
#pragma once

#include "tests/cpu/oracle/case.h"

#include <memory>

namespace snowglobe::oracle {

/// An emulated processor in ring 3 with flat segments, paging, and the arena and code area at the
/// addresses that they have in the harness; ring 0 has an IDT whose handlers only say which vector.
std::unique_ptr<Executor> make_interpreter_executor();

}  // namespace snowglobe::oracle
