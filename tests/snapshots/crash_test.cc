// tests/snapshots/crash_test.cc - every operation on a file fails once, or is the last before the
// power goes: all that was complete stays, and what was said to be done is done.
#include "tests/snapshots/fault_files.h"
#include "tests/snapshots/world.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace snowglobe::snapshots::testing_world {
namespace {

using Models = std::map<SnapshotId, Model>;

/// A store with a small tree, and a copy of it that each try works on.
class FaultTest : public testing::Test {
 protected:
  FaultTest() {
    auto store = open_store(original(), quick_options());
    Model model;
    model["memory"] = some_bytes(dice_, 6 * kChunk + 10);
    root_ = keep(save(*store, model, {.name = "root"}).value(), model);
    make_sparse_pack(*store);
    for (const char* name : {"a", "b"}) {
      Model now = model;
      now["memory"][kChunk + static_cast<std::size_t>(name[0])] ^= 1;
      now["state"] = some_bytes(dice_, 500);
      last_ = keep(save(*store, now, {.name = name}, root_, model).value(), now);
    }
    next_ = models_[last_];
    next_["memory"][5] ^= 1;
    next_["memory"][3 * kChunk] ^= 1;
    next_["state"] = some_bytes(dice_, 700);
    // A file for import: one snapshot that is there, one that is not.
    Model other = model;
    other["memory"][9] ^= 1;
    const SnapshotInfo extra = save(*store, other, {.name = "extra"}, root_, model).value();
    EXPECT_TRUE(store->export_to(file(), {extra.id}, {.with_ancestors = true}).ok());
    EXPECT_TRUE(store->remove(extra.id).ok());
    imported_[extra.id] = other;
  }

  /// A pack of which a kept snapshot needs little: its first owner was pruned while somebody wrote.
  void make_sparse_pack(Store& store) {
    Model full;
    full["memory"] = some_bytes(dice_, 12 * kChunk);
    const SnapshotInfo parent = save(store, full, {}).value();
    Model little = full;
    std::fill(little["memory"].begin(), little["memory"].end() - 3 * kChunk, std::uint8_t{0});
    keep(save(store, little, {.name = "little"}, parent.id, full).value(), little);
    const auto writer = store.begin();
    EXPECT_TRUE(store.prune({.named = true}, DryRun::kNo).value().space_deferred);
  }

  std::filesystem::path original() const { return folder_.path() / "original"; }
  std::filesystem::path copy() const { return folder_.path() / "copy"; }
  std::filesystem::path file() const { return folder_.path() / "file.snap"; }

  SnapshotId keep(const SnapshotInfo& info, const Model& model) {
    models_[info.id] = model;
    return info.id;
  }

  struct Scenario {
    std::function<base::Result<void>(Store&)> act;
    std::vector<SnapshotId> removes;  ///< these may be gone afterwards
    const Model* creates = nullptr;   ///< one with these contents may be there
  };

  Scenario saving() {
    return {[this](Store& store) -> base::Result<void> {
              auto info = save(store, next_, {.name = "new"}, last_, models_[last_]);
              if (!info.ok()) return info.error();
              return {};
            },
            {},
            &next_};
  }
  Scenario removing() {
    return {[this](Store& store) -> base::Result<void> {
              auto report = store.remove(last_);
              if (!report.ok()) return report.error();
              return {};
            },
            {last_},
            nullptr};
  }
  Scenario pruning() {
    return {[](Store& store) -> base::Result<void> {
              auto report = store.prune({.last = 1}, DryRun::kNo);
              if (!report.ok()) return report.error();
              return {};
            },
            [this] {
              std::vector<SnapshotId> gone;
              for (const auto& [id, model] : models_)
                if (id != last_) gone.push_back(id);
              return gone;
            }(),
            nullptr};
  }
  Scenario compacting() {
    return {[](Store& store) -> base::Result<void> {
              auto report = store.compact(1.0);
              if (!report.ok()) return report.error();
              return {};
            },
            {},
            nullptr};
  }
  Scenario importing() {
    return {[this](Store& store) -> base::Result<void> {
              auto report = store.import_from(file());
              if (!report.ok()) return report.error();
              return {};
            },
            {},
            &imported_.begin()->second};
  }

  /// All that must be there is, whole; nothing else but what the scenario makes. `done`: act() said
  /// ok.
  void check(Store& store, const Scenario& scenario, bool done, const std::string& when) {
    auto report = store.verify();
    ASSERT_TRUE(report.ok()) << when << report.error().message;
    for (const Damage& damage : report.value().damage)
      ADD_FAILURE() << when << damage.what;
    std::size_t expected = 0;
    for (const auto& [id, model] : models_) {
      const bool may_go =
          std::find(scenario.removes.begin(), scenario.removes.end(), id) != scenario.removes.end();
      if (may_go && (done || !store.get(id).ok())) {
        EXPECT_FALSE(done && store.get(id).ok()) << when;
        continue;
      }
      ++expected;
      EXPECT_EQ(difference(store, id, model), "") << when;
    }
    const std::vector<SnapshotInfo> list = store.list().value();
    if (scenario.creates != nullptr && (done || list.size() > expected)) {
      ++expected;
      EXPECT_EQ(difference(store, list.back().id, *scenario.creates), "") << when;
    }
    EXPECT_EQ(list.size(), expected) << when;
  }

  void start_over() {
    std::filesystem::remove_all(copy());
    std::filesystem::copy(original(), copy(), std::filesystem::copy_options::recursive);
  }

  /// One try. False: the fault did not come any more, all of it was done.
  bool try_once(const Scenario& scenario, FaultFiles::Fault fault, std::uint64_t at,
                std::size_t torn, bool power_cut) {
    const std::string when = "operation " + std::to_string(at) + ", torn " + std::to_string(torn) +
                             (power_cut ? ", power cut: " : ": ");
    start_over();
    FaultFiles files;
    bool done = false;
    {
      auto store = open_store(copy(), quick_options(&files));
      if (store == nullptr) return false;
      files.arm(fault, at, torn);
      done = scenario.act(*store).ok();
      if (fault == FaultFiles::Fault::kError) check(*store, scenario, done, "at once, " + when);
      // The catalogue is closed with the store: that is cut off as well.
    }
    const bool struck = files.struck();
    files.arm(FaultFiles::Fault::kNone, 0);
    if (power_cut) files.lose_unsynced();
    auto store = open_store(copy(), quick_options(&files));
    if (store == nullptr) return false;
    check(*store, scenario, done, when);
    // The space of what was cut off is free again, and the store goes on as if nothing had been.
    EXPECT_TRUE(store->compact().ok()) << when;
    const auto again = save(*store, next_, {.name = "again"});
    EXPECT_TRUE(again.ok()) << when;
    if (again.ok()) {
      EXPECT_EQ(difference(*store, again.value().id, next_), "") << when;
    }
    return struck && !HasFailure();
  }

  void cut_everywhere(const Scenario& scenario) {
    std::uint64_t at = 1;
    while (try_once(scenario, FaultFiles::Fault::kCut, at, 0, at % 2 == 0)) {
      const std::size_t torn[] = {1, 63, 100, 1000, 4095};
      try_once(scenario, FaultFiles::Fault::kCut, at, torn[at % 5], at % 2 == 1);
      ++at;
    }
    EXPECT_GT(at, 10u) << "hardly anything was written";
  }
  void fail_everywhere(const Scenario& scenario) {
    std::uint64_t at = 1;
    while (try_once(scenario, FaultFiles::Fault::kError, at, 0, false))
      ++at;
    EXPECT_GT(at, 10u) << "hardly anything was written";
  }

  TemporaryFolder folder_;
  Dice dice_{7};
  Models models_;
  Models imported_;
  Model next_;
  SnapshotId root_;
  SnapshotId last_;
};

TEST_F(FaultTest, ACutAnywhereInSaveLosesNothingThatWasComplete) {
  cut_everywhere(saving());
}
TEST_F(FaultTest, ACutAnywhereInRemoveLosesNothingElse) {
  cut_everywhere(removing());
}
TEST_F(FaultTest, ACutAnywhereInPruneLosesNothingElse) {
  cut_everywhere(pruning());
}
TEST_F(FaultTest, ACutAnywhereInCompactLosesNothing) {
  cut_everywhere(compacting());
}
TEST_F(FaultTest, ACutAnywhereInImportTakesAllOrNothing) {
  cut_everywhere(importing());
}

TEST_F(FaultTest, AnErrorAnywhereInSaveLosesNothingThatWasComplete) {
  fail_everywhere(saving());
}
TEST_F(FaultTest, AnErrorAnywhereInPruneLosesNothingElse) {
  fail_everywhere(pruning());
}
TEST_F(FaultTest, AnErrorAnywhereInImportTakesAllOrNothing) {
  fail_everywhere(importing());
}

TEST_F(FaultTest, ACutAnywhereInMakingAStoreLeavesOneThatCanBeMade) {
  const auto place = folder_.path() / "made";
  for (std::uint64_t at = 1;; ++at) {
    std::filesystem::remove_all(place);
    FaultFiles files;
    files.arm(FaultFiles::Fault::kCut, at, at % 3);
    const bool made = Store::open_folder(place, quick_options(&files)).ok();
    const bool struck = files.struck();
    files.arm(FaultFiles::Fault::kNone, 0);
    files.lose_unsynced();
    auto store = open_store(place, quick_options(&files));
    ASSERT_NE(store, nullptr) << "operation " << at;
    EXPECT_TRUE(save(*store, next_, {}).ok());
    expect_clean(*store);
    if (!struck) {
      EXPECT_TRUE(made);
      break;
    }
  }
}

TEST_F(FaultTest, AFullDiskIsSaidAndCostsNothing) {
  int full = 0;
  for (std::uint64_t room = 0;; room += 3'000) {
    start_over();
    FaultFiles files;
    auto store = open_store(copy(), quick_options(&files));
    files.set_room(room);
    Model noise;
    noise["memory"] = some_bytes(dice_, 12 * kChunk);
    const auto saved = save(*store, noise, {.name = "noise"});
    files.set_room(std::numeric_limits<std::uint64_t>::max());
    Scenario scenario;
    if (saved.ok()) scenario.creates = &noise;
    check(*store, scenario, saved.ok(), "room " + std::to_string(room) + ": ");
    if (saved.ok()) break;
    EXPECT_EQ(saved.error().code, base::ErrorCode::kResourceExhausted) << saved.error().message;
    ++full;
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(full, 3);
}

TEST_F(FaultTest, AnExportIsWholeOrNotThere) {
  const auto target = folder_.path() / "target.snap";
  for (std::uint64_t at = 1;; ++at) {
    start_over();
    std::filesystem::remove(target);
    FaultFiles files;
    auto store = open_store(copy(), quick_options(&files));
    files.arm(FaultFiles::Fault::kError, at);
    const auto exported = store->export_to(target, {last_, root_});
    const bool struck = files.struck();
    files.arm(FaultFiles::Fault::kNone, 0);
    if (exported.ok()) {
      EXPECT_EQ(Store::inspect(target).value().size(), 2u);
    } else if (std::filesystem::exists(target)) {  // only its last step, the folder's sync, failed
      EXPECT_TRUE(open_store(folder_.path() / "whole", quick_options())->import_from(target).ok());
      std::filesystem::remove_all(folder_.path() / "whole");
    }
    std::size_t rests = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
      rests += entry.path().extension() == ".part" ? 1 : 0;
    EXPECT_EQ(rests, 0u) << "operation " << at;
    if (!struck) break;
  }
}

}  // namespace
}  // namespace snowglobe::snapshots::testing_world
