// tests/snapshots/processes_test.cc - two processes in one store, and processes that are killed in
// the middle of what they do.
#include "tests/snapshots/world.h"

#include <atomic>
#include <csignal>
#include <fmt/format.h>
#include <functional>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snowglobe::snapshots::testing_world {
namespace {

/// Runs `work` in a child, which ends with status 0 if it gives true. For a process with one
/// thread.
pid_t start_child(const std::function<bool()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work() ? 0 : 1);
  return child;
}

bool ended_well(pid_t child) {
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// What can be told from a name: children and the test make the same contents.
Model model_of(std::uint64_t seed) {
  Dice dice(seed);
  Model model;
  model["memory"] = some_bytes(dice, 20 * kChunk);
  model["state"] = some_bytes(dice, 1 + dice.below(9000));
  return model;
}

std::string difference_from_name(const Store& store, const SnapshotInfo& info) {
  return difference(store, info.id, model_of(std::stoull(info.metadata.name)));
}

class ProcessesTest : public testing::Test {
 protected:
  std::filesystem::path place() const { return folder_.path() / "store"; }
  std::unique_ptr<Store> open() {
    StoreOptions options = quick_options();
    options.wait_limit = std::chrono::seconds(20);  // of a loaded machine
    return open_store(place(), options);
  }
  void check_all(std::size_t at_least) {
    auto store = open();
    ASSERT_NE(store, nullptr);
    const std::vector<SnapshotInfo> list = store->list().value();
    EXPECT_GE(list.size(), at_least);
    for (const SnapshotInfo& info : list)
      EXPECT_EQ(difference_from_name(*store, info), "") << info.label();
    expect_clean(*store);
  }
  /// Lets a child do `work` again and again until it is killed, `times` times, and looks after
  /// each: `check` hears how often work was done, by all children together.
  void kill_again_and_again(int times, const std::function<bool(Store&, std::uint64_t)>& work,
                            const std::function<void(std::uint64_t done)>& check) {
    void* const shared = ::mmap(nullptr, sizeof(std::atomic<std::uint64_t>), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    auto& done = *::new (shared) std::atomic<std::uint64_t>(0);
    Dice dice(3);
    for (int i = 0; i < times; ++i) {
      std::uint64_t const before = done;
      const pid_t child = start_child([&] {
        auto store = open();
        for (std::uint64_t n = 0; store != nullptr; ++n) {
          if (!work(*store, 1000 * static_cast<std::uint64_t>(i + 1) + n)) return false;
          ++done;
        }
        return false;
      });
      // Every fourth is killed as early as can be, perhaps while it opens; the others at work.
      for (int waited = 0; i % 4 != 0 && done == before && waited < 10'000; ++waited)
        ::usleep(1'000);
      ::usleep(static_cast<useconds_t>(2'000 + dice.below(30'000)));
      ::kill(child, SIGKILL);
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";
      check(done);
      if (HasFailure()) return;
    }
    EXPECT_GE(done, static_cast<std::uint64_t>(times) / 2);
    ::munmap(shared, sizeof done);
  }

  TemporaryFolder folder_;
};

TEST_F(ProcessesTest, TwoWriteAtOnce) {
  std::vector<pid_t> children;
  for (const std::uint64_t first : {100, 200}) {
    children.push_back(start_child([&] {
      auto store = open();
      std::optional<SnapshotId> parent;
      Model before;
      for (std::uint64_t n = first; n < first + 12 && store != nullptr; ++n) {
        const Model now = model_of(n);
        const auto info = save(*store, now, {.name = std::to_string(n)}, parent, before);
        if (!info.ok()) return false;
        parent = info.value().id;
        before = now;
      }
      return store != nullptr;
    }));
  }
  for (const pid_t child : children)
    EXPECT_TRUE(ended_well(child));
  check_all(24);
}

TEST_F(ProcessesTest, OneWritesWhileTheOtherPrunesAndReads) {
  ASSERT_TRUE(save(*open(), model_of(1), {.name = "1", .tags = {"keep"}}).ok());
  const pid_t writer = start_child([&] {
    auto store = open();
    for (std::uint64_t n = 100; n < 120 && store != nullptr; ++n)
      if (!save(*store, model_of(n), {.name = std::to_string(n)}).ok()) return false;
    return store != nullptr;
  });
  auto store = open();
  for (int i = 0; i < 10; ++i) {
    const auto report = store->prune({.last = 2, .tagged = true}, DryRun::kNo);
    EXPECT_TRUE(report.ok()) << report.error().message;
    const auto found = store->find("1");
    EXPECT_EQ(difference_from_name(*store, found.value()), "");
    const auto compacted = store->compact(0.9);
    EXPECT_TRUE(compacted.ok() || compacted.error().code == base::ErrorCode::kUnavailable);
  }
  EXPECT_TRUE(ended_well(writer));
  store = nullptr;
  check_all(3);
}

TEST_F(ProcessesTest, TwoMakeTheStoreAtOnce) {
  for (int i = 0; i < 5; ++i) {
    std::filesystem::remove_all(place());
    std::vector<pid_t> children;
    for (const std::uint64_t n : {1, 2, 3}) {
      children.push_back(start_child([&] {
        auto store = open();
        return store != nullptr && save(*store, model_of(n), {.name = std::to_string(n)}).ok();
      }));
    }
    for (const pid_t child : children)
      EXPECT_TRUE(ended_well(child));
    check_all(3);
  }
}

TEST_F(ProcessesTest, AKilledSaveLosesNothingThatWasComplete) {
  ASSERT_TRUE(save(*open(), model_of(1), {.name = "1"}).ok());
  kill_again_and_again(
      20,
      [](Store& store, std::uint64_t n) {
        return save(store, model_of(n), {.name = std::to_string(n)}).ok();
      },
      [this](std::uint64_t done) { check_all(1 + done); });
}

TEST_F(ProcessesTest, AKilledPruneLosesNothingThatIsKept) {
  ASSERT_TRUE(save(*open(), model_of(1), {.name = "1", .tags = {"keep"}}).ok());
  kill_again_and_again(
      20,
      [](Store& store, std::uint64_t n) {
        return save(store, model_of(n), {.name = std::to_string(n)}).ok() &&
               store.prune({.last = 1, .tagged = true}, DryRun::kNo).ok() &&
               store.compact(1.0).ok();
      },
      [this](std::uint64_t) {
        check_all(1);
        EXPECT_TRUE(open()->find("1").ok());
      });
}

TEST_F(ProcessesTest, AKilledImportTakesAllOrNothing) {
  const auto file = folder_.path() / "file.snap";
  {
    auto source = open_store(folder_.path() / "source", quick_options());
    std::vector<SnapshotId> ids;
    for (const std::uint64_t n : {11, 12, 13})
      ids.push_back(save(*source, model_of(n), {.name = std::to_string(n)}).value().id);
    ASSERT_TRUE(source->export_to(file, ids).ok());
  }
  ASSERT_TRUE(save(*open(), model_of(1), {.name = "1", .tags = {"keep"}}).ok());
  kill_again_and_again(
      20,
      [&](Store& store, std::uint64_t) {
        return store.import_from(file).ok() && store.list().value().size() == 4 &&
               store.prune({.tagged = true}, DryRun::kNo).ok();
      },
      [this](std::uint64_t) {
        check_all(1);
        auto store = open();
        ASSERT_NE(store, nullptr);
        const auto list = store->list();
        ASSERT_TRUE(list.ok());
        // All of the import or nothing; a prune that was killed may have taken all of it or
        // nothing.
        EXPECT_TRUE(list.value().size() == 1 || list.value().size() == 4) << list.value().size();
      });
}

TEST_F(ProcessesTest, AChildDoesNotUseItsParentsStore) {
  auto store = open();
  const SnapshotInfo info = save(*store, model_of(1), {.name = "1"}).value();
  auto reader = store->open(info.id);
  const pid_t child = start_child([&] {
    Bytes chunk(kChunk);
    const bool refused = store->list().error().code == base::ErrorCode::kUnavailable &&
                         store->begin().error().code == base::ErrorCode::kUnavailable;
    store = nullptr;  // and taking it apart does nothing to the parent's
    return refused;
  });
  EXPECT_TRUE(ended_well(child));
  // The parent's locks are still held.
  EXPECT_EQ(open_store(place(), quick_options())->remove(info.id).error().code,
            base::ErrorCode::kUnavailable);
  EXPECT_EQ(difference_from_name(*store, info), "");
}

}  // namespace
}  // namespace snowglobe::snapshots::testing_world
