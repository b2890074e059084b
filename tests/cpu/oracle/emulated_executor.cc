// tests/cpu/oracle/emulated_executor.cc - a bare ring-3 environment around an executor.
//
//   physical 0x00000  page directory         linear 0xC0000000  the first 4 MiB, supervisor
//            0x01000  page tables (3)               0x10000000  arena
//            0x04000  GDT, 0x05000 TSS              0x11000000  code
//            0x06000  IDT, 0x07000 ring-0 stack
//            0x10000  arena, 0x20000 code
#include "tests/cpu/oracle/emulated_executor.h"

#include "base/check.h"
#include "tests/cpu/oracle/fx_state.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/interpreter.h"
#include "vm/cpu/translator/host_faults.h"
#include "vm/cpu/translator/translator.h"

#include <algorithm>
#include <cstring>

namespace snowglobe::oracle {
namespace {

using vm::Segment;

constexpr u64 kRamSize = 4u << 20;
constexpr u32 kDirectory = 0x0000, kTables = 0x1000, kGdt = 0x4000, kTss = 0x5000, kIdt = 0x6000;
constexpr u32 kStackEnd = 0x8000;
constexpr u32 kArenaPhysical = 0x10000, kCodePhysical = 0x20000;
constexpr u32 kSystem = 0xC0000000;  // linear address of physical 0

constexpr u32 kPresent = 1, kWritable = 2, kUser = 4;
constexpr u16 kKernelCs = 0x10, kKernelDs = 0x18, kTssSelector = 0x40;
constexpr u32 kHandlers = kSystem + 0x9000, kHandlerStride = 8;
constexpr unsigned kGdtEntries = 16;

class NoPorts final : public vm::PortBus {
 public:
  u32 in(u16, unsigned) override { return 0xFFFFFFFFu; }
  void out(u16, unsigned, u32) override {}
};

class NoInterrupts final : public vm::InterruptController {
 public:
  u8 acknowledge() override { return 0; }
};

class StoppedClock final : public vm::TscSource {
 public:
  u64 ticks() override { return 0; }
};

constexpr u64 descriptor(u32 base, u32 limit_pages, u32 access, u32 size_flags) {
  return (u64{limit_pages} & 0xFFFF) | (u64{base} & 0xFFFFFF) << 16 | u64{access} << 40 |
         ((u64{limit_pages} >> 16) & 0xF) << 48 | u64{size_flags} << 52 | (u64{base} >> 24) << 56;
}

class EmulatedExecutor final : public Executor {
 public:
  explicit EmulatedExecutor(ExecutorPath path);
  void load(std::span<const Case> batch) override;
  void run(const Case& test, Outcome& outcome) override;
  void read_arena(std::span<u8> arena) override;

 private:
  void map(u32 linear, u32 physical, u32 pages, u32 rights);
  void build_tables();
  void build_state();
  void set_state(const Case& test);
  void execute(const Case& test);
  void take_handler_apart(OracleOutput& raw);
  void take_state(const Case& test, OracleOutput& raw);
  [[nodiscard]] u8* physical(u32 address, u32 size) { return ram_->write(address, size).data(); }
  [[nodiscard]] u8* arena_bytes(u32 linear, u32 size) {
    return physical(linear - ORACLE_ARENA + kArenaPhysical, size);
  }

  ExecutorPath path_;
  std::unique_ptr<vm::GuestRam> ram_;
  NoPorts ports_;
  NoInterrupts interrupts_;
  StoppedClock clock_;
  std::unique_ptr<vm::Cpu> cpu_;
  std::unique_ptr<vm::Interpreter> interpreter_;
  std::unique_ptr<vm::Translator> translator_;  ///< kTranslated only
  vm::CpuState baseline_;
};

EmulatedExecutor::EmulatedExecutor(ExecutorPath path) : path_(path) {
  auto ram = vm::GuestRam::create(kRamSize);
  SG_ASSERT(ram.ok(), "4 MiB of memory");
  ram_ = std::move(ram).value();
  cpu_ = std::make_unique<vm::Cpu>(*ram_, ports_, interrupts_, clock_);
  interpreter_ = std::make_unique<vm::Interpreter>(*cpu_);
  build_tables();
  build_state();
  if (path_ == ExecutorPath::kTranslated) {
    vm::TranslatorOptions options;
    options.code_bytes = std::size_t{16} << 20;
    options.cold_runs = 0;
    auto translator = vm::Translator::create(*cpu_, *interpreter_, options);
    SG_ASSERT(translator.ok(), "a translator");
    translator_ = std::move(translator).value();
  }
}

void EmulatedExecutor::map(u32 linear, u32 physical_start, u32 pages, u32 rights) {
  // One page table serves each of the three 4 MiB areas in use.
  const u32 table = kTables + (linear == kSystem      ? 0u
                               : linear < ORACLE_CODE ? vm::kPageSize
                                                      : 2 * vm::kPageSize);
  base::store_le(physical(kDirectory + (linear >> 22) * 4, 4),
                 table | kPresent | kWritable | kUser);
  for (u32 i = 0; i < pages; ++i) {
    const u32 entry = table + (((linear >> vm::kPageShift) + i) & 0x3FF) * 4;
    base::store_le(physical(entry, 4), (physical_start + i * vm::kPageSize) | rights);
  }
}

void EmulatedExecutor::build_tables() {
  map(kSystem, 0, 1024, kPresent | kWritable);
  for (u32 page = 0; page < ORACLE_ARENA_PAGES; ++page) {
    if (oracle_page_mapped(page) == 0) continue;
    const u32 rights = kPresent | kUser | (page == ORACLE_READ_ONLY_PAGE ? 0 : kWritable);
    map(ORACLE_ARENA + page * vm::kPageSize, kArenaPhysical + page * vm::kPageSize, 1, rights);
  }
  map(ORACLE_CODE, kCodePhysical, ORACLE_CODE_SIZE / vm::kPageSize, kPresent | kUser);

  // The descriptor table of 64-bit Linux, as far as a 32-bit process can tell.
  const u64 entries[kGdtEntries] = {0,
                                    descriptor(0, 0xFFFFF, 0x9B, 0xC),
                                    descriptor(0, 0xFFFFF, 0x9B, 0xC),
                                    descriptor(0, 0xFFFFF, 0x93, 0xC),
                                    descriptor(0, 0xFFFFF, 0xFB, 0xC),
                                    descriptor(0, 0xFFFFF, 0xF3, 0xC),
                                    descriptor(0, 0xFFFFF, 0xFB, 0xC),
                                    0,
                                    descriptor(kSystem + kTss, 0x67, 0x8B, 0),
                                    0,
                                    0,
                                    0,
                                    descriptor(ORACLE_GS_BASE, 0xFFFFF, 0xF3, 0xC),
                                    0,
                                    0,
                                    0};
  for (unsigned i = 0; i < kGdtEntries; ++i) {
    base::store_le(physical(kGdt + i * 8, 8), entries[i]);
  }
  for (u32 vector = 0; vector < 256; ++vector) {
    const u32 handler = kHandlers + vector * kHandlerStride;
    const bool user = vector == 3 || vector == 4;
    base::store_le(physical(kIdt + vector * 8, 4), (handler & 0xFFFF) | u32{kKernelCs} << 16);
    base::store_le(physical(kIdt + vector * 8 + 4, 4),
                   (handler & 0xFFFF0000) | (user ? 0xEE00u : 0x8E00u));
  }
  constexpr u8 kHlt = 0xF4;
  std::memset(physical(kHandlers - kSystem, vm::kPageSize), kHlt, vm::kPageSize);
  u8* tss = physical(kTss, 0x68);
  base::store_le(tss + 4, kSystem + kStackEnd);
  base::store_le(tss + 8, u32{kKernelDs});
  base::store_le(tss + 0x66, u16{0x68});  // I/O map behind the limit: no port is open
}

void EmulatedExecutor::build_state() {
  vm::CpuState& state = baseline_;
  constexpr u16 kFlat = vm::kSegNotSystem | vm::kSegDplMask | vm::kSegPresent | vm::kSegBig |
                        vm::kSegGranularity | vm::kSegAccessed | vm::kSegWritable;
  const Segment data{ORACLE_DS, kFlat, 0, 0xFFFFFFFFu};
  state.segment.fill(data);
  state.segment[vm::kCs] = {ORACLE_CS, kFlat | vm::kSegCode, 0, 0xFFFFFFFFu};
  state.segment[vm::kFs] = Segment{};
  state.segment[vm::kGs] = {ORACLE_GS, kFlat, ORACLE_GS_BASE, 0xFFFFFFFFu};
  state.tr = {kTssSelector, vm::kSegPresent | 0xB, kSystem + kTss, 0x67};
  state.gdtr = {kSystem + kGdt, kGdtEntries * 8 - 1};
  state.idtr = {kSystem + kIdt, 256 * 8 - 1};
  state.cr0 =
      vm::kCr0Pe | vm::kCr0Mp | vm::kCr0Et | vm::kCr0Ne | vm::kCr0Wp | vm::kCr0Am | vm::kCr0Pg;
  state.cr3 = kDirectory;
  state.cr4 = vm::kCr4De | vm::kCr4Pse | vm::kCr4Pge | vm::kCr4Osfxsr | vm::kCr4Osxmmexcpt;
  state.cpl = 3;
  cpu_->state = baseline_;
  cpu_->flush_tlb();
  for (u8 segment = 0; segment < 6; ++segment)
    cpu_->segment_changed(segment);
  cpu_->mode_changed();
}

void EmulatedExecutor::load(std::span<const Case> batch) {
  for (u32 at = ORACLE_ARENA; at < ORACLE_ARENA + ORACLE_ARENA_SIZE; at += vm::kPageSize) {
    if (oracle_page_mapped((at - ORACLE_ARENA) / vm::kPageSize) == 0) continue;
    u8* page = arena_bytes(at, vm::kPageSize);
    for (u32 i = 0; i < vm::kPageSize; i += 4)
      base::store_le(page + i, oracle_background(at + i));
  }
  for (const Case& test : batch) {
    u8* slot = physical(slot_address(test.index) - ORACLE_CODE + kCodePhysical, ORACLE_SLOT);
    write_slot(test, test.code, {slot, ORACLE_SLOT});
  }
}

void EmulatedExecutor::set_state(const Case& test) {
  const OracleInput& input = test.input;
  vm::CpuState& state = cpu_->state;
  const auto segments_before = state.segment;
  const u8 cpl_before = state.cpl;
  const u32 flags_before = state.eflags;
  const vm::X87State x87 = state.x87;
  const auto xmm = state.xmm;
  const u32 mxcsr = state.mxcsr;
  state = baseline_;
  std::copy_n(input.gpr, 8, state.gpr.begin());
  state.eip = input.eip;
  state.eflags = (input.eflags & ~vm::kArithmeticFlags) | vm::kFlagReserved1;
  state.flags.set(input.eflags);
  if ((input.options & ORACLE_USES_FX) != 0) {
    load_fx(input.fx, state);
  } else {
    state.x87 = x87;
    state.xmm = xmm;
    state.mxcsr = mxcsr;
  }
  if ((input.options & ORACLE_LOADS_SEGMENTS) != 0) {
    constexpr vm::SegmentRegister kOrder[] = {vm::kEs, vm::kDs, vm::kFs, vm::kGs};
    for (unsigned i = 0; i < 4; ++i) {
      Segment& segment = state.segment[kOrder[i]];
      segment = input.selectors[i] == ORACLE_DS   ? baseline_.segment[vm::kDs]
                : input.selectors[i] == ORACLE_GS ? baseline_.segment[vm::kGs]
                                                  : Segment{};
    }
  }
  for (u8 i = 0; i < 6; ++i) {
    if (!(state.segment[i] == segments_before[i])) cpu_->segment_changed(i);
  }
  constexpr u32 kModeFlags = vm::kFlagAc | vm::kFlagTf;
  if (cpl_before != 3 || ((flags_before ^ state.eflags) & kModeFlags) != 0) cpu_->mode_changed();
}

void EmulatedExecutor::run(const Case& test, Outcome& outcome) {
  const OracleInput& input = test.input;
  for (u32 w = 0; w < input.window_count; ++w) {
    const OracleWindow& window = input.windows[w];
    std::memcpy(arena_bytes(window.address, window.size), input.memory + window.offset,
                window.size);
  }
  set_state(test);
  execute(test);
  take_state(test, outcome.raw);
  outcome.lost = false;
  outcome.dead_flags_lost = translator_ != nullptr;
  for (u32 w = 0; w < input.window_count; ++w) {
    const OracleWindow& window = input.windows[w];
    std::memcpy(outcome.raw.memory + window.offset, arena_bytes(window.address, window.size),
                window.size);
  }
}

void EmulatedExecutor::execute(const Case& test) {
  // CALL ESP leads into the arena, which the host does not execute, but a machine without NX would.
  const std::size_t length = test.length;
  const bool into_arena =
      length >= 2 && test.code[length - 2] == 0xFF && test.code[length - 1] == 0xD4;
  switch (into_arena && path_ == ExecutorPath::kTranslated ? ExecutorPath::kBlocks : path_) {
    case ExecutorPath::kStep:
      interpreter_->step(false);
      return;
    case ExecutorPath::kBlocks:
      interpreter_->run(1);
      return;
    case ExecutorPath::kTranslated: {
      // It goes on until an exception's handler halts: that of the page where the code ends, if
      // there is no other.
      static thread_local const auto stack = vm::SignalStack::create();
      SG_ASSERT(stack.ok(), "a signal stack");
      translator_->run();
      translator_->synchronize();
      return;
    }
  }
}

void EmulatedExecutor::take_handler_apart(OracleOutput& raw) {
  // The frame on the ring-0 stack is what the process would see (Intel SDM Vol. 3A, 6.12.1).
  const vm::CpuState& state = cpu_->state;
  raw.trap = (state.eip - kHandlers) / kHandlerStride;
  u32 at = state.gpr[vm::kEsp] - kSystem;
  const bool has_error_code = kStackEnd - at == 6 * sizeof(u32);
  if (has_error_code) {
    raw.error_code = base::load_le<u32>(physical(at, 4));
    at += 4;
  }
  if (raw.trap == static_cast<u32>(vm::Vector::kPageFault)) raw.address = state.cr2;
  const u8* frame = physical(at, 20);
  raw.eip = base::load_le<u32>(frame);
  raw.selectors[1] = base::load_le<u32>(frame + 4) & 0xFFFF;
  raw.eflags = base::load_le<u32>(frame + 8) & ~vm::kFlagRf;
  raw.gpr[vm::kEsp] = base::load_le<u32>(frame + 12);
  raw.selectors[2] = base::load_le<u32>(frame + 16) & 0xFFFF;
}

void EmulatedExecutor::take_state(const Case& test, OracleOutput& raw) {
  const vm::CpuState& state = cpu_->state;
  std::copy_n(state.gpr.begin(), 8, raw.gpr);
  for (unsigned i = 0; i < 6; ++i)
    raw.selectors[i] = state.segment[i].selector;
  raw.eip = state.eip;
  raw.eflags = state.full_eflags() & ~vm::kFlagRf;
  raw.trap = ORACLE_NO_TRAP;
  raw.error_code = raw.address = 0;
  if (cpu_->has_exception()) {
    const vm::Exception& exception = cpu_->exception();
    raw.trap = static_cast<u32>(exception.vector);
    raw.error_code = exception.has_error_code ? exception.error_code : 0;
    raw.address = exception.vector == vm::Vector::kPageFault ? exception.address : 0;
    cpu_->clear_exception();
  } else if (state.cpl == 0) {
    take_handler_apart(raw);
    const bool filler = raw.trap == static_cast<u32>(vm::Vector::kBreakpoint) && !test.breakpoint;
    if (filler) {  // the block went on to what follows the instruction at the end of the code area
      raw.eip -= 1;
      raw.trap = ORACLE_NO_TRAP;
    }
    const bool landing = raw.trap == static_cast<u32>(vm::Vector::kPageFault) &&
                         raw.address == raw.eip && raw.eip != test.input.eip;
    if (landing) {  // the instruction ran through, and no code could be fetched where it went
      raw.trap = ORACLE_NO_TRAP;
      raw.error_code = raw.address = 0;
    }
  }
  if (raw.trap == ORACLE_NO_TRAP && raw.eip == ORACLE_STUB) {
    raw.eip = test.input.eip + test.length;  // the block went on to the jump behind the instruction
  }
  if ((test.input.options & ORACLE_USES_FX) != 0) store_fx(state, raw.fx);
}

void EmulatedExecutor::read_arena(std::span<u8> arena) {
  for (u32 page = 0; page < ORACLE_ARENA_PAGES; ++page) {
    if (oracle_page_mapped(page) == 0) continue;
    const u32 offset = page * vm::kPageSize;
    std::memcpy(&arena[offset], arena_bytes(ORACLE_ARENA + offset, vm::kPageSize), vm::kPageSize);
  }
}

}  // namespace

std::unique_ptr<Executor> make_emulated_executor(ExecutorPath path) {
  return std::make_unique<EmulatedExecutor>(path);
}

}  // namespace snowglobe::oracle
