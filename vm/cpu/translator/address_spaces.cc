// vm/cpu/translator/address_spaces.cc - filling windows run by run, and comparing them with the
// page tables they came from.
#include "vm/cpu/translator/address_spaces.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <utility>

namespace snowglobe::vm {
namespace {

// Intel SDM Vol. 3A, 4.3.
constexpr u32 kPresent = 1u << 0;
constexpr u32 kWritable = 1u << 1;
constexpr u32 kUser = 1u << 2;
constexpr u32 kAccessed = 1u << 5;
constexpr u32 kDirty = 1u << 6;
constexpr u32 kLarge = 1u << 7;

// True if an entry changed in more than the bits that the processor sets itself.
bool says_more_than_marks(u32 before, u32 now) {
  return ((now ^ before) & ~(now & (kAccessed | kDirty))) != 0;
}

constexpr u32 kTablePages = 1024;  // of which a page table, or a large page, tells
constexpr std::size_t kCodeTableBytes = std::size_t{1} << 22;
constexpr std::size_t kReturnStackBytes = std::size_t{256} * 1024;
constexpr std::size_t kReturnStackMapped = kReturnStackBytes + std::size_t{2} * kPageSize;
constexpr std::size_t kMaxWindows = 96;
constexpr u32 kMaxRun = 256;        // pages mapped around a fault
constexpr u32 kPopulateLimit = 32;  // longer runs are entered by the host as they are touched

}  // namespace

base::Result<std::unique_ptr<CodeTable>> CodeTable::create() {
  void* memory = ::mmap(nullptr, kCodeTableBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return base::Error{base::ErrorCode::kResourceExhausted, "no memory for a table of code pages"};
  }
  ::madvise(memory, kCodeTableBytes, MADV_DONTDUMP);
  return std::unique_ptr<CodeTable>(new CodeTable(static_cast<u32*>(memory)));
}

CodeTable::~CodeTable() {
  ::munmap(entries_, kCodeTableBytes);
}

base::Result<std::unique_ptr<ReturnStack>> ReturnStack::create() {
  void* memory = ::mmap(nullptr, kReturnStackMapped, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return base::Error{base::ErrorCode::kResourceExhausted, "no memory for a stack of returns"};
  }
  std::unique_ptr<ReturnStack> stack(new ReturnStack(static_cast<u8*>(memory)));
  if (::mprotect(stack->memory_ + kPageSize, kReturnStackBytes, PROT_READ | PROT_WRITE) != 0) {
    return base::Error{base::ErrorCode::kResourceExhausted, "no memory for a stack of returns"};
  }
  return stack;
}

ReturnStack::~ReturnStack() {
  ::munmap(memory_, kReturnStackMapped);
}

void ReturnStack::reset(u64 underflow) {
  u8* const last = memory_ + kPageSize + kReturnStackBytes - sizeof(u64);
  base::store_le(last, underflow);
  pointer = reinterpret_cast<u64>(last);
}

bool ReturnStack::guards(u64 address) const {
  const u64 begin = reinterpret_cast<u64>(memory_);
  return address - begin < kPageSize ||
         address - (begin + kPageSize + kReturnStackBytes) < kPageSize;
}

base::Result<std::unique_ptr<AddressSpace>> AddressSpaces::make_space(bool user) {
  auto window = Window::create(budget_);
  if (!window) return window.error();
  auto code = CodeTable::create();
  if (!code) return code.error();
  auto space = std::make_unique<AddressSpace>();
  space->window = std::move(window).value();
  space->code = std::move(code).value();
  auto returns = ReturnStack::create();
  if (!returns) return returns.error();
  space->returns = std::move(returns).value();
  space->returns->reset(underflow_);
  space->user = user;
  space->paging_mode = paging_mode();
  return space;
}

base::Result<std::unique_ptr<AddressSpaces>> AddressSpaces::create(Cpu& cpu,
                                                                   MappingBudget& budget) {
  std::unique_ptr<AddressSpaces> spaces(new AddressSpaces(cpu, budget));
  auto kernel = spaces->make_space(false);
  if (!kernel) return kernel.error();
  spaces->kernel_ = std::move(kernel).value();
  return spaces;
}

AddressSpace* AddressSpaces::user() {
  if (budget_.owes()) evict_one();  // one at each change of address space, until it is even
  const u32 key = cpu_.state.cr3 >> kPageShift;
  auto found = users_.find(key);
  if (found == users_.end()) {
    if (users_.size() >= kMaxWindows) evict_one();
    auto made = make_space(true);
    if (!made) return nullptr;
    found = users_.emplace(key, std::move(made).value()).first;
  }
  AddressSpace* const space = found->second.get();
  space->last_entered = ++entered_;
  return space;
}

u64 AddressSpaces::mappings() const {
  u64 total = kernel_->window->mappings();
  for (const auto& [key, space] : users_)
    total += space->window->mappings();
  return total;
}

// Whole windows, least recently entered first (mapping-budget figures: a refill costs about 1 ms).
// Those of the present CR3 and of what runs stay.
bool AddressSpaces::evict_one() {
  auto oldest = users_.end();
  for (auto i = users_.begin(); i != users_.end(); ++i) {
    if (i->second.get() == in_force_ || i->first == cpu_.state.cr3 >> kPageShift) continue;
    if (oldest == users_.end() || i->second->last_entered < oldest->second->last_entered)
      oldest = i;
  }
  if (oldest == users_.end()) return false;
  users_.erase(oldest);
  ++statistics_.evictions;
  return true;
}

void AddressSpaces::reset_returns(u64 underflow) {
  underflow_ = underflow;
  kernel_->returns->reset(underflow);
  for (auto& [key, space] : users_)
    space->returns->reset(underflow);
}

void AddressSpaces::forget(AddressSpace& space) {
  for (const auto& [index, copy] : space.tables)
    drop(space, index << 10, kTablePages);
  space.tables.clear();
}

void AddressSpaces::evict_others() {
  while (evict_one()) {
  }
}

// --- page tables --------------------------------------------------------------------------------

u32 AddressSpaces::read_entry(PhysicalAddress address) const {
  const GuestRam& ram = cpu_.ram();
  if (!ram.contains(address, 4)) return 0;
  return base::load_le<u32>(ram.host_page(address >> kPageShift) + (address & kPageMask));
}

u32 AddressSpaces::directory_entry_of(u32 index) const {
  return read_entry((cpu_.state.cr3 & ~kPageMask) | index << 2);
}

bool AddressSpaces::is_large(u32 directory_entry) const {
  return (directory_entry & kLarge) != 0 && (cpu_.state.cr4 & kCr4Pse) != 0;
}

// Changes of these change rights or meanings without a change of the page tables.
u32 AddressSpaces::paging_mode() const {
  return (cpu_.state.cr0 & (kCr0Pg | kCr0Wp)) | (cpu_.state.cr4 & kCr4Pse);
}

AddressSpaces::Entry AddressSpaces::entry_of(u32 directory_entry, u32 table_entry,
                                             u32 linear_page) const {
  Entry entry;
  if ((directory_entry & kPresent) == 0) return entry;
  const bool large = is_large(directory_entry);
  const u32 leaf = large ? directory_entry : table_entry;
  if ((leaf & kPresent) == 0) return entry;
  const u32 rights = large ? directory_entry : directory_entry & table_entry;
  entry.present = true;
  entry.writable = (rights & kWritable) != 0;
  entry.user = (rights & kUser) != 0;
  entry.accessed = (leaf & kAccessed) != 0 && (directory_entry & kAccessed) != 0;
  entry.dirty = (leaf & kDirty) != 0;
  entry.physical_page =
      large ? (leaf >> 22 << 10) + (linear_page & (kTablePages - 1)) : leaf >> kPageShift;
  return entry;
}

AddressSpaces::Entry AddressSpaces::look_up(u32 linear_page) const {
  const u32 directory_entry = directory_entry_of(linear_page >> 10);
  const u32 table_entry =
      read_entry((directory_entry & ~kPageMask) | (linear_page & (kTablePages - 1)) << 2);
  return entry_of(directory_entry, table_entry, linear_page);
}

/// Pages go into a view by their rights, not by their address: Linux maps supervisor pages into the
/// user half for moments.
bool AddressSpaces::belongs(const AddressSpace& space, const Entry& entry) const {
  return entry.present && entry.user == space.user && entry.physical_page < cpu_.ram().page_count();
}

// D is never set ahead: a page that is not dirty is read-only until it is written.
bool AddressSpaces::maps_writable(const Entry& entry, bool user) const {
  const bool allowed = entry.writable || (!user && (cpu_.state.cr0 & kCr0Wp) == 0);
  return allowed && entry.dirty;
}

// --- filling ------------------------------------------------------------------------------------

AddressSpaces::Outcome AddressSpaces::fill(AddressSpace& space, LinearAddress linear, bool write,
                                           bool user) {
  const auto physical =
      cpu_.translate(linear, write ? Cpu::Access::kWrite : Cpu::Access::kRead, user);
  if (!physical) return Outcome::kException;
  const u32 page = linear >> kPageShift;
  const Entry entry = look_up(page);
  if (!belongs(space, entry)) return Outcome::kElsewhere;
  if (write) {
    if (!maps_writable(entry, space.user)) return Outcome::kElsewhere;
    cpu_.ram().acquire_write(entry.physical_page);
  }
  while (!map_run(space, page, entry)) {
    if (evict_one()) continue;
    // One process needs more mappings than the budget has: its window begins anew, as a TLB would.
    forget(space);
    ++statistics_.evictions;
    return map_run(space, page, entry) ? Outcome::kMapped : Outcome::kNoRoom;
  }
  return Outcome::kMapped;
}

void AddressSpaces::prefill(AddressSpace& space, LinearAddress linear) {
  const u32 page = linear >> kPageShift;
  const Entry entry = look_up(page);
  if (!belongs(space, entry) || !entry.accessed) return;
  const Window::Run run = space.window->find(page);
  if (run.count != 0 && run.physical + (page - run.linear) == entry.physical_page &&
      (run.writable || !maps_writable(entry, space.user))) {
    return;
  }
  ++statistics_.prefills;
  static_cast<void>(map_run(space, page, entry));
}

// The pages around `page` that have no mapping: first and last. Only itself if it has one.
std::pair<u32, u32> AddressSpaces::unmapped_around(const AddressSpace& space, u32 page) {
  const auto [before, behind] = space.window->neighbours(page);
  const u32 first = before.count == 0 ? 0 : before.linear + before.count;
  const u32 last = behind.count == 0 ? (u32{1} << 20) - 1 : behind.linear - 1;
  return page < first ? std::pair{page, page} : std::pair{first, last};
}

// Maps the longest run around a page in which neighbours are contiguous in physical memory, have
// equal rights, and need no bit of the page tables to be set.
bool AddressSpaces::map_run(AddressSpace& space, u32 linear_page, const Entry& entry) {
  GuestRam& ram = cpu_.ram();
  const bool wanted = maps_writable(entry, space.user);
  const bool writable = wanted && ram.is_cheap_to_write(entry.physical_page);
  const GuestRam::Place place = ram.place_of(entry.physical_page);
  const u32 directory = linear_page >> 10;
  const u32 directory_entry = directory_entry_of(directory);
  const auto joins = [&](u32 page) {
    const u32 table_entry =
        read_entry((directory_entry & ~kPageMask) | (page & (kTablePages - 1)) << 2);
    const Entry other = entry_of(directory_entry, table_entry, page);
    if (!belongs(space, other) || !other.accessed) return false;
    if (other.physical_page - entry.physical_page != page - linear_page) return false;
    if (maps_writable(other, space.user) != wanted) return false;
    const GuestRam::Place there = ram.place_of(other.physical_page);
    if (there.descriptor != place.descriptor || there.page - place.page != page - linear_page) {
      return false;
    }
    return !wanted || ram.is_cheap_to_write(other.physical_page) == writable;
  };
  const bool large = is_large(directory_entry);
  const u32 limit = large ? kTablePages : kMaxRun;
  static_cast<void>(table_of(space, directory));
  // What is mapped already stays as it is: to map it again would empty the host's page tables.
  const auto [lowest, highest] = unmapped_around(space, linear_page);
  u32 first = linear_page;
  u32 last = linear_page;
  while (first > std::max(directory << 10, lowest) && linear_page - first < limit &&
         joins(first - 1))
    --first;
  while (last < std::min(((directory + 1) << 10) - 1, highest) && last - linear_page < limit &&
         joins(last + 1))
    ++last;
  const u32 count = last - first + 1;
  const u32 physical = entry.physical_page - (linear_page - first);
  if (writable) {
    for (u32 i = 0; i < count; ++i)
      ram.acquire_write(physical + i);
  }
  const Window::Run run{.linear = first,
                        .physical = physical,
                        .count = count,
                        .writable = writable,
                        .descriptor = place.descriptor,
                        .file_page = place.page - (linear_page - first)};
  ram.verify(physical, count);
  if (!space.window->map(run, count <= kPopulateLimit)) return false;
  remember(space, first, count);
  ++statistics_.fills;
  statistics_.pages_filled += count;
  return true;
}

// The copy of the page table that a directory entry names, as it is known to the space. What was
// mapped under another entry goes first.
AddressSpace::TableCopy& AddressSpaces::table_of(AddressSpace& space, u32 index) {
  const u32 directory_entry = directory_entry_of(index);
  auto& copy = space.tables[index];
  if (copy != nullptr && says_more_than_marks(copy->directory_entry, directory_entry)) {
    drop(space, index << 10, kTablePages);
    copy.reset();
  }
  if (copy == nullptr) {
    copy = std::make_unique<AddressSpace::TableCopy>();
    const PhysicalAddress table = directory_entry & ~kPageMask;
    if (!is_large(directory_entry) && cpu_.ram().contains(table, kPageSize)) {
      copy->entries = std::make_unique<AddressSpace::TableCopy::Entries>();
      std::memcpy(copy->entries->data(), cpu_.ram().host_page(table >> kPageShift), kPageSize);
    }
  }
  copy->directory_entry = directory_entry;
  return *copy;
}

// What is mapped now was read from the entries of now: a later look finds what has changed since.
void AddressSpaces::remember(AddressSpace& space, u32 first, u32 count) {
  AddressSpace::TableCopy& copy = table_of(space, first >> 10);
  if (copy.entries == nullptr) return;
  const PhysicalAddress table = copy.directory_entry & ~kPageMask;
  const std::size_t at = first & (kTablePages - 1);
  const u8* const now = cpu_.ram().host_page(table >> kPageShift);
  std::memcpy(&(*copy.entries)[at], now + at * sizeof(u32), count * sizeof(u32));
}

void AddressSpaces::note_code(AddressSpace& space, u32 linear_page, u32 physical_page) {
  remember(space, linear_page, 1);
  space.code->entries()[linear_page] = physical_page + 1;
}

// --- dropping -----------------------------------------------------------------------------------

void AddressSpaces::drop(AddressSpace& space, u32 first, u32 count) {
  space.window->unmap(first, count);
  for (u32 page = first; page < first + count; ++page) {
    const u32 known = std::exchange(space.code->entries()[page], 0u);
    if (known != 0 && code_listener_) code_listener_(space, known - 1);
  }
  ++statistics_.drops;
}

void AddressSpaces::revalidate(AddressSpace& space) {
  ++statistics_.revalidations;
  if (space.paging_mode != paging_mode()) forget(space);
  space.paging_mode = paging_mode();
  for (auto i = space.tables.begin(); i != space.tables.end();) {
    const u32 now = directory_entry_of(i->first);
    if (says_more_than_marks(i->second->directory_entry, now)) {
      drop(space, i->first << 10, kTablePages);
      i = space.tables.erase(i);
      continue;
    }
    i->second->directory_entry = now;
    revalidate_table(space, i->first, *i->second);
    ++i;
  }
}

void AddressSpaces::revalidate_table(AddressSpace& space, u32 index,
                                     AddressSpace::TableCopy& copy) {
  if (copy.entries == nullptr) return;
  AddressSpace::TableCopy::Entries& entries = *copy.entries;
  const PhysicalAddress table = copy.directory_entry & ~kPageMask;
  const u8* now = cpu_.ram().host_page(table >> kPageShift);
  if (std::memcmp(now, entries.data(), kPageSize) == 0) return;
  u32 pending = 0;  // pages to drop, behind one another
  for (u32 i = 0; i <= kTablePages; ++i) {
    bool changed = false;
    if (i < kTablePages) {
      const u32 entry = base::load_le<u32>(now + std::size_t{i} * 4);
      const u32 before = entries[i];
      changed = (before & kPresent) != 0 && says_more_than_marks(before, entry);
      entries[i] = entry;
    }
    if (changed) {
      ++pending;
    } else if (pending != 0) {
      const u32 first = (index << 10) + i - pending;
      drop(space, first, pending);
      pending = 0;
    }
  }
}

void AddressSpaces::flush_page(AddressSpace& space, LinearAddress linear) {
  const u32 page = linear >> kPageShift;
  const auto copy = space.tables.find(page >> 10);
  const bool large = copy != space.tables.end() && is_large(copy->second->directory_entry);
  if (large) {
    drop(space, page & ~(kTablePages - 1), kTablePages);
  } else if (space.code->entries()[page] != 0 || space.window->find(page).count != 0) {
    drop(space, page, 1);
  }
}

void AddressSpaces::on_page_moved(u32 page) {
  kernel_->window->unmap_physical(page);
  for (auto& [key, space] : users_)
    space->window->unmap_physical(page);
}

// The page tables are as they were, and so is what is known of them and of code.
void AddressSpaces::on_all_moved() {
  kernel_->window->clear();
  for (auto& [key, space] : users_)
    space->window->clear();
}

void AddressSpaces::on_write_right_lost(u32 page) {
  kernel_->window->protect_physical(page, 1);
  for (auto& [key, space] : users_)
    space->window->protect_physical(page, 1);
}

}  // namespace snowglobe::vm
