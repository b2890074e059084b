// vm/machine_core.cc - slices of guest code, timer interrupts, events, idling, pausing.
#include "vm/machine_core.h"

#include "vm/boot/linux.h"
#include "vm/cpu/translator/host_faults.h"
#include "vm/cpu/translator/host_support.h"
#include "vm/machine_state.h"
#include "vm/memory/ram_image.h"

#include <algorithm>
#include <chrono>

namespace snowglobe::vm {

namespace {

using base::Error;
using base::ErrorCode;

constexpr u64 kSliceNs = 100'000;  // guest code between two looks at the host's events
constexpr u64 kMinSliceNs = 2'000;
constexpr u64 kMinBudget = 200;        // instructions
constexpr u64 kMaxBudget = 2'000'000;  // a wrong measurement must not delay a stop
constexpr u64 kMeasureNs = 10'000;     // shorter slices say little about speed
constexpr auto kLongestWait = base::Nanoseconds(std::chrono::seconds(1));
constexpr auto kDrainLimit = base::Nanoseconds(std::chrono::minutes(1));
constexpr std::size_t kMaxDisks = 16;

base::Result<void> check(const MachineConfig& config) {
  const auto invalid = [](const char* what) {
    return Error{ErrorCode::kInvalidArgument, std::string("build the machine: ") + what};
  };
  if (config.clock == nullptr || config.random == nullptr || config.loop == nullptr) {
    return invalid("it needs a clock, a random source and an event loop");
  }
  if (config.disks.size() > kMaxDisks) return invalid("at most 16 disks");
  for (const DiskConfig& disk : config.disks) {
    if (disk.backend == nullptr) return invalid("a disk has no backend");
    if (disk.backend->capacity() % VirtioBlock::kSectorBytes != 0) {
      return invalid("a disk's capacity must be a multiple of 512 bytes");
    }
  }
  if (config.ports.size() > VirtioConsole::kMaxPorts) return invalid("at most 30 console ports");
  for (const PortConfig& port : config.ports) {
    if (port.backend == nullptr) return invalid("a console port has no backend");
  }
  return {};
}

}  // namespace

base::Result<std::unique_ptr<MachineCore>> MachineCore::create(const MachineConfig& config) {
  if (base::Result<void> checked = check(config); !checked) return checked.error();
  const MachineImage* const image = config.start_from;
  base::Result<std::unique_ptr<GuestRam>> ram =
      GuestRam::create(config.memory_bytes, image != nullptr ? image->memory : nullptr);
  if (!ram) return ram.error();
  std::unique_ptr<MachineCore> core(new MachineCore(config, std::move(ram).value()));
  if (image != nullptr) {
    core->hot_pages_ = image->hot_pages;
    core->ram_->expect_writes(image->hot_pages);
  }
  if (auto begun = image != nullptr ? core->begin_from(*image) : core->begin_boot(config); !begun) {
    return begun.error();
  }
  if (auto chosen = core->choose_executor(config); !chosen) return chosen.error();
  return core;
}

base::Result<void> MachineCore::begin_boot(const MachineConfig& config) {
  const base::Result<PhysicalAddress> entry = load_linux(
      *ram_,
      {.kernel = config.kernel, .command_line = config.command_line, .random = config.random});
  if (!entry) return entry.error();
  cpu_.reset();
  enter_linux(cpu_.state, entry.value());
  for (u8 segment = kEs; segment <= kGs; ++segment)
    cpu_.segment_changed(segment);
  cpu_.mode_changed();
  return {};
}

base::Result<void> MachineCore::begin_from(const MachineImage& image) {
  const auto state = read_state(image.state, board_);
  if (!state) return state.error();
  cpu_.reset();
  take_over(state.value());
  return {};
}

base::Result<void> MachineCore::choose_executor(const MachineConfig& config) {
  if (config.executor == Executor::kInterpreter || config.time_by_instructions) return {};
  const auto without = [&](Error error) -> base::Result<void> {
    if (config.executor == Executor::kTranslator) return error;
    published_.why_interpreted = std::move(error.message);
    return {};
  };
  if (const HostSupport& host = translator_support(); !host.usable) {
    return without({ErrorCode::kUnavailable, host.why_not});
  }
  auto translator = Translator::create(
      cpu_, interpreter_, config.translator != nullptr ? *config.translator : TranslatorOptions{});
  if (!translator) return without(translator.error());
  published_.translated = true;
  translator_ = std::move(translator).value();
  ticker_ = std::make_unique<AttentionTicker>(cpu_.context.attention);
  return {};
}

MachineCore::MachineCore(const MachineConfig& config, std::unique_ptr<GuestRam> ram)
    : loop_(*config.loop),
      ram_(std::move(ram)),
      clock_(*config.clock),
      board_(*ram_, clock_, config,
             {.interrupt =
                  [this](bool asserted) {
                    interrupts_ += asserted ? 1 : 0;
                    cpu_.set_interrupt_line(asserted);
                  },
              .on_request =
                  [this](SystemRequest request) {
                    request_ = request;
                    cpu_.request_attention();
                  },
              .wake = [this] { interrupt_run(); }}),
      cpu_(*ram_, board_.ports(), board_.pic(), clock_),
      interpreter_(cpu_) {
  if (config.time_by_instructions) clock_.count_instructions(&cpu_.state.instructions);
}

/// Disks may have news to the last; the processor, which is told of them, goes first.
MachineCore::~MachineCore() {
  board_.let_sleep();
}

MachineEnd MachineCore::run() {
  std::unique_ptr<SignalStack> signal_stack;
  if (translator_ != nullptr) {
    if (auto stack = SignalStack::create()) {
      signal_stack = std::move(stack).value();
    } else {
      translator_.reset();
      const std::lock_guard lock(statistics_mutex_);
      published_.why_interpreted = stack.error().message;
    }
  }
  clock_.run();
  std::optional<MachineEnd> end;
  while (!end) {
    cpu_.clear_attention();
    // Whoever asks sets his bit first and calls for attention then. Reading the bits by an atomic
    // change keeps the order on our side too: if the new bit is not seen here, the wiping above
    // came before the call, which stands.
    const u32 asked = asked_.fetch_or(0, std::memory_order_acq_rel);
    if ((asked & kStopAsked) != 0) {
      end = MachineEnd::kStopped;
    } else if ((asked & kPauseAsked) != 0) {
      stay_paused();
    } else {
      end = turn();
    }
  }
  clock_.stop();
  board_.uart().flush();
  publish_statistics();
  set_standing(true);
  return *end;
}

std::optional<MachineEnd> MachineCore::turn() {
  const StopReason reason = run_slice();
  if (ram_->damaged()) return MachineEnd::kDamaged;
  if (request_) {
    return *request_ == SystemRequest::kReset ? MachineEnd::kReset : MachineEnd::kShutDown;
  }
  const bool busy = board_.poll();
  board_.uart().flush();
  switch (reason) {
    case StopReason::kTripleFault:
      return MachineEnd::kReset;
    case StopReason::kHalted:
      // Halted with interrupts off: that is how a kernel without ACPI powers off.
      if ((cpu_.state.eflags & kFlagIf) == 0) return MachineEnd::kShutDown;
      if (busy || cpu_.interrupt_line()) break;
      publish_statistics();  // of what has been done, before sleeping until there is more
      if (clock_.deterministic()) {
        idle_by_instructions();
      } else {
        idle();
      }
      return std::nullopt;
    case StopReason::kBudget:
    case StopReason::kAttention:
      poll_events();
      break;
  }
  publish_statistics();
  return std::nullopt;
}

StopReason MachineCore::run_slice() {
  const u64 start = clock_.ticks();
  board_.update_timers(start);
  if (translator_ != nullptr) {
    if (fault_handlers_in_place()) return run_translated(start);
    // The application took SIGSEGV over: the interpreter needs no faults.
    translator_->synchronize();
  }
  const u64 before = cpu_.state.instructions;
  const StopReason reason = interpreter_.run(slice_budget(start));
  measure(cpu_.state.instructions - before, clock_.ticks() - start);
  return reason;
}

StopReason MachineCore::run_translated(u64 now) {
  const u64 deadline = board_.next_deadline();
  const u64 until = deadline > now ? deadline - now : 0;
  constexpr u64 kTranslatedSliceNs = 250'000;  // between two looks at the host's events
  ticker_->arm(std::clamp(until, kMinSliceNs, kTranslatedSliceNs));
  const StopReason reason = translator_->run();
  ticker_->disarm();
  return reason;
}

/// Instructions until the next timer interrupt or the next look at events, whichever is first.
u64 MachineCore::slice_budget(u64 now) {
  const u64 deadline = board_.next_deadline();
  const u64 until = deadline > now ? deadline - now : 0;
  if (clock_.deterministic()) return std::clamp<u64>(until, 1, kSliceNs);
  const auto slice = static_cast<double>(std::clamp(until, kMinSliceNs, kSliceNs));
  return std::clamp(static_cast<u64>(slice * instructions_per_ns_), kMinBudget, kMaxBudget);
}

void MachineCore::measure(u64 instructions, u64 nanoseconds) {
  if (clock_.deterministic() || nanoseconds < kMeasureNs) return;
  const double measured = static_cast<double>(instructions) / static_cast<double>(nanoseconds);
  instructions_per_ns_ += (measured - instructions_per_ns_) / 8;
}

void MachineCore::poll_events() {
  const u64 now = clock_.ticks();
  if (now - last_poll_ < kSliceNs / 2) return;
  last_poll_ = now;
  loop_.poll();
}

void MachineCore::idle() {
  const u64 now = clock_.ticks();
  const u64 deadline = board_.next_deadline();
  if (deadline <= now) return;
  const u64 longest = static_cast<u64>(kLongestWait.count());
  const u64 restores = restores_;
  loop_.wait(base::Nanoseconds(std::min(deadline - now, longest)));
  if (restores != restores_) return;  // time is another one
  const u64 after = clock_.ticks();
  last_poll_ = after;
  idle_ns_ += after - now;
}

/// No time passes while a deterministic guest sleeps: its next timer is due at once.
void MachineCore::idle_by_instructions() {
  const u64 restores = restores_;
  loop_.poll();
  if (cpu_.interrupt_line() || restores != restores_) return;
  const u64 deadline = board_.next_deadline();
  if (deadline == Board::kNever) {
    loop_.wait(kLongestWait);
  } else {
    idle_ns_ += deadline - std::min(deadline, clock_.ticks());
    clock_.skip_to(deadline);
  }
}

void MachineCore::stay_paused() {
  clock_.stop();
  board_.uart().flush();
  publish_statistics();
  set_standing(true);
  while (asked_ == kPauseAsked)
    loop_.wait(kLongestWait);
  set_standing(false);
  clock_.run();
}

/// A state of the machine knows no request that a disk has under way.
base::Result<void> MachineCore::drain() {
  if (board_.drain(kDrainLimit)) return {};
  return Error{ErrorCode::kTimeout,
               "the host's disk did not finish within a minute what the guest had asked it for"};
}

base::Result<MachineImage> MachineCore::capture() {
  if (auto drained = drain(); !drained) return drained.error();
  if (translator_ != nullptr) translator_->synchronize();
  std::vector<u32> written = ram_->written_pages();
  const std::shared_ptr<const RamImage> before = ram_->image();
  auto memory = ram_->capture();
  if (!memory) return memory.error();
  if (ram_->damaged()) {
    return Error{ErrorCode::kCorrupt, "the stored state that the machine started from is damaged"};
  }
  // An image without changes knows nothing new.
  if (memory.value() != before) hot_pages_ = std::move(written);
  return MachineImage{save_state(cpu_.state, clock_, board_), std::move(memory).value(),
                      hot_pages_};
}

base::Result<void> MachineCore::restore(const MachineImage& image) {
  const auto state = read_state(image.state, board_);
  if (!state) return state.error();
  if (auto drained = drain(); !drained) return drained;
  if (translator_ != nullptr) translator_->synchronize();
  if (auto done = ram_->restore(image.memory); !done) return done.error();
  hot_pages_ = image.hot_pages;
  take_over(state.value());
  return {};
}

void MachineCore::take_over(const MachineState& state) {
  apply_state(state, cpu_.state, clock_, board_);
  cpu_.state_replaced();
  request_.reset();
  last_poll_ = 0;
  ++restores_;
  cpu_.request_attention();
}

void MachineCore::set_standing(bool standing) {
  {
    const std::lock_guard lock(mutex_);
    standing_ = standing;
  }
  changed_.notify_all();
}

void MachineCore::wait_until_paused() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return standing_ || (asked_ & kPauseAsked) == 0; });
}

void MachineCore::interrupt_run() {
  cpu_.request_attention();
  loop_.wake();
}

void MachineCore::ask_stop() {
  asked_.fetch_or(kStopAsked, std::memory_order_acq_rel);
  interrupt_run();
}

void MachineCore::ask_pause() {
  asked_.fetch_or(kPauseAsked, std::memory_order_acq_rel);
  interrupt_run();
}

void MachineCore::ask_resume() {
  {
    const std::lock_guard lock(mutex_);
    asked_.fetch_and(~u32{kPauseAsked}, std::memory_order_acq_rel);
  }
  changed_.notify_all();
  loop_.wake();
}

void MachineCore::publish_statistics() {
  const std::lock_guard lock(statistics_mutex_);
  published_.instructions = cpu_.state.instructions;
  published_.blocks_decoded = interpreter_.statistics().blocks_decoded;
  published_.interrupts = interrupts_;
  published_.idle_nanoseconds = idle_ns_;
  published_.translated = translator_ != nullptr;
  if (translator_ == nullptr) return;
  const Translator::Statistics of = translator_->statistics();
  const AddressSpaces::Statistics& spaces = translator_->space_statistics();
  published_.blocks_translated = of.blocks_translated;
  published_.code_bytes = of.code_bytes;
  published_.code_flushes = of.code_flushes;
  published_.exits_indirect = of.exits_indirect;
  published_.exits_link = of.exits_link;
  published_.exits_insn = of.exits_insn;
  published_.exits_vectors = of.exits_vectors;
  published_.exits_poll = of.exits_poll;
  published_.faults = of.faults;
  published_.guest_faults = of.guest_faults;
  published_.emulated_accesses = of.emulated_accesses;
  published_.interpreted_blocks = of.interpreted_blocks;
  published_.interpreted_steps = of.interpreted_steps;
  const bool windows_changed = published_.window_fills != spaces.fills ||
                               published_.window_drops != spaces.drops ||
                               published_.window_evictions != spaces.evictions;
  if (windows_changed) published_.mappings = translator_->mappings();
  published_.window_fills = spaces.fills;
  published_.window_drops = spaces.drops;
  published_.window_evictions = spaces.evictions;
}

MachineStatistics MachineCore::statistics() const {
  const std::lock_guard lock(statistics_mutex_);
  return published_;
}

}  // namespace snowglobe::vm
