// vm/cpu/translator/translator_impl.h - what the translator consists of. Its files: translator.cc
// is the loop with its exits and faults, translator_code.cc finds, makes and drops blocks.
#pragma once

#include "vm/cpu/translator/block_cache.h"
#include "vm/cpu/translator/code_memory.h"
#include "vm/cpu/translator/host_faults.h"
#include "vm/cpu/translator/stubs.h"
#include "vm/cpu/translator/translator.h"

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace snowglobe::vm {

struct Translator::Impl final : CpuObserver {
  static constexpr std::size_t kHeatEntries = std::size_t{1} << 17;

  enum class Mode : u8 { kKernel, kUser, kInterpreted };

  Impl(Cpu& the_cpu, Interpreter& the_interpreter, const TranslatorOptions& the_options)
      : cpu(the_cpu),
        state(the_cpu.state),
        context(the_cpu.context),
        interpreter(the_interpreter),
        options(the_options),
        heat(options.cold_runs != 0 ? kHeatEntries : 0) {
    SG_ASSERT(reinterpret_cast<u8*>(&state) - reinterpret_cast<u8*>(&context) == sizeof context,
              "the context must lie directly ahead of the state");
  }
  ~Impl() override { cpu.remove_observer(this); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  base::Result<void> prepare();
  StopReason run();
  StopReason run_until_stopped();
  void lay_out_again();
  bool on_exit(u32 number);
  bool on_fault();
  struct Through {
    AddressSpace* space;
    LinearAddress linear;
  };
  std::optional<Through> window_of(u64 host, const TranslatedBlock& block);
  bool resume_at(u64 host, bool vectors);
  void reset_returns(ReturnStack& stack);
  bool on_insn_exit(Site& site);
  bool on_vectors_exit(const Site& site);
  bool dispatch(u32 link, bool indirect);
  bool deliver();
  bool interpret();
  bool step();

  [[nodiscard]] Mode mode() const;
  AddressSpace* current_space(Mode mode);
  void enter_mode(Mode mode, const AddressSpace& space);
  void synchronize_spaces();

  TranslatedBlock* find(Mode mode, AddressSpace& space, LinearAddress linear,
                        BlockTranslator::Entry entry);
  [[nodiscard]] BlockTranslator::Entry entry_from(u32 link, bool indirect) const;
  bool reaches_second_page(AddressSpace& space, TranslatedBlock& block, bool user);
  std::optional<u32> code_page(AddressSpace& space, LinearAddress linear, bool user);
  TranslatedBlock* translate(AddressSpace& space, PhysicalAddress physical, LinearAddress linear,
                             BlockTranslator::Entry entry);
  void verify_block(const TranslatedBlock& block, u32 cold_begin) const;
  void invalidate_page(u32 page);
  std::shared_ptr<const CodeImage> code_image();
  std::shared_ptr<const CodeImage> new_code();
  TranslatedBlock* import(PhysicalAddress physical, LinearAddress linear, bool user);
  static std::size_t heat_of(PhysicalAddress physical) {
    return (physical * 0x9E3779B1u >> 15) % kHeatEntries;
  }
  void on_code_dropped(AddressSpace& space, u32 page);
  void forget_everything();

  void take_state();
  void flags_to_state();
  void flags_to_image();
  void use_vector_state();
  void load_vectors();
  void stress();

  void on_code_written(u32 page) override { invalidate_page(page); }
  void on_write_right_lost(u32 page) override { spaces->on_write_right_lost(page); }
  void on_page_moved(u32 page) override { spaces->on_page_moved(page); }
  void on_all_moved() override { spaces->on_all_moved(); }
  void on_flush() override { flush_pending = true; }
  void on_flush_page(LinearAddress linear) override;

  [[nodiscard]] const u8* executable(u32 position) const { return code->executable() + position; }
  [[nodiscard]] u64 address_of(u32 position) const {
    return reinterpret_cast<u64>(executable(position));
  }

  Cpu& cpu;
  CpuState& state;
  TranslatorContext& context;
  Interpreter& interpreter;
  TranslatorOptions options;
  Statistics statistics;

  std::unique_ptr<CodeMemory> code;
  BorderCode border;
  std::unique_ptr<FaultRegion> fault_region;
  HostFault fault;
  std::unique_ptr<AddressSpaces> spaces;
  AddressSpace* user_space = nullptr;  ///< of the present CR3, if it is known
  bool flush_pending = true;
  ReturnStack* returns = nullptr;        ///< in force; null: context.return_stack means nothing
  std::optional<LinearAddress> prefill;  ///< the page that a guest fault was about

  std::unique_ptr<BlockCache> cache;
  std::unique_ptr<BlockTranslator> translator;
  std::vector<u8> heat;  ///< how often code was interpreted, by a hash of its address; empty with
                         ///< TranslatorOptions::cold_runs 0
  std::unordered_set<PhysicalAddress> user_sites;
  std::unordered_map<u32, bool> same_pages;     ///< pages of code that are as they were there
  std::shared_ptr<const CodeImage> last_image;  ///< of code_image(), made when
  u64 last_image_flushes = 0;                   ///< statistics.code_flushes was this

  std::array<u64, ZYDIS_MNEMONIC_MAX_VALUE + 1> handler_runs{};  ///< by mnemonic
  u64 gs_base = 0;                                               ///< in force
  bool vectors_in_host = false;  ///< context.vectors_live as of the last resume
  bool flags_in_image = false;   ///< context.flags_image is the newest, not CpuState
  bool image_valid = false;      ///< vector_image is the newest
  bool state_valid = true;       ///< CpuState is
  StopReason stop = StopReason::kAttention;
  std::chrono::nanoseconds run_time{0};
  std::chrono::nanoseconds next_layout = std::chrono::seconds(1);  ///< of run_time
  bool one_block_ran = false;  ///< TranslatorOptions::unchained: run() is to return
  u32 stress_state = 0;
};

}  // namespace snowglobe::vm
