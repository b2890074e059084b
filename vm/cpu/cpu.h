// vm/cpu/cpu.h - the processor that both executors drive: state, access to memory with paging and
// segmentation, exceptions, and the operations of privileged instructions.
//
// Handlers of instructions (vm/cpu/ops_*.cc) reach memory only through load/store here. Each
// returns false when the access faulted: the exception is then pending, eip points at the
// instruction, and the handler must return null at once without having changed anything.
#pragma once

#include "base/bytes.h"
#include "vm/cpu/environment.h"
#include "vm/cpu/insn.h"
#include "vm/cpu/state.h"
#include "vm/cpu/tlb.h"
#include "vm/cpu/translator/context.h"
#include "vm/memory/ram.h"
#include "vm/types.h"

#include <atomic>
#include <bitset>
#include <optional>
#include <span>
#include <utility>

namespace snowglobe::vm {

/// Intel SDM Vol. 3A, table 6-1.
enum class Vector : u8 {
  kDivideError = 0,
  kDebug = 1,
  kNmi = 2,
  kBreakpoint = 3,
  kOverflow = 4,
  kBoundRange = 5,
  kInvalidOpcode = 6,
  kDeviceNotAvailable = 7,
  kDoubleFault = 8,
  kInvalidTss = 10,
  kSegmentNotPresent = 11,
  kStackFault = 12,
  kGeneralProtection = 13,
  kPageFault = 14,
  kX87Error = 16,
  kAlignmentCheck = 17,
  kSimdError = 19,
};

/// An exception that an instruction raised and that is still to be delivered to the guest.
struct Exception {
  Vector vector = Vector::kInvalidOpcode;
  bool has_error_code = false;
  u32 error_code = 0;
  u32 address = 0;  ///< the linear address, for a page fault
};

/// Page-fault error code (Intel SDM Vol. 3A, 4.7).
enum PageFaultBit : u32 { kPfPresent = 1, kPfWrite = 2, kPfUser = 4, kPfReservedBit = 8 };

/// Executors that keep something derived from guest memory or page tables learn here when it is no
/// longer true. All calls come on the machine's thread, in the middle of an instruction.
class CpuObserver {
 public:
  virtual ~CpuObserver() = default;
  /// `page` is written and held decoded code: drop what was made from it.
  virtual void on_code_written(u32 page) = 0;
  /// The right to write `page` is gone.
  virtual void on_write_right_lost(u32 /*page*/) {}
  /// `page` lies elsewhere in the host's memory; all of them do, and no right to write is left.
  virtual void on_page_moved(u32 /*page*/) {}
  virtual void on_all_moved() {}
  /// All translations may have changed (MOV CR3 and the like); one page's (INVLPG).
  virtual void on_flush() {}
  virtual void on_flush_page(LinearAddress /*linear*/) {}
};

/// Thread rule: confined to the machine's thread, but for request_attention().
class Cpu final : public GuestRam::Observer {
 public:
  Cpu(GuestRam& ram, PortBus& ports, InterruptController& interrupts, TscSource& tsc);
  ~Cpu() override;
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  TranslatorContext context;  ///< directly ahead of the state
  CpuState state;

  GuestRam& ram() { return ram_; }
  PortBus& ports() { return ports_; }
  InterruptController& interrupts() { return interrupts_; }
  [[nodiscard]] u64 read_tsc() { return tsc_.ticks() + state.tsc_offset; }

  // --- operands in memory; `offset` is relative to the segment
  // -------------------------------------
  /// The effective address of the instruction's memory operand, without the segment's base.
  [[nodiscard]] u32 effective_address(const Insn* insn) const {
    return state.gpr[insn->base] + (state.gpr[insn->index] << insn->scale) + insn->disp;
  }
  template <class T>
  [[nodiscard]] bool load(const Insn* insn, u8 segment, u32 offset, T& value);
  template <class T>
  [[nodiscard]] bool store(const Insn* insn, u8 segment, u32 offset, T value);
  /// Loads a value that the same instruction will store back: checks the right to write first, so
  /// that store_back() at the same place can not fail.
  template <class T>
  [[nodiscard]] bool load_for_update(const Insn* insn, u8 segment, u32 offset, T& value);
  template <class T>
  void store_back(const Insn* insn, u8 segment, u32 offset, T value);
  /// The instruction's own memory operand.
  template <class T>
  [[nodiscard]] bool load(const Insn* insn, T& value) {
    return load(insn, insn->segment, effective_address(insn), value);
  }
  template <class T>
  [[nodiscard]] bool store(const Insn* insn, T value) {
    return store(insn, insn->segment, effective_address(insn), value);
  }
  /// Checks that `size` bytes may be read (or written) without touching them: for instructions that
  /// store more than one item and must not stop half-way.
  [[nodiscard]] bool probe(const Insn* insn, u8 segment, u32 offset, u32 size, bool write);
  /// Copies a block of `size` bytes (up to 4096), page by page, all or nothing.
  [[nodiscard]] bool load_bytes(const Insn* insn, u8 segment, u32 offset, base::Bytes out);
  [[nodiscard]] bool store_bytes(const Insn* insn, u8 segment, u32 offset, base::ConstBytes from);

  // --- the stack (SS:ESP, 4-byte or 2-byte slots). push changes ESP only when the store succeeded
  // ----
  template <class T>
  [[nodiscard]] bool push(const Insn* insn, T value) {
    const u32 esp = state.gpr[kEsp] - static_cast<u32>(sizeof(T));
    if (!store(insn, kSs, esp, value)) return false;
    state.gpr[kEsp] = esp;
    return true;
  }

  // --- linear memory with rights of the system (descriptor tables, TSS, exception frames)
  // -----------
  /// Accesses of the processor itself: supervisor rights whatever CPL is. A fault becomes pending.
  template <class T>
  [[nodiscard]] bool load_system(LinearAddress linear, T& value);
  template <class T>
  [[nodiscard]] bool store_system(LinearAddress linear, T value);

  // --- exceptions
  // ----------------------------------------------------------------------------------
  /// Makes an exception pending with eip at `insn` (a fault) and returns null, so that a handler
  /// can `return cpu.raise(insn, ...)`.
  const Insn* raise(const Insn* insn, Vector vector);
  const Insn* raise(const Insn* insn, Vector vector, u32 error_code);
  /// The same for code that has no instruction at hand: eip is left alone. Always returns false.
  bool raise_system(Vector vector, u32 error_code);
  bool raise_system(Vector vector);
  [[nodiscard]] bool has_exception() const { return exception_.has_value(); }
  [[nodiscard]] const Exception& exception() const { return *exception_; }
  void clear_exception() { exception_.reset(); }

  // --- position
  // ------------------------------------------------------------------------------------
  [[nodiscard]] u32 eip_of(const Insn* insn) const { return code_base_ + insn->offset; }
  [[nodiscard]] u32 next_eip(const Insn* insn) const {
    return code_base_ + insn->offset + insn->length;
  }
  /// Ends the block with eip behind the instruction (for those that change how the next one runs).
  const Insn* end_block(const Insn* insn) {
    state.eip = next_eip(insn);
    return nullptr;
  }
  /// Ends the block ahead of the instruction, which is then run (again): a long string operation
  /// that lets interrupts in, or code that was rewritten. It is not counted this time.
  const Insn* restart(const Insn* insn) {
    state.eip = eip_of(insn);
    restarted_ = true;
    return nullptr;
  }
  /// True if the block that just ended did so early: an exception is pending, or restart() was
  /// called.
  [[nodiscard]] bool left_early() const { return has_exception() || restarted_; }
  void take_restarted() { restarted_ = false; }
  /// True if CS's limit lets execution go on at `eip`.
  [[nodiscard]] bool can_jump(u32 eip) const {
    return code_flat_ || eip <= state.segment[kCs].limit;
  }
  /// Ends the block at `eip`. In flat code no check is needed; else CS's limit gives #GP(0).
  const Insn* jump(const Insn* insn, u32 eip) {
    if (!code_flat_ && eip > state.segment[kCs].limit) [[unlikely]] {
      return raise(insn, Vector::kGeneralProtection, 0);
    }
    state.eip = eip;
    return nullptr;
  }

  // --- paging
  // --------------------------------------------------------------------------------------
  enum class Access : u8 { kRead, kWrite, kExecute };
  /// Walks the page tables (or passes through with CR0.PG clear), sets accessed and dirty bits.
  /// nullopt and a pending page fault when the access is not allowed.
  std::optional<PhysicalAddress> translate(LinearAddress linear, Access access, bool user);
  /// A translation that changes nothing and raises nothing: for debuggers.
  [[nodiscard]] std::optional<PhysicalAddress> peek(LinearAddress linear) const;
  void flush_tlb();
  void flush_tlb_page(LinearAddress linear);
  /// Counts up whenever a translation from linear to physical may have changed (both flushes do
  /// it), so that executors can tag what they remember of it.
  [[nodiscard]] u32 code_generation() const { return code_generation_; }
  void new_code_generation() { ++code_generation_; }
  /// For an executor that has just forgotten all that it had tagged: tags have fewer bits than the
  /// count.
  void restart_code_generations(u32 at = 1) { code_generation_ = at; }
  /// The host bytes from `offset` to the end of its page when the TLB has them, else null. Never
  /// faults.
  [[nodiscard]] const u8* cached_for_read(u8 segment, u32 offset) const {
    if ((checked_segments_ >> segment & 1) != 0) return nullptr;
    return read_tlb_->find(offset + state.segment[segment].base);
  }
  [[nodiscard]] u8* cached_for_write(u8 segment, u32 offset) const {
    if ((checked_segments_ >> segment & 1) != 0) return nullptr;
    return write_tlb_->find(offset + state.segment[segment].base);
  }
  /// Call after a change of CPL, CR0, EFLAGS.AC or DR7: chooses the TLBs in force.
  void mode_changed();
  /// Call after a change of a segment register's hidden part.
  void segment_changed(u8 segment);
  /// Call after `state` was written as a whole (boot, restored machine): derives everything again.
  void state_replaced();

  // --- breakpoints (Intel SDM Vol. 3B, 17.2)
  // -------------------------------------------------------
  /// DR6 bits of the instruction breakpoints that are set at `linear`; 0 nearly always.
  [[nodiscard]] u32 instruction_breakpoints(LinearAddress linear) const;
  /// True if a handler was entered since the last call. An instruction that does so (INT n) cancels
  /// the single-step trap that it would have ended with: TF is clear by then.
  bool take_handler_entered() { return std::exchange(handler_entered_, false); }
  /// DR6 bits of the data breakpoints that the last instruction touched; forgets them.
  u32 take_data_breakpoints() { return std::exchange(data_breakpoints_hit_, 0); }

  // --- system operations (vm/cpu/segments.cc, interrupts.cc, control.cc)
  // ----------------------------
  /// MOV/POP/Lxx to a data segment register or SS, with all checks. False: exception pending.
  [[nodiscard]] bool load_segment(u8 segment, u16 selector);
  /// CALL/JMP/RET far, IRET. On success CS, EIP (and SS:ESP) are set. `insn` gives the return
  /// address.
  const Insn* far_jump(const Insn* insn, u16 selector, u32 offset);
  const Insn* far_call(const Insn* insn, u16 selector, u32 offset, unsigned operand_size);
  const Insn* far_return(const Insn* insn, u32 release_bytes, unsigned operand_size);
  const Insn* interrupt_return(const Insn* insn, unsigned operand_size);
  /// Enters the handler of a vector: a software INT (checks gate DPL), an exception or an
  /// interrupt.
  enum class EventKind : u8 { kSoftware, kException, kExternal };
  /// False: delivery itself raised (exception pending). Nothing else of the state has changed then.
  [[nodiscard]] bool enter_handler(u8 vector, EventKind kind, std::optional<u32> error_code);
  /// Delivers the pending exception, through double fault. False: triple fault, the machine resets.
  [[nodiscard]] bool deliver_exception();
  const Insn* sysenter(const Insn* insn);
  const Insn* sysexit(const Insn* insn);
  /// Sets the parts of EFLAGS that POPF/IRET may change at this CPL and IOPL.
  void write_eflags(u32 value, u32 changeable);
  /// Power-on state in 32-bit protected mode is made by boot code, not here: this is a plain reset.
  void reset();

  // --- code cache
  // ----------------------------------------------------------------------------------
  void on_write_right_lost(u32 page) override;
  void on_code_written(u32 page) override;
  void on_page_moved(u32 page) override;
  void on_all_moved() override;
  /// Not owned. At most two observers: one an executor.
  void add_observer(CpuObserver* observer);
  void remove_observer(const CpuObserver* observer);

  // --- attention
  // -----------------------------------------------------------------------------------
  /// Makes the executor leave its loop at the next block end. Any thread.
  void request_attention() { context.attention.store(1, std::memory_order_relaxed); }
  void clear_attention() { context.attention.store(0, std::memory_order_relaxed); }
  [[nodiscard]] bool attention_requested() const {
    return context.attention.load(std::memory_order_relaxed) != 0;
  }
  /// The INTR line, driven by the interrupt controller on the machine's thread.
  void set_interrupt_line(bool asserted) { context.interrupt_line = asserted ? 1 : 0; }
  [[nodiscard]] bool interrupt_line() const { return context.interrupt_line != 0; }
  /// True if anything but the next block may have to be looked at. One branch for all, as it is
  /// asked between any two blocks.
  [[nodiscard]] bool has_events() const {
    return (static_cast<unsigned>(attention_requested()) |
            static_cast<unsigned>(context.interrupt_line) | static_cast<unsigned>(state.halted) |
            static_cast<unsigned>(state.interrupt_shadow) | static_cast<unsigned>(retired_code_)) !=
           0;
  }
  /// The executor retired code that it frees between two blocks.
  void note_retired_code() { retired_code_ = true; }
  bool take_retired_code() { return std::exchange(retired_code_, false); }

  /// Address of the page of the code in execution, less CS's base: eip = code_base + offset in
  /// page.
  void set_code_base(u32 code_base) { code_base_ = code_base; }
  /// True: TF, AC or debug registers are in force, or CS is not flat; run instruction by
  /// instruction.
  [[nodiscard]] bool slow_mode() const { return slow_mode_; }
  /// Bit set: accesses through that segment register are checked against its limit and rights.
  [[nodiscard]] u8 checked_segments() const { return checked_segments_; }

 private:
  template <class T>
  bool load_slow(const Insn* insn, u8 segment, u32 offset, T& value);
  template <class T>
  bool store_slow(const Insn* insn, u8 segment, u32 offset, T value);
  /// Segment rights and limit; then alignment when AC is in force. Raises at `insn`.
  bool check_segment(const Insn* insn, u8 segment, u32 offset, u32 size, bool write);
  /// All that load_slow and store_slow check before paging.
  bool check_access(const Insn* insn, u8 segment, u32 offset, u32 size, bool write);
  bool check_alignment(const Insn* insn, LinearAddress linear, u32 size);
  void note_data_breakpoints(LinearAddress linear, u32 size, bool write);
  /// The host address of one byte (and the rest of its page) through the TLB; null in `host` where
  /// there is no RAM. False: a page fault is pending.
  bool resolve(LinearAddress linear, bool write, bool user, u8*& host) {
    host = tlb_[user][write].find(linear);
    return host != nullptr || resolve_by_walk(linear, write, user, host);
  }
  bool resolve_by_walk(LinearAddress linear, bool write, bool user, u8*& host);
  /// Up to a page of bytes, all or nothing. False: a page fault is pending.
  bool copy_linear(LinearAddress linear, u8* bytes, u32 size, bool write, bool user);
  std::optional<PhysicalAddress> page_fault(LinearAddress linear, Access access, bool user,
                                            u32 error_bits);
  void forget_host_pages();
  [[nodiscard]] u32 read_paging_entry(PhysicalAddress address) const;
  void mark_paging_entry(PhysicalAddress address, u32 entry, u32 bits);
  [[nodiscard]] bool paging_allows(u32 entry, bool write, bool user) const;

  // Parts of far transfers (vm/cpu/far_transfer.cc, interrupts.cc).
  struct Transfer;
  struct InnerStack;
  bool jump_to(u16 selector, u32 offset);
  bool call_to(const Insn* insn, u16 selector, u32 offset, unsigned operand_size);
  bool call_inner(const Insn* insn, Transfer& target);
  bool mark_target_accessed(Transfer& target);
  bool return_to(const Insn* insn, u32 release_bytes, unsigned operand_size);
  bool interrupt_return_to(const Insn* insn, unsigned operand_size);
  bool return_outer(const Insn* insn, Transfer& target, u32 stack_offset, u32 release_bytes,
                    unsigned operand_size);
  std::optional<Transfer> resolve_target(u16 selector, u32 offset, bool call);
  std::optional<Transfer> resolve_handler(u8 vector, bool software, u32 external);
  std::optional<Transfer> check_return_code(u16 selector, u32 eip);
  std::optional<InnerStack> inner_stack(unsigned new_cpl, u32 external);
  bool push_frame(const Segment& stack, u32 esp, std::span<const u32> frame, bool user,
                  u32 stack_error);
  bool load_stack_words(const Insn* insn, u32 offset, unsigned word_size, std::span<u32> words);
  void enter_code(const Segment& code, unsigned cpl, u32 eip);
  void clear_inaccessible_segments();
  [[nodiscard]] bool user_mode() const { return state.cpl == 3; }

  GuestRam& ram_;
  PortBus& ports_;
  InterruptController& interrupts_;
  TscSource& tsc_;

  Tlb* read_tlb_;  ///< in force: of supervisor or user mode, or always_empty_
  Tlb* write_tlb_;
  u32 code_base_ = 0;
  u32 code_generation_ = 1;
  u8 checked_segments_ = 0x3F;  ///< bit set: accesses through it need check_segment()
  bool code_flat_ = false;
  bool slow_mode_ = false;
  bool check_alignment_ = false;  ///< CR0.AM, EFLAGS.AC and CPL 3 are all there
  bool watch_data_ = false;       ///< a data breakpoint is armed
  u32 data_breakpoints_hit_ = 0;
  bool handler_entered_ = false;
  bool restarted_ = false;
  bool retired_code_ = false;
  std::optional<Exception> exception_;

  std::array<CpuObserver*, 2> observers_{};

  Tlb tlb_[2][2];  ///< [user][write]
  Tlb always_empty_;
  std::bitset<1024> large_pages_;  ///< 4 MiB regions of which the TLBs may hold 4 KiB pieces
  /// Linear pages, by the low 12 bits of their number, from which code was fetched in this
  /// generation.
  std::bitset<4096> code_pages_;
};

/// Goes straight on: the end of every handler that neither branches nor faults. A tail call, so
/// that each handler has an indirect jump of its own for the branch predictor to learn; a block is
/// short enough (64 instructions) for builds in which the compiler makes it a real call.
inline const Insn* next(Cpu& cpu, const Insn* insn) {
  return insn[1].handler(cpu, insn + 1);
}

template <class T>
inline bool Cpu::load(const Insn* insn, u8 segment, u32 offset, T& value) {
  const u32 linear = offset + state.segment[segment].base;
  if ((checked_segments_ >> segment & 1) == 0 && (linear & kPageMask) <= kPageSize - sizeof(T))
      [[likely]] {
    if (const u8* host = read_tlb_->find(linear)) [[likely]] {
      value = base::load_le<T>(host);
      return true;
    }
  }
  return load_slow(insn, segment, offset, value);
}

template <class T>
inline bool Cpu::store(const Insn* insn, u8 segment, u32 offset, T value) {
  const u32 linear = offset + state.segment[segment].base;
  if ((checked_segments_ >> segment & 1) == 0 && (linear & kPageMask) <= kPageSize - sizeof(T))
      [[likely]] {
    if (u8* host = write_tlb_->find(linear)) [[likely]] {
      base::store_le(host, value);
      return true;
    }
  }
  return store_slow(insn, segment, offset, value);
}

template <class T>
inline bool Cpu::load_for_update(const Insn* insn, u8 segment, u32 offset, T& value) {
  const u32 linear = offset + state.segment[segment].base;
  if ((checked_segments_ >> segment & 1) == 0 && (linear & kPageMask) <= kPageSize - sizeof(T))
      [[likely]] {
    if (const u8* host = write_tlb_->find(linear)) [[likely]] {
      value = base::load_le<T>(host);
      return true;
    }
  }
  return probe(insn, segment, offset, sizeof(T), true) && load_slow(insn, segment, offset, value);
}

template <class T>
inline void Cpu::store_back(const Insn* insn, u8 segment, u32 offset, T value) {
  const bool stored = store(insn, segment, offset, value);
  SG_DCHECK(stored, "a probed store failed");
  static_cast<void>(stored);
}

}  // namespace snowglobe::vm
