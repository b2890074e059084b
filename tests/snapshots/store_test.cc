// tests/snapshots/store_test.cc - what the store's functions do, one by one.
#include "tests/snapshots/world.h"

#include <algorithm>
#include <fstream>
#include <sys/stat.h>

namespace snowglobe::snapshots::testing_world {
namespace {

using base::ErrorCode;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    StoreOptions options = quick_options();
    options.clock = &clock_;
    store_ = open_store(folder_.path() / "store", options);
  }

  /// Saves one more snapshot: a chunk of "memory" other than in `parent`.
  SnapshotInfo add(const std::string& name, std::optional<SnapshotId> parent = {},
                   std::vector<std::string> tags = {}) {
    const Model before = parent.has_value() ? models_[*parent] : Model();
    Model now = before;
    now["memory"].resize(10 * kChunk);
    now["memory"][dice_.below(10 * kChunk)] ^= static_cast<std::uint8_t>(1 + dice_.below(255));
    now["state"] = some_bytes(dice_, 3000);
    clock_.advance(std::chrono::seconds(1));
    auto info = save(*store_, now, {.name = name, .tags = std::move(tags)}, parent, before);
    EXPECT_TRUE(info.ok()) << info.error().message;
    models_[info.value().id] = now;
    return info.value();
  }
  void expect_all_readable() {
    for (const auto& [id, model] : models_)
      EXPECT_EQ(difference(*store_, id, model), "");
    expect_clean(*store_);
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    const std::vector<SnapshotInfo> infos = store_->list().value();
    for (const SnapshotInfo& info : infos)
      found.push_back(info.label());
    return found;
  }

  TemporaryFolder folder_;
  base::ManualClock clock_;
  std::unique_ptr<Store> store_;
  Dice dice_{1};
  std::map<SnapshotId, Model> models_;
};

TEST_F(StoreTest, ReadsBackWhatWasWrittenAlsoAfterReopening) {
  const SnapshotInfo first = add("first");
  const SnapshotInfo second = add("second", first.id);
  expect_all_readable();
  store_ = nullptr;
  store_ = open_store(folder_.path() / "store", quick_options());
  expect_all_readable();
  EXPECT_EQ(store_->get(second.id).value().parent, first.id);
}

TEST_F(StoreTest, KeepsAllMetadata) {
  const Metadata metadata{.name = "Grüße",
                          .tags = {"a", "b"},
                          .note = "two\nlines",
                          .created = base::Nanoseconds(-5),
                          .memory_bytes = 128 << 20,
                          .image_id = "sha256:abc",
                          .format_version = 7,
                          .postgres_version = "17.5",
                          .wal_position = "0/1A2B3C4",
                          .properties = {{"x", "1"}, {"y", ""}}};
  const auto saved = save(*store_, {{"state", Bytes(10, 1)}}, metadata);
  ASSERT_TRUE(saved.ok()) << saved.error().message;
  const Metadata read = store_->find("Grüße").value().metadata;
  EXPECT_EQ(read.tags, metadata.tags);
  EXPECT_EQ(read.note, metadata.note);
  EXPECT_EQ(read.created, metadata.created);
  EXPECT_EQ(read.memory_bytes, metadata.memory_bytes);
  EXPECT_EQ(read.image_id, metadata.image_id);
  EXPECT_EQ(read.format_version, metadata.format_version);
  EXPECT_EQ(read.postgres_version, metadata.postgres_version);
  EXPECT_EQ(read.wal_position, metadata.wal_position);
  EXPECT_EQ(read.properties, metadata.properties);
}

TEST_F(StoreTest, RefusesMetadataThatMakesNoSense) {
  const auto code = [&](const Metadata& metadata) {
    const auto saved = save(*store_, {}, metadata);
    return saved.ok() ? ErrorCode::kInternal : saved.error().code;
  };
  EXPECT_EQ(code({.name = "latest"}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "a\nb"}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "\xC3"}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.name = std::string(201, 'x')}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "0123456789abcdef0123456789abcdef"}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.tags = {"a", "a"}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.tags = {""}}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({.note = std::string("a\0b", 3)}), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(store_->list().value().empty());
}

TEST_F(StoreTest, EqualChunksAndZerosCostNothing) {
  const Bytes noise = [&] {
    Bytes bytes(kChunk);
    for (std::uint8_t& byte : bytes)
      byte = static_cast<std::uint8_t>(dice_.next());
    return bytes;
  }();
  Model model;
  model["zeros"].resize(100 * kChunk);
  for (int i = 0; i < 50; ++i)
    model["same"].insert(model["same"].end(), noise.begin(), noise.end());
  const SnapshotInfo info = save(*store_, model, {}).value();
  EXPECT_EQ(info.raw_bytes, 150u * kChunk);
  EXPECT_EQ(info.stored_bytes, kChunk);
  EXPECT_LT(info.new_bytes, kChunk + 200u);
  EXPECT_EQ(difference(*store_, info.id, model), "");
  const SnapshotInfo again = save(*store_, model, {}).value();
  EXPECT_EQ(again.new_bytes, 0u);
  const Statistics statistics = store_->statistics().value();
  EXPECT_EQ(statistics.chunks, 1u);
  EXPECT_EQ(statistics.packs, 1u);
  EXPECT_GT(statistics.ratio(), 299.0);
}

TEST_F(StoreTest, AChildInheritsWhatIsNotPut) {
  const SnapshotInfo parent = add("parent");
  auto writer = store_->begin(parent.id);
  const SnapshotInfo copy = writer.value().commit({}).value();
  EXPECT_EQ(copy.new_bytes, 0u);
  EXPECT_EQ(copy.objects, parent.objects);
  EXPECT_EQ(difference(*store_, copy.id, models_[parent.id]), "");
}

TEST_F(StoreTest, SizesMayChange) {
  Model before;
  before["grows"] = some_bytes(dice_, 3 * kChunk + 100);
  before["shrinks"] = some_bytes(dice_, 3 * kChunk + 100);
  before["goes"] = some_bytes(dice_, 100);
  std::fill_n(before["grows"].end() - 100, 100, std::uint8_t{7});
  std::fill_n(before["shrinks"].end() - 200, 200, std::uint8_t{7});
  const SnapshotInfo parent = save(*store_, before, {}).value();
  for (const std::size_t size :
       {0ul, 1ul, 3ul * kChunk + 50, 3ul * kChunk, 4ul * kChunk, 9ul * kChunk}) {
    auto writer = store_->begin(parent.id);
    Model now = before;
    now.erase("goes");
    now["grows"].resize(std::max(size, before["grows"].size()));
    now["shrinks"].resize(std::min(size, before["shrinks"].size()));
    ASSERT_TRUE(writer.value().drop("goes").ok());
    for (const auto& [name, bytes] : now)
      ASSERT_TRUE(writer.value().object(name, bytes.size()).ok());
    const auto info = writer.value().commit({});
    ASSERT_TRUE(info.ok()) << info.error().message;
    EXPECT_EQ(difference(*store_, info.value().id, now), "") << size;
  }
}

TEST_F(StoreTest, TheLastPutOfAChunkCountsAlsoWithThreads) {
  auto writer = store_->begin({}, {.threads = 3});
  const std::size_t object = writer.value().object("memory", 4 * kChunk).value();
  Bytes last;
  for (int turn = 0; turn < 200; ++turn) {
    last = some_chunk(dice_, kChunk);
    ASSERT_TRUE(writer.value().put(object, 2, last).ok());
  }
  const SnapshotInfo info = writer.value().commit({}).value();
  Bytes expected(4 * kChunk);
  std::copy(last.begin(), last.end(), expected.begin() + 2 * kChunk);
  EXPECT_EQ(difference(*store_, info.id, {{"memory", expected}}), "");
  expect_clean(*store_);
}

TEST_F(StoreTest, RefusesPutsThatDoNotFit) {
  auto writer = store_->begin();
  const std::size_t object = writer.value().object("state", kChunk + 5).value();
  const Bytes chunk(kChunk, 1);
  EXPECT_EQ(writer.value().put(object, 2, chunk).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(writer.value().put(object, 1, chunk).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(writer.value().put(7, 0, chunk).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(writer.value().object("", 1).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(writer.value().object("x", 1, 5000).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(writer.value().object("x", std::uint64_t{1} << 62).error().code,
            ErrorCode::kResourceExhausted);
  EXPECT_EQ(writer.value().drop("y").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(writer.value().put(object, 1, Bytes(5, 1)).ok());
  EXPECT_TRUE(writer.value().commit({}).ok());
  EXPECT_EQ(writer.value().commit({}).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(StoreTest, AnAbandonedWriterLeavesNothing) {
  const SnapshotInfo parent = add("parent");
  {
    auto writer = store_->begin(parent.id);
    ASSERT_TRUE(writer.value().put_object("state", some_bytes(dice_, 50'000)).ok());
  }
  EXPECT_EQ(names(), std::vector<std::string>{"parent"});
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path() / "store" / "packs"),
                          std::filesystem::directory_iterator()),
            1);
}

TEST_F(StoreTest, FindsByIdPrefixNameTagAndLatest) {
  const SnapshotInfo one = add("one", {}, {"daily"});
  const SnapshotInfo two = add("two", one.id, {"daily", "good"});
  const SnapshotInfo three = add("", two.id);
  const auto found = [&](std::string_view text) { return store_->find(text).value().id; };
  EXPECT_EQ(found("latest"), three.id);
  EXPECT_EQ(found(one.id.hex()), one.id);
  EXPECT_EQ(found(three.id.hex().substr(0, 12)), three.id);
  EXPECT_EQ(found("two"), two.id);
  EXPECT_EQ(found("daily"), two.id);
  EXPECT_EQ(store_->find("nothing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->find("abc").error().code, ErrorCode::kNotFound);
}

TEST_F(StoreTest, APrefixOfSeveralIdsIsRefused) {
  base::SeededRandom random(1);
  class Fixed final : public base::RandomSource {
   public:
    void fill(base::Bytes out) override {
      std::fill(out.begin(), out.end(), std::uint8_t{0xAB});
      out.back() = ++count_;
    }

   private:
    std::uint8_t count_ = 0;
  } fixed;
  StoreOptions options = quick_options();
  options.random = &fixed;
  auto store = open_store(folder_.path() / "fixed", options);
  ASSERT_TRUE(save(*store, {}, {}).ok());
  ASSERT_TRUE(save(*store, {}, {}).ok());
  EXPECT_EQ(store->find("abab").error().code, ErrorCode::kInvalidArgument);
}

TEST_F(StoreTest, NamesAreUniqueUnlessTaken) {
  const SnapshotInfo one = add("one");
  EXPECT_EQ(save(*store_, {}, {.name = "one"}).error().code, ErrorCode::kAlreadyExists);
  const SnapshotInfo two = save(*store_, {}, {.name = "one"}, {}, {}, {.take_name = true}).value();
  EXPECT_EQ(store_->find("one").value().id, two.id);
  EXPECT_EQ(store_->get(one.id).value().metadata.name, "");
  EXPECT_EQ(store_->get(one.id).value().metadata.properties.at(kFormerName), "one");
  EXPECT_EQ(store_->rename(one.id, "one").error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE(store_->rename(one.id, "old").ok());
  EXPECT_TRUE(store_->rename(two.id, "").ok());
  EXPECT_EQ(store_->find("old").value().id, one.id);
  EXPECT_FALSE(store_->get(one.id).value().metadata.properties.contains(kFormerName));
  EXPECT_EQ(store_->find("one").error().code, ErrorCode::kNotFound);
}

TEST_F(StoreTest, AWriterWhoseNameWasTakenMayCommitUnderAnother) {
  add("one");
  auto writer = store_->begin();
  ASSERT_TRUE(writer.value().put_object("state", Bytes(100, 1)).ok());
  EXPECT_EQ(writer.value().commit({.name = "one"}).error().code, ErrorCode::kAlreadyExists);
  const auto info = writer.value().commit({.name = "two"});
  ASSERT_TRUE(info.ok()) << info.error().message;
  EXPECT_EQ(difference(*store_, info.value().id, {{"state", Bytes(100, 1)}}), "");
}

TEST_F(StoreTest, ASnapshotOfAnotherStoreKeepsItsIdAndIsThereOnce) {
  const SnapshotInfo one = add("one");
  auto other = open_store(folder_.path() / "other", quick_options());
  auto first = other->begin({}, {.id = one.id});
  auto second = other->begin({}, {.id = one.id});
  EXPECT_EQ(first.value().id(), one.id);
  ASSERT_TRUE(first.value().commit({.name = "one"}).ok());
  EXPECT_EQ(other->find(one.id.hex()).value().metadata.name, "one");
  EXPECT_EQ(second.value().commit({.name = "late"}).error().code, ErrorCode::kAlreadyExists);
  EXPECT_EQ(other->list().value().size(), 1u);
}

TEST_F(StoreTest, TagsAndNotesChange) {
  const SnapshotInfo one = add("one");
  EXPECT_TRUE(store_->tag(one.id, "keep").ok());
  EXPECT_TRUE(store_->tag(one.id, "keep").ok());
  EXPECT_EQ(store_->find("keep").value().metadata.tags, std::vector<std::string>{"keep"});
  EXPECT_TRUE(store_->untag(one.id, "keep").ok());
  EXPECT_EQ(store_->untag(one.id, "keep").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(store_->set_note(one.id, "why").ok());
  EXPECT_EQ(store_->get(one.id).value().metadata.note, "why");
}

TEST_F(StoreTest, BranchesAreATree) {
  const SnapshotInfo root = add("root");
  const SnapshotInfo left = add("left", root.id);
  const SnapshotInfo right = add("right", root.id);
  const SnapshotInfo leaf = add("leaf", left.id);
  add("other");
  std::string text;
  const std::vector<TreeEntry> tree = store_->tree().value();
  for (const TreeEntry& entry : tree)
    text += std::string(entry.depth, '.') + entry.snapshot.label() + " ";
  EXPECT_EQ(text, "root .left ..leaf .right other ");
  EXPECT_EQ(store_->children(root.id).value().size(), 2u);
  const std::vector<SnapshotInfo> line = store_->ancestors(leaf.id).value();
  ASSERT_EQ(line.size(), 2u);
  EXPECT_EQ(line[1].id, root.id);
  EXPECT_TRUE(store_->children(right.id).value().empty());
}

TEST_F(StoreTest, RemoveRefusesToOrphanAndCascades) {
  const SnapshotInfo root = add("root");
  const SnapshotInfo child = add("child", root.id);
  add("leaf", child.id);
  const SnapshotInfo other = add("other", root.id);
  const auto refused = store_->remove(child.id);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("'leaf'"), std::string::npos);
  const RemoveReport report = store_->remove(child.id, Cascade::kYes).value();
  EXPECT_EQ(report.removed.size(), 2u);
  EXPECT_GT(report.freed_bytes, 0u);
  EXPECT_FALSE(report.space_deferred);
  EXPECT_EQ(names(), (std::vector<std::string>{"root", "other"}));
  EXPECT_EQ(difference(*store_, other.id, models_[other.id]), "");
  expect_clean(*store_);
  EXPECT_EQ(store_->remove(child.id).error().code, ErrorCode::kNotFound);
}

TEST_F(StoreTest, PruneHangsChildrenToTheNearestKeptAncestor) {
  std::vector<SnapshotInfo> chain{add("0")};
  for (int i = 1; i < 40; ++i)
    chain.push_back(add(std::to_string(i), chain.back().id));
  ASSERT_TRUE(store_->tag(chain[5].id, "keep").ok());
  const KeepPolicy policy{.last = 3, .tags = {"keep"}};
  const PruneReport dry = store_->prune(policy, DryRun::kYes).value();
  EXPECT_EQ(dry.removed.size(), 36u);
  EXPECT_EQ(names().size(), 40u);
  const PruneReport report = store_->prune(policy, DryRun::kNo).value();
  EXPECT_EQ(report.removed.size(), 36u);
  EXPECT_GE(report.freed_bytes, dry.freed_bytes);
  EXPECT_EQ(names(), (std::vector<std::string>{"5", "37", "38", "39"}));
  EXPECT_EQ(store_->get(chain[37].id).value().parent, chain[5].id);
  EXPECT_EQ(store_->get(chain[5].id).value().parent, std::nullopt);
  for (const int i : {5, 37, 38, 39})
    EXPECT_EQ(difference(*store_, chain[static_cast<std::size_t>(i)].id,
                         models_[chain[static_cast<std::size_t>(i)].id]),
              "");
  expect_clean(*store_);
}

TEST_F(StoreTest, PruneKeepsByEveryRuleAndRefusesNone) {
  add("named");
  add("", {}, {"tag"});
  add("");
  clock_.advance(std::chrono::hours(1));
  add("");
  EXPECT_EQ(store_->prune({}, DryRun::kYes).error().code, ErrorCode::kInvalidArgument);
  const auto left = [&](const KeepPolicy& policy) {
    return 4 - store_->prune(policy, DryRun::kYes).value().removed.size();
  };
  EXPECT_EQ(left({.named = true}), 1u);
  EXPECT_EQ(left({.tagged = true}), 1u);
  EXPECT_EQ(left({.tagged = true, .named = true}), 2u);
  EXPECT_EQ(left({.within = std::chrono::minutes(10)}), 1u);
  EXPECT_EQ(left({.last = 2}), 2u);
  EXPECT_EQ(left({.last = 0}), 0u);
}

TEST_F(StoreTest, WhatIsOpenIsNotRemoved) {
  const SnapshotInfo one = add("one");
  const SnapshotInfo two = add("two");
  {
    const auto reader = store_->open(one.id);
    const auto writer = store_->begin(two.id);
    EXPECT_EQ(store_->remove(one.id).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(store_->remove(two.id).error().code, ErrorCode::kUnavailable);
    const PruneReport report = store_->prune({.last = 0}, DryRun::kNo).value();
    EXPECT_EQ(report.in_use.size(), 2u);
    EXPECT_TRUE(report.removed.empty());
    EXPECT_EQ(store_->compact().error().code, ErrorCode::kUnavailable);
    // A second Store, as another process has it.
    const auto other = open_store(folder_.path() / "store", quick_options());
    EXPECT_EQ(other->remove(one.id).error().code, ErrorCode::kUnavailable);
  }
  EXPECT_TRUE(store_->remove(one.id).ok());
  EXPECT_EQ(store_->prune({.last = 0}, DryRun::kNo).value().removed.size(), 1u);
}

TEST_F(StoreTest, SpaceThatAWriterMayNeedIsFreedLater) {
  const SnapshotInfo one = add("one");
  {
    auto writer = store_->begin();
    const RemoveReport report = store_->remove(one.id).value();
    EXPECT_TRUE(report.space_deferred);
    // It may still lean on the chunks of what was removed.
    ASSERT_TRUE(writer.value().put_object("state", models_[one.id]["state"]).ok());
    models_.clear();
    const SnapshotInfo saved = writer.value().commit({}).value();
    EXPECT_EQ(saved.new_bytes, 0u);
  }
  EXPECT_TRUE(store_->compact(1.0).ok());
  EXPECT_EQ(store_->list().value().size(), 1u);
  expect_clean(*store_);
}

TEST_F(StoreTest, CompactWritesSparseAndSmallPacksAnew) {
  std::vector<SnapshotInfo> chain{add("0")};
  for (int i = 1; i < 30; ++i)
    chain.push_back(add(std::to_string(i), chain.back().id));
  const CompactReport report = store_->compact().value();
  EXPECT_GE(report.packs_rewritten, 30u);
  EXPECT_EQ(store_->statistics().value().packs, 1u);
  expect_all_readable();
  EXPECT_EQ(store_->compact().value().packs_rewritten, 0u);
}

TEST_F(StoreTest, AReaderGoesOnWhileChunksMove) {
  std::vector<SnapshotInfo> chain{add("0")};
  for (int i = 1; i < 20; ++i)
    chain.push_back(add(std::to_string(i), chain.back().id));
  const auto reader = store_->open(chain[10].id);
  ASSERT_TRUE(store_->compact(1.0).ok());
  EXPECT_EQ(reader.value().read_object("memory").value(), models_[chain[10].id]["memory"]);
}

TEST_F(StoreTest, DiffCountsWhatHasToChange) {
  Model before;
  before["a"] = Bytes(5 * kChunk, 1);
  before["b"] = Bytes(100, 1);
  before["gone"] = Bytes(100, 1);
  Model now = before;
  now.erase("gone");
  now["a"][2 * kChunk] = 9;
  now["a"].resize(6 * kChunk);
  now["new"] = Bytes(kChunk + 1, 3);
  const SnapshotInfo one = save(*store_, before, {}).value();
  const SnapshotInfo two = save(*store_, now, {}, one.id, before).value();
  const Diff diff = store_->diff(one.id, two.id).value();
  ASSERT_EQ(diff.objects.size(), 4u);
  EXPECT_EQ(diff.objects[0].changed_chunks, 2u);
  EXPECT_EQ(diff.objects[1].changed_chunks, 0u);
  EXPECT_EQ(diff.objects[2].size_to, 0u);
  EXPECT_EQ(diff.objects[3].changed_chunks, 2u);
  EXPECT_EQ(diff.changed_bytes, 2u * kChunk + kChunk + 1);
  const auto reader = store_->open(two.id);
  const auto base = store_->open(one.id);
  EXPECT_EQ(reader.value().changed_since(base.value(), 0), (std::vector<std::uint64_t>{2, 5}));
}

TEST_F(StoreTest, ManySmallChangesKeepTheCatalogueSmall) {
  Model model;
  model["memory"] = Bytes(512 * kChunk, 1);
  for (std::size_t i = 0; i < model["memory"].size(); i += 512)
    base::store_le(&model["memory"][i], i);
  SnapshotInfo last = save(*store_, model, {}).value();
  const std::uint64_t before = store_->statistics().value().catalogue_bytes;
  for (int i = 0; i < 40; ++i) {
    const Model old = model;
    for (int k = 0; k < 20; ++k)
      base::store_le(&model["memory"][dice_.below(512) * kChunk], dice_.next());
    last = save(*store_, model, {}, last.id, old).value();
  }
  const std::uint64_t each = (store_->statistics().value().catalogue_bytes - before) / 40;
  EXPECT_LT(each, 20 * 120 + 1000u) << "bytes of catalogue for each snapshot";
  EXPECT_EQ(difference(*store_, last.id, model), "");
}

TEST_F(StoreTest, FilesAreForTheOwnerOnly) {
  add("one");
  const auto mode = [](const std::filesystem::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 0777;
  };
  const auto root = folder_.path() / "store";
  EXPECT_EQ(mode(root), 0700u);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
    EXPECT_EQ(mode(entry.path()), entry.is_directory() ? 0700u : 0600u) << entry.path();
  EXPECT_TRUE(std::filesystem::exists(root / "README"));
}

TEST_F(StoreTest, AFolderOfAnotherProgramIsLeftAlone) {
  const auto other = folder_.path() / "other";
  std::filesystem::create_directory(other);
  std::ofstream(other / "README") << "mine";
  const auto refused = Store::open_folder(other, quick_options());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  std::ofstream(other / "FORMAT") << "something else\n";
  EXPECT_EQ(Store::open_folder(other, quick_options()).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(other),
                          std::filesystem::directory_iterator()),
            2);
}

TEST_F(StoreTest, WithoutCreateNothingIsMade) {
  StoreOptions options = quick_options();
  options.create = false;
  const auto missing = folder_.path() / "missing";
  EXPECT_EQ(Store::open_folder(missing, options).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(missing));
  std::filesystem::create_directory(missing);
  EXPECT_EQ(Store::open_folder(missing, options).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(std::filesystem::is_empty(missing));
}

TEST_F(StoreTest, ALostCatalogueDoesNotCostThePacks) {
  add("one");
  store_ = nullptr;
  const auto root = folder_.path() / "store";
  std::filesystem::remove(root / "catalogue.sqlite");
  EXPECT_EQ(Store::open_folder(root, quick_options()).error().code, ErrorCode::kCorrupt);
  std::ofstream(root / "catalogue.sqlite").close();
  EXPECT_EQ(Store::open_folder(root, quick_options()).error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(std::filesystem::is_empty(root / "packs"));
}

TEST_F(StoreTest, AChunkWhosePackIsLostIsWrittenAgain) {
  const SnapshotInfo one = add("one");
  std::filesystem::remove_all(folder_.path() / "store" / "packs");
  std::filesystem::create_directory(folder_.path() / "store" / "packs");
  store_ = open_store(folder_.path() / "store", quick_options());
  EXPECT_NE(difference(*store_, one.id, models_[one.id]).find("the pack is missing"),
            std::string::npos);
  const SnapshotInfo two = save(*store_, models_[one.id], {}).value();
  EXPECT_EQ(difference(*store_, two.id, models_[one.id]), "");
  const VerifyReport report = store_->verify().value();
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_EQ(report.damage[0].snapshots, std::vector<SnapshotId>{one.id});
}

TEST_F(StoreTest, VerifyNamesTheChunkThePackAndWhoSuffers) {
  const SnapshotInfo one = add("one");
  const SnapshotInfo two = add("two", one.id);
  const SnapshotInfo three = add("three");
  std::filesystem::path pack;
  for (const auto& entry :
       std::filesystem::directory_iterator(folder_.path() / "store" / "packs")) {
    if (pack.empty() || entry.last_write_time() < std::filesystem::last_write_time(pack)) {
      pack = entry.path();
    }
  }
  {
    std::fstream file(pack, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(40 + 64 + 3);
    file.put('\x55');
  }
  const VerifyReport report = store_->verify().value();
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_NE(report.damage[0].what.find(pack.filename().string()), std::string::npos);
  EXPECT_FALSE(report.damage[0].snapshots.empty());
  EXPECT_EQ(report.snapshots, 3u);
}

TEST_F(StoreTest, VerifyCanBeCancelled) {
  add("one");
  EXPECT_EQ(store_->verify([](std::uint64_t, std::uint64_t) { return false; }).error().code,
            ErrorCode::kCancelled);
}

}  // namespace
}  // namespace snowglobe::snapshots::testing_world
