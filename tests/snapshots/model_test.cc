// tests/snapshots/model_test.cc - random calls against a model kept outside: after each the store
// says and reads what the model does, and so it does after it was opened again.
#include "tests/snapshots/world.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <set>

namespace snowglobe::snapshots::testing_world {
namespace {

struct Known {
  Model model;
  std::optional<SnapshotId> parent;
  std::string name;
  std::set<std::string> tags;
  std::uint64_t order = 0;
};

class RandomCalls {
 public:
  explicit RandomCalls(std::uint64_t seed) : dice_(seed) { reopen(); }

  void run(int calls) {
    for (int i = 0; i < calls && !testing::Test::HasFailure(); ++i) {
      call();
      if (dice_.below(10) == 0) check(false);
    }
    check(true);
  }

 private:
  void reopen() {
    store_ = nullptr;
    StoreOptions options = quick_options();
    options.threads = static_cast<unsigned>(dice_.below(3));
    options.clock = &clock_;
    store_ = open_store(folder_.path() / "store", options);
  }

  void call() {
    clock_.advance(std::chrono::seconds(1));
    switch (dice_.below(12)) {
      case 0:
        return remove();
      case 1:
        return prune();
      case 2:
        return retag();
      case 3:
        return rename();
      case 4:
        EXPECT_TRUE(store_->compact(static_cast<double>(dice_.below(11)) / 10).ok());
        return;
      case 5:
        return travel();
      case 6:
        return reopen();
      default:
        return save_one();
    }
  }

  const SnapshotId* pick() {
    if (known_.empty()) return nullptr;
    auto at = known_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(dice_.below(known_.size())));
    return &at->first;
  }

  void save_one() {
    const SnapshotId* const parent = dice_.below(6) == 0 ? nullptr : pick();
    Known added;
    const Model before = parent != nullptr ? known_[*parent].model : Model();
    added.model = before;
    for (const char* name : {"disk/data", "memory", "state"}) {
      if (dice_.below(3) == 0) continue;
      Bytes& bytes = added.model[name];
      if (dice_.below(4) == 0) bytes.resize(dice_.below(12 * kChunk));
      for (int i = 0; i < 3 && !bytes.empty(); ++i) {
        const std::size_t at = dice_.below(bytes.size()) / kChunk * kChunk;
        const Bytes chunk = some_chunk(dice_, std::min<std::size_t>(kChunk, bytes.size() - at));
        std::copy(chunk.begin(), chunk.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
    if (dice_.below(8) == 0) added.model.erase("state");
    if (parent != nullptr) added.parent = *parent;
    added.name = dice_.below(2) == 0 ? "" : fmt::format("n{}", ++last_name_);
    added.order = ++last_order_;
    const auto info = save(*store_, added.model, {.name = added.name}, added.parent, before);
    ASSERT_TRUE(info.ok()) << info.error().message;
    known_[info.value().id] = added;
  }

  std::set<SnapshotId> branch(const SnapshotId& root) const {
    std::set<SnapshotId> ids{root};
    for (bool grown = true; grown;) {
      grown = false;
      for (const auto& [id, known] : known_)
        if (known.parent.has_value() && ids.count(*known.parent) != 0)
          grown |= ids.insert(id).second;
    }
    return ids;
  }

  void remove() {
    const SnapshotId* const id = pick();
    if (id == nullptr) return;
    const std::set<SnapshotId> going = branch(*id);
    const bool cascade = dice_.below(3) == 0;
    const auto report = store_->remove(*id, cascade ? Cascade::kYes : Cascade::kNo);
    ASSERT_EQ(report.ok(), cascade || going.size() == 1);
    if (!report.ok()) return;
    EXPECT_EQ(report.value().removed.size(), going.size());
    for (const SnapshotId& gone : going)
      known_.erase(gone);
  }

  void prune() {
    const std::size_t last = 3 + dice_.below(12);
    const auto report = store_->prune({.last = last, .tags = {"keep"}}, DryRun::kNo);
    ASSERT_TRUE(report.ok()) << report.error().message;
    std::vector<std::uint64_t> orders;
    for (const auto& [id, known] : known_)
      orders.push_back(known.order);
    std::sort(orders.rbegin(), orders.rend());
    const std::uint64_t oldest = orders.size() > last ? orders[last - 1] : 0;
    std::set<SnapshotId> going;
    for (const auto& [id, known] : known_)
      if (known.order < oldest && known.tags.count("keep") == 0) going.insert(id);
    EXPECT_EQ(report.value().removed.size(), going.size());
    for (auto& [id, known] : known_) {
      while (known.parent.has_value() && going.count(*known.parent) != 0)
        known.parent = known_[*known.parent].parent;
    }
    for (const SnapshotId& gone : going)
      known_.erase(gone);
  }

  void retag() {
    const SnapshotId* const id = pick();
    if (id == nullptr) return;
    const std::string tag = dice_.below(2) == 0 ? "keep" : "other";
    if (known_[*id].tags.erase(tag) != 0) {
      EXPECT_TRUE(store_->untag(*id, tag).ok());
    } else {
      EXPECT_TRUE(store_->tag(*id, tag).ok());
      known_[*id].tags.insert(tag);
    }
  }

  void rename() {
    const SnapshotId* const id = pick();
    if (id == nullptr) return;
    known_[*id].name = fmt::format("n{}", ++last_name_);
    EXPECT_TRUE(store_->rename(*id, known_[*id].name).ok());
  }

  // Out, away, and in again: a branch without children comes back the same.
  void travel() {
    const SnapshotId* const id = pick();
    if (id == nullptr || branch(*id).size() != 1) return;
    const auto file = folder_.path() / "travel.snap";
    const ExportOptions options{.with_ancestors = dice_.below(2) == 0, .overwrite = true};
    const auto exported = store_->export_to(file, {*id}, options);
    ASSERT_TRUE(exported.ok()) << exported.error().message;
    ASSERT_TRUE(store_->remove(*id).ok());
    const auto imported = store_->import_from(file);
    ASSERT_TRUE(imported.ok()) << imported.error().message;
    EXPECT_EQ(imported.value().imported.size(), 1u);
    if (!options.with_ancestors) known_[*id].parent.reset();
  }

  void check(bool deep) {
    const auto list = store_->list();
    ASSERT_TRUE(list.ok()) << list.error().message;
    ASSERT_EQ(list.value().size(), known_.size());
    for (const SnapshotInfo& info : list.value()) {
      const auto known = known_.find(info.id);
      ASSERT_NE(known, known_.end());
      EXPECT_EQ(info.parent, known->second.parent);
      EXPECT_EQ(info.metadata.name, known->second.name);
      EXPECT_EQ(std::set<std::string>(info.metadata.tags.begin(), info.metadata.tags.end()),
                known->second.tags);
      if (deep || dice_.below(4) == 0) {
        EXPECT_EQ(difference(*store_, info.id, known->second.model), "");
      }
    }
    expect_clean(*store_);
  }

  TemporaryFolder folder_;
  Dice dice_;
  base::ManualClock clock_;
  std::unique_ptr<Store> store_;
  std::map<SnapshotId, Known> known_;
  int last_name_ = 0;
  std::uint64_t last_order_ = 0;
};

TEST(StoreModel, RandomCallsAgreeWithTheModel) {
  const char* const given = std::getenv("SNOWGLOBE_SEED");
  const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  for (std::uint64_t seed = first; seed < first + (given != nullptr ? 1 : 4); ++seed) {
    SCOPED_TRACE("SNOWGLOBE_SEED=" + std::to_string(seed));
    RandomCalls(seed).run(250);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace snowglobe::snapshots::testing_world
