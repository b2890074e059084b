// vm/cpu/interpreter.cc - the block cache and the loop of the reference executor.
#include "vm/cpu/interpreter.h"

#include <algorithm>
#include <array>

namespace snowglobe::vm {
namespace {

// Long enough that the end of a block is nearly always a branch, short enough to bound the delay of
// interrupts and the loss when a page is rewritten.
constexpr std::size_t kMaxBlockInsns = 64;
constexpr u32 kMaxInstructionLength = 15;

// Stands behind the last instruction of a block that goes straight on. Not an instruction itself.
const Insn* go_on(Cpu& cpu, const Insn* insn) {
  cpu.state.eip = cpu.eip_of(insn);
  return nullptr;
}

// Replaces every handler of a block whose bytes were overwritten.
const Insn* refetch(Cpu& cpu, const Insn* insn) {
  return cpu.restart(insn);
}

}  // namespace

struct Interpreter::Impl final : CpuObserver {
  explicit Impl(Cpu& the_cpu, Statistics& the_statistics)
      : cpu(the_cpu), statistics(the_statistics), pages(the_cpu.ram().page_count()) {
    cpu.add_observer(this);
  }
  ~Impl() override { cpu.remove_observer(this); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Blocks of one physical page by the offset of their first byte. Blocks of the page before that
  // end in this one are listed, so that a write here reaches them.
  class PageCode {
   public:
    [[nodiscard]] Block* find(u16 offset) const {
      for (Block* block = buckets_[offset % kBuckets].get(); block != nullptr;
           block = block->next.get()) {
        if (block->start == offset) return block;
      }
      return nullptr;
    }
    void add(std::unique_ptr<Block> block) {
      std::unique_ptr<Block>& bucket = buckets_[block->start % kBuckets];
      block->next = std::move(bucket);
      bucket = std::move(block);
    }
    /// Takes a block out; null if it is not here.
    std::unique_ptr<Block> take(const Block* wanted) {
      std::unique_ptr<Block>* link = &buckets_[wanted->start % kBuckets];
      while (*link != nullptr && link->get() != wanted)
        link = &(*link)->next;
      std::unique_ptr<Block> taken = std::move(*link);
      if (taken != nullptr) *link = std::move(taken->next);
      return taken;
    }
    /// Takes all blocks out, in no order.
    std::vector<std::unique_ptr<Block>> take_all() {
      std::vector<std::unique_ptr<Block>> all;
      for (std::unique_ptr<Block>& bucket : buckets_) {
        while (bucket != nullptr) {
          std::unique_ptr<Block> block = std::move(bucket);
          bucket = std::move(block->next);
          all.push_back(std::move(block));
        }
      }
      return all;
    }

    std::vector<Block*> crossing_into;

   private:
    static constexpr u32 kBuckets = 128;
    std::array<std::unique_ptr<Block>, kBuckets> buckets_;
  };
  // Blocks by the tag of their start; good while no translation has changed.
  static constexpr u32 kShortcuts = 32768;
  // Physical pages of code by linear page, likewise.
  struct CodePage {
    u64 tag = 0;
    u32 physical_page = 0;
  };
  static constexpr u32 kCodePages = 512;

  void on_code_written(u32 page) override { invalidate(page); }

  [[nodiscard]] u64 tag_of(LinearAddress address, bool user) const {
    return (u64{cpu.code_generation()} << 33) | (u64{user} << 32) | address;
  }
  Block* find_block(Block* previous);
  Block* find_block_slowly(LinearAddress linear, bool user);
  std::optional<PhysicalAddress> translate_code(LinearAddress linear, bool user);
  std::unique_ptr<Block> decode_block(PhysicalAddress physical, LinearAddress linear, bool user);
  bool decode_crossing(Block& block, base::ConstBytes first, u16 offset, LinearAddress linear,
                       bool user);
  void retire(std::unique_ptr<Block> block);
  void forget_crossing(const Block& block);
  void invalidate(u32 page);
  void forget_everything();
  u64 run_block(const Block& block);
  [[nodiscard]] u64 count_before_eip(const Block& block) const;
  bool deliver();
  bool accept_interrupt();
  std::optional<StopReason> handle_events();

  Cpu& cpu;
  Statistics& statistics;
  Decoder decoder;
  std::vector<std::unique_ptr<PageCode>> pages;
  std::vector<Block::Link> shortcuts{kShortcuts};
  std::array<CodePage, kCodePages> code_pages{};
  // Blocks that were overwritten while they may be running; freed between two blocks.
  std::vector<std::unique_ptr<Block>> retired;
};

Interpreter::Interpreter(Cpu& cpu) : impl_(std::make_unique<Impl>(cpu, statistics_)) {}
Interpreter::~Interpreter() = default;

// The block at eip; null and a pending exception if there is none. `previous`, the one that just
// ended (or null), nearly always knows it.
inline Block* Interpreter::Impl::find_block(Block* previous) {
  const LinearAddress linear = cpu.state.segment[kCs].base + cpu.state.eip;
  const bool user = cpu.state.cpl == 3;
  const u64 tag = tag_of(linear, user);
  if (previous != nullptr) [[likely]] {
    if (previous->links[0].tag == tag) [[likely]]
      return previous->links[0].block;
    if (previous->links[1].tag == tag) return previous->links[1].block;
  }
  Block::Link& shortcut = shortcuts[(linear ^ (linear >> 13)) % kShortcuts];
  if (shortcut.tag != tag) [[unlikely]] {
    Block* block = find_block_slowly(linear, user);
    if (block == nullptr || !block->valid) return block;
    // The search may have changed the generation: when it dropped a block that crossed two pages.
    shortcut = {tag_of(linear, user), block};
  }
  if (previous != nullptr) {
    previous->links[previous->oldest_link] = shortcut;
    previous->oldest_link ^= 1;
  }
  return shortcut.block;
}

std::optional<PhysicalAddress> Interpreter::Impl::translate_code(LinearAddress linear, bool user) {
  const u32 linear_page = linear >> kPageShift;
  const u64 tag = tag_of(linear_page, user);
  CodePage& entry = code_pages[linear_page % kCodePages];
  if (entry.tag != tag) {
    const auto physical = cpu.translate(linear, Cpu::Access::kExecute, user);
    if (!physical) return std::nullopt;
    entry = {tag, *physical >> kPageShift};
  }
  return (entry.physical_page << kPageShift) | (linear & kPageMask);
}

Block* Interpreter::Impl::find_block_slowly(LinearAddress linear, bool user) {
  const auto physical = translate_code(linear, user);
  if (!physical) return nullptr;
  const u32 page = *physical >> kPageShift;
  const u16 offset = static_cast<u16>(*physical & kPageMask);
  if (page < pages.size() && pages[page] != nullptr) {
    if (Block* block = pages[page]->find(offset)) {
      if (block->second_page == block->physical_page) return block;
      // It crosses into another page: is that still where it was?
      const auto second = cpu.translate((linear | kPageMask) + 1, Cpu::Access::kExecute, user);
      if (!second) return nullptr;
      if (*second >> kPageShift == block->second_page) return block;
      forget_crossing(*block);
      retire(pages[page]->take(block));
    }
  }
  std::unique_ptr<Block> block = decode_block(*physical, linear, user);
  if (block == nullptr) return nullptr;
  Block* const result = block.get();
  if (page >= pages.size()) {  // code outside of RAM is never cached
    block->valid = false;
    retired.push_back(std::move(block));
    cpu.note_retired_code();
    return result;
  }
  if (pages[page] == nullptr) pages[page] = std::make_unique<PageCode>();
  pages[page]->add(std::move(block));
  cpu.ram().watch_code(page);
  if (result->second_page != page && result->second_page < pages.size()) {
    auto& second = pages[result->second_page];
    if (second == nullptr) second = std::make_unique<PageCode>();
    second->crossing_into.push_back(result);
    cpu.ram().watch_code(result->second_page);
  }
  return result;
}

std::unique_ptr<Block> Interpreter::Impl::decode_block(PhysicalAddress physical,
                                                       LinearAddress linear, bool user) {
  static constexpr std::array<u8, kMaxInstructionLength> kFloatingBus = [] {
    std::array<u8, kMaxInstructionLength> bytes{};
    bytes.fill(0xFF);
    return bytes;
  }();
  auto block = std::make_unique<Block>();
  block->physical_page = block->second_page = physical >> kPageShift;
  block->start = static_cast<u16>(physical & kPageMask);
  base::ConstBytes bytes = cpu.ram().read(physical, kPageSize - (physical & kPageMask));
  if (bytes.empty()) bytes = kFloatingBus;
  u16 offset = block->start;
  while (true) {
    Insn decoded[2];
    const Decoder::Result result = decoder.decode(bytes, offset, decoded);
    if (result.outcome == Decoder::Outcome::kTruncated) {
      if (block->count != 0) break;  // it gets a block of its own
      if (!decode_crossing(*block, bytes, offset, linear, user)) return nullptr;
      ++statistics.blocks_decoded;
      return block;
    }
    block->insns.insert(block->insns.end(), decoded, decoded + result.count);
    ++block->count;
    const u8 length = decoded[result.count - 1].length;
    offset = static_cast<u16>(offset + length);
    if (result.ends_block) break;
    bytes = bytes.subspan(length);
    if (bytes.empty() || block->count == kMaxBlockInsns) break;
  }
  Insn last;
  last.handler = go_on;
  last.offset = offset;
  block->insns.push_back(last);
  block->first = block->insns.data();
  ++statistics.blocks_decoded;
  statistics.instructions_decoded += block->count;
  return block;
}

// Decodes one instruction whose bytes lie in two pages. False: the second page faulted.
bool Interpreter::Impl::decode_crossing(Block& block, base::ConstBytes first, u16 offset,
                                        LinearAddress linear, bool user) {
  const auto second = cpu.translate((linear | kPageMask) + 1, Cpu::Access::kExecute, user);
  if (!second) return false;
  std::array<u8, kMaxInstructionLength> bytes;
  bytes.fill(0xFF);
  std::copy(first.begin(), first.end(), bytes.begin());
  const base::ConstBytes rest =
      cpu.ram().read(*second, static_cast<u32>(bytes.size() - first.size()));
  std::copy(rest.begin(), rest.end(), bytes.begin() + static_cast<std::ptrdiff_t>(first.size()));

  Insn decoded[2];
  const Decoder::Result result = decoder.decode(bytes, offset, decoded);
  block.insns.assign(decoded, decoded + result.count);
  block.second_page = *second >> kPageShift;
  block.count = 1;
  Insn last;
  last.handler = go_on;
  last.offset = static_cast<u16>(offset + decoded[result.count - 1].length);
  block.insns.push_back(last);
  block.first = block.insns.data();
  ++statistics.instructions_decoded;
  return true;
}

void Interpreter::Impl::retire(std::unique_ptr<Block> block) {
  block->valid = false;
  for (Insn& insn : block->insns)
    insn.handler = refetch;
  retired.push_back(std::move(block));
  cpu.new_code_generation();  // drops all shortcuts, which may point to it
  cpu.note_retired_code();
}

// Takes a block that crosses two pages off the list of its second page.
void Interpreter::Impl::forget_crossing(const Block& block) {
  if (block.second_page == block.physical_page || block.second_page >= pages.size()) return;
  PageCode* second = pages[block.second_page].get();
  if (second != nullptr) std::erase(second->crossing_into, &block);
}

void Interpreter::Impl::invalidate(u32 page) {
  const std::unique_ptr<PageCode> code = std::move(pages[page]);
  if (code == nullptr) return;
  ++statistics.pages_invalidated;
  for (const Block* crossing : code->crossing_into) {
    PageCode* first = pages[crossing->physical_page].get();
    if (first == nullptr) continue;
    if (auto block = first->take(crossing)) retire(std::move(block));
  }
  for (std::unique_ptr<Block>& block : code->take_all()) {
    forget_crossing(*block);
    retire(std::move(block));
  }
}

// Tags have 31 bits of the generation: before it grows out of them (a matter of weeks), all that is
// tagged goes, so that no tag can mean an older generation.
void Interpreter::Impl::forget_everything() {
  for (u32 page = 0; page < pages.size(); ++page)
    invalidate(page);
  shortcuts.assign(shortcuts.size(), {});
  code_pages.fill({});
  cpu.restart_code_generations();
}

u64 Interpreter::Impl::count_before_eip(const Block& block) const {
  const u32 page_offset = (cpu.state.segment[kCs].base + cpu.state.eip) & kPageMask;
  u64 count = 0;
  u32 previous = ~0u;
  for (const Insn& insn : block.insns) {
    if (insn.offset == page_offset) break;
    if (insn.offset != previous) ++count;
    previous = insn.offset;
  }
  return count;
}

// Runs a block to its end and returns how many instructions retired.
u64 Interpreter::Impl::run_block(const Block& block) {
  cpu.set_code_base(cpu.state.eip - block.start);
  const Insn* insn = block.insns.data();
  do {
    insn = insn->handler(cpu, insn);
  } while (insn != nullptr);
  if (!cpu.left_early()) return block.count;
  cpu.take_restarted();
  return count_before_eip(block);
}

bool Interpreter::Impl::deliver() {
  cpu.state.halted = false;
  return cpu.deliver_exception();
}

bool Interpreter::Impl::accept_interrupt() {
  cpu.state.halted = false;
  const u8 vector = cpu.interrupts().acknowledge();
  return cpu.enter_handler(vector, Cpu::EventKind::kExternal, std::nullopt) || deliver();
}

std::optional<StopReason> Interpreter::Impl::handle_events() {
  CpuState& state = cpu.state;
  if (cpu.take_retired_code()) retired.clear();
  if (cpu.attention_requested()) return StopReason::kAttention;
  if (cpu.interrupt_line() && (state.eflags & kFlagIf) != 0 && !state.interrupt_shadow) {
    if (!accept_interrupt()) return StopReason::kTripleFault;
  }
  if (state.halted) return StopReason::kHalted;
  if (!cpu.slow_mode()) state.interrupt_shadow = false;  // one block later than it could, at most
  return std::nullopt;
}

StopReason Interpreter::run(u64 budget) {
  Impl& impl = *impl_;
  Cpu& cpu = impl.cpu;
  CpuState& state = cpu.state;
  const u64 end = state.instructions + budget;
  // One run is far shorter than the 2^24 generations that are left.
  if (cpu.code_generation() >= (1u << 31) - (1u << 24)) [[unlikely]]
    impl.forget_everything();
  Block* block = nullptr;  // the one that ran last
  while (true) {
    if (cpu.has_events()) [[unlikely]] {
      block = nullptr;  // it may be freed
      if (const auto reason = impl.handle_events()) return *reason;
    }
    if (state.instructions >= end) [[unlikely]]
      return StopReason::kBudget;
    if (cpu.slow_mode()) [[unlikely]] {
      block = nullptr;
      const StopReason reason = step();
      if (reason != StopReason::kBudget) return reason;
      continue;
    }
    block = impl.find_block(block);
    if (block != nullptr) [[likely]] {
      cpu.set_code_base(state.eip - block->start);
      const Insn* insn = block->first;
      do {
        insn = insn->handler(cpu, insn);
      } while (insn != nullptr);
      if (!cpu.left_early()) [[likely]] {
        state.instructions += block->count;
        continue;
      }
      cpu.take_restarted();
      state.instructions += impl.count_before_eip(*block);
      block = nullptr;
    }
    if (cpu.has_exception() && !impl.deliver()) return StopReason::kTripleFault;
  }
}

std::optional<StopReason> Interpreter::handle_events() {
  return impl_->handle_events();
}

std::optional<StopReason> Interpreter::run_block() {
  Impl& impl = *impl_;
  Cpu& cpu = impl.cpu;
  if (cpu.code_generation() >= (1u << 31) - (1u << 24)) [[unlikely]]
    impl.forget_everything();
  if (Block* block = impl.find_block(nullptr)) cpu.state.instructions += impl.run_block(*block);
  if (cpu.take_retired_code()) impl.retired.clear();
  if (cpu.has_exception() && !impl.deliver()) return StopReason::kTripleFault;
  return std::nullopt;
}

StopReason Interpreter::run_exactly(u64 count) {
  Impl& impl = *impl_;
  Cpu& cpu = impl.cpu;
  const u64 end = cpu.state.instructions + count;
  while (cpu.state.instructions < end) {
    if (cpu.state.interrupt_shadow) {
      if (const StopReason reason = step(); reason != StopReason::kBudget) return reason;
      continue;
    }
    if (cpu.has_events()) {
      if (const auto reason = impl.handle_events()) return *reason;
    }
    const Block* const block = cpu.slow_mode() ? nullptr : impl.find_block(nullptr);
    if (block == nullptr && cpu.has_exception()) {
      if (!impl.deliver()) return StopReason::kTripleFault;
    } else if (block == nullptr || block->count > end - cpu.state.instructions) {
      if (const StopReason reason = step(); reason != StopReason::kBudget) return reason;
    } else {
      cpu.state.instructions += impl.run_block(*block);
      if (cpu.has_exception() && !impl.deliver()) return StopReason::kTripleFault;
    }
  }
  return StopReason::kBudget;
}

StopReason Interpreter::step(bool deliver) {
  Impl& impl = *impl_;
  Cpu& cpu = impl.cpu;
  CpuState& state = cpu.state;
  const bool shadow = std::exchange(state.interrupt_shadow, false);
  if (cpu.interrupt_line() && (state.eflags & kFlagIf) != 0 && !shadow) {
    return impl.accept_interrupt() ? StopReason::kBudget : StopReason::kTripleFault;
  }
  if (state.halted) return StopReason::kHalted;

  const u32 flags_before = state.eflags;
  const bool single_step = (flags_before & kFlagTf) != 0;
  const bool resumed = (state.eflags & kFlagRf) != 0;
  const Segment& cs = state.segment[kCs];
  std::unique_ptr<Block> block;
  if (state.eip > cs.limit) {
    cpu.raise_system(Vector::kGeneralProtection, 0);
  } else {
    const LinearAddress linear = cs.base + state.eip;
    const bool user = state.cpl == 3;
    if (const u32 breakpoints = cpu.instruction_breakpoints(linear)) {
      state.dr[6] |= breakpoints;
      cpu.raise_system(Vector::kDebug);
    } else if (const auto physical = cpu.translate(linear, Cpu::Access::kExecute, user)) {
      block = impl.decode_block(*physical, linear, user);
    }
  }
  if (block != nullptr) {
    // Only its first instruction is to run: what follows ends the block.
    const u16 next = static_cast<u16>(block->start + block->insns[0].length);
    const std::size_t slots = block->insns[0].offset == block->insns[1].offset ? 2 : 1;
    if (block->count > 1) {
      block->insns[slots].handler = go_on;
      block->insns[slots].offset = next;
      block->count = 1;
    }
    cpu.take_handler_entered();
    state.instructions += impl.run_block(*block);
    if (cpu.take_retired_code()) impl.retired.clear();
  }
  if (!cpu.has_exception() && block != nullptr) {
    if (resumed) state.eflags &= ~u32{kFlagRf};
    constexpr u32 kSingleStep = 1u << 14;  // DR6.BS (Intel SDM Vol. 3B, 17.2.3)
    // MOV SS and POP SS hold their own trap back (Intel SDM Vol. 3A, 6.8.3); STI, which casts the
    // same shadow, but changes IF, does not.
    const bool stack_changed =
        state.interrupt_shadow && ((state.eflags ^ flags_before) & kFlagIf) == 0;
    const bool stepped = single_step && !stack_changed && !cpu.take_handler_entered();
    const u32 traps = cpu.take_data_breakpoints() | (stepped ? kSingleStep : 0u);
    if (traps != 0) {
      state.dr[6] |= traps;
      cpu.raise_system(Vector::kDebug);
    }
  }
  if (cpu.has_exception() && deliver && !impl.deliver()) return StopReason::kTripleFault;
  return StopReason::kBudget;
}

}  // namespace snowglobe::vm
