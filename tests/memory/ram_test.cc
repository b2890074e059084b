// tests/memory/ram_test.cc - guest RAM against a plain model: own and borrowed pages, images, going
// back, sharing among machines, and what is given back when nobody uses it.
#include "vm/memory/ram.h"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snowglobe::vm {
namespace {

constexpr u64 kSize = 16u << 20;
constexpr u32 kPages = kSize >> kPageShift;

std::unique_ptr<GuestRam> make(std::shared_ptr<const RamImage> image = nullptr) {
  auto ram = GuestRam::create(kSize, std::move(image));
  EXPECT_TRUE(ram.ok());
  return std::move(ram).value();
}

void poke(GuestRam& ram, u32 page, u32 value) {
  base::store_le(ram.write(page << kPageShift, 4).data(), value);
}

u32 peek(GuestRam& ram, u32 page) {
  return base::load_le<u32>(ram.read(page << kPageShift, 4).data());
}

std::shared_ptr<const RamImage> captured(GuestRam& ram) {
  auto image = ram.capture();
  EXPECT_TRUE(image.ok());
  return std::move(image).value();
}

/// Keeps what a CPU would: which pages it may write, where they lie, and what code it knows.
class Watcher final : public GuestRam::Observer {
 public:
  explicit Watcher(GuestRam& ram) : ram_(ram) { ram.set_observer(this); }
  ~Watcher() override { ram_.set_observer(nullptr); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  void on_write_right_lost(u32 page) override { rights.erase(page); }
  void on_code_written(u32 page) override {
    code.erase(page);
    ++dropped;
  }
  void on_page_moved(u32 page) override {
    places.erase(page);
    rights.erase(page);
  }
  void on_all_moved() override {
    places.clear();
    rights.clear();
  }

  void look(u32 page) { places[page] = ram_.host_page(page); }
  void write(u32 page, u32 value) {
    if (rights.count(page) == 0) {
      ram_.acquire_write(page);
      rights[page] = ram_.host_page(page);
    }
    base::store_le(rights[page], value);
  }
  /// All that it keeps is true.
  void check() {
    for (const auto& [page, place] : places)
      ASSERT_EQ(place, ram_.host_page(page)) << page;
    for (const auto& [page, place] : rights) {
      ASSERT_EQ(place, ram_.host_page(page)) << page;
      ASSERT_TRUE(ram_.is_writable(page)) << page;
    }
    for (const auto& [page, value] : code) {
      ASSERT_TRUE(ram_.has_code(page)) << page;
      ASSERT_EQ(value, peek(ram_, page)) << page;
    }
  }

  std::map<u32, u8*> places;
  std::map<u32, u8*> rights;
  std::map<u32, u32> code;
  int dropped = 0;

 private:
  GuestRam& ram_;
};

TEST(Ram, RefusesSizesThatNoMachineHas) {
  for (const u64 size : {u64{0}, u64{1} << 20, u64{4} << 30}) {
    EXPECT_EQ(GuestRam::create(size).error().code, base::ErrorCode::kInvalidArgument);
  }
  const auto ram = make();
  EXPECT_EQ(GuestRam::create(kSize * 2, captured(*ram)).error().code,
            base::ErrorCode::kInvalidArgument);
}

TEST(Ram, GoesBackToWhatItWas) {
  const auto ram = make();
  poke(*ram, 3, 33);
  poke(*ram, 4, 44);
  const auto before = captured(*ram);
  poke(*ram, 3, 34);
  poke(*ram, 9, 99);
  ASSERT_TRUE(ram->restore(before).ok());
  EXPECT_EQ(peek(*ram, 3), 33u);
  EXPECT_EQ(peek(*ram, 4), 44u);
  EXPECT_EQ(peek(*ram, 9), 0u);
}

TEST(Ram, PagesWrittenSinceStayWritableOverARestore) {
  const auto ram = make();
  poke(*ram, 3, 33);
  const auto before = captured(*ram);
  poke(*ram, 9, 99);
  ASSERT_TRUE(ram->restore(before).ok());
  EXPECT_TRUE(ram->is_writable(3));
  EXPECT_TRUE(ram->is_writable(9));
}

TEST(Ram, PagesThatStayAsTheyAreLoseTheRightInTheEnd) {
  const auto ram = make();
  Watcher watcher(*ram);
  poke(*ram, 3, 33);
  const auto before = captured(*ram);
  for (int i = 0; i < 40; ++i) {
    watcher.write(5, 55u + static_cast<u32>(i));
    ASSERT_TRUE(ram->restore(before).ok());
    watcher.check();
  }
  EXPECT_EQ(ram->dirty_pages(), std::vector<u32>{5});
  EXPECT_FALSE(ram->is_writable(3));
  poke(*ram, 3, 34);
  ASSERT_TRUE(ram->restore(before).ok());
  EXPECT_EQ(peek(*ram, 3), 33u);
}

TEST(Ram, ACaptureWithoutChangesIsTheSameImage) {
  const auto ram = make();
  poke(*ram, 3, 33);
  const auto first = captured(*ram);
  poke(*ram, 3, 33);
  EXPECT_EQ(captured(*ram), first);
}

TEST(Ram, AForkReadsTheImageAndWritesItsOwn) {
  const auto ram = make();
  for (u32 page = 0; page < 100; ++page)
    poke(*ram, page, page + 1);
  const auto image = captured(*ram);
  const auto fork = make(image);
  EXPECT_EQ(fork->own_bytes(), 0u);
  poke(*fork, 7, 700);
  poke(*ram, 8, 800);
  EXPECT_EQ(peek(*fork, 7), 700u);
  EXPECT_EQ(peek(*fork, 8), 9u);
  EXPECT_EQ(peek(*ram, 7), 8u);
  EXPECT_EQ(fork->own_bytes(), u64{kPageSize});
}

TEST(Ram, PagesThatWillBeWrittenAreOwnedAheadAndStayAsTheyAre) {
  const auto ram = make();
  for (u32 page = 0; page < 100; ++page)
    poke(*ram, page, page + 1);
  const auto image = captured(*ram);
  const auto fork = make(image);
  fork->expect_writes(std::array<u32, 4>{7, 41, 500, 0xFFFF'FFFF});  // 500 is zero, the last no RAM
  EXPECT_EQ(fork->own_bytes(), u64{2} * kPageSize);
  EXPECT_TRUE(fork->is_cheap_to_write(7));
  EXPECT_FALSE(fork->is_cheap_to_write(8));
  EXPECT_TRUE(fork->dirty_pages().empty());
  EXPECT_EQ(peek(*fork, 41), 42u);
  EXPECT_EQ(captured(*fork), image);
}

TEST(Ram, ASpanOverPagesOfBothKindsIsInOnePiece) {
  const auto ram = make();
  for (u32 page = 0; page < 8; ++page)
    poke(*ram, page, page + 1);
  const auto fork = make(captured(*ram));
  poke(*fork, 2, 300);
  const base::ConstBytes span = fork->read(0, 6 << kPageShift);
  ASSERT_EQ(span.size(), std::size_t{6} << kPageShift);
  for (u32 page = 0; page < 6; ++page) {
    EXPECT_EQ(base::load_le<u32>(&span[page << kPageShift]), page == 2 ? 300 : page + 1);
  }
  ASSERT_TRUE(fork->restore(captured(*ram)).ok());
  EXPECT_EQ(peek(*fork, 2), 3u);
}

TEST(Ram, WritesOfCodeAreToldAlsoWhenARestoreMakesThem) {
  const auto ram = make();
  poke(*ram, 3, 33);
  const auto before = captured(*ram);
  Watcher watcher(*ram);
  watcher.write(3, 34);
  ram->watch_code(3);
  watcher.code[3] = 34;
  EXPECT_EQ(watcher.rights.count(3), 0u);
  ASSERT_TRUE(ram->restore(before).ok());
  EXPECT_EQ(watcher.dropped, 1);
  watcher.check();
  ram->watch_code(3);
  watcher.code[3] = 33;
  ASSERT_TRUE(ram->restore(before).ok());
  EXPECT_EQ(watcher.dropped, 1);  // nothing has changed
}

TEST(Ram, MemoryOfImagesIsGivenBackWithThem) {
  const u64 before = PageArena::process().pages_in_use();
  {
    const auto ram = make();
    std::vector<std::shared_ptr<const RamImage>> images;
    for (u32 i = 0; i < 20; ++i) {
      for (u32 page = 0; page < 50; ++page)
        poke(*ram, page * 3, i + 1);
      images.push_back(captured(*ram));
    }
    EXPECT_EQ(PageArena::process().pages_in_use(), before + 20u * 50);
    images.erase(images.begin() + 3, images.begin() + 15);
    EXPECT_EQ(PageArena::process().pages_in_use(), before + 8u * 50);
  }
  EXPECT_EQ(PageArena::process().pages_in_use(), before);
}

std::shared_ptr<const RamImage> image_of(u32 value) {
  const auto ram = make();
  for (u32 page = 0; page < 50; ++page)
    poke(*ram, page, value);
  return captured(*ram);
}

void expect_image_of(u32 value, const RamImage& image) {
  std::vector<u8> bytes(kPageSize);
  for (u32 page = 0; page < 50; ++page) {
    ASSERT_TRUE(image.read(page, bytes));
    ASSERT_EQ(base::load_le<u32>(bytes.data()), value) << page;
  }
}

// The memory files are the parent's: what a child does to its copy of the books must not reach
// them.
TEST(Ram, AForkedChildNeitherEmptiesNorFillsItsParentsImages) {
  auto released = image_of(1);
  const auto kept = image_of(2);  // or the whole file would be closed with the last page
  int go[2];
  ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    char byte;
    if (::read(go[0], &byte, 1) != 1) ::_exit(1);
    released.reset();
    const auto own = image_of(1000);
    std::vector<u8> bytes(kPageSize);
    ::_exit(own->read(3, bytes) && base::load_le<u32>(bytes.data()) == 1000 ? 0 : 1);
  }
  const auto later = image_of(3);  // takes what the child would take
  ASSERT_EQ(::write(go[1], "!", 1), 1);
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  expect_image_of(1, *released);
  expect_image_of(2, *kept);
  expect_image_of(3, *later);
  ::close(go[0]);
  ::close(go[1]);
}

TEST(RamImage, IsBuiltOfPagesFromElsewhere) {
  const auto ram = make();
  poke(*ram, 3, 33);
  poke(*ram, 4, 44);
  const auto base_image = captured(*ram);
  RamImage::Builder builder(kSize, base_image.get());
  std::vector<u8> page(kPageSize, 0);
  ASSERT_TRUE(builder.set(4, page).ok());
  page[0] = 77;
  ASSERT_TRUE(builder.set(1000, page).ok());
  ASSERT_TRUE(builder.set(1000, page).ok());  // twice
  const auto image = builder.finish();
  std::vector<u32> different;
  image->for_each_difference(base_image.get(), [&](u32 each) { different.push_back(each); });
  EXPECT_EQ(different, (std::vector<u32>{4, 1000}));
  ASSERT_TRUE(ram->restore(image).ok());
  EXPECT_EQ(peek(*ram, 3), 33u);
  EXPECT_EQ(peek(*ram, 4), 0u);
  EXPECT_EQ(peek(*ram, 1000), 77u);
  ASSERT_TRUE(image->read(1000, page));
  EXPECT_EQ(page[0], 77);
}

/// An image in a file whose page n begins with n, and whose chunk 3 is bad.
std::shared_ptr<const RamImage> image_in_a_file(std::vector<u32>& shown) {
  const int file = ::memfd_create("stored", MFD_CLOEXEC);
  EXPECT_EQ(::ftruncate(file, static_cast<off_t>(kSize)), 0);
  for (u32 page = 0; page < 100; ++page) {
    EXPECT_EQ(::pwrite(file, &page, sizeof page, off_t{page} << kPageShift), 4);
  }
  std::vector<bool> used(kPages, false);
  std::fill_n(used.begin() + 1, 99, true);
  auto mapped = MemoryFile::map(file, kSize, [&shown](u32 chunk, base::ConstBytes bytes) {
    shown.push_back(chunk);
    return base::load_le<u32>(bytes.data()) == chunk * MemoryFile::kChunkPages && chunk != 3;
  });
  EXPECT_TRUE(mapped.ok());
  auto image = RamImage::of_file(std::move(mapped).value(), used);
  EXPECT_TRUE(image.ok());
  return std::move(image).value();
}

TEST(RamImage, OfAFileIsVerifiedChunkByChunkWhenItIsFirstTouched) {
  std::vector<u32> shown;
  const auto image = image_in_a_file(shown);
  EXPECT_EQ(image->pages_used(), 99u);
  const auto ram = make(image);
  EXPECT_TRUE(shown.empty());
  EXPECT_EQ(peek(*ram, 17), 17u);
  EXPECT_EQ(peek(*ram, 18), 18u);
  poke(*ram, 33, 7);
  EXPECT_EQ(shown, (std::vector<u32>{1, 2}));
  EXPECT_FALSE(ram->damaged());
  EXPECT_EQ(peek(*ram, 50), 50u);
  EXPECT_TRUE(ram->damaged());
}

TEST(RamImage, WithABadChunkIsNotRestored) {
  std::vector<u32> shown;
  const auto image = image_in_a_file(shown);
  const auto ram = make();
  poke(*ram, 5, 55);
  const auto done = ram->restore(image);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, base::ErrorCode::kCorrupt);
  EXPECT_EQ(peek(*ram, 5), 55u);
  EXPECT_EQ(peek(*ram, 6), 0u);
  std::vector<u8> page(kPageSize, 9);
  EXPECT_FALSE(image->read(48, page));
  EXPECT_EQ(page[0], 9);
}

/// Machines that capture, restore and fork at random, each page's first word against a model.
class RamModel : public testing::TestWithParam<u32> {
 protected:
  struct Machine {
    std::unique_ptr<GuestRam> ram;
    std::unique_ptr<Watcher> watcher;
    std::map<u32, u32> words;  // absent: 0
  };
  struct Image {
    std::shared_ptr<const RamImage> image;
    std::map<u32, u32> words;
  };

  u32 below(u32 limit) { return static_cast<u32>(random_() % limit); }
  u32 any_page() { return below(4) == 0 ? below(kPages) : below(300); }
  void add(std::shared_ptr<const RamImage> image, const std::map<u32, u32>& words) {
    Machine machine{make(std::move(image)), nullptr, words};
    machine.watcher = std::make_unique<Watcher>(*machine.ram);
    machines_.push_back(std::move(machine));
  }
  void act(Machine& machine);
  static void check(Machine& machine);

  std::mt19937 random_{GetParam()};
  std::vector<Machine> machines_;
  std::vector<Image> images_;
};

void RamModel::check(Machine& machine) {
  ASSERT_NO_FATAL_FAILURE(machine.watcher->check());
  for (const auto& [page, value] : machine.words)
    ASSERT_EQ(peek(*machine.ram, page), value) << page;
}

void RamModel::act(Machine& machine) {
  switch (below(40)) {
    case 0:
      images_.push_back({captured(*machine.ram), machine.words});
      break;
    case 1:
    case 2:
      if (!images_.empty()) {
        const Image& image = images_[below(static_cast<u32>(images_.size()))];
        for (const auto& [page, value] : std::map(std::exchange(machine.words, image.words)))
          machine.words.try_emplace(page, 0);
        ASSERT_TRUE(machine.ram->restore(image.image).ok());
      }
      break;
    case 3:
      if (images_.size() > 5) images_.erase(images_.begin() + below(5));
      break;
    case 4:
      for (u32 count = below(6000), page = below(kPages); count > 0; --count) {
        page = (page + 1) % kPages;
        machine.watcher->write(page, count);
        machine.words[page] = count;
      }
      break;
    case 5:
    case 6:
      machine.watcher->look(any_page());
      break;
    case 7: {
      const u32 page = any_page();
      machine.ram->watch_code(page);
      machine.watcher->code[page] = peek(*machine.ram, page);
      break;
    }
    case 9:
      machine.ram->expect_writes(std::array<u32, 3>{any_page(), any_page(), any_page()});
      break;
    case 8:
      static_cast<void>(machine.ram->read(below(200) << kPageShift, 40'000));
      break;
    default: {
      const u32 page = any_page();
      const u32 value = below(3) == 0 ? 0 : static_cast<u32>(random_());
      machine.watcher->write(page, value);
      machine.words[page] = value;
    }
  }
}

TEST_P(RamModel, AgreesWithTheModel) {
  const u64 before = PageArena::process().pages_in_use();
  add(nullptr, {});
  for (int step = 0; step < 1200; ++step) {
    Machine& machine = machines_[below(static_cast<u32>(machines_.size()))];
    ASSERT_NO_FATAL_FAILURE(act(machine));
    if (step % 50 == 0) {
      ASSERT_NO_FATAL_FAILURE(check(machine));
    }
    if (below(100) == 0 && !images_.empty()) {
      if (machines_.size() > 3) machines_.erase(machines_.begin());
      const Image& image = images_[below(static_cast<u32>(images_.size()))];
      add(image.image, image.words);
    }
  }
  for (Machine& machine : machines_)
    ASSERT_NO_FATAL_FAILURE(check(machine));
  machines_.clear();
  images_.clear();
  EXPECT_EQ(PageArena::process().pages_in_use(), before);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RamModel, testing::Range(0u, 8u));

}  // namespace
}  // namespace snowglobe::vm
