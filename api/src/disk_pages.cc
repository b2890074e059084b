// api/src/disk_pages.cc - slabs of pages: taken from the host one by one, given back when empty. A
// page that was given back is the next one to be used.
#include "api/src/disk_pages.h"

#include <new>
#include <sys/mman.h>

namespace snowglobe::detail {

namespace {

constexpr std::size_t kSlabBytes = std::size_t{1} << 20;  // and so aligned
constexpr std::size_t kSlots = kSlabBytes / DiskPage::kBytes;

}  // namespace

struct PageSlab {
  std::array<std::atomic<std::uint32_t>, kSlots> users{};  ///< [0] is the header's own place
  std::array<std::uint8_t, kSlots> free{};  ///< a stack of slots that were given back
  unsigned free_count = 0;
  unsigned fresh = 1;  ///< slots from here on were never used
  unsigned used = 0;
  PageSlab* next = nullptr;  ///< in the list of those with room
  PageSlab* previous = nullptr;

  [[nodiscard]] bool has_room() const { return free_count != 0 || fresh != kSlots; }
};
static_assert(sizeof(PageSlab) <= DiskPage::kBytes);

namespace {

/// The one of the process. All but the counts is guarded by the mutex.
class Pool {
 public:
  static Pool& process() {
    // Never destroyed: images may be released while the process leaves.
    static Pool* const pool = new Pool;
    return *pool;
  }

  std::pair<PageSlab*, unsigned> take() {
    const std::lock_guard lock(mutex_);
    if (with_room_ == nullptr) link(make_slab());
    PageSlab* const slab = with_room_;
    const unsigned slot = slab->free_count != 0 ? slab->free[--slab->free_count] : slab->fresh++;
    ++slab->used;
    if (!slab->has_room()) unlink(slab);
    return {slab, slot};
  }

  void give_back(PageSlab* slab, unsigned slot) {
    const std::lock_guard lock(mutex_);
    if (!slab->has_room()) link(slab);
    slab->free[slab->free_count++] = static_cast<std::uint8_t>(slot);
    if (--slab->used != 0 || (slab->next == nullptr && slab->previous == nullptr)) return;
    unlink(slab);  // another one has room for what comes next
    slab->~PageSlab();
    munmap(slab, kSlabBytes);
  }

 private:
  /// Straight from the host, so that it comes back to it: twice as much, of which the aligned half
  /// is kept.
  static PageSlab* make_slab() {
    void* const room = mmap(nullptr, 2 * kSlabBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) throw std::bad_alloc();
    auto* const begin = static_cast<std::uint8_t*>(room);
    const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kSlabBytes;
    if (before != 0) munmap(begin, before);
    munmap(begin + before + kSlabBytes, kSlabBytes - before);
    return new (begin + before) PageSlab;
  }
  void link(PageSlab* slab) {
    slab->next = with_room_;
    slab->previous = nullptr;
    if (with_room_ != nullptr) with_room_->previous = slab;
    with_room_ = slab;
  }
  void unlink(PageSlab* slab) {
    (slab->previous != nullptr ? slab->previous->next : with_room_) = slab->next;
    if (slab->next != nullptr) slab->next->previous = slab->previous;
    slab->next = slab->previous = nullptr;
  }

  std::mutex mutex_;
  PageSlab* with_room_ = nullptr;
};

}  // namespace

DiskPage DiskPage::make() {
  const auto [slab, slot] = Pool::process().take();
  slab->users[slot].store(1, std::memory_order_relaxed);
  return {reinterpret_cast<std::uint8_t*>(slab) + slot * kBytes, &slab->users[slot]};
}

void DiskPage::give_back() {
  const auto address = reinterpret_cast<std::uintptr_t>(users_);
  auto* const slab = reinterpret_cast<PageSlab*>(address & ~(kSlabBytes - 1));
  Pool::process().give_back(slab, static_cast<unsigned>(users_ - slab->users.data()));
}

}  // namespace snowglobe::detail
