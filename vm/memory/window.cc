// vm/memory/window.cc - the runs of a window: sorted, joined as the kernel joins its mappings, and
// counted against the budget before the host is asked.
//
// What is not mapped is PROT_NONE, never unmapped: another thread's mapping could move in. Each run
// is one mapping of the host, each hole between two of them another; the kernel joins mappings
// under exactly the conditions of joins(), given that all carry the same flags.
#include "vm/memory/window.h"

#include "base/check.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <system_error>

namespace snowglobe::vm {

using base::Error;
using base::ErrorCode;

// ---- The budget
// ----------------------------------------------------------------------------------

struct MappingBudget::Impl {
  explicit Impl(u64 all, std::shared_ptr<Impl> of = nullptr) : limit(all), whole(std::move(of)) {
    if (whole) ++whole->shares;
  }
  ~Impl() {
    if (whole) --whole->shares;
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  /// Of a share.
  [[nodiscard]] u64 even_part() const { return limit / std::max<u64>(1, whole->shares); }
  bool add(u64 count, u64 ceiling) {
    u64 before = used.load(std::memory_order_relaxed);
    do {
      if (before > ceiling || count > ceiling - before) return false;
    } while (!used.compare_exchange_weak(before, before + count, std::memory_order_relaxed));
    return true;
  }

  const u64 limit;
  const std::shared_ptr<Impl> whole;  ///< of which this is a share; or null
  std::atomic<u64> used{0};
  std::atomic<u64> shares{0};
};

namespace {

u64 mappings_in_use() {
  std::ifstream maps("/proc/self/maps");
  u64 count = 0;
  for (std::string line; std::getline(maps, line);)
    ++count;
  return count;
}

u64 half_of_what_is_left() {
  u64 limit = 65'530;  // the kernel's default (DEFAULT_MAX_MAP_COUNT), where /proc says nothing
  std::ifstream("/proc/sys/vm/max_map_count") >> limit;
  const u64 used = mappings_in_use();
  return limit > used ? (limit - used) / 2 : 0;
}

}  // namespace

MappingBudget& MappingBudget::process() {
  // Machines may outlive static destructors.
  static MappingBudget* const budget = new MappingBudget(half_of_what_is_left());
  return *budget;
}

MappingBudget::MappingBudget(u64 limit) : impl_(std::make_shared<Impl>(limit)) {}

u64 MappingBudget::limit() const {
  return impl_->limit;
}

u64 MappingBudget::used() const {
  return impl_->used.load(std::memory_order_relaxed);
}

MappingBudget MappingBudget::share() const {
  return MappingBudget(std::make_shared<Impl>(impl_->limit, impl_));
}

bool MappingBudget::owes() const {
  const Impl* const whole = impl_->whole.get();
  return whole != nullptr && whole->used > whole->limit && used() > impl_->even_part();
}

bool MappingBudget::take(u64 count) {
  Impl* const whole = impl_->whole.get();
  if (whole == nullptr) return impl_->add(count, impl_->limit);
  const u64 part = impl_->even_part();
  const bool is_due = used() <= part && count <= part - used();
  if (!whole->add(count, is_due ? whole->limit + whole->limit / 2 : whole->limit)) return false;
  impl_->used.fetch_add(count, std::memory_order_relaxed);
  return true;
}

void MappingBudget::give_back(u64 count) {
  impl_->used.fetch_sub(count, std::memory_order_relaxed);
  if (impl_->whole) impl_->whole->used.fetch_sub(count, std::memory_order_relaxed);
}

// ---- The reservation
// -----------------------------------------------------------------------------

namespace {

constexpr u32 kWindowPages = 1u << 20;
constexpr std::size_t kWindowBytes = Window::kBytes;
/// An access at the last byte reaches at most 511 bytes behind (FXSAVE), one below zero wraps.
constexpr std::size_t kGuardBefore = kPageSize;
constexpr std::size_t kGuardBehind = std::size_t{64} << 10;
/// A guest's page table then covers whole page tables of the host.
constexpr std::size_t kAlignment =
    kWindowBytes;  // so that the low half of a host address is the guest's
/// Without the right to dump: such a mapping has no pages, and core dumps leave it out.
constexpr int kNothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

u32 end_of(const Window::Run& run) {
  return run.linear + run.count;
}

/// Whether the kernel makes one mapping of the two.
bool joins(const Window::Run& left, const Window::Run& right) {
  return end_of(left) == right.linear && left.physical + left.count == right.physical &&
         left.writable == right.writable && left.descriptor == right.descriptor &&
         left.file_page + left.count == right.file_page;
}

/// The part of `run` inside of [linear, end), which overlaps it.
Window::Run part_of(const Window::Run& run, u32 linear, u32 end) {
  const u32 begin = std::max(run.linear, linear);
  return {.linear = begin,
          .physical = run.physical + (begin - run.linear),
          .count = std::min(end_of(run), end) - begin,
          .writable = run.writable,
          .descriptor = run.descriptor,
          .file_page = run.file_page + (begin - run.linear)};
}

}  // namespace

base::Result<std::unique_ptr<Window>> Window::create(MappingBudget& budget) {
  if (!budget.take(1)) {
    return Error{ErrorCode::kResourceExhausted,
                 "all " + std::to_string(budget.limit()) +
                     " mappings that windows of this process may take are in use"};
  }
  constexpr std::size_t kReserved = kWindowBytes + kAlignment + kGuardBefore + kGuardBehind;
  void* reservation = ::mmap(nullptr, kReserved, PROT_NONE, kNothing, -1, 0);
  if (reservation == MAP_FAILED) {
    const int reason = errno;
    budget.give_back(1);
    return Error{ErrorCode::kResourceExhausted,
                 "reserve 4 GiB of addresses for a window (is there a limit, ulimit -v?): " +
                     std::system_category().message(reason)};
  }
  // Give back what alignment did not need, before anything else can be mapped near it.
  u8* const begin = static_cast<u8*>(reservation);
  void* base = begin + kGuardBefore;
  std::size_t space = kReserved - kGuardBefore;
  std::align(kAlignment, kWindowBytes, base, space);
  u8* const kept = static_cast<u8*>(base) - kGuardBefore;
  constexpr std::size_t kKept = kWindowBytes + kGuardBefore + kGuardBehind;
  if (kept != begin) ::munmap(begin, static_cast<std::size_t>(kept - begin));
  ::munmap(kept + kKept, static_cast<std::size_t>(begin + kReserved - (kept + kKept)));
  return std::unique_ptr<Window>(new Window(budget, kept, kKept, static_cast<u8*>(base)));
}

Window::Window(MappingBudget& budget, u8* reservation, std::size_t reserved, u8* base)
    : budget_(budget), reservation_(reservation), reserved_(reserved), base_(base) {}

Window::~Window() {
  ::munmap(reservation_, reserved_);
  budget_.give_back(mappings_);
}

// ---- The books
// -----------------------------------------------------------------------------------

/// The first run that ends behind `linear`.
std::size_t Window::index_of(u32 linear) const {
  const auto found = std::partition_point(
      runs_.begin(), runs_.end(), [linear](const Run& run) { return end_of(run) <= linear; });
  return static_cast<std::size_t>(found - runs_.begin());
}

/// Mappings from the end of the run before `first` to the begin of the run `last`, if `runs` were
/// between them. Holes at both ends of the window always exist: the guards.
i64 Window::cost_of(std::size_t first, std::size_t last, const Run* runs, std::size_t count) const {
  i64 reached = first == 0 ? -1 : i64{end_of(runs_[first - 1])};
  i64 cost = static_cast<i64>(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (i64{runs[i].linear} > reached) ++cost;
    reached = end_of(runs[i]);
  }
  const i64 next = last == runs_.size() ? i64{kWindowPages} + 1 : i64{runs_[last].linear};
  return next > reached ? cost + 1 : cost;
}

/// [linear, end) replaced by `replacement`, or by nothing.
Window::Edit Window::edit_of(u32 linear, u32 end, const Run* replacement) const {
  Edit edit;
  edit.begin = index_of(linear);
  edit.first = edit.begin;
  edit.last = edit.begin;
  while (edit.last < runs_.size() && runs_[edit.last].linear < end)
    ++edit.last;
  const auto add = [&edit](const Run& run) {
    if (edit.pieces > 0 && joins(edit.piece[edit.pieces - 1], run)) {
      edit.piece[edit.pieces - 1].count += run.count;
    } else {
      edit.piece[edit.pieces++] = run;
    }
  };
  if (edit.first < edit.last && runs_[edit.first].linear < linear) {
    add(part_of(runs_[edit.first], 0, linear));
  } else if (replacement != nullptr && edit.first > 0 &&
             joins(runs_[edit.first - 1], *replacement)) {
    add(runs_[--edit.first]);
  }
  if (replacement != nullptr) add(*replacement);
  if (edit.first < edit.last && end_of(runs_[edit.last - 1]) > end) {
    add(part_of(runs_[edit.last - 1], end, kWindowPages));
  } else if (replacement != nullptr && edit.last < runs_.size() &&
             joins(*replacement, runs_[edit.last])) {
    add(runs_[edit.last++]);
  }
  edit.cost = cost_of(edit.first, edit.last, edit.piece, edit.pieces) -
              cost_of(edit.first, edit.last, runs_.data() + edit.first, edit.last - edit.first);
  return edit;
}

bool Window::take(i64 cost) {
  return cost <= 0 || budget_.take(static_cast<u64>(cost));
}

/// Writes what take() has paid for into the books, or gives back what it saves.
void Window::apply(const Edit& edit) {
  const std::size_t old = edit.last - edit.first;
  const std::size_t same = std::min(old, edit.pieces);
  const auto at = runs_.begin() + static_cast<std::ptrdiff_t>(edit.first);
  std::copy_n(edit.piece, same, at);
  const auto behind = at + static_cast<std::ptrdiff_t>(same);
  if (old > same) {
    runs_.erase(behind, at + static_cast<std::ptrdiff_t>(old));
  } else {
    runs_.insert(behind, edit.piece + same, edit.piece + edit.pieces);
  }
  if (edit.cost < 0) budget_.give_back(static_cast<u64>(-edit.cost));
  mappings_ += static_cast<u64>(edit.cost);
}

/// Whether all of `wanted` is mapped, from runs_[index] on, with the pages that it asks for.
bool Window::is_contiguous(std::size_t index, const Run& wanted) const {
  u32 reached = wanted.linear;
  while (reached < end_of(wanted)) {
    if (index == runs_.size() || runs_[index].linear > reached) return false;
    const Run& run = runs_[index++];
    if (run.physical - run.linear != wanted.physical - wanted.linear) return false;
    if (run.descriptor != wanted.descriptor ||
        run.file_page - run.linear != wanted.file_page - wanted.linear) {
      return false;
    }
    reached = end_of(run);
  }
  return true;
}

Window::Run Window::find(u32 linear) const {
  const std::size_t index = index_of(linear);
  return index < runs_.size() && runs_[index].linear <= linear ? runs_[index] : Run{};
}

std::pair<Window::Run, Window::Run> Window::neighbours(u32 linear) const {
  std::size_t index = index_of(linear);  // holds it, or begins behind
  if (index < runs_.size() && runs_[index].linear <= linear) ++index;
  return {index == 0 ? Run{} : runs_[index - 1], index == runs_.size() ? Run{} : runs_[index]};
}

void Window::for_each(u32 linear, u32 count, const std::function<void(const Run&)>& visit) const {
  const u32 end = linear + count;
  for (std::size_t i = index_of(linear); i < runs_.size() && runs_[i].linear < end; ++i)
    visit(part_of(runs_[i], linear, end));
}

// ---- The host
// ------------------------------------------------------------------------------------

/// Entering pages in advance costs 0.3 to 0.4 us a page. A read fault of the host enters 16 pages
/// for the same price, so for read-only runs it never pays; a first write costs 1.1 us and enters
/// one page, so for writable ones it pays when a third of the pages is written. Measured on Linux
/// 6.18: mmap, madvise and touching, in us, lazily : populated.
///
///                  1 page        4 pages                   16 pages
///                                one touched   all         one touched   all
///     writable     6.3 : 6.9     6.2 : 8.2     10 : 8.2    6.3 : 11.5    24 : 12
///     read-only    7.7 : 8.6     6.5 : 7.9     7.4 : 7.9   8.2 : 11.6    12 : 12
///
/// MADV_POPULATE_WRITE takes 1.6 times as long as MAP_POPULATE (17.6 : 10.9 for 16 pages), which
/// enters the pages of a shared writable mapping as writable, too.
constexpr u32 kPopulateAtMost = 64;

bool Window::map_file(const Run& run, bool populate) {
  u8* const address = address_of(run.linear);
  const std::size_t size = std::size_t{run.count} << kPageShift;
  const int protection = run.writable ? PROT_READ | PROT_WRITE : PROT_READ;
  int flags = MAP_SHARED | MAP_FIXED;
  if (populate && run.writable && run.count <= kPopulateAtMost) flags |= MAP_POPULATE;
  void* mapping = ::mmap(address, size, protection, flags, run.descriptor,
                         static_cast<off_t>(run.file_page) << kPageShift);
  if (mapping == MAP_FAILED) return false;
  // A core dump would hold each page once a window. The call costs 0.6 to 1 us; the flag belongs to
  // the mapping, and mappings without it would not join those with it.
  ::madvise(address, size, MADV_DONTDUMP);
  return true;
}

bool Window::set_right(const Run& run) {
  const int protection = run.writable ? PROT_READ | PROT_WRITE : PROT_READ;
  return ::mprotect(address_of(run.linear), std::size_t{run.count} << kPageShift, protection) == 0;
}

bool Window::map_nothing(u32 linear, u32 end) {
  const std::size_t size = std::size_t{end - linear} << kPageShift;
  return ::mmap(address_of(linear), size, PROT_NONE, kNothing | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/// Takes runs_[first, last) away where nothing may be split: the host refuses or the budget does.
void Window::drop_whole_runs(std::size_t first, std::size_t last) {
  for (std::size_t i = first; i < last; ++i) {
    const Run run = runs_[i];
    if (map_nothing(run.linear, end_of(run))) continue;
    // More mappings than the limit: even this one is refused, but not to change one as it stands.
    const int done =
        ::mprotect(address_of(run.linear), std::size_t{run.count} << kPageShift, PROT_NONE);
    SG_ASSERT(done == 0, "the host does not take a right away");
  }
  const u32 begin = runs_[first].linear;
  apply(edit_of(begin, end_of(runs_[last - 1]), nullptr));
}

/// Makes [linear, end) inaccessible, whether or not something is mapped there.
void Window::drop(u32 linear, u32 end) {
  const Edit edit = edit_of(linear, end, nullptr);
  if (take(edit.cost)) {
    if (map_nothing(linear, end)) {
      apply(edit);
      return;
    }
    if (edit.cost > 0) budget_.give_back(static_cast<u64>(edit.cost));
  }
  if (edit.first < edit.last) drop_whole_runs(edit.first, edit.last);
}

bool Window::map(const Run& wanted, bool populate) {
  const u32 linear = wanted.linear;
  const u32 count = wanted.count;
  SG_DCHECK(count > 0 && linear < kWindowPages && count <= kWindowPages - linear,
            "a run inside of the window");
  const Edit edit = edit_of(linear, linear + count, &wanted);
  if (!take(edit.cost)) {
    ++statistics_.refusals;
    return false;
  }
  // A change of right alone costs a quarter of mapping anew, and the pages stay entered.
  const std::size_t index = index_of(linear);
  const bool mapped = index < edit.last && is_contiguous(index, wanted)
                          ? set_right(wanted)
                          : map_file(wanted, populate);
  if (!mapped) {
    if (edit.cost > 0) budget_.give_back(static_cast<u64>(edit.cost));
    drop(linear, linear + count);
    ++statistics_.refusals;
    return false;
  }
  apply(edit);
  ++statistics_.maps;
  statistics_.pages += count;
  return true;
}

/// `run` is mapped and writable.
void Window::take_write_right(Run run) {
  run.writable = false;
  const Edit edit = edit_of(run.linear, end_of(run), &run);
  if (take(edit.cost)) {
    if (set_right(run)) {
      apply(edit);
      return;
    }
    if (edit.cost > 0) budget_.give_back(static_cast<u64>(edit.cost));
  }
  const std::size_t index = index_of(run.linear);
  drop_whole_runs(index, index + 1);
}

void Window::protect(u32 linear, u32 count) {
  const u32 end = linear + count;
  bool found = false;
  for (u32 reached = linear; reached < end;) {
    const std::size_t index = index_of(reached);
    if (index == runs_.size() || runs_[index].linear >= end) break;
    const Run part = part_of(runs_[index], reached, end);
    reached = end_of(part);
    if (!part.writable) continue;
    take_write_right(part);
    found = true;
  }
  if (found) ++statistics_.drops;
}

/// The parts of runs that hold some of [physical, physical + count), into found_.
void Window::find_physical(u32 physical, u32 count, bool writable_only) {
  const u32 end = physical + count;
  found_.clear();
  for (const Run& run : runs_) {
    if (run.physical >= end || run.physical + run.count <= physical) continue;
    if (writable_only && !run.writable) continue;
    const u32 begin = std::max(run.physical, physical);
    const u32 behind = std::min(run.physical + run.count, end);
    found_.push_back(
        part_of(run, run.linear + (begin - run.physical), run.linear + (behind - run.physical)));
  }
}

void Window::protect_physical(u32 physical, u32 count) {
  find_physical(physical, count, true);
  for (const Run& run : found_)
    take_write_right(run);
  if (!found_.empty()) ++statistics_.drops;
}

void Window::unmap_physical(u32 physical) {
  find_physical(physical, 1, false);
  for (const Run& run : found_)
    unmap(run.linear, run.count);
}

void Window::unmap(u32 linear, u32 count) {
  const u32 end = linear + count;
  const std::size_t first = index_of(linear);
  if (first == runs_.size() || runs_[first].linear >= end) return;
  std::size_t last = first;
  while (last + 1 < runs_.size() && runs_[last + 1].linear < end)
    ++last;
  drop(std::max(linear, runs_[first].linear), std::min(end, end_of(runs_[last])));
  ++statistics_.drops;
}

void Window::clear() {
  if (runs_.empty()) return;
  drop(runs_.front().linear, end_of(runs_.back()));
  ++statistics_.drops;
}

}  // namespace snowglobe::vm
