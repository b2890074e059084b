// tests/snapshots/read_only_test.cc - a store in a folder in which nothing may change: it is read
// as it is, with what a dead process left in it.
#include "tests/snapshots/world.h"

#include <fstream>
#include <iterator>
#include <sys/wait.h>
#include <unistd.h>

namespace snowglobe::snapshots::testing_world {
namespace {

namespace fs = std::filesystem;

class ReadOnlyTest : public testing::Test {
 protected:
  [[nodiscard]] fs::path place() const { return folder_.path() / "store"; }
  [[nodiscard]] std::unique_ptr<Store> open_to_write() const {
    return open_store(place(), quick_options());
  }
  [[nodiscard]] base::Result<std::unique_ptr<Store>> open_to_read() const {
    StoreOptions options = quick_options();
    options.read_only = true;
    return Store::open_folder(place(), options);
  }
  Model contents() {
    Model model;
    model["memory"] = some_bytes(dice_, 20 * kChunk);
    return model;
  }
  /// Names and contents of all files.
  [[nodiscard]] std::map<std::string, std::string> all_files() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(place())) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      all[entry.path().string()] = {std::istreambuf_iterator<char>(in), {}};
    }
    return all;
  }

  TemporaryFolder folder_;
  Dice dice_{7};
};

TEST_F(ReadOnlyTest, EverythingIsReadAndNothingIsChanged) {
  const Model first = contents(), second = contents();
  std::optional<SnapshotId> id;
  {
    auto store = open_to_write();
    id = save(*store, first, {.name = "first"}).value().id;
    ASSERT_TRUE(save(*store, second, {.name = "second"}, id, first).ok());
  }
  const auto before = all_files();
  {
    auto opened = open_to_read();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    Store& store = *opened.value();
    EXPECT_EQ(store.list().value().size(), 2u);
    EXPECT_EQ(difference(store, *id, first), "");
    EXPECT_EQ(difference(store, store.find("second").value().id, second), "");
    expect_clean(store);
    EXPECT_TRUE(store.statistics().ok());
    EXPECT_TRUE(store.export_to(folder_.path() / "file", {*id}).ok());
    EXPECT_TRUE(store.copy_to(folder_.path() / "copy").ok());

    const auto refused = [](const auto& result) {
      return !result.ok() && result.error().code == base::ErrorCode::kInvalidArgument &&
             result.error().message.find("read-only") != std::string::npos;
    };
    EXPECT_TRUE(refused(store.begin()));
    EXPECT_TRUE(refused(store.tag(*id, "seen")));
    EXPECT_TRUE(refused(store.rename(*id, "other")));
    EXPECT_TRUE(refused(store.remove(*id, Cascade::kYes)));
    EXPECT_TRUE(refused(store.prune({.last = 1}, DryRun::kNo)));
    EXPECT_TRUE(refused(store.compact()));
    EXPECT_TRUE(refused(store.import_from(folder_.path() / "file")));
  }
  EXPECT_EQ(all_files(), before);
  auto copy = open_store(folder_.path() / "copy", quick_options());
  EXPECT_EQ(difference(*copy, *id, first), "");
  EXPECT_TRUE(copy->tag(*id, "seen").ok());
}

/// SQLite left a write-ahead log: without it the catalogue says nothing.
TEST_F(ReadOnlyTest, WhatAProcessLeftThatDiedIsReadAsWell) {
  const Model model = contents();
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = open_to_write();
    ::_exit(save(*store, model, {.name = "left"}).ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_GT(fs::file_size(place() / "catalogue.sqlite-wal"), 0u);
  const auto before = all_files();
  {
    auto opened = open_to_read();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const auto found = opened.value()->find("left");
    ASSERT_TRUE(found.ok()) << found.error().message;
    EXPECT_EQ(difference(*opened.value(), found.value().id, model), "");
  }
  EXPECT_EQ(all_files(), before);
  EXPECT_EQ(open_to_write()->list().value().size(), 1u);
}

TEST_F(ReadOnlyTest, OthersWriteMeanwhileButTakeNoPackAway) {
  const Model model = contents();
  auto writer = open_to_write();
  const SnapshotId kept = save(*writer, model, {.name = "kept"}).value().id;
  const SnapshotId gone = save(*writer, contents(), {.name = "gone"}).value().id;
  auto opened = open_to_read();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_TRUE(save(*writer, contents(), {.name = "later"}).ok());
  EXPECT_TRUE(writer->remove(gone).ok());
  EXPECT_FALSE(writer->compact().ok());
  EXPECT_EQ(opened.value()->list().value().size(), 2u) << "as it was";
  EXPECT_EQ(difference(*opened.value(), kept, model), "");
  opened.value().reset();
  EXPECT_TRUE(writer->compact().ok());
}

TEST_F(ReadOnlyTest, WhatIsNoWholeStoreIsNotMadeOne) {
  EXPECT_EQ(open_to_read().error().code, base::ErrorCode::kNotFound);
  EXPECT_FALSE(fs::exists(place()));
  fs::create_directory(place());
  EXPECT_EQ(open_to_read().error().code, base::ErrorCode::kNotFound);
  EXPECT_TRUE(fs::is_empty(place()));
  open_to_write().reset();
  fs::resize_file(place() / "catalogue.sqlite", 1000);
  EXPECT_EQ(open_to_read().error().code, base::ErrorCode::kCorrupt);
  fs::remove(place() / "catalogue.sqlite");
  EXPECT_EQ(open_to_read().error().code, base::ErrorCode::kCorrupt);
  EXPECT_FALSE(fs::exists(place() / "catalogue.sqlite"));
}

}  // namespace
}  // namespace snowglobe::snapshots::testing_world
