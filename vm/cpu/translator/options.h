// vm/cpu/translator/options.h - how the translator works. All but the defaults is for tests and
// developers' tools.
#pragma once

#include "vm/types.h"

#include <cstddef>
#include <functional>
#include <memory>

namespace snowglobe::vm {

struct CodeImage;

struct TranslatorOptions {
  std::size_t code_bytes = std::size_t{128} << 20;
  /// A block is interpreted that often before it is translated. To decode a block costs either
  /// executor more than to emit code for it, so 0 is the fastest, also for what runs once.
  unsigned cold_runs = 0;
  unsigned max_insns = 64;
  /// Of how much code of the beginning Translator::new_code() tells. 0: of none.
  std::size_t keep_bytes = 0;
  /// Is told of it when that code has to make room, after which new_code() has none. May be empty.
  /// Called on the machine's thread.
  std::function<void(std::shared_ptr<const CodeImage>)> on_code = {};
  /// Now and then everything is translated anew, so that what runs lies together.
  bool lay_out_again = true;
  /// CpuState::instructions is exact whenever translated code has been left.
  bool count_instructions = false;
  /// Blocks are never linked, and run() returns after each (kAttention): for lockstep and traces.
  bool unchained = false;
  /// The verifier reads every block; one that it refuses is a bug of ours, and ends the process.
#ifdef NDEBUG
  bool verify = false;
#else
  bool verify = true;
#endif
  /// Stress: about every so many look-ups for a block something rare is done (code forgotten, a
  /// page of code or of a window dropped, other windows evicted, attention called). 0: never.
  u32 stress_period = 0;
  u32 stress_seed = 1;
};

}  // namespace snowglobe::vm
