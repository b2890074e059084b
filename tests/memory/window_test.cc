// tests/memory/window_test.cc - a window against a plain array of pages and against what the kernel
// says in /proc/self/maps: what is mapped where, with which right, in how many mappings.
#include "vm/memory/window.h"

#include "tests/support/window_map.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace snowglobe::vm {

bool operator==(const Window::Run& a, const Window::Run& b) {
  return std::tie(a.linear, a.physical, a.count, a.writable) ==
         std::tie(b.linear, b.physical, b.count, b.writable);
}

void PrintTo(const Window::Run& run, std::ostream* out) {
  *out << run.linear << "->" << run.physical << " x" << run.count << (run.writable ? " rw" : " r");
}

namespace {

constexpr u32 kPages = 1u << 20;
constexpr u32 kRamPages = 1024;

/// A memory file each of whose pages begins with its own number.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("ram", MFD_CLOEXEC)) {
    if (::ftruncate(descriptor_, off_t{kRamPages} << kPageShift) != 0) ::abort();
    for (u32 page = 0; page < kRamPages; ++page) {
      if (::pwrite(descriptor_, &page, sizeof page, off_t{page} << kPageShift) != sizeof page)
        ::abort();
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

/// What the kernel says about the addresses of a window.
struct KernelView {
  std::vector<Window::Run> runs;
  u64 mappings = 0;
  u64 first_hole = 0;  ///< an address that nothing covers; 0 if there is none, as it should be
};

KernelView kernel_view(const Window& window) {
  const auto base = reinterpret_cast<u64>(window.base());
  const u64 end = base + (u64{kPages} << kPageShift);
  KernelView view;
  u64 reached = base;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long from = 0;
    unsigned long to = 0;
    unsigned long offset = 0;
    char right[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %lx", &from, &to, right, &offset) != 4) continue;
    if (to <= base - kPageSize || from > end) continue;
    ++view.mappings;
    if (from > reached && view.first_hole == 0 && reached < end) view.first_hole = reached;
    reached = std::max<u64>(reached, to);
    if (right[0] != 'r') continue;
    view.runs.push_back({.linear = static_cast<u32>((from - base) >> kPageShift),
                         .physical = static_cast<u32>(offset >> kPageShift),
                         .count = static_cast<u32>((to - from) >> kPageShift),
                         .writable = right[1] == 'w'});
  }
  return view;
}

std::vector<Window::Run> books(const Window& window) {
  std::vector<Window::Run> runs;
  window.for_each(0, kPages, [&runs](const Window::Run& run) { runs.push_back(run); });
  return runs;
}

class WindowTest : public ::testing::Test {
 protected:
  void make(u64 limit) {
    window_.reset();
    budget_ = MappingBudget(limit);
    auto window = Window::create(budget_);
    ASSERT_TRUE(window.ok()) << window.error().message;
    window_ = std::move(window).value();
  }
  void SetUp() override { make(10'000); }

  void expect_books_are_right() {
    const KernelView kernel = kernel_view(*window_);
    EXPECT_EQ(books(*window_), kernel.runs);
    EXPECT_EQ(window_->mappings(), kernel.mappings);
    EXPECT_EQ(budget_.used(), window_->mappings());
    EXPECT_EQ(kernel.first_hole, 0u);
  }
  [[nodiscard]] u32& word(u32 linear) const {
    return *reinterpret_cast<u32*>(window_->base() + (std::size_t{linear} << kPageShift));
  }

  MemoryFile file_;
  MappingBudget budget_{0};
  std::unique_ptr<Window> window_;
};

TEST_F(WindowTest, StartsAsOneMappingAndGivesEverythingBack) {
  expect_books_are_right();
  EXPECT_EQ(window_->mappings(), 1u);
  map_pages(*window_, file_.descriptor(), 5, 7, 3, true, true);
  EXPECT_EQ(budget_.used(), 3u);
  const u8* base = window_->base();
  window_.reset();
  EXPECT_EQ(budget_.used(), 0u);
  unsigned char present = 0;
  EXPECT_NE(::mincore(const_cast<u8*>(base) + 5 * kPageSize, kPageSize, &present), 0);
}

TEST_F(WindowTest, ShowsTheMemoryFile) {
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 100, 7, 3, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 200, 8, 1, false, false));
  EXPECT_EQ(word(100), 7u);
  EXPECT_EQ(word(102), 9u);
  word(101) = 1234;
  EXPECT_EQ(word(200), 1234u);
  EXPECT_EQ(window_->find(102), (Window::Run{100, 7, 3, true}));
  EXPECT_EQ(window_->find(103).count, 0u);
  EXPECT_EQ(window_->find(99).count, 0u);
  EXPECT_EQ(window_->statistics().maps, 2u);
  EXPECT_EQ(window_->statistics().pages, 4u);
}

TEST_F(WindowTest, JoinsNeighboursThatTheKernelJoins) {
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 2, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 14, 24, 2, true, true));
  expect_books_are_right();
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 12, 22, 2, true, true));
  EXPECT_EQ(window_->find(10), (Window::Run{10, 20, 6, true}));
  expect_books_are_right();
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 16, 30, 1, true,
                        false));  // not contiguous in the file
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 17, 31, 1, false,
                        false));  // contiguous, another right
  EXPECT_EQ(window_->find(10).count, 6u);
  EXPECT_EQ(window_->find(16).count, 1u);
  expect_books_are_right();
}

TEST_F(WindowTest, HasItsFirstAndItsLastPage) {
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 0, 3, 1, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), kPages - 1, 4, 1, true, true));
  EXPECT_EQ(word(0), 3u);
  EXPECT_EQ(word(kPages - 1), 4u);
  EXPECT_EQ(window_->mappings(), 5u);
  expect_books_are_right();
}

TEST_F(WindowTest, ProtectsAndUnmapsTheMiddleOfARun) {
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, true, true));
  window_->protect(12, 2);
  EXPECT_EQ(books(*window_),
            (std::vector<Window::Run>{{10, 20, 2, true}, {12, 22, 2, false}, {14, 24, 4, true}}));
  expect_books_are_right();
  window_->unmap(13, 2);
  EXPECT_EQ(books(*window_),
            (std::vector<Window::Run>{{10, 20, 2, true}, {12, 22, 1, false}, {15, 25, 3, true}}));
  expect_books_are_right();
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 12, 22, 3, true, true));
  EXPECT_EQ(window_->find(12), (Window::Run{10, 20, 8, true}));
  expect_books_are_right();
}

TEST_F(WindowTest, AChangeOfRightKeepsThePagesAndMayCrossRuns) {
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, false, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 12, 22, 2, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 15, 25, 1, true, true));
  expect_books_are_right();
  EXPECT_EQ(window_->mappings(), 7u);
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 11, 21, 6, true, true));
  EXPECT_EQ(window_->find(11), (Window::Run{11, 21, 6, true}));
  expect_books_are_right();
  word(16) = 5;
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, false, false));
  EXPECT_EQ(books(*window_), (std::vector<Window::Run>{{10, 20, 8, false}}));
  expect_books_are_right();
}

TEST_F(WindowTest, TakesTheRightToWriteAPhysicalPageWhereverItIsMapped) {
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 100, 26, 4, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 200, 27, 1, false, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 300, 28, 1, true, true));
  window_->protect_physical(26, 2);
  EXPECT_EQ(books(*window_), (std::vector<Window::Run>{{10, 20, 6, true},
                                                       {16, 26, 2, false},
                                                       {100, 26, 2, false},
                                                       {102, 28, 2, true},
                                                       {200, 27, 1, false},
                                                       {300, 28, 1, true}}));
  expect_books_are_right();
  EXPECT_EQ(window_->statistics().drops, 1u);
  window_->protect_physical(500, 4);
  EXPECT_EQ(window_->statistics().drops, 1u);
}

TEST_F(WindowTest, IsClearedAsAWhole) {
  for (u32 i = 0; i < 100; ++i)
    ASSERT_TRUE(
        map_pages(*window_, file_.descriptor(), i * 3, (i * 7) % kRamPages, 2, i % 2 == 0, true));
  expect_books_are_right();
  window_->clear();
  EXPECT_EQ(window_->mappings(), 1u);
  EXPECT_TRUE(books(*window_).empty());
  expect_books_are_right();
}

TEST_F(WindowTest, VisitsPartsOfRuns) {
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 30, 50, 8, false, true));
  std::vector<Window::Run> seen;
  window_->for_each(12, 20, [&seen](const Window::Run& run) { seen.push_back(run); });
  EXPECT_EQ(seen, (std::vector<Window::Run>{{12, 22, 6, true}, {30, 50, 2, false}}));
}

TEST_F(WindowTest, RefusesWhatTheBudgetDoesNotHoldAndLeavesTheRestAlone) {
  make(5);
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, true, true));  // 3
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 30, 60, 1, true, true));  // 5
  EXPECT_FALSE(map_pages(*window_, file_.descriptor(), 50, 70, 1, true, true));
  EXPECT_FALSE(map_pages(*window_, file_.descriptor(), 12, 70, 1, true, true));  // would split
  EXPECT_EQ(window_->statistics().refusals, 2u);
  ASSERT_TRUE(
      map_pages(*window_, file_.descriptor(), 18, 28, 4, true, true));  // joins: costs nothing
  EXPECT_EQ(budget_.used(), 5u);
  expect_books_are_right();
}

TEST_F(WindowTest, DropsAWholeRunWhereTheBudgetForbidsToSplitIt) {
  make(5);
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, true, true));
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 30, 60, 4, true, true));
  window_->protect(12, 1);
  EXPECT_EQ(books(*window_), (std::vector<Window::Run>{{30, 60, 4, true}}));
  expect_books_are_right();
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 8, true, true));
  window_->unmap(31, 1);
  EXPECT_EQ(books(*window_), (std::vector<Window::Run>{{10, 20, 8, true}}));
  expect_books_are_right();
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 30, 60, 4, true, true));
  window_->protect_physical(61, 1);
  EXPECT_EQ(books(*window_), (std::vector<Window::Run>{{10, 20, 8, true}}));
  expect_books_are_right();
}

TEST_F(WindowTest, SharesItsBudgetWithOthers) {
  make(4);
  MappingBudget same = budget_;
  auto second = Window::create(same);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(budget_.used(), 2u);
  ASSERT_TRUE(map_pages(*window_, file_.descriptor(), 10, 20, 1, true, true));
  EXPECT_FALSE(map_pages(*second.value(), file_.descriptor(), 10, 20, 1, true, true));
  auto third = Window::create(same);
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, base::ErrorCode::kResourceExhausted);
  window_->clear();
  EXPECT_TRUE(map_pages(*second.value(), file_.descriptor(), 10, 20, 1, true, true));
}

// ---- Against a plain array
// -----------------------------------------------------------------------

/// One entry a page of the few that the test uses: at both ends of the window.
class Model {
 public:
  static constexpr u32 kEach = 48;

  static u32 linear_of(u32 index) { return index < kEach ? index : kPages - 2 * kEach + index; }
  void map(u32 index, u32 physical, u32 count, bool writable) {
    for (u32 i = 0; i < count; ++i)
      pages_[index + i] = {true, writable, physical + i};
  }
  void protect(u32 index, u32 count) {
    for (u32 i = 0; i < count; ++i)
      pages_[index + i].writable = false;
  }
  void unmap(u32 index, u32 count) {
    for (u32 i = 0; i < count; ++i)
      pages_[index + i] = {};
  }
  void protect_physical(u32 physical, u32 count) {
    for (Page& page : pages_) {
      if (page.physical >= physical && page.physical < physical + count) page.writable = false;
    }
  }
  [[nodiscard]] std::vector<Window::Run> runs() const {
    std::vector<Window::Run> runs;
    for (u32 i = 0; i < 2 * kEach; ++i) {
      const Page& page = pages_[i];
      if (!page.mapped) continue;
      Window::Run* last = runs.empty() ? nullptr : &runs.back();
      if (last != nullptr && last->linear + last->count == linear_of(i) &&
          last->physical + last->count == page.physical && last->writable == page.writable) {
        ++last->count;
      } else {
        runs.push_back({linear_of(i), page.physical, 1, page.writable});
      }
    }
    return runs;
  }

 private:
  struct Page {
    bool mapped = false;
    bool writable = false;
    u32 physical = 0;
  };
  std::vector<Page> pages_ = std::vector<Page>(2 * kEach);
};

class RandomWindowTest : public WindowTest, public ::testing::WithParamInterface<u32> {
 protected:
  u32 below(u32 limit) { return static_cast<u32>(random_() % limit); }

  void step(Model& model) {
    const u32 index = below(2 * Model::kEach);
    const u32 room = Model::kEach - index % Model::kEach;
    const u32 count = 1 + below(std::min(room, 12u));
    const u32 linear = Model::linear_of(index);
    switch (below(8)) {
      case 0:
        window_->unmap(linear, count);
        model.unmap(index, count);
        break;
      case 1:
        window_->protect(linear, count);
        model.protect(index, count);
        break;
      case 2: {
        const u32 physical = below(64);
        window_->protect_physical(physical, count);
        model.protect_physical(physical, count);
        break;
      }
      default: {
        // Half of them near the identity, so that runs meet.
        const u32 physical = below(2) == 0 ? index : below(64);
        const bool writable = below(2) == 0;
        ASSERT_TRUE(map_pages(*window_, file_.descriptor(), linear, physical, count, writable,
                              below(2) == 0));
        model.map(index, physical, count, writable);
      }
    }
  }

  std::mt19937 random_{GetParam()};
};

TEST_P(RandomWindowTest, AgreesWithAPlainArrayAndWithTheKernel) {
  Model model;
  for (int i = 0; i < 400; ++i) {
    step(model);
    ASSERT_EQ(books(*window_), model.runs()) << "seed " << GetParam() << ", step " << i;
    expect_books_are_right();
    if (HasFailure()) FAIL() << "seed " << GetParam() << ", step " << i;
    if (below(100) == 0) {
      window_->clear();
      model = {};
    }
  }
}

/// With little budget everything may be refused or dropped, but what is there is as it should be.
TEST_P(RandomWindowTest, WithLittleBudgetShowsNothingThatWasTakenAway) {
  make(12);
  Model model;
  for (int i = 0; i < 400; ++i) {
    const u32 index = below(2 * Model::kEach);
    const u32 count = 1 + below(std::min(Model::kEach - index % Model::kEach, 12u));
    const u32 linear = Model::linear_of(index);
    const u32 physical = below(64);
    const bool writable = below(2) == 0;
    switch (below(6)) {
      case 0:
        window_->unmap(linear, count);
        model.unmap(index, count);
        break;
      case 1:
        window_->protect_physical(physical, count);
        model.protect_physical(physical, count);
        break;
      default:
        if (map_pages(*window_, file_.descriptor(), linear, physical, count, writable, true))
          model.map(index, physical, count, writable);
    }
    ASSERT_LE(budget_.used(), budget_.limit());
    expect_books_are_right();
    Model shown = model;
    for (u32 page = 0; page < 2 * Model::kEach; ++page) {
      if (window_->find(Model::linear_of(page)).count == 0) shown.unmap(page, 1);
    }
    ASSERT_EQ(books(*window_), shown.runs()) << "seed " << GetParam() << ", step " << i;
    if (HasFailure()) FAIL() << "seed " << GetParam() << ", step " << i;
    model = shown;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWindowTest, ::testing::Range(1u, 9u));

// ---- When the host has nothing left
// --------------------------------------------------------------

/// Runs `body` in a child; it says true if all is well.
template <class Body>
void expect_true_in_a_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 7 : 8);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

/// Takes mappings until the host has `left` of them.
bool use_up_mappings(int left) {
  std::vector<void*> taken;
  taken.reserve(100'000);
  for (;;) {
    // Neighbours of different rights do not join.
    void* one = ::mmap(nullptr, kPageSize, taken.size() % 2 == 0 ? PROT_READ : PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (one == MAP_FAILED) break;
    taken.push_back(one);
    if (taken.size() > 1'000'000) return false;
  }
  for (int i = 0; i < left; ++i)
    ::munmap(taken[taken.size() - 1 - static_cast<std::size_t>(i)], kPageSize);
  return true;
}

TEST_F(WindowTest, StaysRightWhenTheHostHasNoMappingLeft) {
  std::ifstream file("/proc/sys/vm/max_map_count");
  u64 limit = 0;
  if (!(file >> limit) || limit > 500'000) GTEST_SKIP() << "the host has many mappings";
  for (int left = 0; left < 4; ++left) {
    make(10'000);
    expect_true_in_a_child([this, left] {
      std::vector<Window::Run> expected;
      if (!map_pages(*window_, file_.descriptor(), 10, 20, 8, true, true)) return false;
      if (!map_pages(*window_, file_.descriptor(), 30, 60, 4, true, true)) return false;
      if (!use_up_mappings(left)) return false;
      window_->protect(12, 1);                     // split or drop
      window_->unmap(31, 1);                       // split or drop
      for (u32 page = 100; page < 108; page += 2)  // until refused
        map_pages(*window_, file_.descriptor(), page, page, 1, true, true);
      const KernelView kernel = kernel_view(*window_);
      return kernel.runs == books(*window_) && kernel.first_hole == 0 &&
             (window_->find(12).count == 0 || !window_->find(12).writable) &&
             window_->find(31).count == 0 && window_->statistics().refusals > 0 &&
             budget_.used() == window_->mappings();
    });
  }
}

TEST_F(WindowTest, IsRefusedPolitelyWhereAddressesAreShort) {
  expect_true_in_a_child([this] {
    const rlimit limit = {.rlim_cur = u64{6} << 30, .rlim_max = u64{6} << 30};
    ::setrlimit(RLIMIT_AS, &limit);
    auto second = Window::create(budget_);
    return !second.ok() && second.error().code == base::ErrorCode::kResourceExhausted &&
           budget_.used() == window_->mappings();
  });
}

TEST(MappingBudget, OfTheProcessIsHalfOfWhatWasLeft) {
  u64 limit = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> limit;
  EXPECT_LT(MappingBudget::process().limit(), limit / 2);
  EXPECT_GT(MappingBudget::process().limit(), limit / 2 - 500);
  EXPECT_EQ(&MappingBudget::process(), &MappingBudget::process());
}

TEST(MappingBudget, TakesAllOrNothing) {
  MappingBudget budget(10);
  EXPECT_TRUE(budget.take(7));
  EXPECT_FALSE(budget.take(4));
  EXPECT_EQ(budget.used(), 7u);
  EXPECT_TRUE(budget.take(3));
  EXPECT_FALSE(budget.take(1));
  EXPECT_FALSE(budget.take(~u64{0}));
  budget.give_back(10);
  EXPECT_EQ(budget.used(), 0u);
}

TEST(MappingBudget, ServesEachShareUpToAnEvenPart) {
  MappingBudget all(100);
  MappingBudget first = all.share();
  EXPECT_TRUE(first.take(100));  // alone it may have everything
  EXPECT_FALSE(first.take(1));
  EXPECT_FALSE(first.owes());
  {
    MappingBudget second = all.share();
    EXPECT_TRUE(second.take(50));
    EXPECT_FALSE(second.take(1));  // above its part, while the first has not given back
    EXPECT_EQ(all.used(), 150u);
    EXPECT_TRUE(first.owes());
    EXPECT_FALSE(second.owes());
    first.give_back(60);
    EXPECT_FALSE(first.owes());
    EXPECT_TRUE(second.take(10));  // above its part, of what is free
    EXPECT_FALSE(second.take(1));
    EXPECT_TRUE(first.take(0));
    EXPECT_FALSE(first.take(11));
    second.give_back(60);
  }
  EXPECT_TRUE(first.take(60));
  EXPECT_EQ(all.used(), first.used());
}

}  // namespace
}  // namespace snowglobe::vm
