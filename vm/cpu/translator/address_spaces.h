// vm/cpu/translator/address_spaces.h - one window for kernel mode and one for each address space of
// user mode, kept in step with the guest's page tables as a TLB would be.
//
// A window maps what the page tables said when it was filled. On a flush (MOV CR3) it is compared
// with them, and only what changed is dropped.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/memory/window.h"

#include <array>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

namespace snowglobe::vm {

/// Which physical page of code each linear page of an address space is known to be: page + 1, or 0.
/// Translated code compares with it when it enters a page.
class CodeTable {
 public:
  static base::Result<std::unique_ptr<CodeTable>> create();
  ~CodeTable();
  CodeTable(const CodeTable&) = delete;
  CodeTable& operator=(const CodeTable&) = delete;

  [[nodiscard]] u32* entries() const { return entries_; }

 private:
  explicit CodeTable(u32* entries) : entries_(entries) {}
  u32* entries_;
};

/// Where the host's CALL and RET keep return addresses for the guest's: RSP points here while
/// translated code runs, so that the processor predicts returns. What lies here is only a guess: a
/// return site compares. Guarded on both sides; the oldest word leads to a stub.
class ReturnStack {
 public:
  static base::Result<std::unique_ptr<ReturnStack>> create();
  ~ReturnStack();
  ReturnStack(const ReturnStack&) = delete;
  ReturnStack& operator=(const ReturnStack&) = delete;

  /// Empties it: the next return goes to `underflow`.
  void reset(u64 underflow);
  [[nodiscard]] bool guards(u64 address) const;

  u64 pointer = 0;  ///< RSP when it was left

 private:
  explicit ReturnStack(u8* memory) : memory_(memory) {}
  u8* memory_;
};

struct AddressSpace {
  /// A page table (or a large page) from which the window was filled, as it was then.
  struct TableCopy {
    using Entries = std::array<u32, 1024>;
    u32 directory_entry = 0;
    std::unique_ptr<Entries> entries;  ///< null: of a large page
  };

  std::unique_ptr<Window> window;
  std::unique_ptr<CodeTable> code;
  std::unique_ptr<ReturnStack> returns;
  std::unordered_map<u32, std::unique_ptr<TableCopy>> tables;  ///< by directory index
  bool user = false;
  u64 last_entered = 0;
  u32 paging_mode = 0;  ///< bits of CR0 and CR4 that the rights of what is mapped depend on
};

/// Thread rule: confined to the machine's thread.
class AddressSpaces {
 public:
  /// Errors: those of Window::create.
  static base::Result<std::unique_ptr<AddressSpaces>> create(
      Cpu& cpu, MappingBudget& budget = MappingBudget::process());

  [[nodiscard]] AddressSpace& kernel() { return *kernel_; }
  /// That of user mode under the present CR3; made if need be. Null if there is no room for a
  /// window.
  AddressSpace* user();
  /// Translated code runs in this one until another is named: it is never evicted.
  void enter(const AddressSpace& space) { in_force_ = &space; }

  enum class Outcome : u8 {
    kMapped,     ///< the access will succeed now
    kException,  ///< a page fault is pending in the Cpu
    kElsewhere,  ///< allowed, but not to be mapped here: not RAM, or a page of the other view
    kNoRoom,     ///< the budget is used up even after eviction
  };
  /// After an access at `linear` through `space` faulted: looks at the page tables, and maps the
  /// run of pages around if they allow it. `user`: rights of user mode (else of the supervisor).
  Outcome fill(AddressSpace& space, LinearAddress linear, bool write, bool user);
  /// Enters the page of `linear` if the page tables hold it, without raising anything.
  void prefill(AddressSpace& space, LinearAddress linear);

  /// Tells translated code that `linear_page` is this physical page, until that changes.
  void note_code(AddressSpace& space, u32 linear_page, u32 physical_page);

  /// Called when code of a space is no longer at the linear page it was known at: with the physical
  /// page.
  using CodeListener = std::function<void(AddressSpace&, u32 page)>;
  void set_code_listener(CodeListener listener) { code_listener_ = std::move(listener); }

  /// Drops what the page tables say no more. Call for the spaces in force after a flush.
  void revalidate(AddressSpace& space);
  void flush_page(AddressSpace& space, LinearAddress linear);
  void on_write_right_lost(u32 page);
  void on_page_moved(u32 page);
  void on_all_moved();
  /// Empties the return stacks, of new spaces as well: they lead to code that goes away.
  void reset_returns(u64 underflow);
  /// Gives back all windows but that of the present CR3.
  void evict_others();

  struct Statistics {
    u64 fills = 0, pages_filled = 0, prefills = 0, drops = 0, revalidations = 0, evictions = 0;
  };
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }
  [[nodiscard]] u64 mappings() const;

 private:
  AddressSpaces(Cpu& cpu, const MappingBudget& budget) : cpu_(cpu), budget_(budget.share()) {}
  base::Result<std::unique_ptr<AddressSpace>> make_space(bool user);

  struct Entry {  ///< what the page tables say of a page, rights of both levels joined
    u32 physical_page = 0;
    bool present = false, writable = false, user = false, accessed = false, dirty = false;
    bool operator==(const Entry&) const = default;
  };
  [[nodiscard]] u32 read_entry(PhysicalAddress address) const;
  [[nodiscard]] Entry entry_of(u32 directory_entry, u32 table_entry, u32 linear_page) const;
  [[nodiscard]] Entry look_up(u32 linear_page) const;
  [[nodiscard]] bool belongs(const AddressSpace& space, const Entry& entry) const;
  [[nodiscard]] bool maps_writable(const Entry& entry, bool user) const;
  [[nodiscard]] bool is_large(u32 directory_entry) const;
  [[nodiscard]] u32 directory_entry_of(u32 index) const;
  static std::pair<u32, u32> unmapped_around(const AddressSpace& space, u32 page);
  bool map_run(AddressSpace& space, u32 linear_page, const Entry& entry);
  [[nodiscard]] u32 paging_mode() const;
  AddressSpace::TableCopy& table_of(AddressSpace& space, u32 index);
  void remember(AddressSpace& space, u32 first, u32 count);
  void revalidate_table(AddressSpace& space, u32 index, AddressSpace::TableCopy& copy);
  void drop(AddressSpace& space, u32 first, u32 count);
  bool evict_one();
  void forget(AddressSpace& space);

  Cpu& cpu_;
  MappingBudget budget_;  ///< this machine's share
  std::unique_ptr<AddressSpace> kernel_;
  std::unordered_map<u32, std::unique_ptr<AddressSpace>> users_;  ///< by CR3's page
  u64 entered_ = 0;
  const AddressSpace* in_force_ = nullptr;
  u64 underflow_ = 0;
  CodeListener code_listener_;
  Statistics statistics_;
};

}  // namespace snowglobe::vm
