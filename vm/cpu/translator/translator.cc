// vm/cpu/translator/translator.cc - the loop: what happens at exits and faults, and where to go on.
#include "vm/cpu/translator/translator_impl.h"
#include "vm/cpu/translator/vector_state.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace snowglobe::vm {
namespace {

#if defined(__x86_64__)
u64 read_gs_base() {
  u64 base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
void write_gs_base(u64 base) {
  asm volatile("wrgsbase %0" : : "r"(base));
}
u32 read_mxcsr() {
  u32 mxcsr;
  asm volatile("stmxcsr %0" : "=m"(mxcsr));
  return mxcsr;
}
#else
u64 read_gs_base() {
  return 0;
}
void write_gs_base(u64) {}
u32 read_mxcsr() {
  return 0;
}
#endif

}  // namespace

// --- life ---------------------------------------------------------------------------------------

base::Result<void> Translator::Impl::prepare() {
  auto memory = CodeMemory::create(options.code_bytes);
  if (!memory) return memory.error();
  code = std::move(memory).value();
  auto made = AddressSpaces::create(cpu);
  if (!made) return made.error();
  spaces = std::move(made).value();
  spaces->set_code_listener(
      [this](AddressSpace& space, u32 page) { on_code_dropped(space, page); });

  Emitter out(code->writable(), code->writable() + kPageSize, code->executable());
  border = emit_border(out);
  auto region = FaultRegion::create(code->executable(), code->executable() + code->size(),
                                    executable(border.landing), &fault);
  if (!region) return region.error();
  fault_region = std::move(region).value();

  cache = std::make_unique<BlockCache>(*code, border, cpu.ram().page_count());
  translator = std::make_unique<BlockTranslator>(
      code->executable(), border.stubs, cache->sites(),
      [this](PhysicalAddress address) { return user_sites.count(address) != 0; });
  translator->options.max_insns = options.max_insns;
  translator->options.count_instructions = options.count_instructions;
  spaces->reset_returns(address_of(border.underflow));
  context.handler_object = reinterpret_cast<u64>(this);
  using Entry = bool (*)(Impl*, u32);
  const Entry exit_handler = [](Impl* self, u32 number) { return self->on_exit(number); };
  const Entry fault_handler = [](Impl* self, u32) { return self->on_fault(); };
  context.exit_handler = reinterpret_cast<u64>(exit_handler);
  context.fault_handler = reinterpret_cast<u64>(fault_handler);
  cpu.add_observer(this);
  return {};
}

// Code lies in the order in which it first ran: what a boot needed once stands between what runs
// now. Translating anew what still runs brings that together; a seventh of the time of a pgbench
// -S. The pauses between double, so that it costs a few percent of the first seconds and nothing
// later.
void Translator::Impl::lay_out_again() {
  next_layout = 2 * run_time;
  forget_everything();
}

StopReason Translator::Impl::run() {
  if (run_time >= next_layout && options.lay_out_again) lay_out_again();
  const auto began = std::chrono::steady_clock::now();
  const StopReason reason = run_until_stopped();
  run_time += std::chrono::steady_clock::now() - began;
  return reason;
}

StopReason Translator::Impl::run_until_stopped() {
  one_block_ran = false;
  context.host_mxcsr = read_mxcsr();
  const u64 gs_of_host = read_gs_base();
  gs_base = gs_of_host;
  if (dispatch(kMissSite, false)) {
    using Enter = void (*)(CpuState*);
    reinterpret_cast<Enter>(address_of(border.enter))(&state);  // NOLINT(performance-no-int-to-ptr)
  }
  if (gs_base != gs_of_host) write_gs_base(gs_of_host);
  return stop;
}

// --- state --------------------------------------------------------------------------------------

// What an exit has saved. Most exits go on without anybody looking at the flags.
void Translator::Impl::take_state() {
  flags_in_image = true;
  state.instructions += std::exchange(context.instructions_ahead, 0);
  if (!vectors_in_host) return;
  vectors_in_host = false;
  image_valid = true;
  state_valid = false;
}

void Translator::Impl::flags_to_state() {
  if (!flags_in_image) return;
  flags_in_image = false;
  const u32 image = context.flags_image;
  state.flags.set((image >> 8 & 0xFF) | ((image & 1) != 0 ? kFlagOf : 0u));
}

void Translator::Impl::flags_to_image() {
  if (flags_in_image) return;
  const u32 flags = state.flags.get();
  context.flags_image = (flags & 0xFF) << 8 | ((flags & kFlagOf) != 0 ? 1u : 0u);
}

// CpuState's vector state is going to be read, and perhaps written.
void Translator::Impl::use_vector_state() {
  if (!state_valid) load_vector_state(context, state);
  state_valid = true;
  image_valid = false;
}

// The landing code is to load the host's registers.
void Translator::Impl::load_vectors() {
  if (!image_valid) store_vector_state(state, context);
  image_valid = true;
  vectors_in_host = true;
  context.restore_vectors = 1;
}

Translator::Impl::Mode Translator::Impl::mode() const {
  constexpr u32 kNeeded = kCr0Pe | kCr0Pg;
  constexpr u8 kFlat = 1 << kDs | 1 << kEs | 1 << kSs;
  if ((state.cr0 & kNeeded) != kNeeded || cpu.slow_mode()) return Mode::kInterpreted;
  if ((state.eflags & kFlagDf) != 0 || (cpu.checked_segments() & kFlat) != 0)
    return Mode::kInterpreted;
  if ((state.segment[kDs].base | state.segment[kEs].base | state.segment[kSs].base) != 0) {
    return Mode::kInterpreted;
  }
  if (state.cpl == 0) return Mode::kKernel;
  const bool thread_local_segment = (cpu.checked_segments() >> kGs & 1) == 0;
  return state.cpl == 3 && thread_local_segment ? Mode::kUser : Mode::kInterpreted;
}

AddressSpace* Translator::Impl::current_space(Mode mode) {
  if (mode == Mode::kKernel) return &spaces->kernel();
  if (user_space == nullptr) user_space = spaces->user();
  return user_space;
}

void Translator::Impl::synchronize_spaces() {
  flush_pending = false;
  spaces->revalidate(spaces->kernel());
  user_space = spaces->user();
  if (user_space != nullptr) spaces->revalidate(*user_space);
  const AddressSpace& copied = user_space != nullptr ? *user_space : spaces->kernel();
  context.user_window = reinterpret_cast<u64>(copied.window->base());
}

void Translator::Impl::on_flush_page(LinearAddress linear) {
  spaces->flush_page(spaces->kernel(), linear);
  if (user_space != nullptr) spaces->flush_page(*user_space, linear);
}

void Translator::Impl::enter_mode(Mode mode, const AddressSpace& space) {
  context.jump_table = reinterpret_cast<u64>(cache->jump_table(mode == Mode::kUser));
  context.code_table = reinterpret_cast<u64>(space.code->entries());
  spaces->enter(space);
  if (returns != space.returns.get()) {
    if (returns != nullptr) returns->pointer = context.return_stack;
    returns = space.returns.get();
    context.return_stack = returns->pointer;
  }
  const u64 window = reinterpret_cast<u64>(space.window->base());
  if (window == gs_base) return;
  write_gs_base(window);
  gs_base = context.window = window;
}

// --- exits --------------------------------------------------------------------------------------

bool Translator::Impl::on_exit(u32 number) {
  take_state();
  Site& site = cache->site(number);
  switch (site.kind) {
    case Site::Kind::kIndirect:
      ++statistics.exits_indirect;
      state.eip = static_cast<u32>(context.scratch[0]);
      return dispatch(kMissSite, true);
    case Site::Kind::kLink:
      ++statistics.exits_link;
      state.eip = site.eip;
      return dispatch(number, false);
    case Site::Kind::kPoll:
      ++statistics.exits_poll;
      state.eip = site.eip;
      return dispatch(kMissSite, false);
    case Site::Kind::kEnabled:
      state.eip = site.eip;
      state.interrupt_shadow = site.casts_shadow;
      return dispatch(kMissSite, false);
    case Site::Kind::kVectors:
      ++statistics.exits_vectors;
      return on_vectors_exit(site);
    case Site::Kind::kInsn:
      ++statistics.exits_insn;
      ++handler_runs[site.mnemonic];
      return on_insn_exit(site);
  }
  return false;
}

bool Translator::Impl::on_vectors_exit(const Site& site) {
  if ((state.cr0 & (kCr0Ts | kCr0Em)) != 0) {
    state.eip = site.eip;
    return step() && dispatch(kMissSite, false);
  }
  return resume_at(address_of(site.resume), true);
}

bool Translator::Impl::on_insn_exit(Site& site) {
  TranslatedBlock& block = *site.block;
  if (site.vectors) use_vector_state();
  if (!site.keeps_flags) flags_to_state();
  cpu.set_code_base(block.linear & ~kPageMask);
  const Insn* insn = &block.listing->insns[site.index];
  do {
    insn = insn->handler(cpu, insn);
  } while (insn != nullptr);
  if (!options.count_instructions) ++state.instructions;
  if (cpu.left_early()) [[unlikely]] {
    if (options.count_instructions) --state.instructions;  // it was counted ahead
    cpu.take_restarted();
    if (cpu.has_exception() && !deliver()) return false;
    return dispatch(kMissSite, false);
  }
  const bool straight_on = state.eip == site.eip && site.resume != 0 && block.valid &&
                           !cpu.has_events() && !flush_pending &&
                           mode() == (block.user ? Mode::kUser : Mode::kKernel);
  if (!straight_on) return dispatch(kMissSite, false);
  flags_to_image();
  context.resume = address_of(site.resume);
  return true;
}

// --- faults -------------------------------------------------------------------------------------

// Goes on at a host address of code that was interrupted, with all that it had in registers.
bool Translator::Impl::resume_at(u64 host, bool vectors) {
  if (vectors) load_vectors();
  context.resume = host;
  return true;
}

bool Translator::Impl::on_fault() {
  const bool vectors = vectors_in_host;
  take_state();
  ++statistics.faults;
  const u32 position = static_cast<u32>(fault.instruction - address_of(0));
  TranslatedBlock* const block = cache->at(position);
  SG_ASSERT(block != nullptr, "a fault outside of all translated blocks");
  if (returns->guards(fault.address)) {
    // Deep recursion, or one that is never undone: forget where it would have returned.
    reset_returns(*returns);
    return resume_at(fault.instruction, vectors);
  }
  const auto behind =
      std::ranges::upper_bound(block->listing->marks, position, {}, &InsnMark::position);
  const InsnMark mark = *std::prev(behind);
  const auto through = fault.signal == SIGSEGV ? window_of(fault.address, *block) : std::nullopt;
  auto outcome = AddressSpaces::Outcome::kElsewhere;
  if (through) {
    outcome =
        spaces->fill(*through->space, through->linear, fault.write || mark.writes, block->user);
    if (outcome == AddressSpaces::Outcome::kMapped && block->valid) {
      return resume_at(mark.repeats ? address_of(mark.position) : fault.instruction, vectors);
    }
  }
  state.eip = (block->linear & ~kPageMask) + mark.offset;
  if (options.count_instructions) --state.instructions;  // it was counted ahead
  state.gpr[kEsp] += static_cast<u32>(i32{mark.stack});
  if (through && outcome == AddressSpaces::Outcome::kException) {
    ++statistics.guest_faults;
    prefill = through->linear;
    return deliver() && dispatch(kMissSite, false);
  }
  if (through) {
    ++statistics.emulated_accesses;
    const bool not_kernels = outcome == AddressSpaces::Outcome::kElsewhere && !block->user;
    if (not_kernels && block->valid && !through->space->user &&
        user_sites.insert(block->physical_of(mark)).second) {
      cache->drop(*block);  // to be translated again, for the user window
    }
  }
  return step() && dispatch(kMissSite, false);
}

// Through which window an access of a block went. nullopt: through none.
std::optional<Translator::Impl::Through> Translator::Impl::window_of(u64 host,
                                                                     const TranslatedBlock& block) {
  AddressSpace* const own = current_space(block.user ? Mode::kUser : Mode::kKernel);
  for (AddressSpace* space : {own, block.user ? nullptr : user_space}) {
    if (space == nullptr) continue;
    const u64 offset = host - reinterpret_cast<u64>(space->window->base());
    if (offset < Window::kBytes) return Through{space, static_cast<u32>(offset)};
  }
  return std::nullopt;
}

bool Translator::Impl::deliver() {
  flags_to_state();
  state.halted = false;
  if (cpu.deliver_exception()) return true;
  stop = StopReason::kTripleFault;
  return false;
}

// One block on the interpreter. False: stop.
bool Translator::Impl::interpret() {
  flags_to_state();
  use_vector_state();
  if (cpu.slow_mode()) return step();
  ++statistics.interpreted_blocks;
  if (const auto reason = interpreter.run_block()) {
    stop = *reason;
    return false;
  }
  return true;
}

bool Translator::Impl::step() {
  flags_to_state();
  use_vector_state();
  ++statistics.interpreted_steps;
  const StopReason reason = interpreter.step();
  if (reason == StopReason::kBudget || reason == StopReason::kHalted) return true;
  stop = reason;
  return false;
}

// --- the loop -----------------------------------------------------------------------------------

// Finds where to go on from CpuState. `link`: the site to link to it, or kMissSite; `indirect`:
// enter it into the jump table. False: leave, for the reason in `stop`.
bool Translator::Impl::dispatch(u32 link, bool indirect) {
  while (true) {
    if (one_block_ran) [[unlikely]] {
      flags_to_state();
      stop = StopReason::kAttention;
      return false;
    }
    if (cpu.has_events()) [[unlikely]] {
      flags_to_state();
      link = kMissSite;
      indirect = false;
      // Behind STI and MOV SS one instruction runs ahead of any interrupt: else STI, HLT could
      // sleep through the one that should have woken it.
      if (state.interrupt_shadow) {
        if (!step()) return false;
        continue;
      }
      if (const auto reason = interpreter.handle_events()) {
        stop = *reason;
        return false;
      }
    }
    if (link == kMissSite) cache->release_dropped();
    if (flush_pending) synchronize_spaces();
    if (options.stress_period != 0) [[unlikely]] {
      link = kMissSite;
      indirect = false;
      stress();
    }
    const Mode now = mode();
    AddressSpace* const space = now == Mode::kInterpreted ? nullptr : current_space(now);
    TranslatedBlock* const block =
        space == nullptr ? nullptr : find(now, *space, state.eip, entry_from(link, indirect));
    if (block == nullptr) {
      link = kMissSite;
      indirect = false;
      if (!interpret()) return false;
      one_block_ran = options.unchained;
      continue;
    }
    if (now == Mode::kUser && prefill) {
      spaces->prefill(*space, *prefill);
      prefill.reset();
    }
    enter_mode(now, *space);
    if (options.unchained) [[unlikely]] {
      one_block_ran = true;
      indirect = false;
    } else if (link != kMissSite && cache->has_site(link)) {
      cache->link(link, *block);
    }
    if (indirect) cache->enter_jump(*block);
    flags_to_image();
    context.resume = address_of(block->body);
    return true;
  }
}

// Makes rare things common. Nothing that is dropped here is in use: the next block is looked up
// afterwards.
void Translator::Impl::stress() {
  stress_state = (stress_state + options.stress_seed) * 1'664'525 + 1'013'904'223;
  const u32 random = stress_state >> 8;
  if (random % options.stress_period != 0) return;
  const u32 which = random / options.stress_period;
  AddressSpace& space = user_space != nullptr && which % 2 != 0 ? *user_space : spaces->kernel();
  switch (which / 2 % 16) {
    case 0:
      forget_everything();
      break;
    case 1:
      spaces->evict_others();
      break;
    case 2:
    case 3:
    case 4:
    case 5:
      if (const auto blocks = cache->in_order(); !blocks.empty()) {
        invalidate_page(blocks[which % blocks.size()]->physical >> kPageShift);
      }
      break;
    case 6:
    case 7:
      cpu.request_attention();
      break;
    default:
      if (!space.tables.empty()) {
        const auto table = std::next(space.tables.begin(), which % space.tables.size());
        spaces->flush_page(space, table->first << 22 | (which << kPageShift & 0x3F'F000));
      }
  }
  cache->release_dropped();
}

// --- the outside --------------------------------------------------------------------------------

Translator::Translator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Translator::~Translator() = default;

base::Result<std::unique_ptr<Translator>> Translator::create(Cpu& cpu, Interpreter& interpreter,
                                                             const TranslatorOptions& options) {
  auto impl = std::make_unique<Impl>(cpu, interpreter, options);
  if (auto prepared = impl->prepare(); !prepared) return prepared.error();
  return std::unique_ptr<Translator>(new Translator(std::move(impl)));
}

StopReason Translator::run() {
  return impl_->run();
}

void Translator::synchronize() {
  impl_->flags_to_state();
  impl_->use_vector_state();
}

std::shared_ptr<const CodeImage> Translator::code_image() {
  return impl_->code_image();
}

void Translator::learn_from(std::shared_ptr<const CodeImage> image) {
  if (!impl_->options.unchained) impl_->cache->adopt(std::move(image));
}

std::shared_ptr<const CodeImage> Translator::new_code() {
  return impl_->new_code();
}

Translator::Statistics Translator::statistics() const {
  Statistics all = impl_->statistics;
  const BlockTranslator::Statistics& emitted = impl_->translator->statistics();
  all.blocks_translated = emitted.blocks;
  all.insns_translated = emitted.insns;
  all.code_bytes = emitted.bytes;
  return all;
}

const AddressSpaces::Statistics& Translator::space_statistics() const {
  return impl_->spaces->statistics();
}

u64 Translator::mappings() const {
  return impl_->spaces->mappings();
}

bool Translator::is_translated_code(u64 host) const {
  const u64 begin = reinterpret_cast<u64>(impl_->code->executable());
  return host - begin < impl_->code->size();
}

std::optional<Translator::Place> Translator::place_of(u64 host) const {
  if (!is_translated_code(host)) return std::nullopt;
  const u32 position = static_cast<u32>(host - reinterpret_cast<u64>(impl_->code->executable()));
  const TranslatedBlock* const block = impl_->cache->at(position);
  if (block == nullptr) return std::nullopt;
  const auto behind =
      std::ranges::upper_bound(block->listing->marks, position, {}, &InsnMark::position);
  Place place{block->linear, block->user};
  if (behind != block->listing->marks.begin())
    place.eip = (block->linear & ~kPageMask) + std::prev(behind)->offset;
  return place;
}

std::vector<std::pair<std::string_view, u64>> Translator::handler_runs() const {
  std::vector<std::pair<std::string_view, u64>> runs;
  for (std::size_t i = 0; i < impl_->handler_runs.size(); ++i) {
    if (impl_->handler_runs[i] == 0) continue;
    runs.emplace_back(ZydisMnemonicGetString(static_cast<ZydisMnemonic>(i)),
                      impl_->handler_runs[i]);
  }
  std::ranges::sort(runs, std::ranges::greater{}, &std::pair<std::string_view, u64>::second);
  return runs;
}

std::vector<Translator::BlockView> Translator::blocks_at(LinearAddress linear) const {
  std::vector<BlockView> found;
  for (const TranslatedBlock* block : impl_->cache->in_order()) {
    if ((block->linear ^ linear) >> kPageShift != 0) continue;
    const auto holds = [&](const InsnMark& mark) { return mark.offset == (linear & kPageMask); };
    if (std::ranges::none_of(block->listing->marks, holds)) continue;
    BlockView view;
    view.block = block;
    view.guest = impl_->cpu.ram().read(block->physical, kPageSize - (block->physical & kPageMask));
    view.host = base::ConstBytes(impl_->executable(block->begin), block->end - block->begin);
    view.host_address = reinterpret_cast<u64>(view.host.data());
    found.push_back(view);
  }
  return found;
}

}  // namespace snowglobe::vm
