// vm/cpu/translator/translator.h - the fast executor: runs guest code that was rewritten for the
// host.
//
// Most guest instructions become the same instruction with two prefix bytes, which reach guest
// memory through a window (vm/memory/window.h). What can not be rewritten is run by the
// interpreter's handlers; what runs rarely, by the interpreter.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/interpreter.h"
#include "vm/cpu/translator/address_spaces.h"
#include "vm/cpu/translator/block_translator.h"
#include "vm/cpu/translator/options.h"

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace snowglobe::vm {

struct CodeImage;

/// Thread rule: confined to the machine's thread.
class Translator {
 public:
  struct Statistics {
    u64 blocks_translated = 0, insns_translated = 0, code_bytes = 0, code_flushes = 0;
    u64 exits_indirect = 0, exits_link = 0, exits_insn = 0, exits_vectors = 0, exits_poll = 0;
    u64 faults = 0, guest_faults = 0, emulated_accesses = 0, pages_invalidated = 0;
    u64 interpreted_blocks = 0, interpreted_steps = 0;
  };

  /// `interpreter` drives the same Cpu. Errors: kResourceExhausted, kUnavailable.
  static base::Result<std::unique_ptr<Translator>> create(Cpu& cpu, Interpreter& interpreter,
                                                          const TranslatorOptions& options);
  ~Translator();
  Translator(const Translator&) = delete;
  Translator& operator=(const Translator&) = delete;

  /// Runs until somebody calls request_attention(), the guest halts or dies. The calling thread
  /// must have an alternate signal stack (SignalStack).
  StopReason run();

  /// Brings CpuState up to date with what is kept elsewhere (x87, MMX, SSE). Call before looking at
  /// it or running the interpreter on it by hand.
  void synchronize();

  /// What was translated so far, for other machines of the process. Kept, and made again when much
  /// has been added.
  [[nodiscard]] std::shared_ptr<const CodeImage> code_image();
  /// Takes code over from there, page by page as it runs, where the guest's pages have the same
  /// bytes. This one has not run yet. Without it, everything is translated anew.
  void learn_from(std::shared_ptr<const CodeImage> image);

  /// What learn_from() gave and what has been translated since, from the beginning on, up to
  /// TranslatorOptions::keep_bytes: for later machines. Null: learn_from() gave nearly all there
  /// is, or the beginning is gone.
  [[nodiscard]] std::shared_ptr<const CodeImage> new_code();

  [[nodiscard]] Statistics statistics() const;
  [[nodiscard]] const AddressSpaces::Statistics& space_statistics() const;
  [[nodiscard]] u64 mappings() const;

  // For developers' tools (docs/translator-tools.md):
  struct Place {
    LinearAddress eip = 0;
    bool user = false;
  };
  /// The guest instruction that a host address inside of translated code belongs to. Code that was
  /// dropped since is not known any more.
  [[nodiscard]] std::optional<Place> place_of(u64 host) const;
  [[nodiscard]] bool is_translated_code(u64 host) const;
  struct BlockView {
    const TranslatedBlock* block = nullptr;  ///< until the next run()
    base::ConstBytes guest;                  ///< from its start to the end of the page
    base::ConstBytes host;
    u64 host_address = 0;  ///< at which `host` runs; the positions of the block less its entry's
  };
  /// How often instructions were run by the interpreter's handlers, by mnemonic, most often first.
  [[nodiscard]] std::vector<std::pair<std::string_view, u64>> handler_runs() const;
  /// All blocks that hold the guest instruction at a linear address, of all modes.
  [[nodiscard]] std::vector<BlockView> blocks_at(LinearAddress linear) const;

 private:
  struct Impl;
  explicit Translator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snowglobe::vm
