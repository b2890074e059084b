// vm/cpu/paging.cc - 32-bit paging (Intel SDM Vol. 3A, 4.3): the walk, page faults, and the TLBs.
#include "vm/cpu/cpu.h"

namespace snowglobe::vm {
namespace {

//  31                    22 21                  12 11   9 8 7 6 5 4 3 2 1 0
//  | page table of 4 KiB pages: its frame          |      |   S   A     U W P |   PDE
//  | 4 MiB page: its frame  | reserved         |PAT|      | G 1 D A     U W P |   PDE with PS
//  | frame                                         |      | G P D A     U W P |   PTE
enum PagingBit : u32 {
  kPresent = 1u << 0,
  kWritable = 1u << 1,
  kUser = 1u << 2,
  kAccessed = 1u << 5,
  kDirty = 1u << 6,
  kLarge = 1u << 7,  ///< in a PDE, with CR4.PSE
  kPat = 1u << 7,    ///< in a PTE; reserved, for PAT is not granted
};
// Neither PSE-36 nor PAT is granted (bits 13-21 and bit 12).
constexpr u32 kLargeReserved = 0x003FF000;
constexpr u32 kFrameMask = ~kPageMask;
constexpr u32 kLargeMask = 0x003FFFFF;

}  // namespace

u32 Cpu::read_paging_entry(PhysicalAddress address) const {
  if (!ram_.contains(address, 4)) [[unlikely]]
    return ~0u;
  return base::load_le<u32>(ram_.host_page(address >> kPageShift) + (address & kPageMask));
}

void Cpu::mark_paging_entry(PhysicalAddress address, u32 entry, u32 bits) {
  if ((entry & bits) == bits) return;
  const base::Bytes bytes = ram_.write(address, 4);
  if (!bytes.empty()) base::store_le(bytes.data(), entry | bits);
}

// `entry` is the AND of all levels. Intel SDM Vol. 3A, 4.6.1.
bool Cpu::paging_allows(u32 entry, bool write, bool user) const {
  if (user) return (entry & kUser) != 0 && (!write || (entry & kWritable) != 0);
  return !write || (entry & kWritable) != 0 || (state.cr0 & kCr0Wp) == 0;
}

std::optional<PhysicalAddress> Cpu::translate(LinearAddress linear, Access access, bool user) {
  if ((state.cr0 & kCr0Pg) == 0) return linear;
  const bool write = access == Access::kWrite;
  if (access == Access::kExecute) code_pages_.set((linear >> kPageShift) % code_pages_.size());
  const bool page_size_extensions = (state.cr4 & kCr4Pse) != 0;
  const u32 marks = kAccessed | (write ? kDirty : 0u);

  const PhysicalAddress pde_address = (state.cr3 & kFrameMask) | (linear >> 22) << 2;
  const u32 pde = read_paging_entry(pde_address);
  if ((pde & kPresent) == 0) return page_fault(linear, access, user, 0);
  if ((pde & kLarge) != 0 && page_size_extensions) {
    if ((pde & kLargeReserved) != 0) {
      return page_fault(linear, access, user, kPfPresent | kPfReservedBit);
    }
    if (!paging_allows(pde, write, user)) return page_fault(linear, access, user, kPfPresent);
    mark_paging_entry(pde_address, pde, marks);
    large_pages_.set(linear >> 22);
    return (pde & ~kLargeMask) | (linear & kLargeMask);
  }

  const PhysicalAddress pte_address = (pde & kFrameMask) | (linear >> 10 & 0xFFC);
  const u32 pte = read_paging_entry(pte_address);
  if ((pte & kPresent) == 0) return page_fault(linear, access, user, 0);
  // Reserved bits exist only with CR4.PSE (Intel SDM Vol. 3A, 4.3).
  if ((pte & kPat) != 0 && page_size_extensions) {
    return page_fault(linear, access, user, kPfPresent | kPfReservedBit);
  }
  if (!paging_allows(pde & pte, write, user)) return page_fault(linear, access, user, kPfPresent);
  mark_paging_entry(pde_address, pde, kAccessed);
  mark_paging_entry(pte_address, pte, marks);
  return (pte & kFrameMask) | (linear & kPageMask);
}

// Intel SDM Vol. 3A, 4.7. Always returns nullopt, for the caller to return.
std::optional<PhysicalAddress> Cpu::page_fault(LinearAddress linear, Access access, bool user,
                                               u32 error_bits) {
  const u32 error_code =
      error_bits | (access == Access::kWrite ? kPfWrite : 0u) | (user ? kPfUser : 0u);
  exception_ = Exception{Vector::kPageFault, true, error_code, linear};
  data_breakpoints_hit_ = 0;
  // The fault proves that no TLB may hold the translation (Intel SDM Vol. 3A, 4.10.4.1), and ours
  // does not: it was asked first.
  return std::nullopt;
}

std::optional<PhysicalAddress> Cpu::peek(LinearAddress linear) const {
  if ((state.cr0 & kCr0Pg) == 0) return linear;
  const u32 pde = read_paging_entry((state.cr3 & kFrameMask) | (linear >> 22) << 2);
  if ((pde & kPresent) == 0) return std::nullopt;
  if ((pde & kLarge) != 0 && (state.cr4 & kCr4Pse) != 0) {
    return (pde & ~kLargeMask) | (linear & kLargeMask);
  }
  const u32 pte = read_paging_entry((pde & kFrameMask) | (linear >> 10 & 0xFFC));
  if ((pte & kPresent) == 0) return std::nullopt;
  return (pte & kFrameMask) | (linear & kPageMask);
}

bool Cpu::resolve_by_walk(LinearAddress linear, bool write, bool user, u8*& host) {
  const auto physical = translate(linear, write ? Access::kWrite : Access::kRead, user);
  if (!physical) return false;
  const u32 page = *physical >> kPageShift;
  if (page >= ram_.page_count()) return true;
  if (write) ram_.acquire_write(page);
  u8* const host_page = ram_.host_page(page);
  tlb_[user][write].insert(linear, host_page);
  host = host_page + (linear & kPageMask);
  return true;
}

// Global pages go, too: a TLB may forget whatever it likes (Intel SDM Vol. 3A, 4.10.4).
void Cpu::flush_tlb() {
  forget_host_pages();
  large_pages_.reset();
  code_pages_.reset();
  new_code_generation();
  for (CpuObserver* observer : observers_)
    if (observer != nullptr) observer->on_flush();
}

void Cpu::flush_tlb_page(LinearAddress linear) {
  if (large_pages_.test(linear >> 22)) {
    flush_tlb();
    return;
  }
  for (auto& of_mode : tlb_) {
    for (Tlb& tlb : of_mode)
      tlb.flush_page(linear);
  }
  for (CpuObserver* observer : observers_)
    if (observer != nullptr) observer->on_flush_page(linear);
  // Most pages hold data: then what executors remember of code is still true.
  if (!code_pages_.test((linear >> kPageShift) % code_pages_.size())) return;
  code_pages_.reset();
  new_code_generation();
}

}  // namespace snowglobe::vm
