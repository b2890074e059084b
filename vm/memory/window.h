// vm/memory/window.h - a window: 4 GiB of host addresses into which guest-physical pages are mapped
// at the guest's linear addresses, so that translated code reaches guest memory with plain
// instructions (GS base + 32-bit address).
//
// A window knows nothing of page tables: its owner says what is mapped where, with which right.
#pragma once

#include "base/error.h"
#include "vm/types.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace snowglobe::vm {

/// How many host mappings (VMAs) all windows of the process may take together. A window counts its
/// runs and the holes between them: a piece of reservation between two runs is a mapping as well.
///
/// Each machine has a share: up to an even part it is always served, above that only while the
/// others leave something. For a while that may be half as much again as the limit, until whoever
/// lies on more than his part has given it back.
/// Thread rule: any thread.
class MappingBudget {
 public:
  /// The one of the process: half of what vm.max_map_count left at first use.
  static MappingBudget& process();
  explicit MappingBudget(u64 limit);

  /// One machine's part, as long as a copy of what is returned lives. Not of a share.
  [[nodiscard]] MappingBudget share() const;
  [[nodiscard]] u64 limit() const;  ///< a share's: that of all
  [[nodiscard]] u64 used() const;   ///< a share's: its own
  /// A share has more than its part while all is used up: it should give something back.
  [[nodiscard]] bool owes() const;
  /// False if `count` more would be over the limit; nothing is taken then.
  bool take(u64 count);
  void give_back(u64 count);

 private:
  struct Impl;
  explicit MappingBudget(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

/// Thread rule: confined to the machine's thread.
class Window {
 public:
  static constexpr u64 kBytes = u64{1} << 32;

  struct Statistics {
    u64 maps = 0;      ///< calls that mapped a run
    u64 pages = 0;     ///< pages in them
    u64 drops = 0;     ///< calls that dropped or protected a range
    u64 refusals = 0;  ///< map() calls that the budget or the host refused
  };

  /// Reserves the addresses with guard pages around (nothing is accessible yet), off limits for
  /// core dumps. Errors: kResourceExhausted (address space, budget).
  static base::Result<std::unique_ptr<Window>> create(MappingBudget& budget);
  ~Window();  ///< gives the reservation and the budget back
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  /// The host address of linear address 0; the GS base while this window is in force.
  [[nodiscard]] u8* base() const { return base_; }

  /// Guest-physical pages [physical, physical + count), which are pages [file_page, ...) of a
  /// memory file (not owned), at linear pages [linear, ...).
  struct Run {
    u32 linear = 0;
    u32 physical = 0;
    u32 count = 0;
    bool writable = false;
    int descriptor = -1;
    u32 file_page = 0;
  };
  /// Maps a run, replacing what was there, and joins it with neighbours where it can. `populate`
  /// enters the pages into the host's page tables at once (a write fault less a page), where that
  /// is cheap. False if the budget or the host has no mapping left: nothing has changed then but
  /// that the range may be unmapped.
  bool map(const Run& run, bool populate);
  /// Takes the right to write [linear, linear + count) away, where mapped. This, unmap() and
  /// protect_physical() can split a run; where no mapping is left for that, the whole run is
  /// dropped.
  void protect(u32 linear, u32 count);
  /// Makes [linear, linear + count) inaccessible. Never unmaps the reservation.
  void unmap(u32 linear, u32 count);
  /// The same for all of it, in one call of the host.
  void clear();
  /// Takes the right to write guest-physical pages [physical, physical + count) away, wherever they
  /// are mapped here.
  void protect_physical(u32 physical, u32 count);

  /// Makes guest-physical page `physical` inaccessible, wherever it is mapped here.
  void unmap_physical(u32 physical);

  /// The run that holds `linear`; count 0 if it is not mapped.
  [[nodiscard]] Run find(u32 linear) const;
  /// The last run that begins at or ahead of `linear`, and the first behind; count 0 where there is
  /// none.
  [[nodiscard]] std::pair<Run, Run> neighbours(u32 linear) const;
  /// Calls `visit` for each run (or part of one) inside of [linear, linear + count), in order. The
  /// window must not be changed meanwhile.
  void for_each(u32 linear, u32 count, const std::function<void(const Run&)>& visit) const;
  /// Runs and holes: what this window takes of the budget.
  [[nodiscard]] u64 mappings() const { return mappings_; }
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }

 private:
  Window(MappingBudget& budget, u8* reservation, std::size_t reserved, u8* base);

  /// What is to stand in the place of runs_[first, last): at most a left rest, a new run and a
  /// right rest.
  struct Edit {
    std::size_t begin = 0;  ///< the first run that overlaps; first may be one before, which joins
    std::size_t first = 0;
    std::size_t last = 0;
    std::size_t pieces = 0;
    Run piece[3];
    i64 cost = 0;  ///< by how many mappings the window grows
  };

  [[nodiscard]] std::size_t index_of(u32 linear) const;
  [[nodiscard]] Edit edit_of(u32 linear, u32 end, const Run* replacement) const;
  [[nodiscard]] i64 cost_of(std::size_t first, std::size_t last, const Run* runs,
                            std::size_t count) const;
  [[nodiscard]] bool is_contiguous(std::size_t index, const Run& wanted) const;
  bool take(i64 cost);
  void apply(const Edit& edit);
  bool set_right(const Run& run);
  bool map_file(const Run& run, bool populate);
  bool map_nothing(u32 linear, u32 end);
  void take_write_right(Run run);
  void find_physical(u32 physical, u32 count, bool writable_only);
  void drop(u32 linear, u32 end);
  void drop_whole_runs(std::size_t first, std::size_t last);
  [[nodiscard]] u8* address_of(u32 linear) const {
    return base_ + (std::size_t{linear} << kPageShift);
  }

  MappingBudget budget_;  ///< shares the count of the one that was given
  u8* reservation_;
  std::size_t reserved_;
  u8* base_;
  /// Sorted by linear page. Flat: searched and scanned far more often than it grows.
  std::vector<Run> runs_;
  std::vector<Run> found_;  ///< what find_physical() found, kept to save the allocation
  u64 mappings_ = 1;
  Statistics statistics_;
};

}  // namespace snowglobe::vm
